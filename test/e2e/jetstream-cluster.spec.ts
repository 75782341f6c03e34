import { JetStreamStream } from '../../lib/stream/jetstream/jetstream-stream.js';
import type { StreamSubscription } from '../../lib/stream/replication-stream.js';
import { NatsCluster } from '../helper/nats-cluster.js';
import { until } from './stream-backends.js';

let cluster: NatsCluster;

beforeAll(async () => {
  cluster = await NatsCluster.start();
}, 90_000);
afterAll(() => cluster.close());

it('delivers on although the server that held the consumer is gone, and stays away', async () => {
  // The names and addresses of the servers have one order.
  const [url = ''] = cluster.urls;
  const access = { servers: [url], name: 'test' };
  const stream = new JetStreamStream({
    access,
    stream: 'gone',
    subject: 'gone.a',
    replicas: 3,
    maxAge: undefined,
    warn: () => undefined,
  });
  await stream.open();
  const publish = (id: string): Promise<unknown> => stream.publish({ id, data: Buffer.from('x') }, 10_000);
  await publish('1');
  let seen: (string | undefined)[] = [];
  let subscription: StreamSubscription | undefined;
  let holder: string | undefined = 'server0';
  // The servers choose who holds it: until it is not the one that this node is connected to.
  while (holder === 'server0') {
    await subscription?.stop();
    seen = [];
    subscription = await stream.consume(0, ({ id }) => void seen.push(id));
    await until(() => seen.length === 1);
    const consumers = await (await cluster.manager()).consumers.list('gone').next();
    holder = consumers.toSorted((a, b) => a.created.localeCompare(b.created)).at(-1)?.cluster?.leader;
  }
  const restart = await cluster.kill(holder ?? '', 'gone');
  try {
    expect(stream.isConnected).toBe(true);
    const stored = async (id: string): Promise<boolean> =>
      publish(id).then(
        () => true,
        () => false,
      );
    await until(() => stored('2'));
    await until(() => seen.length === 2);
    await until(() => stored('3'));
    await until(() => seen.length === 3);
    expect(seen).toEqual(['1', '2', '3']);
  } finally {
    await stream.close();
    await restart();
  }
}, 120_000);

import { sleep } from '../../../lib/common/timing.js';
import { JetStreamStream } from '../../../lib/stream/jetstream/jetstream-stream.js';
import { PendingRequests } from '../../../lib/stream/jetstream/pending-requests.js';
import { StreamUnavailable } from '../../../lib/stream/replication-stream.js';

/** What the stream has of a connection, and its delivery. */
interface Inside {
  session: unknown;
  connected: boolean;
  reachable: boolean;
  deliver(run: object, handler: () => undefined): Promise<void>;
}

it('a delivery tells why it cannot go on, also where the attempt before was lost with its line', async () => {
  const stream = new JetStreamStream({
    access: { servers: ['nats://127.0.0.1:1'], name: 'test' },
    stream: 's',
    subject: 's.db',
    replicas: 1,
    maxAge: undefined,
    warn: () => undefined,
  });
  const told: string[] = [];
  stream.onStatus = (status) => told.push(status.type === 'error' ? status.error.message : status.type);
  const requests = new PendingRequests();
  let asked = 0;
  const get = async (): Promise<never> => {
    if (++asked === 1) return new Promise<never>(() => undefined);
    throw new Error('maximum consumers limit reached');
  };
  const inside = stream as unknown as Inside;
  inside.session = { requests, js: { consumers: { get } } };
  inside.connected = inside.reachable = true;
  const run = { position: 0, ended: false, messages: undefined, storedAt: 0, covered: 0 };
  const delivery = inside.deliver(run, () => undefined);
  await sleep(0);
  inside.connected = inside.reachable = false;
  requests.fail(new StreamUnavailable('the connection was lost'));
  await sleep(0);
  inside.connected = inside.reachable = true;
  while (asked < 4) await sleep(20);
  run.ended = true;
  await delivery;
  expect(told).toEqual(['maximum consumers limit reached']);
});

import { connect } from 'nats';
import type { NatsConnection } from 'nats';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import { AckChannel } from '../../lib/stream/jetstream/ack-channel.js';
import type { OutgoingMessage } from '../../lib/stream/replication-stream.js';
import { failureOf, onCleanup, temporaryFolder } from '../helper/cluster.js';

const TIMEOUT_MS = 10_000;

async function start(): Promise<{ nc: NatsConnection; channel: AckChannel; stored: () => Promise<string[]> }> {
  const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: temporaryFolder() });
  onCleanup(() => server.release());
  const nc = await connect({ servers: server.url });
  onCleanup(() => nc.close());
  const jsm = await nc.jetstreamManager();
  await jsm.streams.add({ name: 'held', subjects: ['held'] });
  const stored = async (): Promise<string[]> => {
    const { state } = await jsm.streams.info('held');
    const ids: string[] = [];
    for (let seq = 1; seq <= state.last_seq; seq++) {
      ids.push((await jsm.streams.getMessage('held', { seq })).header.get('Nats-Msg-Id'));
    }
    return ids;
  };
  return { nc, channel: new AckChannel(nc, 'held'), stored };
}

const message = (id: string): OutgoingMessage => ({ id, data: Buffer.from('x') });

/** The channel holds what comes in one round of the event loop, and sends it in one go. */
describe('the channel of acknowledgements', () => {
  it('keeps the order, within a round and over a pause of JavaScript', async () => {
    const { channel, stored } = await start();
    const receipts = [];
    for (let n = 1; n <= 200; n++) {
      receipts.push(channel.publish(message(`m.${n}`), TIMEOUT_MS));
      if (n % 3 === 0) await Promise.resolve();
      if (n % 50 === 0) await new Promise((resolve) => void setImmediate(resolve));
      if (n === 100) for (const end = performance.now() + 3; performance.now() < end;);
    }
    const sequences = (await Promise.all(receipts)).map(({ sequence }) => sequence);
    expect(sequences).toEqual(Array.from({ length: 200 }, (_value, index) => index + 1));
    expect(await stored()).toEqual(Array.from({ length: 200 }, (_value, index) => `m.${index + 1}`));
    channel.close();
  });

  it('never sends what it has given up', async () => {
    const { nc, channel, stored } = await start();
    const given = failureOf(channel.publish(message('m.1'), TIMEOUT_MS));
    channel.fail('the connection was lost');
    expect((await given).message).toBe('the connection was lost');
    expect(await channel.publish(message('m.2'), TIMEOUT_MS)).toEqual({ sequence: 1, duplicate: false });
    await nc.flush();
    expect(await stored()).toEqual(['m.2']);
    channel.close();
  });

  it('answers where the connection is closed before it sends', async () => {
    const { nc, channel } = await start();
    const given = failureOf(channel.publish(message('m.1'), TIMEOUT_MS));
    void nc.close();
    expect((await given).name).toMatch(/^Stream(Unavailable|Timeout)$/);
    channel.close();
  });
});

import type { HAError } from '../../../lib/common/ha-error.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { StreamTimeout } from '../../../lib/stream/replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../../../lib/stream/replication-stream.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

const NOT_COMMITTED = { state: 'not_committed' };
const UNKNOWN = { state: 'unknown' };

/** The id of a write that ends without an answer. */
async function unknownId(write: Promise<unknown>): Promise<string> {
  const error = (await failureOf(write)) as HAError;
  expect(error.code).toBe('HA_PUBLISH_UNKNOWN');
  return error.details['id'] as string;
}

/** A stream whose test decides, for each attempt, whether the message is stored and whether its answer arrives. */
class FaultyStream extends MemoryStream {
  /** Called for every attempt; `lose` is never stored, `mute` is stored without an answer. */
  fault: (message: OutgoingMessage) => 'lose' | 'mute' | undefined = () => undefined;
  readonly attempts: OutgoingMessage[] = [];

  override async publish(message: OutgoingMessage): Promise<PublishReceipt> {
    this.attempts.push(message);
    const fault = this.fault(message);
    if (fault === 'lose') throw new StreamTimeout('lost');
    const receipt = await super.publish(message);
    if (fault === 'mute') throw new StreamTimeout('no answer');
    return receipt;
  }
}

interface Memory {
  readonly broker: MemoryBroker;
  readonly dir: string;
  readonly a: MemoryNode<FaultyStream>;
  readonly b: MemoryNode<FaultyStream>;
}

async function memory(maxPayload = 1_048_576): Promise<Memory> {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string): MemoryNode<FaultyStream> =>
    memoryNode(name, dir, new FaultyStream({ broker, ...MEMORY_STREAM, maxPayload }), { publisherTimeout: 300 });
  const [a, b] = [make('a'), make('b')];
  await a.db.exec('CREATE TABLE t(v)');
  await b.db.start();
  return { broker, dir, a, b };
}

/** What the nodes hold, once both have all that is in the stream. */
async function settled({ broker, a, b }: Memory): Promise<unknown[]> {
  const last = BigInt(broker.log('s')?.state().lastSequence ?? 0);
  const held = await Promise.all(
    [a.db, b.db].map(async (db) => {
      await db.waitFor(last, { timeout: 20_000 });
      return db.prepare('SELECT substr(v, 1, 5) FROM t ORDER BY rowid').pluck().all();
    }),
  );
  expect(held[0]).toEqual(held[1]);
  return held[0] ?? [];
}

const insert = (db: HADatabase, v: string): Promise<unknown> => db.run('INSERT INTO t VALUES(?)', [v]);
const isVoid = ({ data }: OutgoingMessage): boolean => data.includes('ha.void');

describe('the outcome of a transaction without an answer, on JetStream', () => {
  it('is committed where it was stored, and unknown as long as the stream is away', async () => {
    const cluster = await startCluster({ proxy: true, options: { publisherTimeout: '3s' } });
    await cluster.a.exec('CREATE TABLE t(v)');
    await cluster.settle();
    const before = await cluster.lastSequence();
    cluster.proxy.muteServer();
    const write = unknownId(insert(cluster.a, 'x'));
    await until(async () => (await cluster.lastSequence()) > before);
    cluster.proxy.cut();
    const id = await write;
    expect(await cluster.a.outcome(id)).toEqual(UNKNOWN);
    await until(() => !cluster.a.status().connected);
    cluster.proxy.restore();
    await until(() => cluster.a.status().connected);
    expect(await cluster.a.outcome(id)).toMatchObject({ state: 'committed' });
    expect(await cluster.a.all('SELECT v FROM t')).toEqual([{ v: 'x' }]);
    expect(await cluster.b.outcome(id)).toMatchObject({ state: 'committed' });
    await cluster.expectEqual();
    expect(await cluster.lastSequence()).toBe(before + 1);
  });

  it('is settled as not committed where it was not stored, for ever and on every node', async () => {
    const cluster = await startCluster({ proxy: true, options: { publisherTimeout: '3s' } });
    await cluster.a.exec('CREATE TABLE t(v)');
    await cluster.settle();
    cluster.proxy.muteClients();
    const id = await unknownId(insert(cluster.a, 'x'));
    cluster.proxy.cut();
    expect(await cluster.b.outcome(id)).toEqual(UNKNOWN);
    await until(() => !cluster.a.status().connected);
    cluster.proxy.restore();
    await until(() => cluster.a.status().connected);
    expect(await cluster.a.outcome(id)).toEqual(NOT_COMMITTED);
    const last = await cluster.lastSequence();
    expect(await cluster.a.outcome(id)).toEqual(NOT_COMMITTED);
    expect(await cluster.lastSequence()).toBe(last);
    await cluster.settle();
    expect(await cluster.b.outcome(id)).toEqual(NOT_COMMITTED);
    await cluster.a.stop();
    await cluster.a.start();
    expect(await cluster.a.outcome(id)).toEqual(NOT_COMMITTED);
    expect(await cluster.a.all('SELECT v FROM t')).toEqual([]);
    await cluster.expectEqual();
  });
});

describe('the outcome of a transaction without an answer', () => {
  it('is settled by a later process of the same file', async () => {
    const nodes = await memory();
    const { a, dir, broker } = nodes;
    a.stream.fault = () => 'lose';
    const lost = await unknownId(insert(a.db, 'lost'));
    a.stream.fault = () => 'mute';
    const stored = await unknownId(insert(a.db, 'stored'));
    await a.db.close();
    const again = memoryNode('a', dir, new FaultyStream({ broker, ...MEMORY_STREAM }));
    expect(await again.db.outcome(lost)).toEqual(NOT_COMMITTED);
    expect(await again.db.outcome(stored)).toMatchObject({ state: 'committed' });
    expect(await settled({ ...nodes, a: again })).toEqual(['store']);
  });

  it('is not settled by nodes that did not write it', async () => {
    const nodes = await memory();
    const { a, b } = nodes;
    a.stream.fault = () => 'lose';
    const id = await unknownId(insert(a.db, 'x'));
    expect(await b.db.outcome(id)).toEqual(UNKNOWN);
    expect(b.stream.attempts).toEqual([]);
  });

  it('stays not committed where the message arrives late, beyond the memory of the stream', async () => {
    const nodes = await memory();
    const { a, broker } = nodes;
    a.stream.fault = () => 'lose';
    const id = await unknownId(insert(a.db, 'x'));
    const lost = a.stream.attempts.at(-1) as OutgoingMessage;
    a.stream.fault = () => undefined;
    expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
    broker.forgetIds();
    broker.append({ ...lost, subject: MEMORY_STREAM.subject, version: '1', chunk: undefined });
    expect(await settled(nodes)).toEqual([]);
    expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
  });

  it('is committed where the message arrived in front of the void, beyond the memory of the stream', async () => {
    const nodes = await memory();
    const { a, broker } = nodes;
    a.stream.fault = () => 'lose';
    const id = await unknownId(insert(a.db, 'x'));
    const lost = a.stream.attempts.at(-1) as OutgoingMessage;
    a.stream.fault = (message) => {
      if (!isVoid(message)) return undefined;
      broker.append({ ...lost, subject: MEMORY_STREAM.subject, version: '1', chunk: undefined });
      broker.forgetIds();
      return undefined;
    };
    expect(await a.db.outcome(id)).toMatchObject({ state: 'committed' });
    expect(await settled(nodes)).toEqual(['x']);
  });

  it('is one where several ask at once, and answers to the void are lost', async () => {
    const nodes = await memory();
    const { a } = nodes;
    a.stream.fault = () => 'lose';
    const id = await unknownId(insert(a.db, 'x'));
    let muted = 0;
    a.stream.fault = () => (muted++ < 2 ? 'mute' : undefined);
    expect(await Promise.all([1, 2, 3].map(() => a.db.outcome(id)))).toEqual([1, 2, 3].map(() => NOT_COMMITTED));
    expect(await settled(nodes)).toEqual([]);
  });

  it('is unknown as long as the stream does not take the question', async () => {
    const nodes = await memory();
    const { a } = nodes;
    a.stream.fault = () => 'lose';
    const id = await unknownId(insert(a.db, 'x'));
    expect(await a.db.outcome(id)).toEqual(UNKNOWN);
    a.stream.disconnect();
    expect(await a.db.outcome(id)).toEqual(UNKNOWN);
    void a.stream.connect();
    a.stream.fault = () => undefined;
    expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
  });

  it('cannot be settled while the transaction is still being sent', async () => {
    const nodes = await memory();
    const { a } = nodes;
    let lost = 0;
    a.stream.fault = () => (lost++ < 3 ? 'lose' : undefined);
    const write = insert(a.db, 'x');
    await until(() => lost === 1);
    const id = a.stream.attempts.at(-1)?.id ?? '';
    expect(await a.db.outcome(id)).toMatchObject({ state: 'committed' });
    await write;
    expect(a.stream.attempts.filter(isVoid)).toEqual([]);
    expect(await settled(nodes)).toEqual(['x']);
  });

  it('that somebody else settled while it was being sent is not acknowledged', async () => {
    const nodes = await memory();
    const { a, b } = nodes;
    let lost = 0;
    a.stream.fault = () => (lost++ < 3 ? 'lose' : undefined);
    const write = failureOf(insert(a.db, 'x'));
    await until(() => lost === 1);
    // As a copy of the file would, which holds the origin of the one that it is a copy of.
    const id = a.stream.attempts.at(-1)?.id ?? '';
    await b.stream.publish(b.runtime.publisher.voidMessage(id));
    expect(await write).toMatchObject({ code: 'HA_PUBLISH_FAILED' });
    expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
    await insert(a.db, 'y');
    expect(await settled(nodes)).toEqual(['y']);
  });
});

describe('the outcome of a transaction in several messages', () => {
  const WIDE = Array.from({ length: 6 }, (_value, index) => `('${index}${'x'.repeat(400)}')`).join(', ');
  const wide = (db: HADatabase): Promise<unknown> => db.exec(`INSERT INTO t VALUES${WIDE}`);
  const part = ({ chunk }: OutgoingMessage): string => chunk?.split(';')[1] ?? '';

  /** Its parts are lost or muted as `fault` says; what is sent later arrives. */
  async function sent(fault: (part: string) => 'lose' | 'mute'): Promise<{ nodes: Memory; id: string; parts: number }> {
    const nodes = await memory(1_500);
    const { a } = nodes;
    a.stream.fault = (message) => (message.chunk === undefined ? undefined : fault(part(message)));
    const id = await unknownId(wide(a.db));
    const parts = new Set(a.stream.attempts.filter(({ chunk }) => chunk?.startsWith(id)).map(part));
    parts.delete('abort');
    a.stream.fault = () => undefined;
    return { nodes, id, parts: parts.size };
  }

  it('is committed where all were stored', async () => {
    const { nodes, id, parts } = await sent(() => 'mute');
    expect(parts).toBeGreaterThan(2);
    expect(await nodes.a.db.outcome(id)).toMatchObject({ state: 'committed', sequence: BigInt(1 + parts) });
    expect(await settled(nodes)).toHaveLength(6);
  });

  it('is committed where it was answered', async () => {
    const nodes = await memory(1_500);
    await wide(nodes.a.db);
    const id = nodes.a.stream.attempts.find(({ chunk }) => chunk !== undefined)?.id ?? '';
    expect(await nodes.a.db.outcome(id)).toMatchObject({ state: 'committed' });
    await settled(nodes);
    expect(await nodes.b.db.outcome(id)).toMatchObject({ state: 'committed' });
  });

  it.each([
    ['none was', () => 'lose' as const],
    ['only the first was', (place: string) => (place.startsWith('1/') ? 'mute' : 'lose')],
    ['only the last was', (place: string) => (/^(\d+)\/\1$/.test(place) ? 'mute' : 'lose')],
    ['all but the first were', (place: string) => (place.startsWith('1/') ? 'lose' : 'mute')],
    ['all but the last were', (place: string) => (/^(\d+)\/\1$/.test(place) ? 'lose' : 'mute')],
  ] satisfies [string, (place: string) => 'lose' | 'mute'][])(
    'is not committed where %s stored, also when the rest arrives late',
    async (_name, fault) => {
      const { nodes, id, parts } = await sent(fault);
      const { a, broker } = nodes;
      const chunks = a.stream.attempts.filter(({ chunk }) => chunk?.startsWith(id) === true).slice(0, parts);
      expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
      broker.forgetIds();
      for (const chunk of chunks) broker.append({ chunk: undefined, ...chunk, subject: 's.db', version: '1' });
      expect(await settled(nodes)).toEqual([]);
      expect(await a.db.outcome(id)).toEqual(NOT_COMMITTED);
      expect(await nodes.b.db.outcome(id)).toEqual(NOT_COMMITTED);
      for (const { db } of [a, nodes.b]) expect(await db.all('SELECT * FROM ha_chunks')).toEqual([]);
      await wide(a.db);
      expect(await settled(nodes)).toHaveLength(6);
    },
  );
});

it.each(['', 'x', 'abc.', 'abc.0', 'abc.1e3', '.5', 'abc.01', 'a b.1', 'abc.9007199254740993'])(
  "refuses '%s', which is no id",
  async (id) => {
    const { a } = await memory();
    expect(await failureOf(a.db.outcome(id))).toMatchObject({ code: 'HA_INVALID_ID' });
  },
);

it('refuses an id that was not given out yet', async () => {
  const { a } = await memory();
  const { origin, lastNumber } = a.runtime.publisher;
  expect(await failureOf(a.db.outcome(`${origin}.${lastNumber + 1}`))).toMatchObject({ code: 'HA_INVALID_ID' });
});

import { HAError } from '../../../lib/common/ha-error.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { failureOf, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

interface Nodes {
  readonly broker: MemoryBroker;
  readonly a: MemoryNode<MemoryStream>;
  readonly b: MemoryNode<MemoryStream>;
  readonly again: (name: string) => MemoryNode<MemoryStream>;
}

async function start(): Promise<Nodes> {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string): MemoryNode<MemoryStream> =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }));
  const [a, b] = [make('a'), make('b')];
  await a.db.exec('CREATE TABLE t(v)');
  await b.db.start();
  await b.db.waitFor(1n);
  return { broker, a, b, again: make };
}

/** Stores a message of another node; returns its sequence. */
function append(broker: MemoryBroker, id: string, data: string, chunk?: string): bigint {
  const message = { subject: MEMORY_STREAM.subject, id, version: '1', chunk, data: Buffer.from(data) };
  return BigInt(broker.append(message));
}

function inserting(v: string): string {
  const change = { database: 'main', table: 't', columns: ['v'], operation: 'INSERT', new_rowid: 0, new_values: [v] };
  const row = { ...change, new_rowid: 1_000 + v.charCodeAt(0) };
  return JSON.stringify({ node: 'x', process_id: 1, filename: 'db', changes: [row], epoch: 0, timestamp_ns: 1 });
}

const values = (db: HADatabase): Promise<unknown[]> => db.prepare('SELECT v FROM t ORDER BY v').pluck().all();
const isHalted = (db: HADatabase): boolean => db.status().state === 'halted';

describe('skip', () => {
  it('goes on behind a message that nobody can read', async () => {
    const { broker, a, b, again } = await start();
    const before = append(broker, 'other.1', inserting('1'));
    const broken = append(broker, 'other.2', '{"changes":[{"operation":"MERGE"}]}');
    const after = append(broker, 'other.3', inserting('3'));
    for (const { db, events } of [a, b]) {
      await until(() => isHalted(db));
      expect(await values(db)).toEqual(['1']);
      expect((await failureOf(db.run(`INSERT INTO t VALUES('x')`))).code).toBe('HA_APPLY_HALTED');
      await db.skip(broken);
      await db.waitFor(after, { timeout: 20_000 });
      expect(await values(db)).toEqual(['1', '3']);
      expect(db.status()).toMatchObject({ state: 'running', skipped: [broken], lastError: undefined });
      expect(events).toContainEqual(expect.objectContaining({ type: 'skipped', sequence: broken, target: 'other.2' }));
      const rows = await db.all('SELECT sequence, change, target, operation, detail, error FROM ha_skipped');
      expect(rows).toEqual([
        {
          sequence: Number(broken),
          change: -1,
          target: 'other.2',
          operation: 'MESSAGE',
          detail: expect.stringContaining('MERGE') as string,
          error: expect.stringContaining('cannot be read') as string,
        },
      ]);
      expect(before).toBe(broken - 1n);
    }
    await a.db.run(`INSERT INTO t VALUES('4')`);
    await b.db.waitFor(after + 1n, { timeout: 20_000 });
    expect(await values(b.db)).toEqual(['1', '3', '4']);
    await a.db.close();
    const { db } = again('a');
    expect(await values(db)).toEqual(['1', '3', '4']);
    // The id counts as seen: a late repetition, readable now, changes nothing.
    broker.forgetIds();
    const last = append(broker, 'other.2', inserting('2'));
    await db.waitFor(last, { timeout: 20_000 });
    expect(await values(db)).toEqual(['1', '3', '4']);
    expect(await db.outcome('other.2')).toEqual({ state: 'unknown' });
  });

  it('is remembered where the node dies right behind the call', async () => {
    const { broker, b, again } = await start();
    const broken = append(broker, 'other.2', 'no JSON');
    append(broker, 'other.3', inserting('3'));
    await until(() => isHalted(b.db));
    b.stream.disconnect();
    const skipped = failureOf(b.db.skip(broken));
    expect((await skipped).message).toContain('cannot be reached');
    expect(b.db.status().state).toBe('stopped');
    await b.db.close();
    const { db } = again('b');
    expect(await values(db)).toEqual(['3']);
  });

  it('leaves out the whole transaction of which the message is a part', async () => {
    const { broker, a } = await start();
    append(broker, 'other.1', inserting('1'), 'other.1;1/3');
    const broken = append(broker, 'other.2', 'no JSON', 'other.1;2/3');
    const last = append(broker, 'other.3', inserting('3'), 'other.1;3/3');
    await until(() => isHalted(a.db));
    await a.db.skip(broken);
    await a.db.waitFor(last, { timeout: 20_000 });
    expect(await values(a.db)).toEqual([]);
    expect(await a.db.all('SELECT * FROM ha_chunks')).toEqual([]);
    await a.db.run(`INSERT INTO t VALUES('4')`);
    expect(await values(a.db)).toEqual(['4']);
  });

  it.each([-1n, 1n])('is refused for a message %d away from the one that halted', async (away) => {
    const { broker, a } = await start();
    const broken = append(broker, 'other.2', 'no JSON');
    await until(() => isHalted(a.db));
    const error = (await failureOf(a.db.skip(broken + away))) as HAError;
    expect(error).toMatchObject({ code: 'HA_SKIP_INVALID', details: { haltedAt: Number(broken) } });
    expect(isHalted(a.db)).toBe(true);
    await a.db.skip(broken);
    expect((await failureOf(a.db.skip(broken))).code).toBe('HA_SKIP_INVALID');
  });

  it('is refused where the node runs, and where it halted for another reason', async () => {
    const { broker, a } = await start();
    expect((await failureOf(a.db.skip(1n))).code).toBe('HA_SKIP_INVALID');
    a.runtime.subscriber.halt(new HAError('HA_STREAM_RESET', 'reset'));
    expect((await failureOf(a.db.skip(1n))).code).toBe('HA_SKIP_INVALID');
    expect(broker.log('s')?.state().lastSequence).toBe(1);
  });

  it('is refused where the message can be read, and this node goes on by itself when it is mended', async () => {
    let bad = true;
    const cluster = await startCluster({
      configure: (db, role) =>
        void db.function('fine', { deterministic: true }, (v) => {
          if (role === 'applier' && bad && v === 'bad') throw new Error('not here');
          return 1;
        }),
    });
    await cluster.a.exec('CREATE TABLE t(v CHECK(fine(v)))');
    await cluster.settle();
    const writes = ['a', 'b', 'bad', 'c'].map((v) => cluster.a.run('INSERT INTO t VALUES(?)', [v]));
    await Promise.all(writes);
    await until(() => isHalted(cluster.b));
    const error = cluster.b.status().lastError as HAError;
    const [, , third] = await Promise.all(writes);
    const sequence = third?.txseq ?? 0n;
    // The very message, although it lies in the middle of a batch.
    expect(error).toMatchObject({ code: 'HA_APPLY_HALTED', details: { sequence: Number(sequence) } });
    expect(error.message).not.toContain('skip');
    expect(cluster.node(1).events).toContainEqual({ type: 'halted', sequence, error });
    const refused = (await failureOf(cluster.b.skip(sequence))) as HAError;
    expect(refused.code).toBe('HA_SKIP_INVALID');
    expect(refused.message).toContain('not here');
    await cluster.b.stop();
    expect((await failureOf(cluster.b.start())).code).toBe('HA_APPLY_HALTED');
    expect((await failureOf(cluster.b.skip(sequence))).code).toBe('HA_SKIP_INVALID');
    bad = false;
    await cluster.b.start();
    await cluster.settle();
    expect(await values(cluster.b)).toEqual(['a', 'b', 'bad', 'c']);
    expect(cluster.b.status().skipped).toEqual([]);
    await cluster.expectEqual();
  });

  it('names what only this node lacks instead of offering itself', async () => {
    const cluster = await startCluster({ nodes: 0 });
    await cluster.add({ configure: (db) => void db.function('mine', (v: unknown) => v) });
    await cluster.add();
    await cluster.a.exec('CREATE VIRTUAL TABLE f USING fts5(v)');
    await cluster.settle();
    const { txseq = 0n } = await cluster.a.run(`INSERT INTO f VALUES(mine('x'))`);
    await until(() => isHalted(cluster.b));
    const { message } = cluster.b.status().lastError as HAError;
    expect(message).toContain('no such function: mine');
    expect(message).toContain('when it is started with it');
    expect(message).not.toContain('skip');
    expect((await failureOf(cluster.b.skip(txseq))).message).toContain('no such function: mine');
    expect(isHalted(cluster.b)).toBe(true);
  });

  it('answers the writes that wait behind it', async () => {
    const { broker, a, b } = await start();
    const broken = append(broker, 'other.2', 'no JSON');
    await until(() => isHalted(a.db) && isHalted(b.db));
    expect((await failureOf(a.db.run(`INSERT INTO t VALUES('x')`))).code).toBe('HA_APPLY_HALTED');
    await Promise.all([a.db.skip(broken), b.db.skip(broken)]);
    expect(a.log.some((line) => line.includes(`whole message 'other.2' at sequence ${broken}`))).toBe(true);
    const results = await Promise.all([a.db.run(`INSERT INTO t VALUES('d')`), b.db.run(`INSERT INTO t VALUES('e')`)]);
    for (const { db } of [a, b]) {
      for (const { txseq = 0n } of results) await db.waitFor(txseq, { timeout: 20_000 });
      expect(await values(db)).toEqual(['d', 'e']);
    }
  });

  it('is undone by resync with forgetSkips, not without', async () => {
    const { broker, a, b } = await start();
    const broken = append(broker, 'other.2', 'no JSON');
    for (const { db } of [a, b]) {
      await until(() => isHalted(db));
      await db.skip(broken);
    }
    await a.db.run(`INSERT INTO t VALUES('1')`);
    await a.db.resync();
    expect(a.db.status().skipped).toEqual([broken]);
    // Nobody has mended it: the file from before is put back, and with it what was left out.
    expect((await failureOf(a.db.resync({ forgetSkips: true }))).code).toBe('HA_APPLY_HALTED');
    expect(a.db.status()).toMatchObject({ state: 'running', skipped: [broken] });
    // As a newer version would read it.
    const consume = a.stream.consume.bind(a.stream);
    const readable = Buffer.from(inserting('2'));
    a.stream.consume = (after, handler) =>
      consume(after, (message) =>
        handler(message.sequence === Number(broken) ? { ...message, data: readable } : message),
      );
    await a.db.resync({ forgetSkips: true });
    expect(a.db.status()).toMatchObject({ state: 'running', skipped: [] });
    expect(await values(a.db)).toEqual(['1', '2']);
  });

  it('lets calls wait while the database is started anew', async () => {
    const { broker, a } = await start();
    const broken = append(broker, 'other.2', 'no JSON');
    await until(() => isHalted(a.db));
    let waiting: Promise<unknown> | undefined;
    a.runtime.events.subscribe(({ type }) => {
      if (type === 'stopped') waiting ??= a.db.run(`INSERT INTO t VALUES('waited')`);
    });
    await a.db.skip(broken);
    await waiting;
    expect(await values(a.db)).toEqual(['waited']);
  });
});

describe('stop', () => {
  it('is not undone by a call that comes while it stops, and start waits for it', async () => {
    const { a } = await start();
    const stopping = a.db.stop();
    await until(() => a.runtime.open === undefined);
    expect((await failureOf(a.db.run(`INSERT INTO t VALUES('late')`))).code).toBe('HA_UNAVAILABLE');
    const started = a.db.start();
    await stopping;
    await started;
    await a.db.run(`INSERT INTO t VALUES('on')`);
    expect(await values(a.db)).toEqual(['on']);
  });

  it.each([
    ['stop, start', 'running'],
    ['stop, start, stop, start', 'running'],
    ['stop, start, stop', 'stopped'],
    ['stop, stop, start, start', 'running'],
    ['start, stop', 'stopped'],
  ])('and start at once leave the database as the last call wants it: %s', async (calls, state) => {
    const { a } = await start();
    await Promise.all(calls.split(', ').map((call) => (call === 'stop' ? a.db.stop() : a.db.start())));
    expect(a.db.status().state).toBe(state);
    // Nothing is left that would change it later.
    await pause(500);
    expect(a.db.status().state).toBe(state);
    await a.db.start();
    await a.db.run(`INSERT INTO t VALUES('on')`);
    expect(await values(a.db)).toEqual(['on']);
  });

  it('waits for a resync, and is not undone by it', async () => {
    const { a } = await start();
    const results = await Promise.allSettled([a.db.resync(), pause(0).then(() => a.db.stop())]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    expect(a.db.status().state).toBe('stopped');
  });
});

import { isDeepStrictEqual } from 'node:util';
import { connect } from 'nats';
import BetterSqlite3 from 'better-sqlite3';
import type { HAConflict } from '../../../lib/common/events.js';
import type { HAError } from '../../../lib/common/ha-error.js';
import type { HAOptions } from '../../../lib/config/options.js';
import type { HAChange } from '../../../lib/changeset/row-changes.js';
import type { ReplicationStream } from '../../../lib/stream/replication-stream.js';
import { StreamTimeout } from '../../../lib/stream/replication-stream.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';
import { failureOf, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v, w); CREATE TABLE bag(v); CREATE TABLE k(k TEXT PRIMARY KEY, v)`;
const ASYNC = { asyncPublisher: true, publisherTimeout: '2s' } as const;

/** Node 0 publishes asynchronously, behind a proxy. */
async function start(options: HAOptions = {}, query?: string): Promise<Cluster> {
  const cluster = await startCluster({
    proxy: true,
    ...(query === undefined ? {} : { query }),
    optionsOf: (index) => (index === 0 ? { ...ASYNC, ...options } : {}),
  });
  await cluster.a.exec(SCHEMA);
  await cluster.settle();
  return cluster;
}

async function cut({ a, proxy }: Cluster): Promise<void> {
  proxy.cut();
  await until(() => !a.status().connected);
}

/** Ids of the messages that wait in the outbox of a node. */
function waiting({ db }: TestNode): string[] {
  return db.reader.prepare('SELECT id FROM ha_outbox ORDER BY n').pluck().all() as string[];
}

const alarms = ({ events }: TestNode): unknown[] => events.filter(({ type }) => type === 'foreignWrite');
const conflictsOf = ({ events }: TestNode): HAConflict[] => events.filter((event) => event.type === 'conflict');

describe('foreign writes beside asyncPublisher', () => {
  it.each([
    ['in the database', false],
    ['in a file of its own', true],
  ])('are told, and none is where there is none; outbox %s', async (_name, ofItsOwn) => {
    const folder = ofItsOwn ? { asyncPublisherOutboxDir: temporaryFolder() } : {};
    // Without recursive triggers REPLACE is applied in place of being kept.
    const cluster = await start({ ...folder, generatedIds: 'overwrite' }, '_pragma=recursive_triggers(0)');
    const { a, b } = cluster;
    const write = async (round: number): Promise<void> => {
      await Promise.all([
        a.run('INSERT INTO bag VALUES(?)', [round]),
        a.run('INSERT OR REPLACE INTO k VALUES(?, ?)', [`k${round % 5}`, round]),
        a.run('UPDATE t SET v = ? WHERE id = 1', [round]),
        b.run('INSERT OR REPLACE INTO k VALUES(?, ?)', [`k${round % 5}`, -round]),
        b.run('INSERT OR REPLACE INTO t VALUES(1, ?, 0)', [-round]),
        a.run('INSERT OR ROLLBACK INTO t VALUES(1, 1, 1)').catch(() => undefined),
      ]);
    };
    for (let round = 0; round < 60; round++) {
      if (round === 20) await cut(cluster);
      if (round === 25) cluster.proxy.restore();
      if (round === 40) await a.run('PRAGMA wal_checkpoint(TRUNCATE)');
      if (round === 45) await a.exec('CREATE INDEX i ON bag(v)');
      await write(round);
    }
    await a.stop();
    await a.start();
    await write(61);
    await cluster.expectEqual();
    await pause(1_100);
    for (const node of cluster.nodes) expect(alarms(node)).toEqual([]);
    const [first] = cluster.nodes as [TestNode];
    const other = new BetterSqlite3(first.path);
    other.exec(`INSERT INTO bag VALUES('foreign')`);
    other.close();
    await write(62);
    await until(() => alarms(first).length > 0);
    expect(a.status().foreignWrite?.code).toBe('HA_FOREIGN_WRITE');
    await until(() => a.status().outbox?.size === 0);
    await a.resync();
    await cluster.expectEqual();
    expect(alarms(first)).toHaveLength(1);
  });
});

describe('operations beside an outbox that is filled', () => {
  it('says of what waits there that it is committed, and makes no id void', async () => {
    const cluster = await start();
    const [node] = cluster.nodes as [TestNode];
    await cut(cluster);
    await cluster.a.run(`INSERT INTO bag VALUES('earlier')`);
    await cluster.a.stop();
    await cluster.a.start();
    await cluster.a.run(`INSERT INTO bag VALUES('later')`);
    const ids = waiting(node);
    expect(ids).toHaveLength(2);
    for (const id of ids) expect(await cluster.a.outcome(id)).toEqual({ state: 'committed' });
    cluster.proxy.restore();
    // While the relay sends them, too.
    for (; waiting(node).length > 0; await pause(1)) {
      for (const id of ids) expect(await cluster.a.outcome(id)).toMatchObject({ state: 'committed' });
    }
    for (const id of ids) expect(await cluster.a.outcome(id)).toMatchObject({ state: 'committed' });
    await cluster.expectEqual();
    expect(await cluster.b.prepare('SELECT v FROM bag ORDER BY v').pluck().all()).toEqual(['earlier', 'later']);
    expect((await cluster.messages()).filter(({ text }) => text.includes('ha.void'))).toEqual([]);
  });

  it('refuses to build the file anew until all of it has its place in the stream', async () => {
    const cluster = await start();
    await cut(cluster);
    await cluster.a.run(`INSERT INTO bag VALUES('waits')`);
    const error = (await failureOf(cluster.a.resync())) as HAError;
    expect(error).toMatchObject({ code: 'HA_UNAVAILABLE', retryable: true, details: { size: 1 } });
    expect(cluster.a.status()).toMatchObject({ state: 'running', outbox: { size: 1 } });
    cluster.proxy.restore();
    await until(() => cluster.a.status().outbox?.size === 0);
    // Under load: what is committed before the file is exchanged is in the stream then.
    const writes = Array.from({ length: 200 }, (_value, n) => cluster.a.run('INSERT INTO bag VALUES(?)', [n]));
    const answers = Promise.allSettled(writes);
    await writes[20];
    await cluster.a.resync();
    const done = (await answers).filter(({ status }) => status === 'fulfilled').length;
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT count(*) AS n FROM bag')).toEqual({ n: done + 1 });
    expect(done).toBeGreaterThan(20);
  });

  it('keeps the file, and what waits, where the stream falls silent meanwhile', async () => {
    const cluster = await start();
    const writes = Array.from({ length: 50 }, (_value, n) => cluster.a.run('INSERT INTO bag VALUES(?)', [n]));
    await Promise.all(writes.slice(0, 1));
    const resync = failureOf(cluster.a.resync());
    cluster.proxy.cut();
    await Promise.allSettled(writes);
    const error = (await resync) as HAError;
    expect(error.retryable).toBe(true);
    const { n } = (await cluster.a.get('SELECT count(*) AS n FROM bag')) as { n: number };
    cluster.proxy.restore();
    await until(() => cluster.a.status().state === 'running');
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM bag')).toEqual({ n });
  });

  it('goes on behind a message that an operator leaves out, with what waits over it', async () => {
    const cluster = await start();
    await cut(cluster);
    await cluster.a.run(`INSERT INTO bag VALUES('waits')`);
    const connection = await connect({ servers: cluster.url });
    const { seq } = await connection.jetstream().publish(cluster.subject, 'unreadable', { msgID: 'other.1' });
    await connection.close();
    await until(() => cluster.b.status().state === 'halted');
    await cluster.b.skip(BigInt(seq));
    cluster.proxy.restore();
    await until(() => cluster.a.status().state === 'halted');
    await cluster.a.skip(BigInt(seq));
    await until(() => cluster.a.status().outbox?.size === 0);
    await cluster.b.waitFor(cluster.a.position().received);
    for (const db of [cluster.a, cluster.b]) expect(await db.get('SELECT v FROM bag')).toEqual({ v: 'waits' });
    expect(cluster.dump(0)).toEqual(cluster.dump(1));
  });
});

describe('what a node tells of its own transactions', () => {
  it('comes in the order of the stream, each once', async () => {
    const cluster = await start();
    const { a, b } = cluster;
    const told: [HAChange[], HAChange[]] = [[], []];
    a.changes.subscribe((change) => told[0].push(change));
    b.changes.subscribe((change) => told[1].push(change));
    const before = (await cluster.messages()).length;
    await Promise.all(
      Array.from({ length: 40 }, (_value, n) => (n % 2 === 0 ? a : b).run('INSERT INTO bag VALUES(?)', [n])),
    );
    await cut(cluster);
    await a.run(`INSERT INTO t VALUES(1, 'a', 0)`);
    await a.run(`WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
      INSERT INTO t SELECT i, hex(randomblob(60)), 0 FROM n`);
    await b.run(`INSERT INTO bag VALUES('b')`);
    await a.run(`UPDATE t SET v = 'a2' WHERE id = 1`);
    cluster.proxy.restore();
    await cluster.expectEqual();
    await until(() => told[0].length === told[1].length && told[0].length >= 40 + 1 + 19_901 + 1 + 1);
    // Not by toEqual: it takes half a minute for so many.
    expect(isDeepStrictEqual(told[0], told[1])).toBe(true);
    const places = new Set(told[0].map(({ sequence }) => sequence));
    const [first, second] = cluster.nodes.map(({ events }) =>
      events.flatMap((event) => (event.type === 'applied' && event.sequence > BigInt(before) ? [event.sequence] : [])),
    );
    expect(first).toEqual(second);
    expect(first).toEqual([...places]);
  });

  it.each([
    ['while somebody watches', true],
    ['while nobody does', false],
  ])('is what was left out, too, %s', async (_name, watched) => {
    const cluster = await start();
    const { a, b } = cluster;
    await cut(cluster);
    if (!watched) cluster.node(0).watching.unsubscribe();
    await b.exec('DROP TABLE bag');
    await b.run(`INSERT INTO t VALUES(7, 'b', 0)`);
    const { stream } = (cluster.node(0).runtime as unknown as { replication: { stream: ReplicationStream } })
      .replication;
    // What it sends is lost at first: its own transaction is done again over the change of the schema before it is published.
    const { publish, publishBatch } = stream;
    const lost = (): Promise<never> => Promise.reject(new StreamTimeout('lost'));
    Object.assign(stream, { publish: lost, publishBatch: lost });
    await a.run(`INSERT INTO bag VALUES('gone')`);
    cluster.proxy.restore();
    await until(async () => (await a.all('SELECT id FROM t')).length === 1);
    expect(a.status().outbox?.size).toBe(1);
    Object.assign(stream, { publish, publishBatch });
    await cluster.settle();
    const leftOut = await b.all('SELECT sequence, change, node, target, operation, error FROM ha_skipped');
    expect(leftOut).toEqual([expect.objectContaining({ node: 'n1', target: 'bag', operation: 'INSERT' })]);
    expect(await a.all('SELECT sequence, change, node, target, operation, error FROM ha_skipped')).toEqual(leftOut);
    expect(cluster.dump(0)).toEqual(cluster.dump(1));
  });

  it('is the same conflict that others tell, as winner and as loser', async () => {
    const cluster = await start();
    const { a, b } = cluster;
    await a.run(`INSERT INTO t VALUES(1, 'start', 0), (2, 'start', 0)`);
    await a.run(`INSERT INTO bag VALUES('start')`);
    await cluster.settle();
    await cut(cluster);
    await a.run(`UPDATE t SET v = 'a' WHERE id = 1`);
    await a.run(`UPDATE t SET w = 1 WHERE id = 1`);
    await a.run(`INSERT INTO bag VALUES('a')`);
    await b.run(`UPDATE t SET v = 'b' WHERE id = 1`);
    await b.run(`DELETE FROM bag WHERE v = 'start'`);
    cluster.proxy.restore();
    await cluster.settle();
    await b.transaction(async (tx) => {
      await tx.run(`UPDATE t SET v = 'late' WHERE id = 2`);
      await a.run(`UPDATE t SET v = 'early' WHERE id = 2`);
      await until(() => a.status().outbox?.size === 0);
    });
    await cluster.expectEqual();
    const told = conflictsOf(cluster.node(0));
    expect(told).toEqual(conflictsOf(cluster.node(1)));
    expect(told.map(({ key, winner, loser }) => ({ key, winner: winner.node, loser: loser?.node }))).toEqual([
      { key: { id: 1n }, winner: 'n1', loser: 'n2' },
      { key: { id: 2n }, winner: 'n2', loser: 'n1' },
    ]);
    expect(a.status().conflicts).toBe(2);
  });

  it('joins its cluster and knows its lag when the stream comes late', async () => {
    const cluster = await start();
    const { path } = cluster.node(0);
    await cluster.a.close();
    cluster.proxy.cut();
    const { db, runtime } = await cluster.add({ path, options: ASYNC, url: cluster.proxy.url });
    await db.run(`INSERT INTO bag VALUES('offline')`);
    expect(await runtime.lag(100)).toMatchObject({ answered: false });
    await pause(50);
    expect((await runtime.lag(100)).seconds).toBeGreaterThan(0);
    expect((await db.members()).map(({ name }) => name)).toEqual(['n3']);
    cluster.proxy.restore();
    await until(() => db.status().outbox?.size === 0);
    await until(async () => (await db.members()).length === 2);
    expect((await cluster.b.members()).map(({ name }) => name).sort()).toEqual(['n2', 'n3']);
    await until(async () => (await runtime.lag(20_000)).answered);
    expect(await runtime.lag(20_000)).toEqual({ messages: 0, seconds: 0, answered: true });
  });
});

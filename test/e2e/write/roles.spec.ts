import { existsSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';
import type { LeaderNode } from '../../helper/leader-cluster.js';

describe('disablePublisher', () => {
  it('makes a read replica', async () => {
    const cluster = await startCluster({ optionsOf: (index) => ({ disablePublisher: index === 1 }) });
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')`);
    await cluster.settle();
    const { b } = cluster;
    for (const call of [
      () => b.run('DELETE FROM t'),
      () => b.get('DELETE FROM t RETURNING id'),
      () => b.exec('DELETE FROM t'),
      () => b.transaction((tx) => tx.run('DELETE FROM t')),
      () => b.prepare('DELETE FROM t').run(),
      () => b.iterate('DELETE FROM t RETURNING id').next(),
      () => b.run('CREATE TABLE u(v)'),
      () => b.run('PRAGMA user_version = 3'),
    ]) {
      expect((await failureOf(call)).code).toBe('HA_READ_ONLY');
    }
    expect(await b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a' }]);
    expect(b.status().role).toBe('replica');
    await cluster.expectEqual();
  });
});

it('a read replica refuses every write where others have a leader, and sends it none', async () => {
  const cluster = await LeaderCluster.start({
    nodes: 2,
    elect: false,
    optionsOf: (index) => (index === 1 ? { disablePublisher: true } : {}),
  });
  const [leader, replica] = cluster.nodes as [LeaderNode, LeaderNode];
  await until(() => leader.leader.isLeader() && replica.leader.target() !== undefined);
  await leader.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')`);
  const { db } = replica;
  const session = db.connect();
  for (const call of [
    () => db.run('DELETE FROM t'),
    () => db.exec('DELETE FROM t'),
    () => db.exec('BEGIN; DELETE FROM t; COMMIT; CREATE TABLE u(v)'),
    () => db.execute('DELETE FROM t'),
    () => db.transaction((tx) => tx.run('DELETE FROM t')),
    () => db.begin(),
    () => session.execute('DELETE FROM t'),
    () => session.script('DELETE FROM t; DELETE FROM t'),
    () => session.execute('BEGIN'),
  ]) {
    expect((await failureOf(call)).code).toBe('HA_READ_ONLY');
  }
  await session.close();
  await db.exec('PRAGMA wal_checkpoint');
  expect(await leader.db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a' }]);
  await cluster.expectEqual();
});

describe('disableSubscriber', () => {
  it('publishes what this node writes, and takes nothing', async () => {
    const cluster = await startCluster({ optionsOf: (index) => ({ disableSubscriber: index === 0 }) });
    await cluster.b.exec('CREATE TABLE other(id INTEGER PRIMARY KEY)');
    const made = new BetterSqlite3(cluster.node(0).path);
    made.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(u UNIQUE, v)');
    made.close();
    await cluster.b.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(u UNIQUE, v)');
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    await cluster.a.run(`INSERT INTO t(v) VALUES('generated')`);
    await Promise.all([1, 2, 3, 4].map((id) => cluster.a.run('INSERT INTO t VALUES(?, ?)', [id + 10, 'x'])));
    await cluster.a.run(`INSERT OR REPLACE INTO bag VALUES(1, 'first')`);
    await cluster.a.run(`INSERT OR REPLACE INTO bag VALUES(1, 'second')`);
    await cluster.settle();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 6 });
    expect(await cluster.b.all('SELECT * FROM bag')).toEqual([{ u: 1, v: 'second' }]);
    expect(await cluster.a.get('SELECT count(*) AS n FROM t')).toEqual({ n: 6 });
    expect(await cluster.a.all('SELECT * FROM bag')).toEqual([{ u: 1, v: 'second' }]);
    expect((await failureOf(cluster.a.get('SELECT * FROM other'))).message).toBe('no such table: other');
  });

  it('refuses DDL and serializable transactions: nothing comes back', async () => {
    const cluster = await startCluster({ optionsOf: (index) => ({ disableSubscriber: index === 0 }) });
    expect((await failureOf(cluster.a.run('CREATE TABLE t(v)'))).code).toBe('HA_STATEMENT_REFUSED');
    expect((await failureOf(cluster.a.transaction(() => 1, { serializable: true }))).code).toBe('HA_STATEMENT_REFUSED');
    expect(await cluster.messages()).toEqual([]);
  });

  it('keeps the writes of others where OR ROLLBACK ends a group', async () => {
    const cluster = await startCluster({ optionsOf: (index) => ({ disableSubscriber: index === 0 }) });
    const made = new BetterSqlite3(cluster.node(0).path);
    made.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)');
    made.close();
    await cluster.b.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)');
    await Promise.allSettled([
      cluster.a.run(`INSERT INTO t VALUES(1, 'a')`),
      cluster.a.run(`INSERT INTO t VALUES(2, 'b')`),
      cluster.a.run(`INSERT OR ROLLBACK INTO t VALUES(3, 'a')`),
      cluster.a.run(`INSERT INTO t VALUES(4, 'd')`),
    ]);
    await cluster.settle();
    expect(await cluster.b.prepare('SELECT id FROM t').pluck().all()).toEqual([1, 2, 4]);
    expect(await cluster.a.prepare('SELECT id FROM t').pluck().all()).toEqual([1, 2, 4]);
  });
});

describe('disableDDLSync', () => {
  it('leaves the schema to each node, and replicates rows', async () => {
    const cluster = await startCluster({ options: { disableDDLSync: true } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE only_a(v)');
    await cluster.b.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v, extra DEFAULT 7)');
    expect(await cluster.messages()).toEqual([]);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    await cluster.settle();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a', extra: 7 }]);
    await cluster.b.run(`UPDATE t SET extra = 8`);
    await cluster.settle();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a' }]);
  });

  it('keeps a change of the schema that shares its group with writes that were overtaken', async () => {
    const cluster = await startCluster({ options: { disableDDLSync: true } });
    for (const { db } of cluster.nodes) await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    for (let round = 0; round < 20; round++) {
      await Promise.all([
        cluster.b.run('INSERT OR REPLACE INTO t VALUES(1, ?)', [round]),
        cluster.a.run('INSERT OR REPLACE INTO t VALUES(2, ?)', [round]),
        cluster.a.run(`CREATE TABLE u${round}(v)`),
        cluster.a.run('INSERT OR REPLACE INTO t VALUES(3, ?)', [round]),
        cluster.a.exec(`CREATE TABLE w${round}(id INTEGER PRIMARY KEY); INSERT OR REPLACE INTO t VALUES(4, ${round})`),
        cluster.b.run('INSERT OR REPLACE INTO t VALUES(5, ?)', [round]),
      ]);
    }
    await cluster.settle();
    const tables = await cluster.a.get(`SELECT count(*) AS n FROM sqlite_schema WHERE name GLOB '[uw][0-9]*'`);
    expect(tables).toEqual({ n: 40 });
    expect(await cluster.a.all('SELECT * FROM t')).toEqual(await cluster.b.all('SELECT * FROM t'));
  });
});

describe('deliverPolicy', () => {
  it.each([
    ['new', [3]],
    ['by_start_sequence=3', [2, 3]],
    ['last', [2, 3]],
    ['all', [1, 2, 3]],
  ])('%s', async (deliverPolicy, expected) => {
    const cluster = await startCluster({ nodes: 1, options: { disableDDLSync: true } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run('INSERT INTO t VALUES(1, 1)');
    await cluster.a.run('INSERT INTO t VALUES(9, 1)');
    await cluster.a.run('INSERT INTO t VALUES(2, 2)');
    const late = cluster.make({ options: { deliverPolicy } });
    onCleanup(() => late.db.close());
    await late.db.start();
    await cluster.a.run('INSERT INTO t VALUES(3, 3)');
    await late.db.waitFor(4n, { timeout: 30_000 });
    const applied = late.events.flatMap((event) => (event.type === 'applied' ? [Number(event.sequence)] : []));
    expect(applied).toEqual(expected.length === 3 ? [1, 2, 3, 4] : expected.map((n) => n + 1));
    expect(await cluster.lastSequence()).toBe(4);
  });
});

describe('files', () => {
  it('with rows, but without a position, are refused where there is a history', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec('CREATE TABLE other(v)');
    const path = `${temporaryFolder()}/foreign.db`;
    const db = new BetterSqlite3(path);
    db.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
    const node = cluster.make({ path });
    expect((await failureOf(node.db.start())).code).toBe('HA_FOREIGN_DATABASE');
    expect(db.prepare('SELECT name FROM sqlite_schema').pluck().all()).toEqual(['t']);
    db.close();
  });

  it('that are open for replication are refused to a second node', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const second = cluster.make({ path: cluster.node(0).path });
    expect((await failureOf(second.db.start())).code).toBe('HA_DATABASE_LOCKED');
    await cluster.a.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
    await cluster.a.close();
    const third = cluster.make({ path: cluster.node(0).path });
    await third.db.start();
    expect(await third.db.all('SELECT * FROM t')).toEqual([{ v: 1 }]);
    await third.db.close();
  });

  it('that cannot be opened are named', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const node = cluster.make({ path: '/no/such/folder/x.db' });
    const error = await failureOf(node.db.start());
    expect(error).toMatchObject({
      code: 'HA_DATABASE_OPEN',
      message: expect.stringContaining('/no/such/folder/x.db') as string,
    });
    expect((await failureOf(node.db.start())).code).toBe('HA_DATABASE_OPEN');
  });
});

describe('standalone', () => {
  it('has the whole API on the local file, without tables of the library', async () => {
    const path = `${temporaryFolder()}/alone.db`;
    const existing = new BetterSqlite3(path);
    existing.exec('CREATE TABLE old(v)');
    existing.close();
    const runtime = new HARuntime(resolveOptions(`file:${path}?_foreign_keys=on`, {}, {}), {
      logger: collect([]),
      retryAttempts: 0,
      retryDelay: 1,
    });
    const db = new HADatabase(runtime);
    onCleanup(() => db.close());
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    expect(await db.run('INSERT INTO t(v) VALUES(1)')).toEqual({ changes: 1, lastInsertRowid: 1 });
    await db.transaction(async (tx) => {
      await tx.run('INSERT INTO t(v) VALUES(2)');
      await failureOf(tx.savepoint(async () => tx.run('no')));
    });
    await failureOf(db.transaction(async (tx) => tx.exec('DELETE FROM t; no')));
    await failureOf(db.run(`INSERT OR ROLLBACK INTO t VALUES(1, 1)`));
    expect(await db.all('SELECT * FROM t')).toHaveLength(2);
    await db.waitFor(999n);
    expect(db.status()).toMatchObject({ role: 'standalone', state: 'running', connected: false });
    expect(db.reader.prepare('SELECT name FROM sqlite_schema ORDER BY 1').pluck().all()).toEqual(['old', 't']);
    await db.run('VACUUM');
    await db.close();
    expect(existsSync(`${path}-wal`)).toBe(false);
    expect((await failureOf(db.run('SELECT 1'))).code).toMatch(/^HA_(DATABASE_CLOSED|UNAVAILABLE)$/);
  });
});

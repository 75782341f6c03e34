import { join } from 'node:path';
import { failureOf, startCluster, temporaryFolder, until } from '../../helper/cluster.js';

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)';
const ASYNC = { asyncPublisher: true, publisherTimeout: '2s' } as const;

describe('asyncPublisher', () => {
  it('answers without the stream, and everything arrives in order when it is back', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    for (let n = 1; n <= 300; n++) await cluster.a.run('INSERT INTO bag VALUES(?)', [`a ${n}`]);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'inserted')`);
    await cluster.a.run(`UPDATE t SET v = 'updated' WHERE id = 1`);
    expect(await cluster.a.get('SELECT v FROM t')).toEqual({ v: 'updated' });
    const { outbox } = cluster.a.status();
    expect(outbox?.size).toBe(302);
    expect(outbox?.oldestAge).toBeGreaterThan(0);
    await cluster.b.run(`INSERT INTO bag VALUES('b')`);
    cluster.proxy.restore();
    await cluster.expectEqual();
    expect(cluster.a.status().outbox).toEqual({ size: 0, oldestAge: 0, lastError: undefined });
    const values = (await cluster.messages()).flatMap(({ text }) => [...text.matchAll(/"a (\d+)"/g)].map(([, n]) => n));
    expect(values).toEqual(Array.from({ length: 300 }, (_value, index) => String(index + 1)));
    expect(await cluster.b.get('SELECT v FROM t')).toEqual({ v: 'updated' });
  });

  it('lets a later writer in the stream win, and shows the same rows everywhere', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(`${SCHEMA}; CREATE TABLE k(k TEXT PRIMARY KEY, u UNIQUE, n)`);
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`INSERT INTO k VALUES('x', 1, 'a')`);
    await cluster.a.run(`INSERT OR REPLACE INTO k VALUES('y', 1, 'a2')`);
    await cluster.b.run(`INSERT INTO k VALUES('x', 2, 'b')`);
    await cluster.b.run(`UPDATE k SET u = 1 WHERE k = 'x'`);
    cluster.proxy.restore();
    await cluster.expectEqual();
  });

  it('keeps ordered transactions waiting, and fails them when it takes too long; others go on', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`INSERT INTO bag VALUES('first')`);
    const refused = failureOf(cluster.a.exec('CREATE TABLE late(id INTEGER PRIMARY KEY)'));
    const serializable = failureOf(cluster.a.transaction((tx) => tx.run('DELETE FROM bag'), { serializable: true }));
    await cluster.a.run(`INSERT INTO bag VALUES('second')`);
    expect(await cluster.a.get('SELECT count(*) AS n FROM bag')).toEqual({ n: 2 });
    expect((await refused).code).toBe('HA_UNAVAILABLE');
    expect((await serializable).code).toBe('HA_UNAVAILABLE');
    await cluster.a.exec('CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)');
    cluster.proxy.restore();
    await cluster.a.exec('CREATE TABLE late(id INTEGER PRIMARY KEY); CREATE INDEX i ON bag(v)');
    await cluster.a.run('INSERT INTO late VALUES(1)');
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM late')).toEqual({ n: 1 });
  });

  it('makes way for the schema changes of others', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(`${SCHEMA}; CREATE TABLE audit(v);
      CREATE TRIGGER g AFTER INSERT ON bag BEGIN INSERT INTO audit VALUES(new.v); END`);
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`INSERT INTO bag VALUES('x')`);
    await cluster.a.run(`INSERT INTO bag VALUES('x')`);
    await cluster.b.exec('CREATE UNIQUE INDEX u ON bag(v); ALTER TABLE bag ADD COLUMN w DEFAULT 7');
    await cluster.b.exec('ALTER TABLE t RENAME TO t2; ALTER TABLE audit RENAME COLUMN v TO what');
    cluster.proxy.restore();
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM bag')).toEqual([{ v: 'x', w: 7 }]);
  });

  it('starts without the stream, writes, and publishes when it can', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const { path } = cluster.node(0);
    await cluster.a.close();
    cluster.proxy.cut();
    const again = await cluster.add({ path, options: ASYNC, url: cluster.proxy.url });
    expect(again.db.status()).toMatchObject({ state: 'running', connected: false });
    await again.db.run(`INSERT INTO t VALUES(1, 'offline')`);
    await cluster.b.run(`INSERT INTO t VALUES(1, 'other')`);
    await again.db.close();
    const third = await cluster.add({ path, options: ASYNC, url: cluster.proxy.url });
    expect(await third.db.get('SELECT v FROM t')).toEqual({ v: 'offline' });
    expect(third.db.status().outbox?.size).toBe(1);
    cluster.proxy.restore();
    await until(() => third.db.status().outbox?.size === 0);
    expect(await third.db.get('SELECT v FROM t')).toEqual({ v: 'offline' });
    await cluster.b.waitFor(third.db.position().received);
    expect(await cluster.b.get('SELECT v FROM t')).toEqual({ v: 'offline' });
    expect(third.events.filter(({ type }) => type === 'halted')).toEqual([]);
  });

  it('starts with a new file and no stream: it reads, and the schema has to wait', async () => {
    const cluster = await startCluster({ nodes: 1, proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    cluster.proxy.cut();
    const fresh = await cluster.add({ options: ASYNC, url: cluster.proxy.url });
    expect((await failureOf(fresh.db.exec('CREATE TABLE u(v)'))).code).toBe('HA_UNAVAILABLE');
    cluster.proxy.restore();
    await until(async () => (await fresh.db.all(`SELECT 1 FROM sqlite_schema WHERE name = 'bag'`)).length === 1);
    await fresh.db.run(`INSERT INTO bag VALUES('x')`);
    await cluster.expectEqual();
  });

  it('flushes the outbox when it stops, and refuses to start in another way before it is empty', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await Promise.all(Array.from({ length: 200 }, (_value, n) => cluster.a.run('INSERT INTO bag VALUES(?)', [n])));
    await cluster.a.stop();
    expect((await cluster.messages()).length).toBeGreaterThanOrEqual(201);
    await cluster.a.start();
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`INSERT INTO bag VALUES('left')`);
    await cluster.a.stop();
    const sync = cluster.make({ path: cluster.node(0).path });
    expect(await failureOf(sync.db.start())).toMatchObject({ code: 'HA_OPTIONS_INVALID', details: { count: 1 } });
    await sync.db.close();
    cluster.proxy.restore();
    await cluster.a.start();
    await cluster.expectEqual();
  });

  it('publishes once what got no answer', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const before = await cluster.lastSequence();
    cluster.proxy.muteServer();
    await Promise.all(Array.from({ length: 50 }, (_value, n) => cluster.a.run('INSERT INTO bag VALUES(?)', [n])));
    await until(async () => (await cluster.lastSequence()) > before);
    cluster.proxy.cut();
    await cluster.b.run(`INSERT INTO bag VALUES('between')`);
    cluster.proxy.restore();
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM bag')).toEqual({ n: 51 });
    expect(await cluster.messages()).toHaveLength(before + 51);
  });

  it('cuts large transactions into chunks, and applies them as one', async () => {
    const cluster = await startCluster({ proxy: true, options: ASYNC });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
      INSERT INTO t SELECT i, hex(randomblob(60)) FROM n`);
    await cluster.b.run(`INSERT INTO t VALUES(5, 'b')`);
    cluster.proxy.restore();
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 30_000 });
  });

  it('asks for the folder of the outbox again, as long as something waits there', async () => {
    const asyncPublisherOutboxDir = join(temporaryFolder(), 'outbox');
    const cluster = await startCluster({
      proxy: true,
      optionsOf: () => ({ ...ASYNC, asyncPublisherOutboxDir }),
      nodes: 1,
    });
    await cluster.a.exec(SCHEMA);
    cluster.proxy.cut();
    await until(() => !cluster.a.status().connected);
    await cluster.a.run(`INSERT INTO bag VALUES('left')`);
    await cluster.a.stop();
    const { path } = cluster.node(0);
    const inside = cluster.make({ path, options: ASYNC });
    const error = await failureOf(inside.db.start());
    expect(error).toMatchObject({ code: 'HA_OPTIONS_INVALID', details: { count: 1 } });
    expect(error.message).toContain(asyncPublisherOutboxDir);
    await inside.db.close();
    cluster.proxy.restore();
    await cluster.a.start();
    await cluster.expectEqual();
    await cluster.a.stop();
    const empty = await cluster.add({ path, options: ASYNC });
    expect(await empty.db.get('SELECT v FROM bag')).toEqual({ v: 'left' });
  });
});

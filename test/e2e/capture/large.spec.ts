import { failureOf, startCluster } from '../../helper/cluster.js';

describe('large transactions', () => {
  it('are cut into chunks, and take effect as a whole', async () => {
    const cluster = await startCluster({ server: { maxPayload: 64 * 1024 } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)');
    await cluster.settle();
    const before = await cluster.lastSequence();
    const seen = new Set<number>();
    const watch = setInterval(
      () => seen.add((cluster.b.reader.prepare('SELECT count(*) AS n FROM t').get() as { n: number }).n),
      1,
    );
    await cluster.a.transaction(async (tx) => {
      await tx.run(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) INSERT INTO t SELECT i, 'value ' || i FROM n`,
      );
      await tx.run(`INSERT INTO bag SELECT v FROM t`);
      await tx.run('UPDATE t SET v = upper(v) WHERE id % 2');
    });
    await cluster.settle();
    clearInterval(watch);
    expect((await cluster.lastSequence()) - before).toBeGreaterThan(10);
    expect([...seen].filter((n) => n !== 0 && n !== 20_000)).toEqual([]);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n, (SELECT v FROM t WHERE id = 3) AS v FROM bag')).toEqual({
      n: 20_000,
      v: 'VALUE 3',
    });
  });

  it('of a few large rows are cut too', async () => {
    const cluster = await startCluster({ server: { maxPayload: 64 * 1024 } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const before = await cluster.lastSequence();
    await cluster.a.transaction(async (tx) => {
      for (let id = 1; id <= 8; id++) await tx.run('INSERT INTO t VALUES(?, ?)', [id, 'x'.repeat(20_000)]);
    });
    await cluster.a.run('DELETE FROM t WHERE id > 2');
    expect((await cluster.lastSequence()) - before).toBeGreaterThan(4);
    await cluster.expectEqual();
  });

  it('of several writers at once stay whole', async () => {
    const cluster = await startCluster({ server: { maxPayload: 32 * 1024 } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    const big = (db: typeof cluster.a, from: number): Promise<unknown> =>
      db.run(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT OR REPLACE INTO t SELECT i, ? || i || hex(zeroblob(50)) FROM n`,
        [`w${from} `],
      );
    for (let round = 0; round < 5; round++) {
      await Promise.all([
        big(cluster.a, 1),
        big(cluster.b, 2),
        cluster.a.run('INSERT OR REPLACE INTO t VALUES(1, 1)'),
        big(cluster.b, 3),
      ]);
    }
    await cluster.expectEqual();
  });

  it('in ordered form: a large CREATE TABLE AS, and generated ids', async () => {
    const cluster = await startCluster({ server: { maxPayload: 64 * 1024 } });
    await cluster.a.exec(
      `CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, 'value ' || i AS v FROM n`,
    );
    await cluster.a.exec('CREATE TABLE u(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    await Promise.all([
      cluster.a.run('INSERT INTO u(v) SELECT v FROM t'),
      cluster.b.run(`INSERT INTO u(v) VALUES('b')`),
    ]);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 5_000 });
    expect(await cluster.b.get('SELECT count(*) AS n FROM u')).toEqual({ n: 5_001 });
  });

  it('with a row that no message can hold are refused', async () => {
    const cluster = await startCluster({ server: { maxPayload: 64 * 1024 } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const before = await cluster.lastSequence();
    const error = await failureOf(cluster.a.run('INSERT INTO t VALUES(1, ?)', ['x'.repeat(70_000)]));
    expect(error.code).toBe('HA_MESSAGE_TOO_LARGE');
    const [ok, refused] = await Promise.allSettled([
      cluster.a.run(`INSERT INTO t VALUES(2, 'small')`),
      cluster.a.run('INSERT INTO t VALUES(3, zeroblob(40000)), (4, zeroblob(100000))'),
    ]);
    expect(ok?.status).toBe('fulfilled');
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'HA_MESSAGE_TOO_LARGE' } });
    expect(await cluster.lastSequence()).toBe(before + 1);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it('of 100,000 rows pass', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run(
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) INSERT INTO t SELECT i, 'value ' || i FROM n`,
    );
    await cluster.a.run('DELETE FROM t WHERE id % 3 = 0');
    await cluster.expectEqual();
  });
});

import { startCluster } from '../../helper/cluster.js';

/** What other replicators get wrong where two nodes write at the same time. */
describe('races', () => {
  it('two updates of one row: the last in the stream wins on both', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'start')`);
    await cluster.settle();
    for (let round = 0; round < 30; round++) {
      const [a, b] = await Promise.all([
        cluster.a.run(`UPDATE t SET v = ? WHERE id = 1`, [`a${round}`]),
        cluster.b.run(`UPDATE t SET v = ? WHERE id = 1`, [`b${round}`]),
      ]);
      await cluster.settle();
      const winner = (a.txseq ?? 0n) > (b.txseq ?? 0n) ? `a${round}` : `b${round}`;
      for (const { db } of cluster.nodes) expect(await db.get('SELECT v FROM t')).toEqual({ v: winner });
    }
    await cluster.expectEqual();
  });

  it('an update and a delete of one row', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)`);
    for (let round = 0; round < 30; round++) {
      await cluster.a.exec(
        `INSERT OR REPLACE INTO t VALUES(1, 'start'); DELETE FROM bag; INSERT INTO bag VALUES('start')`,
      );
      await cluster.settle();
      await Promise.all([
        cluster.a.run(`UPDATE t SET v = 'updated' WHERE id = 1`),
        cluster.b.run('DELETE FROM t WHERE id = 1'),
        cluster.a.run(`UPDATE bag SET v = 'updated'`),
        cluster.b.run('DELETE FROM bag'),
      ]);
    }
    await cluster.expectEqual();
  });

  it('two inserts with one key, and with one value of a unique column', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE bag(u UNIQUE, v)`);
    await cluster.settle();
    for (let round = 0; round < 20; round++) {
      await Promise.allSettled([
        cluster.a.run('INSERT INTO t VALUES(?, ?, ?)', [round, `a${round}`, 'a']),
        cluster.b.run('INSERT INTO t VALUES(?, ?, ?)', [round, `b${round}`, 'b']),
        cluster.a.run('INSERT INTO t VALUES(?, ?, ?)', [1000 + round, `u${round}`, 'a']),
        cluster.b.run('INSERT INTO t VALUES(?, ?, ?)', [2000 + round, `u${round}`, 'b']),
        cluster.a.run('INSERT INTO bag VALUES(?, ?)', [round, 'a']),
        cluster.b.run('INSERT INTO bag VALUES(?, ?)', [round, 'b']),
      ]);
    }
    await cluster.settle();
    const fold = await cluster.fold();
    cluster.nodes.forEach((_node, index) => expect(cluster.dump(index)).toEqual(fold));
    expect(await cluster.a.get('SELECT count(*) AS n FROM t')).toEqual({ n: 40 });
  });

  it('a replaced parent does not remove children at the replica', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=on' });
    await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE);
      INSERT INTO p VALUES(1, 'a', 0), (2, 'b', 0); INSERT INTO c VALUES(10, 1), (20, 2);`);
    await cluster.settle();
    await cluster.b.run(`INSERT INTO p VALUES(1, 'a', 5) ON CONFLICT(id) DO UPDATE SET v = excluded.v`);
    await cluster.a.run(`UPDATE p SET u = 'x' WHERE id = 2`);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM c')).toEqual([
      { id: 10, p: 1 },
      { id: 20, p: 2 },
    ]);
  });

  it('a column that one node renames while another writes it', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v)`);
    await cluster.settle();
    await Promise.all([
      cluster.a.run('ALTER TABLE t RENAME COLUMN v TO w'),
      cluster.b.run(`INSERT INTO t VALUES(1, 'kept')`),
      cluster.b.run(`INSERT INTO t VALUES(2, 'kept')`),
    ]);
    await cluster.settle();
    const fold = await cluster.fold();
    cluster.nodes.forEach((_node, index) => expect(cluster.dump(index)).toEqual(fold));
  });
});

import { failureOf, startCluster } from '../../helper/cluster.js';

describe('OR ROLLBACK', () => {
  it('takes no other writer with it', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(1000, 'taken')`);
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_value, index) =>
        index % 10 === 5
          ? cluster.a.run(`INSERT OR ROLLBACK INTO t VALUES(?, 'taken')`, [index + 1])
          : cluster.a.run('INSERT INTO t VALUES(?, ?)', [index + 1, `v${index}`]),
      ),
    );
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(6);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'SQLITE_CONSTRAINT_UNIQUE' });
    }
    expect(await cluster.a.get('SELECT count(*) AS n FROM t')).toEqual({ n: 55 });
    await cluster.expectEqual();
  });

  it('fails a transaction whose callback hides the error', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(9, 'c')`);
    const error = await failureOf(
      cluster.a.transaction(async (tx) => {
        await tx.run(`INSERT INTO t VALUES(1, 'a')`);
        await failureOf(tx.run(`INSERT OR ROLLBACK INTO t VALUES(2, 'c')`));
      }),
    );
    expect(error.code).toBe('HA_TRANSACTION_CLOSED');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id FROM t')).toEqual([{ id: 9 }]);
  });
});

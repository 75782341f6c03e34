import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

async function clusterWithTable(): Promise<Cluster> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
  await cluster.settle();
  return cluster;
}

const BIG = 9_007_199_254_740_993n;

describe('execute', () => {
  it('tells all that any statement did, on the database and in a transaction', async () => {
    const cluster = await clusterWithTable();
    const { a } = cluster;
    expect(await a.execute('INSERT INTO t VALUES($one, $a), (2, $b)', { one: 1n, a: 'a', b: 'b' })).toEqual({
      reader: false,
      rows: [],
      changes: 2,
      lastInsertRowid: 2,
      txseq: a.position().published,
    });
    expect(await a.execute('SELECT id, v FROM t ORDER BY id')).toEqual({
      reader: true,
      rows: [
        { id: 1, v: 'a' },
        { id: 2, v: 'b' },
      ],
      changes: 0,
      lastInsertRowid: 0,
    });
    const returned = await a.transaction((tx) =>
      tx.execute('INSERT INTO t VALUES(?, ?) RETURNING id AS n, v', [BIG, 'c'], {
        rowMode: 'array',
        safeIntegers: true,
        columns: true,
      }),
    );
    expect(returned).toEqual({
      reader: true,
      rows: [[BIG, 'c']],
      changes: 1,
      lastInsertRowid: BIG,
      columns: [expect.objectContaining({ name: 'n' }), expect.objectContaining({ name: 'v' })],
    });
    const described = await a.execute('SELECT id AS n, 1 + 1 AS two FROM t WHERE 0', undefined, { columns: true });
    expect(described.columns).toEqual([
      { name: 'n', column: 'id', table: 't', database: 'main', type: 'INTEGER' },
      { name: 'two', column: null, table: null, database: null, type: null },
    ]);
    await cluster.expectEqual();
  });

  it('takes one statement of a caller, and no control of transactions', async () => {
    const { a } = await clusterWithTable();
    for (const sql of ['BEGIN', 'COMMIT', 'SAVEPOINT s']) {
      expect(await failureOf(a.execute(sql))).toMatchObject({ code: 'HA_TRANSACTION_CONTROL' });
    }
    expect((await failureOf(a.execute('SELECT 1; SELECT 2'))).message).toContain('more than one statement');
    expect(await failureOf(a.transaction(() => a.execute('SELECT 1')))).toMatchObject({
      code: 'HA_NESTED_TRANSACTION',
    });
  });
});

describe('a session', () => {
  it('runs calls that nobody waited for in their order', async () => {
    const cluster = await clusterWithTable();
    const session = cluster.a.connect();
    onCleanup(() => session.close());
    const calls = [
      session.execute('BEGIN'),
      ...Array.from({ length: 20 }, (_, i) => session.execute('INSERT INTO t VALUES(?, ?)', [i, `v${i}`])),
      session.execute('INSERT INTO t VALUES(0, 0)'),
      session.execute('SELECT count(*) AS n FROM t'),
      session.execute('COMMIT'),
    ];
    const results = await Promise.allSettled(calls);
    expect(results.map(({ status }) => status)).toEqual([
      ...Array.from({ length: 21 }, () => 'fulfilled'),
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(results.at(-2)).toMatchObject({ value: { rows: [{ n: 20 }] } });
    await cluster.expectEqual();
  });
});

describe('begin', () => {
  async function rows(db: HADatabase): Promise<unknown[]> {
    return db.all('SELECT id FROM t ORDER BY id');
  }

  it('writes all of it at commit, and says where', async () => {
    const cluster = await clusterWithTable();
    const tx = await cluster.a.begin();
    expect(tx).toMatchObject({ open: true, attempt: 1 });
    await tx.exec("INSERT INTO t VALUES(1, 'a'); INSERT INTO t VALUES(2, 'b')");
    const statement = tx.prepare<{ v: string }>('SELECT v FROM t WHERE id = ?');
    expect([await statement.get(2), await tx.get('SELECT v FROM t WHERE id = 1')]).toEqual([{ v: 'b' }, { v: 'a' }]);
    await failureOf(
      tx.savepoint(async (inner) => {
        await inner.run('DELETE FROM t');
        throw new Error('undo');
      }),
    );
    expect(await rows(cluster.a)).toEqual([]);
    const before = await cluster.lastSequence();
    const other = cluster.a.run("INSERT INTO t VALUES(3, 'c')");
    expect(await tx.commit()).toBe(BigInt(before + 1));
    expect(tx.open).toBe(false);
    await other;
    for (const call of [() => tx.run('DELETE FROM t'), () => tx.commit()]) {
      expect(await failureOf(call)).toMatchObject({ code: 'HA_TRANSACTION_CLOSED' });
    }
    await tx.rollback();
    expect(await rows(cluster.a)).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }]);
    await cluster.expectEqual();
  });

  it('forgets all of it at rollback, and where it idles too long', async () => {
    const cluster = await clusterWithTable();
    const { a } = cluster;
    const first = await a.begin();
    await first.run("INSERT INTO t VALUES(1, 'a')");
    await first.rollback();
    const second = await a.begin({ idleTimeout: 1_000 });
    await second.run("INSERT INTO t VALUES(1, 'a')");
    await until(() => !second.open);
    expect(await failureOf(second.run('DELETE FROM t'))).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    expect(await failureOf(second.commit())).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    expect(await rows(a)).toEqual([]);
    await cluster.expectEqual();
  });

  it('fails its commit where it is serializable and others came first', async () => {
    const cluster = await clusterWithTable();
    const tx = await cluster.a.begin({ serializable: true });
    await tx.run("INSERT INTO t VALUES(1, 'a')");
    await cluster.b.run("INSERT INTO t VALUES(2, 'b')");
    expect(await failureOf(tx.commit())).toMatchObject({ code: 'HA_CONFLICT', retryable: true });
    await cluster.expectEqual();
    expect(await rows(cluster.a)).toEqual([{ id: 2 }]);
  });
});

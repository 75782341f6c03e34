import type { HAExecutor } from '../../../lib/write/executor.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)';

describe('A follower', () => {
  let cluster: LeaderCluster;
  beforeEach(async () => {
    cluster = await LeaderCluster.start({ nodes: 2 });
    await cluster.follower.db.exec(TABLE);
  });

  it('runs statements at the leader, with the same results, and has them when they resolve', async () => {
    const { db } = cluster.follower;
    const result = await db.run('INSERT INTO t(v) VALUES(?)', ['a']);
    expect(result).toEqual({ changes: 1, lastInsertRowid: 1, txseq: expect.any(BigInt) });
    expect(db.reader.prepare('SELECT * FROM t').all()).toEqual([{ id: 1, v: 'a' }]);
    expect(db.position().received).toBeGreaterThanOrEqual(result.txseq as bigint);
    expect(await db.get('INSERT INTO t(v) VALUES(:v) RETURNING id, v', { v: 2n ** 60n })).toEqual({
      id: 2,
      v: Number(2n ** 60n),
    });
    expect(await db.all('UPDATE t SET v = id RETURNING v')).toEqual([{ v: 1 }, { v: 2 }]);
    const rows = [];
    for await (const row of db.iterate('DELETE FROM t WHERE id = 2 RETURNING id')) rows.push(row);
    expect(rows).toEqual([{ id: 2 }]);
    const statement = db.prepare('INSERT INTO t(v) VALUES(?)').safeIntegers();
    expect(await statement.run(Buffer.from([1, 2]))).toMatchObject({ changes: 1, lastInsertRowid: 2n });
    expect(await db.prepare('INSERT INTO t(v) VALUES(?) RETURNING id').pluck().get(null)).toBe(3);
    expect(await db.prepare('DELETE FROM t RETURNING id, v').raw().all()).toHaveLength(3);
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
    expect(new Set(cluster.messages().map(({ node }) => node))).toEqual(new Set([cluster.leader?.name]));
  });

  it('fails as the leader does', async () => {
    const { db } = cluster.follower;
    const leader = await cluster.elected();
    await db.run("INSERT INTO t(v) VALUES('a')");
    const wrong: [string, unknown[]][] = [
      ["INSERT INTO t(v) VALUES('a')", []],
      ['INSERT INTO missing VALUES(1)', []],
      ['INSERT INTO t(v) VALUES(?)', []],
      ['INSERT INTO t(v) VALUES(?)', [true]],
      ['INSERT INTO t(v) VALUES(1); INSERT INTO t(v) VALUES(2)', []],
      ['BEGIN', []],
      ['INSERT INTO ha_stats VALUES(1)', []],
    ];
    for (const [sql, params] of wrong) {
      const there = await failureOf(db.run(sql, params));
      const here = await failureOf(leader.db.run(sql, params));
      expect({ sql, name: there.name, code: there.code, message: there.message }).toEqual({
        sql,
        name: here.name,
        code: here.code,
        message: here.message,
      });
    }
    await cluster.expectEqual();
  });

  it('writes nothing where rows are asked of a statement that gives none, as the leader', async () => {
    const leader = await cluster.elected();
    const calls: ((db: HAExecutor) => Promise<unknown>)[] = [
      (db) => db.get('INSERT INTO t(v) VALUES(1)'),
      (db) => db.all('UPDATE t SET v = 1'),
      (db) => db.prepare('DELETE FROM t').all(),
      (db) => db.iterate('CREATE TABLE u(v)').next(),
      (db) => db.exec('INSERT INTO t(v) VALUES(?)'),
    ];
    await leader.db.run("INSERT INTO t(v) VALUES('kept')");
    for (const [index, call] of calls.entries()) {
      const inside = async (db: HADatabase): Promise<unknown> =>
        failureOf(
          db.transaction(async (tx) => {
            await call(tx);
          }),
        );
      const expected = await failureOf(call(leader.db));
      expect([index, await failureOf(call(cluster.follower.db))]).toEqual([index, expected]);
      if (index < 4) expect([index, await inside(cluster.follower.db)]).toEqual([index, await inside(leader.db)]);
    }
    await cluster.expectEqual();
    expect(leader.db.reader.prepare('SELECT v FROM t').pluck().all()).toEqual(['kept']);
  });

  it('runs scripts at the leader, whole or not at all', async () => {
    const { db } = cluster.follower;
    await db.exec('INSERT INTO t(v) VALUES(1); INSERT INTO t(v) VALUES(2); -- done');
    expect((await failureOf(db.exec('INSERT INTO t(v) VALUES(3); INSERT INTO t(v) VALUES(1)'))).message).toContain(
      'UNIQUE',
    );
    await db.exec('BEGIN; CREATE TABLE u(x); INSERT INTO u VALUES(1); COMMIT; BEGIN; INSERT INTO u VALUES(2); COMMIT;');
    expect(db.reader.prepare('SELECT (SELECT count(*) FROM t) AS t, (SELECT count(*) FROM u) AS u').get()).toEqual({
      t: 2,
      u: 2,
    });
  });

  it('runs transactions at the leader: reads see their own writes, and a failure leaves nothing', async () => {
    const { db } = cluster.follower;
    const value = await db.transaction(async (tx) => {
      await tx.run("INSERT INTO t(v) VALUES('x')");
      await tx.savepoint((inner) => inner.run("INSERT INTO t(v) VALUES('y')"));
      await tx
        .savepoint(async (inner) => {
          await inner.run("INSERT INTO t(v) VALUES('z')");
          throw new Error('taken back');
        })
        .catch(() => undefined);
      return tx.all('SELECT v FROM t ORDER BY id');
    });
    expect(value).toEqual([{ v: 'x' }, { v: 'y' }]);
    expect(db.reader.prepare('SELECT v FROM t ORDER BY id').pluck().all()).toEqual(['x', 'y']);
    const thrown = new Error('no');
    const failing = db.transaction(async (tx) => {
      await tx.run('DELETE FROM t');
      throw thrown;
    });
    await expect(failing).rejects.toBe(thrown);
    await expect(db.transaction(() => db.run('DELETE FROM t'))).rejects.toMatchObject({
      code: 'HA_NESTED_TRANSACTION',
    });
    expect(await db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    await cluster.expectEqual();
  });

  it('writes nothing of a transaction whose savepoints overlap, as the leader', async () => {
    const leader = await cluster.elected();
    for (const { db } of [leader, cluster.follower]) {
      const overlapping = db.transaction(async (tx) => {
        let go = (): void => undefined;
        const begun = new Promise<void>((resolve) => (go = resolve));
        let end = (): void => undefined;
        const over = new Promise<void>((resolve) => (end = resolve));
        const outer = tx.savepoint(async () => {
          await tx.run("INSERT INTO t(v) VALUES('outer')");
          await begun;
        });
        const inner = tx.savepoint(async () => {
          await tx.run("INSERT INTO t(v) VALUES('inner')");
          go();
          await over;
          throw new Error('not this one');
        });
        await outer.catch(() => undefined);
        end();
        await inner.catch(() => undefined);
      });
      expect(await failureOf(overlapping)).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
    }
    expect(await leader.db.all('SELECT v FROM t')).toEqual([]);
    await cluster.follower.db.transaction(async (tx) => {
      await tx.savepoint(async () => {
        await failureOf(tx.savepoint(() => tx.run('INSERT INTO missing VALUES(1)')));
        await tx.savepoint(() => tx.run("INSERT INTO t(v) VALUES('nested')"));
      });
    });
    expect(await leader.db.all('SELECT v FROM t')).toEqual([{ v: 'nested' }]);
  });

  it('has sessions whose transactions are at the leader', async () => {
    const session = cluster.follower.db.connect({ rowMode: 'array', columns: true });
    await session.execute('BEGIN');
    await session.execute('INSERT INTO t(v) VALUES(?)', ['a']);
    await session.execute('SAVEPOINT "s p"');
    await session.execute('INSERT INTO t(v) VALUES(?)', ['b']);
    expect((await session.execute('SELECT v FROM t ORDER BY id')).rows).toEqual([['a'], ['b']]);
    expect(cluster.follower.db.reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(0);
    await session.execute('ROLLBACK TO "s p"');
    await session.execute('RELEASE "s p"');
    const { txseq } = await session.execute('COMMIT');
    expect(txseq).toEqual(expect.any(BigInt));
    expect(cluster.follower.db.reader.prepare('SELECT v FROM t').pluck().all()).toEqual(['a']);
    expect(await session.execute('INSERT INTO t(v) VALUES(7) RETURNING v')).toMatchObject({
      reader: true,
      columns: [{ name: 'v', column: null, table: null, database: null, type: null }],
      rows: [[7]],
      changes: 1,
    });
    await session.execute('SAVEPOINT outer');
    await session.execute('DELETE FROM t');
    await session.execute('RELEASE outer');
    expect(cluster.follower.db.reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(0);
    await session.execute('BEGIN');
    await session.execute('INSERT INTO t(v) VALUES(1)');
    await session.close();
    await cluster.expectEqual();
    expect(cluster.follower.db.reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(0);
  });

  it('has transactions at the leader that their user ends', async () => {
    const { db } = cluster.follower;
    const tx = await db.begin();
    await tx.run('INSERT INTO t(v) VALUES(?)', ['a']);
    await failureOf(
      tx.savepoint(async (inner) => {
        await inner.run('INSERT INTO t(v) VALUES(?)', ['b']);
        throw new Error('no');
      }),
    );
    expect(await tx.execute('SELECT v FROM t', [], { rowMode: 'array' })).toMatchObject({ rows: [['a']] });
    expect(db.reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(0);
    expect(await tx.commit()).toBe(db.position().received);
    expect(db.reader.prepare('SELECT v FROM t').pluck().all()).toEqual(['a']);
    const other = await db.begin();
    await other.run('DELETE FROM t');
    await other.rollback();
    expect(await db.execute('INSERT INTO t(v) VALUES(7) RETURNING v')).toMatchObject({
      reader: true,
      rows: [{ v: 7 }],
    });
    expect(await db.all('SELECT v FROM t ORDER BY id')).toEqual([{ v: 'a' }, { v: 7 }]);
  });

  it('takes many at once, each done once', async () => {
    const dbs = cluster.nodes.map(({ db }) => db);
    await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        await dbs[i % 2]?.run('INSERT INTO t(v) VALUES(?)', [`v${i}`]);
      }),
    );
    expect(cluster.follower.db.reader.prepare('SELECT count(*), count(DISTINCT v) FROM t').raw().get()).toEqual([
      300, 300,
    ]);
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
  });
});

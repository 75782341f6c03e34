import BetterSqlite3 from 'better-sqlite3';
import { describeInEveryIdentity, failureOf, startCluster } from '../../helper/cluster.js';

describeInEveryIdentity('statements that fail', () => {
  it('captures nothing of an INSERT that aborts at its third row', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(9, 'c')`);
    const before = await cluster.lastSequence();
    const error = await failureOf(cluster.a.run(`INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')`));
    expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_CONSTRAINT_UNIQUE' });
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 9, v: 'c' }]);
  });

  it('captures exactly the rows that OR FAIL keeps', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(9, 'c')`);
    await cluster.a.transaction(async (tx) => {
      await failureOf(tx.run(`INSERT OR FAIL INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')`));
    });
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 'a' },
      { id: 2, v: 'b' },
      { id: 9, v: 'c' },
    ]);
  });

  it('captures a new write behind one that OR ROLLBACK took back', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(9, 'c')`);
    const before = await cluster.lastSequence();
    await failureOf(
      cluster.a.transaction(async (tx) => {
        await tx.run(`INSERT INTO t VALUES(1, 'a')`);
        await tx.run(`INSERT OR ROLLBACK INTO t VALUES(2, 'c')`);
      }),
    );
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.a.run(`INSERT INTO t VALUES(3, 'd')`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 3, v: 'd' },
      { id: 9, v: 'c' },
    ]);
  });

  it('commits nothing of a transaction that goes on after OR ROLLBACK ended it', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE); INSERT INTO t VALUES(9, 'c')`);
    const error = await failureOf(
      cluster.a.transaction(async (tx) => {
        await failureOf(tx.run(`INSERT OR ROLLBACK INTO t VALUES(2, 'c')`));
        await tx.run(`INSERT INTO t VALUES(3, 'd')`);
      }),
    );
    expect(error.code).toBe('HA_TRANSACTION_CLOSED');
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([{ id: 9, v: 'c' }]);
    await cluster.expectEqual();
  });

  it('takes back nested savepoints alone', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v)`);
    await cluster.a.transaction(async (tx) => {
      await tx.run(`INSERT INTO t VALUES(1, 'kept')`);
      await tx.savepoint(async (outer) => {
        await outer.run(`INSERT INTO t VALUES(2, 'kept too')`);
        await failureOf(
          outer.savepoint(async (inner) => {
            await inner.run(`INSERT INTO t VALUES(3, 'gone')`);
            await inner.run(`UPDATE t SET v = 'gone' WHERE id = 1`);
            throw new Error('back');
          }),
        );
        await outer.run(`UPDATE t SET v = v || '!' WHERE id = 2`);
      });
      await tx.run(`INSERT INTO t VALUES(4, 'last')`);
    });
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 'kept' },
      { id: 2, v: 'kept too!' },
      { id: 4, v: 'last' },
    ]);
  });

  it('follows RAISE(IGNORE), RAISE(FAIL) and RAISE(ABORT) of user triggers', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      CREATE TRIGGER ignore BEFORE INSERT ON t WHEN NEW.v = 'ignore' BEGIN SELECT RAISE(IGNORE); END;
      CREATE TRIGGER fail BEFORE INSERT ON t WHEN NEW.v = 'fail' BEGIN SELECT RAISE(FAIL, 'failed'); END;
      CREATE TRIGGER abort AFTER INSERT ON t WHEN NEW.v = 'abort' BEGIN SELECT RAISE(ABORT, 'aborted'); END;`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a'), (2, 'ignore'), (3, 'b')`);
    await cluster.a.transaction(async (tx) => {
      const failed = await failureOf(tx.run(`INSERT INTO t VALUES(4, 'c'), (5, 'fail'), (6, 'd')`));
      expect(failed).toMatchObject({ code: 'SQLITE_CONSTRAINT_TRIGGER', message: 'failed' });
      await failureOf(tx.run(`INSERT INTO t VALUES(7, 'e'), (8, 'abort')`));
    });
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id, v FROM t')).toEqual([
      { id: 1, v: 'a' },
      { id: 3, v: 'b' },
      { id: 4, v: 'c' },
    ]);
  });

  it.each(['BEFORE', 'AFTER'])('follows RAISE of each kind in %s triggers of UPDATE and DELETE', async (time) => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0), (2, 0), (3, 0), (4, 0)`,
    );
    for (const [name, call] of [
      ['ignored', 'IGNORE'],
      ['failed', `FAIL, 'failed'`],
      ['aborted', `ABORT, 'aborted'`],
      ['rolledback', `ROLLBACK, 'rolledback'`],
    ]) {
      await cluster.a.exec(`
        CREATE TRIGGER u_${name} ${time} UPDATE ON t WHEN new.v = '${name}' AND old.id = 3 BEGIN SELECT RAISE(${call}); END;
        CREATE TRIGGER d_${name} ${time} DELETE ON t WHEN old.v = '${name}' AND old.id = 3 BEGIN SELECT RAISE(${call}); END;`);
    }
    // A plain connection with the same triggers says what SQLite does.
    const plain = new BetterSqlite3(':memory:');
    for (const sql of await cluster.a
      .prepare<string>(`SELECT sql FROM sqlite_schema WHERE tbl_name = 't'`)
      .pluck()
      .all())
      plain.exec(sql);
    plain.exec('INSERT INTO t VALUES(1, 0), (2, 0), (3, 0), (4, 0)');
    for (const name of ['ignored', 'failed', 'aborted', 'rolledback']) {
      for (const sql of [
        `UPDATE t SET v = '${name}'`,
        'DELETE FROM t',
        `INSERT OR REPLACE INTO t VALUES(1, 1), (2, 1), (3, 1), (4, 1)`,
      ]) {
        // RAISE(ROLLBACK) ends the transaction, also where its callback goes on.
        const ours = await cluster.a
          .transaction((tx) =>
            tx.run(sql).then(
              () => 'ok',
              (error: Error) => (name === 'rolledback' ? Promise.reject(error) : String(error)),
            ),
          )
          .catch(String);
        let theirs = 'ok';
        plain.exec('BEGIN');
        try {
          plain.prepare(sql).run();
        } catch (error) {
          theirs = String(error);
        }
        if (plain.inTransaction) plain.exec('COMMIT');
        expect([name, sql, ours]).toEqual([name, sql, theirs]);
        await cluster.settle();
        for (const { db } of cluster.nodes) {
          expect([sql, await db.all('SELECT * FROM t')]).toEqual([sql, plain.prepare('SELECT * FROM t').all()]);
        }
      }
    }
    plain.close();
    await cluster.expectEqual();
  });

  it('takes back everything on RAISE(ROLLBACK), and goes on', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      CREATE TRIGGER back AFTER INSERT ON t WHEN NEW.v = 'back' BEGIN SELECT RAISE(ROLLBACK, 'back'); END;`);
    const before = await cluster.lastSequence();
    const error = await failureOf(
      cluster.a.transaction(async (tx) => {
        await tx.run(`INSERT INTO t VALUES(1, 'a')`);
        await tx.run(`INSERT INTO t VALUES(2, 'back')`);
      }),
    );
    expect(error).toMatchObject({ code: 'SQLITE_CONSTRAINT_TRIGGER', message: 'back' });
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.a.run(`INSERT INTO t VALUES(3, 'c')`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 3, v: 'c' }]);
  });
});

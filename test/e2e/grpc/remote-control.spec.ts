import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';
import { failureOf, onCleanup } from '../../helper/cluster.js';
import { GrpcApp } from '../../helper/grpc-app.js';

async function started(): Promise<{ app: GrpcApp; remote: HARemoteDatabase }> {
  const app = await GrpcApp.start({ dsn: ':memory:', replicationID: 'my.db', transactionTimeout: 60_000 });
  await app.db().exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const remote = new HARemoteDatabase({ url: `http://${app.target()}`, timeout: 10_000 });
  onCleanup(() => remote.close());
  return { app, remote };
}

const WRITE = 'INSERT INTO t VALUES(1, 1)';

describe('a remote database that is used without a connection of one’s own', () => {
  it.each(['BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT s', 'RELEASE s', `BEGIN TRANSACTION; ${WRITE}`])(
    'refuses %s, as a local one does, and leaves nothing open',
    async (sql) => {
      const { app, remote } = await started();
      for (const call of ['run', 'get', 'all', 'execute'] as const) {
        expect((await failureOf(remote[call](sql))).code).toBe('HA_TRANSACTION_CONTROL');
      }
      expect((await failureOf(remote.prepare(sql).run())).code).toBe('HA_TRANSACTION_CONTROL');
      expect((await failureOf(remote.iterate(sql).next())).code).toBe('HA_TRANSACTION_CONTROL');
      await remote.run('INSERT INTO t VALUES(2, 2)');
      // Nobody holds the turn, and nothing waits for a COMMIT.
      await app.db().run('INSERT INTO t VALUES(3, 3)');
      expect(await app.db().all('SELECT id FROM t')).toEqual([{ id: 2 }, { id: 3 }]);
    },
  );

  it.each(['run', 'get', 'all', 'execute'] as const)('%s takes one statement, as a local one does', async (call) => {
    const { app, remote } = await started();
    for (const sql of [`${WRITE}; BEGIN`, `${WRITE}; ${WRITE}`, 'SELECT 1; SELECT 2']) {
      expect(await failureOf(remote[call](sql))).toMatchObject({ name: 'RangeError' });
      if (call !== 'execute') expect(await failureOf(app.db()[call](sql))).toMatchObject({ name: 'RangeError' });
    }
    await app.db().run(WRITE);
    expect(await remote.all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it.each(['BEGIN', `BEGIN; ${WRITE}`, `BEGIN; ${WRITE}; COMMIT; BEGIN`])('refuses the script %s', async (script) => {
    const { app, remote } = await started();
    for (const db of [remote, app.db()]) {
      expect(await failureOf(db.exec(script))).toMatchObject({
        code: 'HA_TRANSACTION_CONTROL',
        message: expect.stringContaining('nothing of it was run') as string,
      });
    }
    expect(await app.db().all('SELECT * FROM t')).toEqual([]);
  });

  it('runs scripts as a local one does, dumps among them', async () => {
    const { app, remote } = await started();
    const local = (await started()).app.db();
    const scripts = [
      'BEGIN',
      'COMMIT; BEGIN',
      'ROLLBACK',
      'SAVEPOINT s; INSERT INTO t VALUES(60, 1)',
      'PRAGMA foreign_keys=OFF; BEGIN TRANSACTION; CREATE TABLE d(a REFERENCES t); INSERT INTO d VALUES(8); INSERT INTO t VALUES(8, 8); COMMIT; VACUUM;',
      `BEGIN; INSERT INTO t VALUES(5, 5); COMMIT; BEGIN; INSERT INTO t VALUES(6, 6); INSERT INTO missing VALUES(1); COMMIT`,
      `${WRITE}; INSERT INTO t VALUES(1, 2)`,
      `${WRITE} -- a comment; and
       ; INSERT INTO t VALUES(2, ';') /* no end`,
      "ATTACH 'x' AS y",
      'PRAGMA journal_mode = DELETE',
      'PRAGMA foreign_keys = OFF',
      ' ; ',
    ];
    for (const script of scripts) {
      const [theirs, ours] = await Promise.all([outcome(local.exec(script)), outcome(remote.exec(script))]);
      expect({ script, ...ours }).toEqual({ script, ...theirs });
      await app.db().run('DELETE FROM t WHERE id = 99');
    }
    const rows = 'SELECT id, v FROM t ORDER BY id';
    expect(await app.db().all(rows)).toEqual(await local.all(rows));
    expect(await app.db().all('SELECT * FROM d')).toEqual([{ a: 8 }]);
  });

  it('keeps what a connection sets to itself', async () => {
    const { app, remote } = await started();
    await app.db().exec('CREATE TABLE kid(id INTEGER PRIMARY KEY, p REFERENCES t(id))');
    const connection = await remote.connect();
    onCleanup(() => connection.close());
    await connection.run('PRAGMA foreign_keys = OFF');
    expect(await connection.all('PRAGMA foreign_keys')).toEqual([{ foreign_keys: 0 }]);
    expect(await connection.execute('PRAGMA journal_mode = WAL')).toMatchObject({ rows: [{ journal_mode: 'wal' }] });
    await connection.run('INSERT INTO kid VALUES(1, 999)');
    await connection.exec('BEGIN; INSERT INTO kid VALUES(2, 999); COMMIT');
    const calls = [
      (id: number) => remote.run('INSERT INTO kid VALUES(?, 999)', [id]),
      (id: number) => remote.exec(`PRAGMA foreign_keys = OFF; INSERT INTO kid VALUES(${id}, 999)`),
      (id: number) => remote.transaction(async (tx) => tx.run('INSERT INTO kid VALUES(?, 999)', [id])),
      (id: number) => app.db().run('INSERT INTO kid VALUES(?, 999)', [id]),
    ];
    for (const [index, call] of calls.entries()) {
      const refused = (): Promise<unknown> => call(10 + index);
      expect([index, (await failureOf(refused)).code]).toEqual([index, 'SQLITE_CONSTRAINT_FOREIGNKEY']);
    }
    expect((await failureOf(remote.run('PRAGMA foreign_keys = OFF'))).code).toBe('HA_STATEMENT_REFUSED');
    const inside = remote.transaction(async (tx) => tx.run('PRAGMA foreign_keys = OFF'));
    expect((await failureOf(inside)).code).toBe('HA_STATEMENT_REFUSED');
    expect(await app.db().all('SELECT id FROM kid')).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it('refuses to end a transaction from inside', async () => {
    const { app, remote } = await started();
    const executed = remote.transaction(async (tx) => {
      await tx.run(WRITE);
      for (const sql of ['COMMIT', 'ROLLBACK', 'COMMIT TRANSACTION; SELECT 1']) {
        const { execute } = tx as unknown as HARemoteDatabase;
        expect((await failureOf(execute.call(tx, sql))).code).toBe('HA_TRANSACTION_CONTROL');
        expect((await failureOf(tx.exec(sql))).code).toBe('HA_TRANSACTION_CONTROL');
      }
      throw new Error('mine');
    });
    expect((await failureOf(executed)).message).toBe('mine');
    expect(await app.db().all('SELECT * FROM t')).toEqual([]);
  });
});

async function outcome(call: Promise<void>): Promise<object> {
  try {
    await call;
    return {};
  } catch (error) {
    const { name, code, message } = error as Error & { code?: string };
    return { name, code, message };
  }
}

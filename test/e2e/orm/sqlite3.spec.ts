import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { isRetryable } from '../../../lib/common/retryable.js';
import { haSqlite3 } from '../../../lib/orm/sqlite3.js';
import type { Database, HASqlite3Options, Statement } from '../../../lib/orm/sqlite3.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

function opened(db: HADatabase, options?: HASqlite3Options, mode?: number): Database {
  const { Database, OPEN_READWRITE, OPEN_CREATE } = haSqlite3(db, options);
  const database = new Database('no-such-folder/never.db', mode ?? OPEN_READWRITE | OPEN_CREATE);
  onCleanup(() => new Promise((resolve) => database.close(() => resolve())));
  return database;
}

async function withTable(options?: HASqlite3Options): Promise<{ cluster: Cluster; database: Database }> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)');
  return { cluster, database: opened(cluster.a, options) };
}

type Method = 'run' | 'get' | 'all' | 'map';

/** Calls a method; gives what its callback got, and its `this`. */
function call(
  on: Database | Statement,
  method: Method,
  ...args: unknown[]
): Promise<{ it: Statement; value: unknown }> {
  return new Promise((resolve, reject) => {
    const callback = function (this: Statement, error: Error | null, value: unknown): void {
      if (error === null) resolve({ it: this, value });
      else reject(error);
    };
    (on[method] as (...all: unknown[]) => unknown)(...args, callback);
  });
}

const value = async (on: Database | Statement, method: Method, ...args: unknown[]): Promise<unknown> =>
  (await call(on, method, ...args)).value;

describe('a module in the shape of node-sqlite3', () => {
  it('has its constants and classes', () => {
    const module = haSqlite3({} as HADatabase);
    expect(module.verbose()).toBe(module);
    expect(module).toMatchObject({ OPEN_READONLY: 1, OPEN_READWRITE: 2, OPEN_CREATE: 4, BUSY: 5, CONSTRAINT: 19 });
    expect([module.Database.name, module.Statement.name]).toEqual(['Database', 'Statement']);
  });

  it('opens without a file, and says so', async () => {
    const { cluster, database } = await withTable();
    await once(database, 'open');
    expect([database.open, database.filename]).toEqual([true, 'no-such-folder/never.db']);
    expect(readdirSync('.')).not.toContain('no-such-folder');
    const { Database } = haSqlite3(cluster.a);
    const made = await new Promise<unknown>((resolve) => void new Database('x', resolve));
    expect(made).toBeNull();
    const inMemory = await new Promise<unknown>((resolve) => void new Database(':memory:', resolve));
    expect(inMemory).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
  });

  it('runs statements, with parameters of every kind', async () => {
    const { cluster, database } = await withTable();
    const { it, value: nothing } = await call(database, 'run', 'INSERT INTO t(v) VALUES(?), (?)', 'a', 'b');
    expect([it.constructor.name, it.lastID, it.changes, it.sql, nothing]).toEqual([
      'Statement',
      2,
      2,
      'INSERT INTO t(v) VALUES(?), (?)',
      undefined,
    ]);
    expect(
      await value(database, 'get', 'SELECT $a AS a, :b AS b, @c AS c', { $a: 1, ':b': true, '@c': undefined }),
    ).toEqual({ a: 1, b: 1, c: null });
    expect(await value(database, 'get', 'SELECT ? AS a, ? AS b', { 1: new Date(5), 2: /x/ })).toEqual({
      a: 5,
      b: '/x/',
    });
    expect(await value(database, 'get', 'SELECT ? AS a', [Buffer.from([1])])).toEqual({ a: Buffer.from([1]) });
    expect(await value(database, 'get', 'SELECT ?1 AS a, ?2 AS b', [{ toString: () => 'o' }, null])).toEqual({
      a: 'o',
      b: null,
    });
    expect(await value(database, 'get', "SELECT $b AS b, ? AS x, ':c' AS c, $b AS d", 1, 2)).toEqual({
      b: 1,
      x: 2,
      c: ':c',
      d: 1,
    });
    expect(await value(database, 'all', 'SELECT v FROM t WHERE id > ?', 1)).toEqual([{ v: 'b' }]);
    expect(await value(database, 'all', 'UPDATE t SET v = 1 WHERE id = 9')).toEqual([]);
    expect(await value(database, 'get', 'SELECT 1 WHERE 0')).toBeUndefined();
    expect(await value(database, 'map', 'SELECT id, v FROM t')).toEqual({ 1: 'a', 2: 'b' });
    expect(await value(database, 'all', 'INSERT INTO t(v) VALUES(?) RETURNING id', 'c')).toEqual([{ id: 3 }]);
    await cluster.expectEqual();
  });

  it('gives integers that a number cannot hold as asked', async () => {
    const { cluster, database } = await withTable();
    const big = 9_007_199_254_740_993n;
    await call(database, 'run', 'INSERT INTO t VALUES(?, ?)', big, big);
    const sql = 'SELECT v, 1.5 AS r, -5 AS i FROM t';
    expect(await value(database, 'get', sql)).toEqual({ v: big, r: 1.5, i: -5 });
    expect(await value(opened(cluster.a, { unsafeIntegers: 'string' }), 'get', sql)).toMatchObject({ v: String(big) });
    expect(await value(opened(cluster.a, { unsafeIntegers: 'number' }), 'get', sql)).toMatchObject({ v: Number(big) });
    await cluster.expectEqual();
  });

  it('prepares, binds, steps and calls back for each row', async () => {
    const { cluster, database } = await withTable();
    const insert = database.prepare('INSERT INTO t(v) VALUES(?)');
    for (const text of ['a', 'b', 'c']) insert.run(text);
    insert.finalize();
    await new Promise((resolve) => void database.wait(resolve));
    const select = database.prepare('SELECT v FROM t WHERE id >= ? ORDER BY id', 2);
    expect([await value(select, 'get'), await value(select, 'get'), await value(select, 'get')]).toEqual([
      { v: 'b' },
      { v: 'c' },
      undefined,
    ]);
    expect([await value(select, 'get', 3), await value(select, 'all', 1)]).toEqual([
      { v: 'c' },
      [{ v: 'a' }, { v: 'b' }, { v: 'c' }],
    ]);
    const seen: unknown[] = [];
    const count = await new Promise((resolve) => {
      database.each(
        'SELECT v FROM t WHERE id > $id',
        { $id: 1 },
        (_error: unknown, found: unknown) => void seen.push(found),
        (_error: unknown, rows: number) => resolve(rows),
      );
    });
    expect([seen, count]).toEqual([[{ v: 'b' }, { v: 'c' }], 2]);
    select.finalize();
    expect(await failureOf(call(select, 'get'))).toMatchObject({ code: 'SQLITE_MISUSE', errno: 21 });
    await cluster.expectEqual();
  });

  it('keeps the order that serialize() asks for', async () => {
    const { cluster, database } = await withTable();
    const seen: unknown[] = [];
    await new Promise<void>((resolve) => {
      database.serialize(() => {
        database.run('CREATE TABLE s(a)');
        for (let a = 1; a <= 20; a++) database.run('INSERT INTO s VALUES(?)', a);
        database.run('UPDATE s SET a = a * 2');
        database.all('SELECT sum(a) AS n FROM s', (_error: unknown, rows: unknown) => void seen.push(rows));
        database.run('DELETE FROM s');
        database.get('SELECT count(*) AS n FROM s', (_error: unknown, found: unknown) => {
          seen.push(found);
          resolve();
        });
      });
    });
    expect(seen).toEqual([[{ n: 420 }], { n: 0 }]);
    await cluster.expectEqual();
  });

  it('keeps what stands between BEGIN and COMMIT together, also where nobody waits', async () => {
    const { cluster, database } = await withTable();
    const other = opened(cluster.a);
    const before = await cluster.lastSequence();
    void database.run('/* a comment */ BEGIN');
    void database.run("INSERT INTO t(v) VALUES('a')");
    void database.run("INSERT INTO t(v) VALUES('b')");
    const inside = value(database, 'get', 'SELECT count(*) AS n FROM t');
    void database.run('COMMIT');
    expect(await inside).toEqual({ n: 2 });
    expect(await value(database, 'get', 'SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    expect(await cluster.lastSequence()).toBe(before + 1);
    await call(database, 'run', 'BEGIN');
    await call(database, 'run', 'DELETE FROM t');
    expect(await value(other, 'get', 'SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    await call(database, 'run', 'ROLLBACK');
    expect(await value(database, 'get', 'SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    await cluster.expectEqual();
  });

  it('enforces foreign keys as its PRAGMA says, also for statements that run at once', async () => {
    const { cluster, database } = await withTable();
    await cluster.a.exec('CREATE TABLE c(t REFERENCES t(id))');
    const insert = (): Promise<unknown>[] => [8, 9].map((id) => call(database, 'run', 'INSERT INTO c VALUES(?)', id));
    database.run('PRAGMA foreign_keys = OFF');
    await Promise.all(insert());
    database.exec('PRAGMA foreign_keys = ON');
    const refused = await Promise.all(insert().map((one) => failureOf(one)));
    expect(refused.map(({ code }) => code)).toEqual(['SQLITE_CONSTRAINT', 'SQLITE_CONSTRAINT']);
    await cluster.expectEqual();
  });

  it('runs scripts', async () => {
    const { cluster, database } = await withTable();
    const run = (script: string): Promise<unknown> =>
      new Promise(
        (resolve, reject) => void database.exec(script, (error) => (error === null ? resolve(null) : reject(error))),
      );
    await run("INSERT INTO t(v) VALUES('a'); INSERT INTO t(v) VALUES('b');");
    expect(await failureOf(run("INSERT INTO t(v) VALUES('c'); INSERT INTO t(v) VALUES('a')"))).toMatchObject({
      code: 'SQLITE_CONSTRAINT',
    });
    await run("BEGIN; INSERT INTO t(v) VALUES('d'); COMMIT");
    expect(await cluster.a.all('SELECT v FROM t')).toEqual([{ v: 'a' }, { v: 'b' }, { v: 'd' }]);
    await cluster.expectEqual();
  });

  it('fails as node-sqlite3 does', async () => {
    const { cluster, database } = await withTable();
    await call(database, 'run', "INSERT INTO t(v) VALUES('a')");
    expect(await failureOf(call(database, 'run', "INSERT INTO t(v) VALUES('a')"))).toMatchObject({
      code: 'SQLITE_CONSTRAINT',
      errno: 19,
      message: 'SQLITE_CONSTRAINT: UNIQUE constraint failed: t.v',
    });
    expect(await failureOf(call(database, 'all', 'SELEC 1'))).toMatchObject({ code: 'SQLITE_ERROR', errno: 1 });
    expect(await failureOf(call(database, 'all', 'SELECT ?, ?', 1))).toMatchObject({ code: 'SQLITE_RANGE', errno: 25 });
    expect(await failureOf(call(database, 'all', 'SELECT ?', [{ a: 1 }]))).toMatchObject({ code: 'SQLITE_MISUSE' });
    expect(await failureOf(call(database, 'all', 'SELECT ?1, ?3', 1, 2))).toMatchObject({ code: 'SQLITE_RANGE' });
    for (const params of [[{ $a: 1, ':a': 2 }], [1, 2]]) {
      expect(await failureOf(call(database, 'all', 'SELECT $a, :a', ...params))).toMatchObject({
        code: 'SQLITE_MISUSE',
      });
    }
    const statement = database.prepare('INSERT INTO missing VALUES(1)');
    statement.run();
    expect((await once(statement, 'error'))[0]).toMatchObject({ code: 'SQLITE_ERROR' });
    const { OPEN_READONLY } = haSqlite3(cluster.a);
    const reader = opened(cluster.a, {}, OPEN_READONLY);
    expect(await value(reader, 'get', 'SELECT v FROM t')).toEqual({ v: 'a' });
    expect(await failureOf(call(reader, 'run', 'DELETE FROM t'))).toMatchObject({ code: 'SQLITE_READONLY', errno: 8 });
    const closed = opened(cluster.a);
    closed.close();
    await once(closed, 'close');
    expect(closed.open).toBe(false);
    expect(await failureOf(call(closed, 'get', 'SELECT 1'))).toMatchObject({
      message: 'SQLITE_MISUSE: Database is closed',
    });
    await cluster.expectEqual();
  });

  it('says of a conflict that it can be run again', async () => {
    const { cluster, database } = await withTable();
    await call(database, 'run', 'INSERT INTO t VALUES(1, 0)');
    await cluster.settle();
    await call(database, 'run', 'BEGIN EXCLUSIVE');
    await call(database, 'run', 'UPDATE t SET v = v + 1');
    await cluster.b.run('UPDATE t SET v = 10');
    const failure = await failureOf(call(database, 'run', 'COMMIT'));
    expect(failure).toMatchObject({ code: 'SQLITE_BUSY', errno: 5, retryable: true });
    expect(isRetryable(failure)).toBe(true);
    await cluster.expectEqual();
  });

  it('rolls back a transaction that nobody ends', async () => {
    const { cluster, database } = await withTable({ idleTimeout: 1_000 });
    await call(database, 'run', 'BEGIN');
    await call(database, 'run', "INSERT INTO t(v) VALUES('lost')");
    await cluster.a.run("INSERT INTO t(v) VALUES('kept')");
    expect(await failureOf(call(database, 'get', 'SELECT 1'))).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    await call(database, 'run', 'ROLLBACK');
    expect(await value(database, 'all', 'SELECT v FROM t')).toEqual([{ v: 'kept' }]);
    await cluster.expectEqual();
  });
});

import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import type { ConfigureConnection } from '../../../lib/sqlite/connection.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, temporaryFolder } from '../../helper/cluster.js';

function open(configure?: ConfigureConnection): { db: HADatabase; path: string } {
  const path = join(temporaryFolder(), 'my.db');
  const options = resolveOptions(`file:${path}`, { name: 'alone', replicationID: 'my' }, {});
  const settings = { logger: collect([]), retryAttempts: 0, retryDelay: 1 };
  const db = new HADatabase(new HARuntime(options, { ...settings, ...(configure && { configure }) }));
  onCleanup(() => db.close());
  return { db, path };
}

/** Writes of a standalone database that nobody is in the way of run in their call. */
describe('a standalone write', () => {
  it('is done when its call returns, and answered like any other', async () => {
    const { db, path } = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v NOT NULL)');
    await new Promise((resolve) => void setImmediate(resolve));
    const call = db.run('INSERT INTO t VALUES(1, 2)');
    const other = new BetterSqlite3(path, { readonly: true });
    expect(other.prepare('SELECT v FROM t').pluck().all()).toEqual([2]);
    expect(await call).toEqual({ changes: 1, lastInsertRowid: 1 });
    const failed = db.run('INSERT INTO t VALUES(2, NULL)');
    expect((await failureOf(failed)).code).toBe('SQLITE_CONSTRAINT_NOTNULL');
    expect(await db.get('INSERT INTO t VALUES(3, 4) RETURNING v')).toEqual({ v: 4 });
    expect(other.prepare('SELECT id FROM t').pluck().all()).toEqual([1, 3]);
    other.close();
  });

  it('has its turn in the order of the calls', async () => {
    const { db } = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, n)');
    const session = db.connect();
    for (let round = 0; round < 20; round++) {
      const from = round * 6;
      const insert = (n: number): string => `INSERT INTO t(n) VALUES(${from + n})`;
      await Promise.all([
        db.run(insert(1)),
        db.transaction(async (tx) => tx.run(insert(2))),
        db.execute(insert(3)),
        db.exec(insert(4)),
        session.execute(insert(5)),
        db.begin().then(async (tx) => {
          await tx.run(insert(6));
          await tx.commit();
        }),
      ]);
    }
    await session.close();
    expect(await db.all('SELECT id FROM t WHERE id <> n')).toEqual([]);
    expect(await db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 120 });
  });

  it('lets the event loop come round, however many follow each other', async () => {
    const { db } = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
    let rounds = 0;
    const timer = setInterval(() => rounds++, 1);
    // Nothing else is waited for: without a pause of its own the writes would be one long task.
    while (rounds < 3) await db.run('INSERT INTO t DEFAULT VALUES');
    clearInterval(timer);
    expect(rounds).toBe(3);
  });

  it('waits for another program that writes, without holding up the event loop', async () => {
    const { db, path } = open();
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
    const other = new BetterSqlite3(path);
    other.exec('BEGIN IMMEDIATE; INSERT INTO t VALUES(1)');
    let answered = false;
    const waiting = db.run('INSERT INTO t VALUES(2)').then(() => (answered = true));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(answered).toBe(false);
    other.exec('COMMIT');
    other.close();
    await waiting;
    expect(await db.all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it('leaves nothing open behind a failure at its end', async () => {
    const { db } = open();
    await db.exec(`CREATE TABLE par(id INTEGER PRIMARY KEY);
      CREATE TABLE kid(id INTEGER PRIMARY KEY, p REFERENCES par DEFERRABLE INITIALLY DEFERRED);
      CREATE TABLE t(id INTEGER PRIMARY KEY, n INT UNIQUE);
      INSERT INTO t VALUES(1, 1)`);
    const session = db.connect();
    await session.execute('PRAGMA foreign_keys = ON');
    expect((await failureOf(session.execute('INSERT INTO kid VALUES(1, 9)'))).code).toBe(
      'SQLITE_CONSTRAINT_FOREIGNKEY',
    );
    expect((await failureOf(db.run('INSERT OR ROLLBACK INTO t VALUES(2, 1)'))).code).toBe('SQLITE_CONSTRAINT_UNIQUE');
    await db.exec('CREATE TEMP TABLE scratch(x)');
    expect((await failureOf(db.run('INSERT INTO scratch VALUES(1)'))).message).toContain('no such table');
    await db.run('INSERT INTO t VALUES(3, 3)');
    expect(await db.all('SELECT * FROM kid')).toEqual([]);
    expect(await db.all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 3 }]);
    await session.close();
  });

  it('that a function of the user makes waits for the statement that calls it', async () => {
    const calls: Promise<unknown>[] = [];
    const { db } = open((connection, role) => {
      if (role !== 'writer') return;
      connection.function('audit', (id) => {
        calls.push(db.run('INSERT INTO log VALUES(?)', [id]));
        return id;
      });
    });
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE log(id INTEGER)');
    await db.run('INSERT INTO t SELECT audit(7)');
    await Promise.all(calls);
    expect(calls).toHaveLength(1);
    expect(await db.all('SELECT * FROM log')).toEqual([{ id: 7 }]);
  });
});

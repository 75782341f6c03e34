import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { resolveOptions } from '../../../lib/config/resolve.js';
import { HARuntime } from '../../../lib/ha-runtime.js';
import { LocalStream } from '../../../lib/stream/local/local-stream.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, onCleanup, temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { listOf } from './pairs.js';

function open(path: string, streamMaxAge: string | undefined = '1h'): HADatabase {
  const dsn = path === ':memory:' ? path : `file:${path}`;
  const options = resolveOptions(
    dsn,
    { name: 'alone', replicationID: 'my', ...(streamMaxAge === '' ? {} : { streamMaxAge }) },
    {},
  );
  const db = new HADatabase(new HARuntime(options, { logger: collect([]), retryAttempts: 0, retryDelay: 1 }));
  onCleanup(() => db.close());
  return db;
}

const sequencesOf = async (db: HADatabase): Promise<bigint[]> =>
  (await listOf(db.history())).map(({ sequence }) => sequence);

describe('a standalone database with streamMaxAge', () => {
  it('keeps its history in a file of its own, across restarts', async () => {
    const dir = temporaryFolder();
    const path = join(dir, 'my.db');
    const first = open(path);
    await first.exec('CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)');
    const { txseq } = await first.run('INSERT INTO t(v) VALUES(?)', ['a']);
    expect(txseq).toBe(2n);
    expect(first.status()).toMatchObject({ role: 'standalone', healthy: true });
    await first.close();
    expect(existsSync(join(dir, 'my_history.db'))).toBe(true);
    const before = dumpFile(path);
    const again = open(path);
    await again.exec(`UPDATE t SET v = 'b'; DELETE FROM t`);
    expect(await sequencesOf(again)).toEqual([1n, 2n, 3n]);
    const result = await again.undo({ from: 3n });
    expect(result).toMatchObject({ sequence: 4n, inserted: 1 });
    expect(dumpFile(path)).toEqual(before);
    const copy = join(dir, 'copy.db');
    await again.restoreTo(3n, copy);
    expect(dumpFile(copy).tables['t']).toEqual([]);
  });

  it('takes away what the database did not commit, and nobody was told of', async () => {
    const dir = temporaryFolder();
    const path = join(dir, 'my.db');
    const db = open(path);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
    await db.close();
    copyFileSync(path, `${path}.copy`);
    const more = open(path);
    await more.run('INSERT INTO t VALUES(1)');
    await more.close();
    // As behind a crash between both files, or with an older copy of the database.
    copyFileSync(`${path}.copy`, path);
    const older = open(path);
    expect(await older.all('SELECT * FROM t')).toEqual([]);
    expect(await sequencesOf(older)).toEqual([1n]);
    expect(await older.run('INSERT INTO t VALUES(2)')).toMatchObject({ txseq: 2n });
    expect(await older.all('SELECT * FROM t')).toEqual([{ id: 2 }]);
  });

  it('begins anew where the database wrote without it', async () => {
    const path = join(temporaryFolder(), 'my.db');
    const db = open(path);
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)');
    await db.run('INSERT INTO t VALUES(2)');
    await db.close();
    const without = open(path, '');
    await without.run('DELETE FROM t WHERE id = 2');
    await expect(listOf(without.history())).rejects.toMatchObject({ code: 'HA_UNAVAILABLE' });
    await expect(without.undo({ from: 1n })).rejects.toMatchObject({ code: 'HA_UNAVAILABLE' });
    await without.close();
    const again = open(path);
    expect(await sequencesOf(again)).toEqual([]);
    await expect(again.undo({ from: 1n })).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
    const { txseq } = await again.run('UPDATE t SET id = 3');
    await again.undo({ from: txseq as bigint });
    expect(await again.all('SELECT * FROM t')).toEqual([{ id: 1 }]);
  });

  it('works on a file that has rows already', async () => {
    const path = join(temporaryFolder(), 'my.db');
    const file = new BetterSqlite3(path);
    file.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'old')`);
    file.close();
    const db = open(path);
    const { txseq } = await db.run(`UPDATE t SET v = 'new'`);
    await db.undo({ from: txseq as bigint });
    expect(await db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'old' }]);
    const replaced = await db.run(`REPLACE INTO t VALUES(1, 'replaced')`);
    // Nobody told what REPLACE took away, and the history does not begin with the first row.
    await expect(db.undo({ from: replaced.txseq as bigint })).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
    expect(await db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'replaced' }]);
  });

  it('keeps one in memory beside a database in memory', async () => {
    const db = open(':memory:');
    await db.exec('CREATE TABLE t(x); INSERT INTO t VALUES(1)');
    const { txseq } = await db.run('DELETE FROM t');
    await db.undo({ from: txseq as bigint });
    expect(await db.all('SELECT * FROM t')).toEqual([{ x: 1 }]);
  });

  it('leaves no file and no table behind without the option', async () => {
    const dir = temporaryFolder();
    const db = open(join(dir, 'my.db'), '');
    await db.exec('CREATE TABLE t(x)');
    expect(await db.run('INSERT INTO t VALUES(1)')).toEqual({ changes: 1, lastInsertRowid: 1 });
    expect(await db.all('SELECT name FROM sqlite_schema')).toEqual([{ name: 't' }]);
    expect(existsSync(join(dir, 'my_history.db'))).toBe(false);
  });
});

describe('the history file', () => {
  const message = (n: number): { id: string; data: Buffer } => ({ id: `o.${n}`, data: Buffer.from(`${n}`) });

  it('forgets what is too old, but never its last message', async () => {
    let now = 1_000_000;
    const stream = new LocalStream({ path: ':memory:', maxAge: 60_000, now: () => now });
    await stream.open();
    for (let n = 1; n <= 3; n++) await stream.publish(message(n));
    now += 61_000;
    await stream.publish(message(4));
    expect(await stream.state()).toMatchObject({ firstSequence: 4, lastSequence: 4 });
    now += 120_000;
    await stream.open();
    expect(await stream.lastSubjectSequence()).toBe(4);
    expect(await stream.messageAt(3)).toBeUndefined();
    await stream.close();
  });

  it('is a stream like others: duplicates, expectations, order', async () => {
    const stream = new LocalStream({ path: ':memory:', maxAge: 60_000 });
    await stream.open();
    const sent = [stream.publish(message(1)), stream.publish({ ...message(2), expect: { lastMessageId: 'o.1' } })];
    expect(await Promise.all(sent)).toEqual([1, 2].map((sequence) => ({ sequence, duplicate: false })));
    expect(await stream.publish(message(1))).toEqual({ sequence: 1, duplicate: true });
    await expect(stream.publish({ ...message(3), expect: { lastSubjectSequence: 1 } })).rejects.toThrow(
      'wrong last sequence: 2',
    );
    await expect(stream.publish({ ...message(3), expect: { lastMessageId: 'x' } })).rejects.toThrow(
      'wrong last msg ID',
    );
    const seen: number[] = [];
    const subscription = await stream.consume(0, ({ sequence }) => void seen.push(sequence));
    await stream.publish({ ...message(3), expect: { lastSubjectSequence: 2 } });
    await new Promise((resolve) => setImmediate(resolve));
    await subscription.stop();
    expect(seen).toEqual([1, 2, 3]);
    await stream.close();
    await expect(stream.publish(message(4))).rejects.toThrow('is closed');
  });
});

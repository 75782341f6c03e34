import { chmodSync, lstatSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { closeWhole } from '../../../lib/snapshot/database-copy.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { failureOf, temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

const broker = (): ((name: string, dir: string) => MemoryNode<MemoryStream>) => {
  const made = new MemoryBroker();
  return (name, dir) => {
    const stream = new MemoryStream({ broker: made, stream: 's', subject: 's.db' });
    return memoryNode(name, dir, stream, { disableDBSnapshotter: true });
  };
};

const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

describe('copies of a database', () => {
  it('can be read by nobody who may not read the database', async () => {
    const dir = temporaryFolder();
    const { db, path, runtime } = broker()('a', dir);
    await db.exec('CREATE TABLE t(v)');
    await db.run('INSERT INTO t VALUES(randomblob(500000))');
    await db.stop();
    for (const suffix of ['', '-wal', '-shm'])
      if (readdirSync(dir).includes(`a.db${suffix}`)) chmodSync(path + suffix, 0o600);
    await db.start();
    const modes = new Set<string>();
    runtime.events.subscribe(() => {
      for (const name of readdirSync(dir).filter((each) => /-ha-(snapshot|restore)/.test(each)))
        modes.add(modeOf(join(dir, name)));
    });
    await db.snapshot();
    await db.backup(join(dir, 'backup'));
    expect(modeOf(join(dir, 'backup'))).toBe('600');
    for (const from of ['stream', 'snapshot', 'this-node'] as const) {
      await db.resync({ from });
      expect(modeOf(path)).toBe('600');
    }
    expect([...modes]).toEqual(['600']);
  });

  it('keep the permissions of the database where they are wider', async () => {
    const dir = temporaryFolder();
    const { db, path } = broker()('a', dir);
    await db.exec('CREATE TABLE t(v)');
    await db.snapshot();
    chmodSync(path, 0o664);
    await db.resync({ from: 'stream' });
    expect(modeOf(path)).toBe('664');
    await db.resync({ from: 'snapshot' });
    expect(modeOf(path)).toBe('664');
  });

  it('never take the place of the database by another name of it', async () => {
    const dir = temporaryFolder();
    mkdirSync(join(dir, 'real'));
    symlinkSync(join(dir, 'real'), join(dir, 'also'));
    const { db } = broker()('a', join(dir, 'real'));
    await db.exec('CREATE TABLE t(v)');
    expect(await failureOf(db.backup(join(dir, 'also', 'a.db')))).toMatchObject({ code: 'HA_SNAPSHOT_FAILED' });
  });
});

describe('a database behind a symbolic link', () => {
  it('is replaced where it is, and locked there', async () => {
    const dir = temporaryFolder();
    mkdirSync(join(dir, 'real'));
    const make = broker();
    const a = make('a', dir);
    await a.db.exec('CREATE TABLE t(v)');
    await a.db.run('INSERT INTO t VALUES(1)');
    await a.db.snapshot();
    symlinkSync(join('real', 'b.db'), join(dir, 'b.db'));
    const b = make('b', dir);
    await b.db.start();
    expect(lstatSync(b.path).isSymbolicLink()).toBe(true);
    expect(dumpFile(join(dir, 'real', 'b.db'))).toEqual(dumpFile(a.path));
    const other = make('b', join(dir, 'real'));
    expect(await failureOf(other.db.start())).toMatchObject({ code: 'HA_DATABASE_LOCKED' });
    await b.db.resync({ from: 'snapshot' });
    expect(lstatSync(b.path).isSymbolicLink()).toBe(true);
    const { txseq = 0n } = await b.db.run('INSERT INTO t VALUES(2)');
    await a.db.waitFor(txseq, { timeout: 20_000 });
    expect(dumpFile(join(dir, 'real', 'b.db'))).toEqual(dumpFile(a.path));
  });
});

describe('a copy that is to be one file', () => {
  it('is told where it is not', () => {
    const path = join(temporaryFolder(), 'copy.db');
    const db = new BetterSqlite3(path);
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE t(v)');
    const reader = new BetterSqlite3(path);
    reader.exec('BEGIN; SELECT * FROM t');
    db.exec('INSERT INTO t VALUES(1)');
    expect(() => closeWhole(db)).toThrow();
    reader.close();
    closeWhole(db);
    expect(db.open).toBe(false);
  });
});

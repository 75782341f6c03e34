import { copyFileSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAOptions } from '../../../lib/config/options.js';
import { SnapshotStore } from '../../../lib/snapshot/snapshot-store.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { dumpFile } from '../../helper/dump.js';
import { failureOf, temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v);
CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, v);
CREATE TRIGGER noted AFTER INSERT ON t BEGIN INSERT INTO log(v) VALUES(NEW.v); END;`;

interface Nodes {
  readonly broker: MemoryBroker;
  readonly dir: string;
  make(name: string, options?: HAOptions): MemoryNode<MemoryStream>;
}

function nodes(): Nodes {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string, options: HAOptions = {}): MemoryNode<MemoryStream> =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }), { disableDBSnapshotter: true, ...options });
  return { broker, dir, make };
}

async function fill({ db }: MemoryNode<MemoryStream>, from: number, to: number): Promise<void> {
  for (let id = from; id <= to; id++) {
    await db.transaction(async (tx) => {
      await tx.run('INSERT INTO t VALUES(?, ?)', [id, `row ${id}`]);
      await tx.run('INSERT INTO bag VALUES(?)', [id % 3]);
    });
  }
}

async function expectSame(...all: MemoryNode<MemoryStream>[]): Promise<void> {
  const [first, ...others] = all;
  if (first === undefined) return;
  const last = BigInt(await first.stream.lastSubjectSequence());
  for (const { db } of all) await db.waitFor(last, { timeout: 20_000 });
  for (const other of others) expect(dumpFile(other.path)).toEqual(dumpFile(first.path));
}

const restored = ({ events }: MemoryNode<MemoryStream>): unknown[] =>
  events.filter((event) => event.type === 'snapshot' && event.action === 'restored');
const leftovers = ({ path }: MemoryNode<MemoryStream>): string[] =>
  readdirSync(dirname(path)).filter((name) => /-ha-(snapshot|restore|resync)|before-resync|-part/.test(name));

describe('a snapshot', () => {
  it('is what a new node starts from, and replays the rest', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 20);
    await a.db.run('DELETE FROM bag WHERE rowid = 3');
    const taken = await a.db.snapshot();
    expect(taken.sequence).toBe(a.db.position().received);
    expect(a.db.status().snapshot).toMatchObject({ sequence: taken.sequence, size: taken.size });
    await fill(a, 21, 25);
    // What is in front of the snapshot is gone: without it there would be no way.
    broker.trim(Number(taken.sequence));
    const b = make('b');
    await b.db.start();
    expect(restored(b)).toEqual([expect.objectContaining({ sequence: taken.sequence, size: taken.size })]);
    await expectSame(a, b);
    await b.db.run(`INSERT INTO t VALUES(100, 'of b')`);
    await expectSame(a, b);
    await until(() => [...leftovers(a), ...leftovers(b)].length === 0);
    expect(b.events).toContainEqual(expect.objectContaining({ type: 'progress', action: 'restore', percent: 100 }));
  });

  it('holds the fold and nothing that is the node’s own', async () => {
    const { broker, dir, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 3);
    await a.db.snapshot();
    const stored = broker.objects('s_SNAPSHOTS');
    const info = stored.info('db');
    expect(info?.headers['seq']).toBe(String(a.db.position().received));
    const chunks: Buffer[] = [];
    for await (const piece of stored.read(info as never, async () => undefined)) chunks.push(piece);
    const path = join(dir, 'stored.db');
    writeFileSync(path, Buffer.concat(chunks));
    const db = new BetterSqlite3(path);
    try {
      expect(db.prepare('SELECT count(*) FROM ha_origins').pluck().get()).toBe(0);
      expect(db.prepare('SELECT subject, received_seq FROM ha_stats').raw().all()).toEqual([
        ['s.db', Number(a.db.position().received)],
      ]);
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
    } finally {
      db.close();
    }
    expect(dumpFile(path)).toEqual(dumpFile(a.path));
  });

  it('is not taken again where nothing has changed', async () => {
    const { make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    const first = await a.db.snapshot();
    expect(await a.db.snapshot()).toEqual(first);
    const replaced = await a.db.snapshot({ replace: true });
    expect(replaced.sequence).toBe(first.sequence);
    expect(a.events.filter(({ type }) => type === 'snapshot')).toHaveLength(2);
  });

  it('never replaces a newer one', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await b.db.waitFor(1n);
    b.stream.disconnect();
    await fill(a, 1, 2);
    const newer = await a.db.snapshot();
    await b.stream.connect();
    // What b has is older at the moment at which it looks.
    const before = broker.objects('s_SNAPSHOTS').info('db');
    await b.db.snapshot();
    expect(broker.objects('s_SNAPSHOTS').info('db')?.headers['seq']).toBe(String(newer.sequence));
    expect(broker.objects('s_SNAPSHOTS').info('db')?.id).toBe(before?.id);
  });

  it('of a stream that is no more never replaces one of the stream that is', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 5);
    await expectSame(a, b);
    await a.db.stop();
    b.stream.disconnect();
    broker.recreate();
    await a.db.resync({ from: 'this-node' });
    const stored = broker.objects('s_SNAPSHOTS').info('db');
    await b.stream.connect();
    await until(() => b.db.status().state === 'halted');
    expect(await failureOf(b.db.snapshot())).toMatchObject({ code: 'HA_STREAM_RESET' });
    // Also where it began before that.
    const store = await SnapshotStore.open(b.stream, 's', 'db');
    const old = { sequence: 1_000, created: '2001-01-01T00:00:00Z', base: '' };
    expect(await store?.put(b.path, old, () => undefined)).toMatchObject({ isNew: false });
    expect(broker.objects('s_SNAPSHOTS').info('db')).toEqual(stored);
  });

  it('is taken by itself when something has changed, by one node of the cluster', async () => {
    const { broker, make } = nodes();
    const options = { disableDBSnapshotter: false, snapshotInterval: 150 };
    const all = [make('a', options), make('b', options), make('c', options)];
    await all[0]?.db.exec(SCHEMA);
    for (const { db } of all) await db.start();
    await until(() => broker.objects('s_SNAPSHOTS').info('db') !== undefined);
    const first = broker.objects('s_SNAPSHOTS').info('db');
    await until(() => all.every(({ db }) => db.status().snapshot !== undefined));
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(broker.objects('s_SNAPSHOTS').info('db')).toEqual(first);
    expect(all.flatMap(({ events }) => events.filter(({ type }) => type === 'snapshot'))).toHaveLength(1);
    await all[1]?.db.run(`INSERT INTO t VALUES(1, 'new')`);
    await until(() => broker.objects('s_SNAPSHOTS').info('db')?.id !== first?.id);
    expect(all.flatMap(({ events }) => events.filter(({ type }) => type === 'error'))).toEqual([]);
  });

  it('is not used with bootstrap=never', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 3);
    await a.db.snapshot();
    const b = make('b', { bootstrap: 'never' });
    await b.db.start();
    await expectSame(a, b);
    expect(restored(b)).toEqual([]);
    broker.trim(2);
    const c = make('c', { bootstrap: 'never' });
    expect(await failureOf(c.db.start())).toMatchObject({ code: 'HA_STREAM_GAP' });
  });

  it('that is damaged never reaches a file; the stream is taken where it still holds everything', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 3);
    await a.db.snapshot();
    broker.objects('s_SNAPSHOTS').damage('db');
    const b = make('b');
    await b.db.start();
    await expectSame(a, b);
    expect(b.events).toContainEqual(
      expect.objectContaining({ type: 'error', error: expect.objectContaining({ code: 'HA_SNAPSHOT_INVALID' }) }),
    );
    broker.trim(2);
    const c = make('c');
    expect(await failureOf(c.db.start())).toMatchObject({ code: 'HA_SNAPSHOT_INVALID' });
    expect(leftovers(c)).toEqual([]);
    await a.db.snapshot({ replace: true });
    await c.db.start();
    await expectSame(a, c);
  });

  it('that says another position than it holds is refused', async () => {
    const { broker, dir, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    const path = join(dir, 'other.db');
    await a.db.backup(path);
    await fill(a, 1, 3);
    const { readFileSync } = await import('node:fs');
    const bytes = readFileSync(path);
    await broker.objects('s_SNAPSHOTS').put(
      {
        name: 'db',
        headers: { seq: '3' },
        data: (async function* () {
          yield bytes;
        })(),
        revision: 0,
      },
      async () => undefined,
    );
    broker.trim(1);
    const b = make('b');
    expect(await failureOf(b.db.start())).toMatchObject({ code: 'HA_SNAPSHOT_INVALID' });
  });
});

describe('a node that was away for too long', () => {
  it('comes back by itself from a snapshot', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 5);
    await expectSame(a, b);
    await b.db.stop();
    await fill(a, 6, 15);
    const { sequence } = await a.db.snapshot();
    await fill(a, 16, 18);
    broker.trim(Number(sequence) - 1);
    await b.db.start();
    expect(restored(b)).toHaveLength(1);
    await b.db.run(`INSERT INTO t VALUES(50, 'of b')`);
    await expectSame(a, b);
    await until(() => leftovers(b).length === 0);
  });

  it('stops where no snapshot covers what it lacks, and its file is as it was', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 2);
    await expectSame(a, b);
    await b.db.stop();
    const before = dumpFile(b.path);
    const { sequence } = await a.db.snapshot();
    await fill(a, 3, 8);
    broker.trim(Number(sequence) + 3);
    expect(await failureOf(b.db.start())).toMatchObject({ code: 'HA_STREAM_GAP' });
    expect(dumpFile(b.path)).toEqual(before);
    await a.db.snapshot();
    await b.db.start();
    await expectSame(a, b);
  });

  it('notices while it runs, goes on being read, and comes back when there is a snapshot', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b', { snapshotInterval: 100 })];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 3);
    await expectSame(a, b);
    b.stream.disconnect();
    await fill(a, 4, 9);
    broker.trim(Number(a.db.position().received) - 2);
    await b.stream.connect();
    await until(() => b.db.status().state === 'halted');
    expect(b.db.status().lastError).toMatchObject({ code: 'HA_STREAM_GAP' });
    expect(await b.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 3 });
    await a.db.snapshot();
    await until(() => restored(b).length > 0 && b.db.status().state === 'running');
    await expectSame(a, b);
    await b.db.run(`INSERT INTO t VALUES(60, 'of b')`);
    await expectSame(a, b);
  });

  it('notices messages that went while it was connected', async () => {
    const { broker, make } = nodes();
    const [a] = [make('a')];
    await a.db.exec(SCHEMA);
    const stream = new MemoryStream({ broker, ...MEMORY_STREAM, manual: true });
    const b = memoryNode('b', temporaryFolder(), stream, { disableDBSnapshotter: true, snapshotInterval: 100 });
    const starting = b.db.start();
    while (b.runtime.open === undefined) {
      await stream.deliver();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await starting;
    await fill(a, 1, 9);
    await a.db.snapshot();
    broker.trim(4);
    await stream.deliver();
    await until(() => b.events.some(({ type }) => type === 'halted'));
    expect(b.events).toContainEqual(
      expect.objectContaining({ type: 'halted', error: expect.objectContaining({ code: 'HA_STREAM_GAP' }) }),
    );
    expect(await b.db.get('SELECT count(*) AS n FROM t').catch(() => ({ n: 0 }))).toEqual({ n: 0 });
  });

  it('does not take over a snapshot of another history', async () => {
    const one = nodes();
    const [a, b] = [one.make('a'), one.make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await expectSame(a, b);
    await b.db.stop();
    // Somebody empties the cluster, and begins anew on the same stream.
    await a.db.close();
    one.broker.trim(1);
    const c = one.make('c');
    await c.db.exec('CREATE TABLE other(v)');
    for (let n = 0; n < 5; n++) await c.db.run('INSERT INTO other VALUES(?)', [n]);
    await c.db.snapshot();
    one.broker.trim(4);
    const before = dumpFile(b.path);
    expect(await failureOf(b.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    expect(dumpFile(b.path)).toEqual(before);
  });
});

describe('a file with rows', () => {
  function existing(path: string): void {
    const db = new BetterSqlite3(path);
    db.exec(`${SCHEMA} INSERT INTO t VALUES(1, 'of old'), (7, 'too'); INSERT INTO bag VALUES(1), (2), (3);
      DELETE FROM bag WHERE rowid = 2; PRAGMA user_version = 9;`);
    db.close();
  }

  it('founds the cluster, also for nodes that were there before it', async () => {
    const { dir, make } = nodes();
    const early = make('early');
    await early.db.start();
    existing(join(dir, 'a.db'));
    const rows = dumpFile(join(dir, 'a.db'));
    const a = make('a');
    await a.db.start();
    expect(dumpFile(a.path)).toEqual(rows);
    await until(() => early.db.status().state === 'running' && restored(early).length > 0);
    const late = make('late');
    await late.db.start();
    await late.db.run(`INSERT INTO t(v) VALUES('of late')`);
    await fill(a, 20, 22);
    await expectSame(a, early, late);
    await a.db.snapshot();
    const last = make('last');
    await last.db.start();
    await expectSame(a, last);
    await a.db.stop();
    await a.db.start();
    await expectSame(a, last);
  });

  it('is refused where the cluster has a history', async () => {
    const { dir, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE mine(v)');
    existing(join(dir, 'b.db'));
    const rows = dumpFile(join(dir, 'b.db'));
    const error = await failureOf(make('b').db.start());
    expect(error).toMatchObject({ code: 'HA_FOREIGN_DATABASE' });
    expect(error.message).toMatch(/Move the file away.*another replicationID/);
    expect(dumpFile(join(dir, 'b.db'))).toEqual(rows);
  });

  it('is refused with bootstrap=never, and on a read replica', async () => {
    const { dir, make } = nodes();
    existing(join(dir, 'a.db'));
    existing(join(dir, 'b.db'));
    expect(await failureOf(make('a', { bootstrap: 'never' }).db.start())).toMatchObject({
      code: 'HA_FOREIGN_DATABASE',
    });
    expect(await failureOf(make('b', { disablePublisher: true }).db.start())).toMatchObject({
      code: 'HA_FOREIGN_DATABASE',
    });
  });

  it('lets one of two found', async () => {
    const { dir, make } = nodes();
    existing(join(dir, 'a.db'));
    existing(join(dir, 'b.db'));
    const [a, b] = [make('a'), make('b')];
    const ends = await Promise.allSettled([a.db.start(), b.db.start()]);
    const failed = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
    expect(failed).toEqual([expect.objectContaining({ code: 'HA_FOREIGN_DATABASE' })]);
  });
});

describe('db.resync', () => {
  it('takes over the snapshot of the cluster, and keeps the old file', async () => {
    const { make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 5);
    await expectSame(a, b);
    expect(await failureOf(b.db.resync({ from: 'snapshot' }))).toMatchObject({ code: 'HA_SNAPSHOT_FAILED' });
    await expectSame(a, b);
    const foreign = new BetterSqlite3(b.path);
    foreign.exec(`UPDATE t SET v = 'foreign'`);
    foreign.close();
    await a.db.snapshot();
    await b.db.resync({ from: 'snapshot' });
    await expectSame(a, b);
    const event = b.events.find(({ type }) => type === 'resynced') as { path?: string } | undefined;
    expect(existsSync(event?.path ?? '')).toBe(true);
  });

  it('makes the rows of this node those of all', async () => {
    const { broker, make } = nodes();
    const [a, b, c] = [make('a'), make('b'), make('c')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await c.db.start();
    await fill(a, 1, 5);
    await expectSame(a, b, c);
    await c.db.stop();
    const foreign = new BetterSqlite3(a.path);
    foreign.exec(`UPDATE t SET v = 'right' WHERE id = 2`);
    foreign.close();
    await a.db.resync({ from: 'this-node' });
    expect(await a.db.get('SELECT v FROM t WHERE id = 2')).toEqual({ v: 'right' });
    await until(async () => b.db.status().state === 'running' && restored(b).length > 0);
    await b.db.run(`INSERT INTO t VALUES(30, 'of b')`);
    await c.db.start();
    const d = make('d');
    await d.db.start();
    await expectSame(a, b, c, d);
    expect(await d.db.get('SELECT v FROM t WHERE id = 2')).toEqual({ v: 'right' });
    expect(a.db.status().foreignWrite).toBeUndefined();
    // With the next snapshot the copy of that moment is of no use any more.
    await a.db.snapshot();
    expect(broker.objects('s_SNAPSHOTS').names).toEqual(['db']);
    const e = make('e');
    await e.db.start();
    await expectSame(a, e);
  });

  it('is the way out where the stream was made anew', async () => {
    const { broker, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec(SCHEMA);
    await b.db.start();
    await fill(a, 1, 5);
    await a.db.snapshot();
    await expectSame(a, b);
    await a.db.stop();
    await b.db.stop();
    broker.recreate();
    expect(await failureOf(a.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    await a.db.resync({ from: 'this-node' });
    expect(await a.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 5 });
    expect(await failureOf(b.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    await a.db.snapshot();
    await b.db.resync({ from: 'snapshot' });
    await b.db.run(`INSERT INTO t VALUES(30, 'of b')`);
    await expectSame(a, b);
  });
});

describe('db.backup', () => {
  it('copies all to a file on which a node can be started', async () => {
    const { dir, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 5);
    const target = join(dir, 'copy.bak');
    const backup = await a.db.backup(target);
    expect(backup).toMatchObject({ path: target, sequence: a.db.position().received });
    expect(dumpFile(target)).toEqual(dumpFile(a.path));
    await fill(a, 6, 9);
    copyFileSync(target, join(dir, 'b.db'));
    const b = make('b');
    await b.db.start();
    expect(restored(b)).toEqual([]);
    await expectSame(a, b);
    expect(await failureOf(a.db.backup(a.path))).toMatchObject({ code: 'HA_SNAPSHOT_FAILED' });
    expect(await failureOf(a.db.backup(join(dir, 'none', 'x')))).toMatchObject({ code: 'HA_SNAPSHOT_FAILED' });
  });

  it('of two at once to one file both are whole, and a folder is refused', async () => {
    const { dir, make } = nodes();
    const a = make('a');
    await a.db.exec(SCHEMA);
    await fill(a, 1, 5);
    const target = join(dir, 'copy.bak');
    await Promise.all([a.db.backup(target), a.db.backup(target), a.db.backup(target)]);
    expect(dumpFile(target)).toEqual(dumpFile(a.path));
    expect(leftovers(a)).toEqual([]);
    const error = await failureOf(a.db.backup(dir));
    expect(error).toMatchObject({
      code: 'HA_SNAPSHOT_FAILED',
      message: expect.stringMatching(/is a folder/) as unknown,
    });
  });
});

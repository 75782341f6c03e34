import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { connect } from 'nats';
import type { HAEvent } from '../../../lib/common/events.js';
import type { HAOptions } from '../../../lib/config/options.js';
import { dumpFile } from '../../helper/dump.js';
import type { Dump } from '../../helper/dump.js';
import { failureOf, onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { compileLib } from '../../support/compile-lib.js';

let lib = '';

beforeAll(async () => {
  // Inside the project, so that packages are found.
  mkdirSync('build', { recursive: true });
  lib = resolve(mkdtempSync(join('build', 'snapshot-')));
  await compileLib([''], lib);
});

afterAll(() => rmSync(lib, { recursive: true, force: true }));

interface Message {
  readonly ready?: boolean;
  readonly done?: boolean;
  readonly stored?: number;
  readonly progress?: 'store' | 'restore';
  readonly failed?: { readonly code?: string; readonly message: string };
}

interface Run {
  readonly messages: Message[];
  kill(): Promise<void>;
  readonly ended: Promise<void>;
}

interface Settings {
  readonly killAt?: number;
  readonly killSql?: readonly [sql: string, before: number];
  readonly fullAt?: number;
  readonly snapshots?: number;
  /** Largest file that the process may write, KiB: a disk that is full. */
  readonly room?: number;
}

function run(options: HAOptions & { path: string }, { room, ...settings }: Settings = {}): Run {
  const limit = room === undefined ? '' : `ulimit -f ${room}; `;
  const args = [lib, JSON.stringify({ ...options, ...settings })];
  const child = spawn('bash', ['-c', `${limit}exec "$0" "$@"`, process.execPath, script(), ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const messages: Message[] = [];
  let errors = '';
  child.on('message', (message) => messages.push(message as Message));
  child.stderr?.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = once(child, 'exit').then(([code]) => {
    if (code !== null && code !== 0) throw new Error(`The node ended with ${code}: ${errors}`);
  });
  ended.catch(() => undefined);
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  onCleanup(kill);
  return { messages, kill, ended };
}

const script = (): string => resolve('test/e2e/snapshot/node-process.mjs');

/** A database that takes a moment to copy, and a node beside it. */
async function filled(rows = 12): Promise<{
  cluster: Cluster;
  dir: string;
  options: (name: string) => HAOptions & { path: string };
}> {
  const cluster = await startCluster({ nodes: 1, options: { disableDBSnapshotter: true } });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)');
  await grow(cluster, 1, rows);
  const dir = temporaryFolder();
  const options = (name: string): HAOptions & { path: string } => ({
    path: join(dir, `${name}.db`),
    name,
    replicationID: 'db',
    replicationStream: cluster.stream,
    replicationURL: cluster.url,
    disableDBSnapshotter: true,
  });
  return { cluster, dir, options };
}

async function grow({ a }: Cluster, from: number, to: number): Promise<void> {
  for (let id = from; id <= to; id++) await a.run('INSERT INTO t VALUES(?, randomblob(600000))', [id]);
}

/** The stream forgets everything. */
async function forget(cluster: Cluster): Promise<void> {
  const nc = await connect({ servers: cluster.url });
  await (await nc.jetstreamManager()).streams.purge(cluster.stream, { seq: (await cluster.lastSequence()) + 1 });
  await nc.close();
}

/** Rows as a new node gets them from the snapshot that is in the store at this moment. */
async function fromSnapshot(cluster: Cluster): Promise<Dump> {
  const node = cluster.make({ options: { disableDBSnapshotter: true } });
  await node.db.start();
  expect(node.events).toContainEqual(expect.objectContaining({ type: 'snapshot', action: 'restored' }));
  await node.db.waitFor(BigInt(await cluster.lastSequence()));
  await node.db.close();
  return dumpFile(node.path);
}

const isProgress = ({ type }: HAEvent): boolean => type === 'progress';
const leftovers = (dir: string): string[] =>
  readdirSync(dir).filter((name) => /-ha-(snapshot|restore|resync)|before-resync/.test(name));

describe('SIGKILL', () => {
  it('of a node that stores a snapshot leaves the one that is there', async () => {
    const { cluster, dir, options } = await filled();
    await cluster.a.snapshot();
    const rows = cluster.dump(0);
    let killedInside = 0;
    for (let round = 0; round < 4; round++) {
      const node = run(options('b'), { snapshots: 1_000 });
      const stores = (): number => node.messages.filter(({ progress }) => progress === 'store').length;
      await until(() => stores() > round % 3 || node.messages.some(({ failed }) => failed !== undefined));
      await node.kill();
      if (node.messages.at(-1)?.progress === 'store') killedInside++;
      expect(node.messages.find(({ failed }) => failed !== undefined)).toBeUndefined();
      expect(await fromSnapshot(cluster)).toEqual(rows);
    }
    expect(killedInside).toBeGreaterThan(0);
    // The next one that lives takes what they have left with it.
    const last = run(options('b'), { snapshots: 1 });
    await last.ended;
    expect(leftovers(dir)).toEqual([]);
    expect(await fromSnapshot(cluster)).toEqual(rows);
  });

  it('of a node that starts from a snapshot leaves it to the next start', async () => {
    const { cluster, dir, options } = await filled();
    await cluster.a.snapshot();
    for (let round = 0; round < 4; round++) {
      const node = run(options('b'));
      await until(() => node.messages.filter(({ progress }) => progress === 'restore').length > round % 2);
      await node.kill();
    }
    const node = run(options('b'));
    await node.ended;
    expect(node.messages).toContainEqual({ done: true });
    expect(dumpFile(join(dir, 'b.db'))).toEqual(cluster.dump(0));
    expect(leftovers(dir)).toEqual([]);
  });

  it('at every step of putting the snapshot in the place of the file leaves one of the two', async () => {
    const { cluster, dir, options } = await filled(1);
    const first = run(options('b'));
    await first.ended;
    const old = join(dir, 'old');
    copyFileSync(join(dir, 'b.db'), old);
    const oldRows = dumpFile(old);
    await grow(cluster, 13, 14);
    await cluster.a.snapshot();
    await forget(cluster);
    const path = join(dir, 'b.db');
    const seen = new Set<string>();
    for (let killAt = 1; ; killAt++) {
      for (const name of readdirSync(dir).filter((each) => each.startsWith('b.db'))) rmSync(join(dir, name));
      copyFileSync(old, path);
      const node = run(options('b'), { killAt });
      await node.ended;
      const isDone = node.messages.some(({ done }) => done === true);
      // Wherever it died, one of the two is there as a whole, in its place or where the next start looks for it.
      if (!isDone) seen.add(existsSync(`${path}-ha-resync`) ? 'between' : existsSync(path) ? 'in place' : 'gone');
      if (existsSync(path) && !existsSync(`${path}-ha-resync`)) {
        expect([oldRows, cluster.dump(0)]).toContainEqual(dumpFile(path));
      }
      const again = run(options('b'));
      await again.ended;
      expect(again.messages).toContainEqual({ done: true });
      expect(dumpFile(path)).toEqual(cluster.dump(0));
      if (isDone) break;
    }
    expect([...seen].sort()).toEqual(['between', 'in place']);
  }, 300_000);
});

describe('SIGKILL of a node that founds the cluster', () => {
  const kills = [
    { where: 'while it stores its rows', before: undefined },
    { where: 'in front of the message that brings them', before: 0 },
    { where: 'behind that message', before: 1 },
  ];

  it.each(kills)('$where leaves it to the next start', async ({ before }) => {
    const cluster = await startCluster({ nodes: 0 });
    const dir = temporaryFolder();
    const options = (name: string): HAOptions & { path: string } => ({
      path: join(dir, `${name}.db`),
      name,
      replicationID: 'db',
      replicationStream: cluster.stream,
      replicationURL: cluster.url,
      disableDBSnapshotter: true,
    });
    const { path } = options('a');
    const db = new BetterSqlite3(path);
    db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)');
    for (let id = 1; id <= 12; id++) db.prepare('INSERT INTO t VALUES(?, randomblob(600000))').run(id);
    db.exec('INSERT INTO bag SELECT id FROM t; DELETE FROM bag WHERE rowid = 3');
    db.close();
    const rows = dumpFile(path);
    const killSql = before === undefined ? {} : { killSql: ['DROP TABLE main.ha_founding', before] as const };
    const node = run(options('a'), killSql);
    if (before === undefined) {
      await until(() => node.messages.some(({ progress }) => progress === 'store'));
      await node.kill();
    } else await node.ended;
    expect(node.messages.find(({ done, failed }) => done !== undefined || failed !== undefined)).toBeUndefined();
    const again = run(options('a'));
    await again.ended;
    expect(again.messages).toContainEqual({ done: true });
    expect(dumpFile(path)).toEqual(rows);
    const b = await cluster.add({ options: { disableDBSnapshotter: true } });
    await b.db.waitFor(BigInt(await cluster.lastSequence()));
    expect(dumpFile(b.path)).toEqual(rows);
    // Only behind the message others may follow rows that the file had then, and no longer has.
    const kept = leftovers(dir);
    expect(kept).toHaveLength(before === 1 ? 1 : 0);
    for (const name of kept) expect(dumpFile(join(dir, name))).toEqual(rows);
  });
});

describe('a disk that is full', () => {
  it('lets no snapshot be taken, and the database goes on', async () => {
    const { cluster, dir, options } = await filled();
    await cluster.a.snapshot();
    const ready = run(options('b'));
    await ready.ended;
    const node = run(options('b'), { snapshots: 1, room: 4_000 });
    await node.ended;
    expect(node.messages).toContainEqual({ ready: true });
    expect(node.messages.at(-1)?.failed?.code).toBe('HA_SNAPSHOT_FAILED');
    expect(leftovers(dir)).toEqual([]);
    expect(await fromSnapshot(cluster)).toEqual(cluster.dump(0));
  });

  it('lets no node start from a snapshot, and its file is as it was', async () => {
    const { cluster, dir, options } = await filled();
    const first = run(options('b'));
    await first.ended;
    const rows = dumpFile(join(dir, 'b.db'));
    await grow(cluster, 13, 14);
    await cluster.a.snapshot();
    await forget(cluster);
    const node = run(options('b'), { room: 4_000 });
    await node.ended;
    expect(node.messages.at(-1)?.failed?.code).toBe('HA_SNAPSHOT_FAILED');
    expect(dumpFile(join(dir, 'b.db'))).toEqual(rows);
    expect(leftovers(dir)).toEqual([]);
    const again = run(options('b'));
    await again.ended;
    expect(dumpFile(join(dir, 'b.db'))).toEqual(cluster.dump(0));
  });

  it('at every step of putting the snapshot in the place of the file leaves one of the two', async () => {
    const { cluster, dir, options } = await filled(1);
    await run(options('b')).ended;
    const [path, old] = [join(dir, 'b.db'), join(dir, 'old')];
    copyFileSync(path, old);
    await grow(cluster, 13, 14);
    await cluster.a.snapshot();
    await forget(cluster);
    const codes = new Set<string | undefined>();
    for (let fullAt = 1; ; fullAt++) {
      for (const name of readdirSync(dir).filter((each) => each.startsWith('b.db'))) rmSync(join(dir, name));
      copyFileSync(old, path);
      const node = run(options('b'), { fullAt });
      await node.ended;
      // The process goes on where there is room again.
      expect(node.messages).toContainEqual({ done: true });
      expect(dumpFile(path)).toEqual(cluster.dump(0));
      expect(leftovers(dir)).toEqual([]);
      const failed = node.messages.find((message) => message.failed !== undefined)?.failed;
      codes.add(failed?.code);
      if (failed === undefined && fullAt > 3) break;
    }
    expect([...codes].filter((code) => code !== undefined)).toEqual(['HA_SNAPSHOT_FAILED']);
  }, 300_000);
});

describe('a server that is killed', () => {
  it('while snapshots are stored and taken over harms neither', async () => {
    const cluster = await startCluster({
      nodes: 1,
      options: { disableDBSnapshotter: true },
      server: { port: 0 },
    });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await grow(cluster, 1, 12);
    await cluster.a.snapshot();
    const rows = cluster.dump(0);
    for (let round = 0; round < 3; round++) {
      const storing = cluster.a.snapshot({ replace: true }).then(
        () => undefined,
        (error: unknown) => error,
      );
      const node = cluster.make({ options: { disableDBSnapshotter: true } });
      onCleanup(() => node.db.close());
      const starting = node.db.start().then(
        () => undefined,
        (error: unknown) => error,
      );
      const progress = (): number => [...cluster.node(0).events, ...node.events].filter(isProgress).length;
      const before = progress();
      await until(() => progress() > before + (round % 2));
      process.kill(cluster.server.pid, 'SIGKILL');
      for (const error of [await storing, await starting]) {
        if (error !== undefined) expect(error).toMatchObject({ retryable: true });
      }
      await until(() => cluster.a.status().connected);
      await node.db.start();
      await node.db.waitFor(BigInt(await cluster.lastSequence()));
      expect(dumpFile(node.path)).toEqual(rows);
      await node.db.close();
    }
    await cluster.a.snapshot({ replace: true });
    expect(await fromSnapshot(cluster)).toEqual(rows);
    expect(await failureOf(cluster.a.run('INSERT INTO none VALUES(1)'))).toMatchObject({ code: 'SQLITE_ERROR' });
  }, 300_000);
});

import 'reflect-metadata';
import { closeSync, copyFileSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HADatabase } from 'nestjs-ha';
import { EmbeddedNatsServer } from '../lib/stream/embedded/server.js';
import { JetStreamStream } from '../lib/stream/jetstream/jetstream-stream.js';
import { BenchCluster } from './cluster.js';
import { CREATE_PEOPLE, insertRate, longestStalls, median } from './measure.js';
import type { Stalls } from './measure.js';
import { Report } from './report.js';

/** `npm run bench:snapshots -- --mb 1024`: snapshots of a large database beside a plain copy of its file. */
const MB = Number(process.argv[process.argv.indexOf('--mb') + 1]);
if (!Number.isSafeInteger(MB) || MB < 1) throw new Error('npm run bench:snapshots -- --mb 1024');
const ID = 'large.db';
const QUIET = '&disableDBSnapshotter=true';
const WRITERS = 64;

const report = new Report();
const cluster = new BenchCluster();
const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: cluster.path('nats') });

try {
  report.title(`snapshots of ${MB} MB, nats-server ${server.version}, Node ${process.version}`);
  fill(cluster.path('n1.db'));
  const cp = median([copyTime(), copyTime(), copyTime()]);
  const founding = performance.now();
  const { db } = await cluster.node(ID, server.url, QUIET);
  report.cost(
    'start that founds the cluster, s',
    seconds(founding),
    `cp with fsync ${(cp / 1_000).toFixed(2)} s`,
    undefined,
  );
  await store(db, cp);
  await commits(db);
  // Else what was written since would have to be replayed.
  await db.snapshot();
  await bootstrap(cp);
} finally {
  await cluster.close();
  await server.release();
}
report.print();

function fill(path: string): void {
  const db = new BetterSqlite3(path);
  db.exec('CREATE TABLE large(id INTEGER PRIMARY KEY, v BLOB)');
  db.pragma('synchronous = OFF');
  const insert = db.prepare('INSERT INTO large(v) VALUES(randomblob(4000))');
  db.transaction(() => {
    for (let n = 0; n < MB * 256; n++) insert.run();
  })();
  db.close();
}

/** Milliseconds until a copy of the file is on the disk. */
function copyTime(): number {
  const [from, to] = [cluster.path('n1.db'), cluster.path('copy')];
  const started = performance.now();
  copyFileSync(from, to);
  const file = openSync(to, 'r+');
  fsyncSync(file);
  closeSync(file);
  const ms = performance.now() - started;
  rmSync(to);
  return ms;
}

async function store(db: HADatabase, cp: number): Promise<void> {
  const before = process.memoryUsage.rss();
  let most = before;
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 20);
  const started = performance.now();
  const stall = await longestStalls(async () => void (await db.snapshot({ replace: true })));
  clearInterval(watch);
  const ms = performance.now() - started;
  report.cost('snapshot, × cp', ms / cp, `${(ms / 1_000).toFixed(2)} s, cp ${(cp / 1_000).toFixed(2)} s`, undefined);
  report.cost('longest stall of the loop during a snapshot, ms', stall.own, byTheClock(stall), 10);
  report.cost('memory that a snapshot takes, MB', (most - before) / 1024 ** 2, 'resident', 64);
}

/** Commits while snapshots are taken one after another, beside commits without. */
async function commits(db: HADatabase): Promise<void> {
  await db.exec(CREATE_PEOPLE);
  let id = 0;
  await insertRate(db, (id += 1_000_000), 5_000, WRITERS);
  const [without, during]: [number[], number[]] = [[], []];
  for (let round = 0; round < 3; round++) {
    without.push(await insertRate(db, (id += 1_000_000), 20_000, WRITERS));
    during.push(await rateDuring(db, (id += 1_000_000)));
  }
  const [ours, theirs] = [median(during), median(without)];
  report.rate(`commits/s during a snapshot, ${WRITERS} writers`, ours, 'without one', theirs, 0.8);
}

async function rateDuring(db: HADatabase, from: number): Promise<number> {
  let running = true;
  const snapshot = db.snapshot({ replace: true }).finally(() => (running = false));
  const started = performance.now();
  let count = 0;
  let ms = 0;
  while (running) {
    const rate = 1_000;
    await insertRate(db, from + count, rate, WRITERS);
    if (running || count === 0) {
      count += rate;
      ms = performance.now() - started;
    }
  }
  await snapshot;
  return count / (ms / 1_000);
}

async function bootstrap(cp: number): Promise<void> {
  const transfer = await transferTime();
  const started = performance.now();
  const stall = await longestStalls(async () => {
    const { close } = await cluster.node(ID, server.url, QUIET);
    await close();
  });
  const ms = performance.now() - started;
  const aim = 4 * cp + transfer;
  const note = `${(ms / 1_000).toFixed(2)} s; cp ${(cp / 1_000).toFixed(2)} s, transfer ${(transfer / 1_000).toFixed(2)} s`;
  report.cost('bootstrap of a fresh node, × (4 cp + transfer)', ms / aim, note, 1);
  report.cost('longest stall of the loop while it starts, ms', stall.own, byTheClock(stall), 20);
}

/** The bytes of the snapshot from the server, and no further. */
async function transferTime(): Promise<number> {
  const access = { servers: [server.url], name: 'bench' };
  const base = { access, stream: 'ha_replication', subject: 'ha_replication.large_db', replicas: 1 };
  const stream = new JetStreamStream({ ...base, maxAge: undefined, warn: () => undefined });
  await stream.open();
  try {
    const objects = await stream.objects('ha_replication_SNAPSHOTS');
    const info = await objects.info(ID);
    if (info === undefined) throw new Error('there is no snapshot');
    const started = performance.now();
    let bytes = 0;
    for await (const piece of objects.read(info)) bytes += piece.length;
    if (bytes < statSync(join(cluster.folder, 'n1.db')).size / 2) throw new Error(`only ${bytes} bytes came`);
    return performance.now() - started;
  } finally {
    await stream.close();
  }
}

/** A machine that others use too holds every loop up. */
function byTheClock({ wall }: Stalls): string {
  return `${wall.toFixed(1)} ms by the clock, other programs included`;
}

function seconds(since: number): number {
  return (performance.now() - since) / 1_000;
}

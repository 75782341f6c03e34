import 'reflect-metadata';
import BetterSqlite3 from 'better-sqlite3';
import { EmbeddedNatsServer } from '../lib/stream/embedded/server.js';
import { PublishBaseline } from './baselines.js';
import { BenchCluster } from './cluster.js';
import { contention } from './contention.js';
import { grpc } from './grpc.js';
import { CREATE_PEOPLE, generatedRate, insertRate, longestStall, median, percentile, rate } from './measure.js';
import { history } from './history.js';
import { outbox } from './outbox.js';
import { Report } from './report.js';

/** `npm run bench`: every figure beside its own baseline, in one run on one machine. `--quick` for a tenth of the work. */
const SCALE = process.argv.includes('--quick') ? 0.1 : 1;
const MESSAGES = 50_000 * SCALE;
const CAPTURED_ROWS = 100_000 * SCALE;
/** About what one insert of the bench takes on the wire. */
const PAYLOAD_BYTES = 330;
const LAG_SECONDS = 10 * SCALE;

const report = new Report();
const cluster = new BenchCluster();
const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: cluster.path('nats') });
const url = server.url;

try {
  report.title(`nats-server ${server.version}, Node ${process.version}, ${PAYLOAD_BYTES} bytes a message`);
  await writes();
  await outbox(cluster, url, report, 30_000 * SCALE);
  await history(cluster, url, report, SCALE);
  await capture();
  await catchUp();
  await reads();
  await lag();
  await contend();
  await grpc(cluster, url, report, SCALE);
} finally {
  await cluster.close();
  await server.release();
}
report.print();

/** Writers beside the publishes of the same payload. */
async function writes(): Promise<void> {
  const { db, close } = await cluster.node('writes.db', url);
  const baseline = await PublishBaseline.open(url, PAYLOAD_BYTES);
  await db.exec(CREATE_PEOPLE);
  await insertRate(db, 0, 2_000 * SCALE, 64);
  let id = 1_000_000;
  for (const writers of [1, 8, 64, 256]) {
    const total = (writers === 1 ? 5_000 : 30_000) * SCALE;
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < 3; round++) {
      theirs.push(await baseline.run(total, writers === 1 ? 1 : 1_000));
      ours.push(await insertRate(db, (id += 1_000_000), total, writers));
    }
    report.rate(
      `commits/s, ${writers} writer(s), explicit ids`,
      median(ours),
      `publishes, ${writers === 1 ? 'one at a time' : '1,000 in flight'}`,
      median(theirs),
      writers === 64 ? 0.65 : undefined,
    );
  }
  await generated(db, baseline);
  await baseline.close();
  await close();
}

async function generated(db: Parameters<typeof generatedRate>[0], baseline: PublishBaseline): Promise<void> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < 3; round++) {
    theirs.push(await baseline.runOrdered(30_000 * SCALE, 64));
    ours.push(await generatedRate(db, 30_000 * SCALE, 64));
  }
  report.rate(
    'commits/s, 64 writers, generated ids',
    median(ours),
    'bare ordered publishes, groups of 64',
    median(theirs),
    0.6,
  );
}

/** What the triggers and the drain cost on one statement of many rows. */
async function capture(): Promise<void> {
  const source = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${CAPTURED_ROWS})
    INSERT INTO people(id, name, email, age) SELECT i, 'Some Name', 'some.name@example.com', 33 FROM n`;
  const perRow = async (stream: string): Promise<number> => {
    const { db, close } = await cluster.node(`capture-${stream === url}.db`, stream);
    await db.exec(CREATE_PEOPLE);
    const times: number[] = [];
    for (let round = 0; round < 3; round++) {
      await db.run('DELETE FROM people');
      times.push(await captureTime(db, source));
    }
    await close();
    return (median(times) * 1_000) / CAPTURED_ROWS;
  };
  const without = await perRow('standalone');
  const captured = await perRow(url);
  report.cost('capture, µs a row, INSERT…SELECT', captured - without, `without capture ${without.toFixed(2)} µs`, 2.5);
}

/** Time of statement and drain; sending and committing are not capture. */
async function captureTime(db: Parameters<typeof generatedRate>[0], sql: string): Promise<number> {
  let captured = 0;
  const started = performance.now();
  await db
    .transaction(
      async (tx) => {
        await tx.run(sql);
        await tx.savepoint(() => undefined);
        captured = performance.now() - started;
        throw new Error('measured');
      },
      { timeout: 60_000 },
    )
    .catch(() => undefined);
  return captured;
}

async function catchUp(): Promise<void> {
  const writer = await cluster.node('catch-up.db', url);
  await writer.db.exec(CREATE_PEOPLE);
  await insertRate(writer.db, 0, MESSAGES, 256);
  await writer.close();
  const rates: number[] = [];
  const stalls: number[] = [];
  for (let round = 0; round < 3; round++) {
    const started = performance.now();
    stalls.push(
      await longestStall(async () => {
        const { db, close } = await cluster.node('catch-up.db', url, '&bootstrap=never');
        rates.push(MESSAGES / ((performance.now() - started) / 1_000));
        const row = await db.get<{ n: number }>('SELECT count(*) AS n FROM people');
        if (row?.n !== MESSAGES) throw new Error(`caught up with ${row?.n} rows of ${MESSAGES}`);
        await close();
      }),
    );
  }
  report.rate('catch-up of a fresh node, messages/s', median(rates), 'aim', 50_000, 1);
  report.cost('longest stall of the loop while catching up, ms', median(stalls), 'of three runs', 20);
}

async function reads(): Promise<void> {
  const rows = 10_000;
  const { db, close } = await cluster.node('reads.db', 'standalone');
  await db.exec(CREATE_PEOPLE);
  await db.transaction(
    async (tx) => {
      for (let i = 0; i < rows; i++) await tx.run('INSERT INTO people VALUES(?, ?, ?, ?)', [BigInt(i), 'n', 'e', 1n]);
    },
    { timeout: 60_000 },
  );
  const sql = 'SELECT * FROM people WHERE id = ?';
  const raw = new BetterSqlite3(cluster.path('raw.db'));
  raw.pragma('journal_mode = WAL');
  raw.exec(CREATE_PEOPLE);
  const insert = raw.prepare('INSERT INTO people VALUES(?, ?, ?, ?)');
  raw.transaction(() => {
    for (let i = 0; i < rows; i++) insert.run(BigInt(i), 'n', 'e', 1n);
  })();
  const plain = raw.prepare(sql);
  const local = db.reader.prepare(sql);
  const prepared = db.prepare(sql);
  const total = 200_000 * SCALE;
  const figures = { raw: [] as number[], reader: [] as number[], prepared: [] as number[], get: [] as number[] };
  for (let round = 0; round < 5; round++) {
    figures.raw.push(synchronousRate(total, (n) => plain.get(n % rows)));
    figures.reader.push(synchronousRate(total, (n) => local.get(n % rows)));
    figures.prepared.push(await rate(total, 1, (n) => prepared.get(n % rows)));
    figures.get.push(await rate(total, 1, (n) => db.get(sql, [n % rows])));
  }
  const baseline = median(figures.raw);
  report.rate('point reads/s, db.reader', median(figures.reader), 'raw better-sqlite3', baseline, 0.9);
  report.rate('point reads/s, await statement.get()', median(figures.prepared), 'raw better-sqlite3', baseline, 0.9);
  report.rate('point reads/s, await db.get()', median(figures.get), 'raw better-sqlite3', baseline, 0.9);
  raw.close();
  await close();
}

function synchronousRate(total: number, task: (n: number) => unknown): number {
  const started = performance.now();
  for (let n = 0; n < total; n++) task(n);
  return total / ((performance.now() - started) / 1_000);
}

/** Time from the call on one node to the row being visible on another, at 100 transactions a second. */
async function lag(): Promise<void> {
  const a = await cluster.node('lag.db', url);
  const b = await cluster.node('lag.db', url);
  await a.db.exec(CREATE_PEOPLE);
  const lags: number[] = [];
  const started = performance.now();
  for (let n = 0; n < LAG_SECONDS * 100; n++) {
    const due = started + n * 10;
    while (performance.now() < due)
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    const called = performance.now();
    const { txseq } = await a.db.run('INSERT INTO people(id) VALUES(?)', [BigInt(n + 1)]);
    await b.db.waitFor(txseq ?? 0n);
    lags.push(performance.now() - called);
  }
  lags.sort((x, y) => x - y);
  report.cost('lag at 100 tx/s, p50 ms', percentile(lags, 0.5), 'call on one node to visible on another', undefined);
  report.cost('lag at 100 tx/s, p99 ms', percentile(lags, 0.99), 'call on one node to visible on another', 5);
  await b.close();
  await a.close();
}

/** Three processes write to the same hundred rows; the aims are commits a second of all together, on two cores. */
async function contend(): Promise<void> {
  for (const { serializable, aim } of [
    { serializable: false, aim: 5_000 },
    { serializable: true, aim: 4_000 },
  ]) {
    const kind = serializable ? 'concurrency=serializable' : 'plain';
    const { total, fairness, longest } = await contention(cluster, url, {
      writers: 64,
      seconds: 20 * SCALE,
      serializable,
    });
    report.rate(`commits/s, 3 nodes × 64 writers on the same 100 rows, ${kind}`, total, 'aim', aim, 1);
    report.cost(`… commits of the slowest node by those of the fastest, ${kind}`, fairness, '1 is even', undefined);
    report.cost(`… longest call, ms, ${kind}`, longest, 'of all nodes', undefined);
  }
}

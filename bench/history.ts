import type { HADatabase } from 'nestjs-ha';
import type { BenchCluster } from './cluster.js';
import { CREATE_PEOPLE, insertRate, longestStall, median } from './measure.js';
import type { Report } from './report.js';

const ROUNDS = 3;
const PAGE = 1_000;

/** What reading the past costs, and taking it back. */
export async function history(cluster: BenchCluster, url: string, report: Report, scale: number): Promise<void> {
  await undo(cluster, url, report, 100_000 * scale);
  await pages(cluster, url, report, 50_000 * scale);
}

/** One transaction of many rows: from the call to every row being back, beside the time in which a node applies it that was away. */
async function undo(cluster: BenchCluster, url: string, report: Report, rows: number): Promise<void> {
  const a = await cluster.node('undo.db', url);
  const b = await cluster.node('undo.db', url);
  await a.db.exec(CREATE_PEOPLE);
  const insert = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO people(id, name, email, age) SELECT i, 'Some Name', 'some.name@example.com', 33 FROM n`;
  const applied: number[] = [];
  const undone: number[] = [];
  const stalls: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = await restartTime(b.db, async () => undefined);
    let txseq = 0n;
    const catchUp = await restartTime(b.db, async () => void ({ txseq = 0n } = await a.db.run(insert)));
    applied.push(catchUp - start);
    // Both are in this process, and would take turns.
    await b.db.stop();
    const started = performance.now();
    stalls.push(await longestStall(async () => void (await a.db.undo({ from: txseq }))));
    undone.push(performance.now() - started);
    await refuseRows(a.db);
    await b.db.start();
  }
  const what = `undo of one transaction of ${rows.toLocaleString('en')} rows, ms`;
  report.cost(what, median(undone), `applied by another node in ${median(applied).toFixed(0)} ms`, 3 * median(applied));
  report.cost('… longest stall of the loop meanwhile, ms', median(stalls), 'of three runs', undefined);
  await b.close();
  await a.close();
}

/** How long a node takes to start, behind what happened while it was stopped. */
async function restartTime(db: HADatabase, meanwhile: () => Promise<void>): Promise<number> {
  await db.stop();
  await meanwhile();
  const started = performance.now();
  await db.start();
  return performance.now() - started;
}

async function refuseRows(db: HADatabase): Promise<void> {
  const row = await db.get<{ n: number }>('SELECT count(*) AS n FROM people');
  if (row?.n !== 0) throw new Error(`the undo left ${row?.n} rows`);
}

/** Pages of small transactions, one after the other, as a user interface would ask for them. */
async function pages(cluster: BenchCluster, url: string, report: Report, total: number): Promise<void> {
  const { db, close } = await cluster.node('pages.db', url);
  await db.exec(CREATE_PEOPLE);
  await insertRate(db, 0, total, 256);
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    let read = 0;
    let after = 0n;
    for (let page = PAGE; page === PAGE; read += page) {
      page = 0;
      for await (const { sequence } of db.history(undefined, { after, limit: PAGE })) {
        after = sequence;
        page++;
      }
    }
    rates.push(read / ((performance.now() - started) / 1_000));
    if (read < total) throw new Error(`history told ${read} transactions of ${total}`);
  }
  report.rate('history in pages of 1,000, transactions/s', median(rates), 'aim', 20_000, 1);
  await close();
}

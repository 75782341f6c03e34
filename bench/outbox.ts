import type { HADatabase } from 'nestjs-ha';
import { CREATE_PEOPLE, insertRate, median } from './measure.js';
import type { BenchCluster } from './cluster.js';
import type { Report } from './report.js';

const WRITERS = 64;
const ROUNDS = 5;

/** asyncPublisher: what callers see, and how fast the outbox gets into the stream beside and behind them. */
export async function outbox(cluster: BenchCluster, url: string, report: Report, total: number): Promise<void> {
  const { db, close } = await cluster.node('outbox.db', url, '&asyncPublisher=true');
  const standalone = await cluster.node('outbox-alone.db', 'standalone');
  await db.exec(CREATE_PEOPLE);
  await standalone.db.exec(CREATE_PEOPLE);
  await insertRate(db, 0, total / 10, WRITERS);
  await emptied(db);
  const commits: number[] = [];
  const alone: number[] = [];
  const relayed: number[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const from = round * 1_000_000;
    alone.push(await insertRate(standalone.db, from, total, WRITERS));
    const started = performance.now();
    commits.push(await insertRate(db, from, total, WRITERS));
    await emptied(db);
    relayed.push(total / ((performance.now() - started) / 1_000));
  }
  report.rate('commits/s, 64 writers, asyncPublisher', median(commits), 'aim', 20_000, 1);
  report.rate('… of that without any stream', median(commits), 'standalone', median(alone), undefined);
  report.rate('… stored by the stream, from the first commit to an empty outbox', median(relayed), 'aim', 15_000, 1);
  await standalone.close();
  await close();
}

async function emptied(db: HADatabase): Promise<void> {
  while ((db.status().outbox?.size ?? 0) > 0) await new Promise((resolve) => setTimeout(resolve, 1));
}

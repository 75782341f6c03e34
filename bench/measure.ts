import { existsSync, readFileSync } from 'node:fs';
import type { HADatabase } from 'nestjs-ha';

export const CREATE_PEOPLE = 'CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT, email TEXT, age INT)';
const WITH_ID = 'INSERT INTO people(id, name, email, age) VALUES(?, ?, ?, ?)';
const WITHOUT_ID = 'INSERT INTO people(name, email, age) VALUES(?, ?, ?)';

/** Runs a task from many writers at once; answers runs a second. */
export async function rate(total: number, writers: number, task: (n: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (next < total) await task(next++);
    }),
  );
  return total / ((performance.now() - started) / 1_000);
}

/** Single-row commits a second with ids that the application chose. */
export function insertRate(db: HADatabase, from: number, total: number, writers: number): Promise<number> {
  return rate(total, writers, (n) => db.run(WITH_ID, [BigInt(from + n), 'Some Name', 'some.name@example.com', 33n]));
}

/** The same with ids that SQLite chooses: ordered transactions. */
export function generatedRate(db: HADatabase, total: number, writers: number): Promise<number> {
  return rate(total, writers, () => db.run(WITHOUT_ID, ['Some Name', 'some.name@example.com', 33n]));
}

/** The longest time that the event loop did not come round while something ran, ms. */
export async function longestStall(work: () => Promise<void>): Promise<number> {
  return (await longestStalls(work)).wall;
}

export interface Stalls {
  /** By the clock, ms. */
  readonly wall: number;
  /** Without the time in which other programs had the processor, ms; by the clock where the system does not tell. */
  readonly own: number;
}

/** The same, and what of it is this process's own doing. */
export async function longestStalls(work: () => Promise<void>): Promise<Stalls> {
  const waited = processorWait();
  let [wall, own] = [0, 0];
  let [last, lastWait] = [performance.now(), waited()];
  const timer = setInterval(() => {
    const [now, wait] = [performance.now(), waited()];
    const stall = now - last - 1;
    wall = Math.max(wall, stall);
    own = Math.max(own, stall - (wait - lastWait));
    [last, lastWait] = [now, wait];
  }, 1);
  await work();
  clearInterval(timer);
  return { wall, own };
}

/** How long the main thread was ready and had no processor, ms: https://docs.kernel.org/scheduler/sched-stats.html */
function processorWait(): () => number {
  const path = `/proc/self/task/${process.pid}/schedstat`;
  if (!existsSync(path)) return () => 0;
  return () => Number(readFileSync(path, 'latin1').split(' ')[1]) / 1e6;
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function median(values: readonly number[]): number {
  return percentile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

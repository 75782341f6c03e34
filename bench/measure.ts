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
  let longest = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 1);
    last = now;
  }, 1);
  await work();
  clearInterval(timer);
  return longest;
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

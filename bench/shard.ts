import 'reflect-metadata';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NestFactory } from '@nestjs/core';
import BetterSqlite3 from 'better-sqlite3';
import { HAModule, getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { median } from './measure.js';

/** `npm run bench:shard -- --rows 1000000`: SELECTs over 8 databases beside one that holds the rows of all. */
const at = process.argv.indexOf('--rows');
const ROWS = at < 0 ? 1_000_000 : Number(process.argv[at + 1]);
const DATABASES = 8;
const ROUNDS = 5;

const QUERIES: readonly (readonly [string, string])[] = [
  [
    'GROUP BY, counts and sums of integers',
    'SELECT city, count(*), sum(cents), avg(cents), max(cents) FROM orders GROUP BY city',
  ],
  ['GROUP BY an expression', "SELECT cents / 1000, count(*) FROM orders WHERE city <> 'c7' GROUP BY 1"],
  ['count(*)', 'SELECT count(*) FROM orders'],
  ['ORDER BY with LIMIT', 'SELECT * FROM orders ORDER BY cents DESC, id LIMIT 20'],
  ['GROUP BY, sums of REAL', 'SELECT city, sum(weight) FROM orders GROUP BY city'],
  ['count(DISTINCT …)', 'SELECT count(DISTINCT cents) FROM orders'],
];

const folder = mkdtempSync(join(tmpdir(), 'bench-shard-'));
try {
  fill(join(folder, 'single.db'), ROWS * DATABASES, 0);
  for (let i = 0; i < DATABASES; i++) fill(join(folder, `part-${i}.db`), ROWS, i * ROWS);
  const parts = Array.from({ length: DATABASES }, (_, i) => `part-${i}`);
  const app = await NestFactory.createApplicationContext(
    HAModule.forRoot([
      { connection: 'main', dsn: `file:${join(folder, 'main.db')}`, allowCrossDatabase: true },
      ...parts.map((connection) => ({ connection, dsn: `file:${join(folder, `${connection}.db`)}` })),
    ]),
    { logger: ['error'] },
  );
  const main = app.get<HADatabase>(getHAToken('main'), { strict: false });
  const single = new BetterSqlite3(join(folder, 'single.db'), { readonly: true });
  await main.get('/*+ db=part-0 */ SELECT 1');
  console.log(`${DATABASES} databases of ${ROWS} rows, and one of ${DATABASES * ROWS}; median of ${ROUNDS}, ms`);
  console.log('| query | one database | several | ratio |\n| --- | --- | --- | --- |');
  for (const [name, sql] of QUERIES) {
    const alone: number[] = [];
    const across: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      alone.push(await timed(() => void single.prepare(sql).all()));
      across.push(await timed(() => main.all(`/*+ db=part-.* */ ${sql}`)));
    }
    const ratio = median(across) / median(alone);
    console.log(`| ${name} | ${median(alone).toFixed(0)} | ${median(across).toFixed(0)} | ${ratio.toFixed(2)} |`);
  }
  const first: number[] = [];
  for (let round = 0; round < 20; round++) first.push(await timed(() => firstRow(main)));
  console.log(`first row of a streaming SELECT: ${median(first).toFixed(2)} ms`);
  const before = process.memoryUsage().rss;
  let rows = 0;
  let most = 0;
  for await (const _ of main.iterate('/*+ db=part-.* */ SELECT * FROM orders')) {
    if (++rows % 100_000 === 0) most = Math.max(most, process.memoryUsage().rss);
  }
  console.log(`streamed ${rows} rows; memory grew by ${((most - before) / 1e6).toFixed(0)} MB at most`);
  single.close();
  await app.close();
} finally {
  rmSync(folder, { recursive: true });
}

function fill(path: string, rows: number, from: number): void {
  const db = new BetterSqlite3(path);
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = OFF');
  db.exec('CREATE TABLE orders(id INTEGER PRIMARY KEY, city TEXT, cents INTEGER, weight REAL)');
  db.prepare(
    `WITH RECURSIVE c(n) AS (SELECT @from + 1 UNION ALL SELECT n + 1 FROM c WHERE n < @from + @rows)
     INSERT INTO orders SELECT n, 'c' || (n * 7919 % 97), n * 104729 % 100003, n % 1000 / 7.0 FROM c`,
  ).run({ from: BigInt(from), rows: BigInt(rows) });
  db.close();
}

async function timed(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

async function firstRow(db: HADatabase): Promise<void> {
  for await (const _ of db.iterate('/*+ db=part-.* */ SELECT * FROM orders WHERE cents > 5')) return;
}

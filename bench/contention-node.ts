import 'reflect-metadata';
import { once } from 'node:events';
import { NestFactory } from '@nestjs/core';
import { HADatabase, HAModule } from 'nestjs-ha';
import { percentile } from './measure.js';
import type { ContentionTask, NodeFigures } from './contention.js';

/** One node of the contention bench, in a process of its own: every writer updates random rows of the same few. */
const task = JSON.parse(process.env['BENCH_TASK'] ?? '{}') as ContentionTask;
const app = await NestFactory.createApplicationContext(
  { module: class ContentionModule {}, imports: [HAModule.forRoot(task.dsn, { retryAttempts: 0 })] },
  { logger: ['error'] },
);
const db = app.get(HADatabase);
process.send?.('ready');
const [rows] = (await once(process, 'message')) as [number];
process.send?.(await work(rows));
const [last] = (await once(process, 'message')) as [number];
process.send?.(await contents(last));
await once(process, 'message');
await app.close();
process.disconnect();

async function work(count: number): Promise<NodeFigures> {
  const latencies: number[] = [];
  const until = performance.now() + task.seconds * 1_000;
  await Promise.all(
    Array.from({ length: task.writers }, async () => {
      while (performance.now() < until) {
        const called = performance.now();
        await db.run('UPDATE counters SET n = n + 1, writer = ? WHERE id = ?', [
          task.name,
          BigInt(Math.floor(Math.random() * count)),
        ]);
        latencies.push(performance.now() - called);
      }
    }),
  );
  latencies.sort((a, b) => a - b);
  return {
    commits: latencies.length,
    p50: percentile(latencies, 0.5),
    p99: percentile(latencies, 0.99),
    longest: latencies.at(-1) ?? 0,
    last: Number(db.position().published),
  };
}

/** What the rows are once everything of every node is applied. */
async function contents(sequence: number): Promise<string> {
  await db.waitFor(BigInt(sequence), { timeout: 60_000 });
  return JSON.stringify(await db.all('SELECT * FROM counters ORDER BY id'));
}

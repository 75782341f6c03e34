import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { HADatabase, HALeader, HAModule } from 'nestjs-ha';
import { HARemoteDatabase } from 'nestjs-ha/grpc';
import { CREATE_PEOPLE, median } from './measure.js';
import type { LeaderTask, Question } from './leader.js';

/** One node of a cluster with a leader, in a process of its own. */
const task = JSON.parse(process.env['BENCH_TASK'] ?? '{}') as LeaderTask;
const app = await NestFactory.createApplicationContext(
  { module: class LeaderModule {}, imports: [HAModule.forRoot(task.dsn, { retryAttempts: 10, retryDelay: 100 })] },
  { logger: ['error'] },
);
const db = app.get(HADatabase);
const leader = app.get(HALeader);
let next = task.firstId;

process.on('message', ({ id, ask, count = 0 }: Question) => {
  void answer(ask, count).then((value) => process.send?.({ id, value }, () => ask === 'close' && process.disconnect()));
});
process.send?.({ id: 0, value: 0 });

async function answer(ask: Question['ask'], count: number): Promise<number> {
  switch (ask) {
    case 'leads':
      return leader.isLeader() ? 1 : 0;
    case 'knows':
      return leader.isLeader() || leader.target() !== undefined ? 1 : 0;
    case 'create':
      await db.exec(CREATE_PEOPLE);
      return 0;
    case 'writes':
      return times(count, insert);
    case 'pings':
      return pings(count);
    case 'write':
      return untilWritten();
    case 'close':
      await app.close();
      return 0;
  }
}

function insert(): Promise<unknown> {
  const person = [BigInt(next++), 'Some Name', 'some.name@example.com', 33n];
  return db.run('INSERT INTO people(id, name, email, age) VALUES(?, ?, ?, ?)', person);
}

/** Milliseconds from now until a write is done, whoever leads then. */
async function untilWritten(): Promise<number> {
  const started = performance.now();
  for (;;) {
    try {
      await insert();
      return performance.now() - started;
    } catch (error) {
      if ((error as { retryable?: boolean }).retryable !== true) throw error;
    }
  }
}

/** An empty call of the leader's gRPC server, there and back. */
async function pings(count: number): Promise<number> {
  const remote = new HARemoteDatabase({ url: `http://${leader.target()?.grpc}` });
  await remote.ping();
  const value = await times(count, () => remote.ping());
  await remote.close();
  return value;
}

/** The median of the times that calls took one after another, ms. */
async function times(count: number, call: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let n = 0; n < count; n++) {
    const started = performance.now();
    await call();
    taken.push(performance.now() - started);
  }
  return median(taken);
}

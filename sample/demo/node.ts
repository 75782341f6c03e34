import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { HADatabase } from 'nestjs-ha';
import { checksum, countRows } from './checksum.js';
import type { Command, NodeConfig, NodeResult, NodeState, Report } from './messages.js';
import { Meter } from './meter.js';
import { NodeModule } from './node.module.js';
import { PlacesService } from './places.service.js';
import { Workload } from './workload.js';

const STATE_EVERY_MS = 250;

// Ctrl-C reaches the whole process group. The parent decides, and closes its nodes one by one.
process.on('SIGINT', () => undefined);

const config = JSON.parse(process.env.DEMO_NODE ?? '') as NodeConfig;
try {
  await run();
} catch (error) {
  fail(error);
}

async function run(): Promise<void> {
  const app = await NestFactory.createApplicationContext(NodeModule.forRoot(config), { logger: ['error', 'warn'] });
  const db = app.get(HADatabase);
  const places = app.get(PlacesService);
  const meter = new Meter(db, config.name);
  const workload = new Workload(config.name, places, meter);
  await places.createTables();
  if (config.role === 'loader') await workload.prepare();

  const ticker = setInterval(() => {
    currentState(db, places, meter, workload).then((state) => report({ type: 'state', state }), fail);
  }, STATE_EVERY_MS);
  const close = async (): Promise<void> => {
    workload.finish();
    clearInterval(ticker);
    await app.close();
    process.exit();
  };
  const handlers: { [T in Command['type']]: (command: Extract<Command, { type: T }>) => Promise<void> | void } = {
    work: async () => {
      await (config.role === 'loader' ? workload.load() : workload.edit());
      report({ type: 'done', sequence: `${db.position().published}` });
    },
    finish: () => workload.finish(),
    result: async ({ sequence }) => {
      clearInterval(ticker);
      await db.waitFor(BigInt(sequence), { timeout: 60_000 });
      report({ type: 'state', state: await currentState(db, places, meter, workload) });
      report({ type: 'result', result: await resultOf(db, places, meter) });
    },
    close,
  };
  process.on('message', (command: Command) => {
    Promise.resolve(handlers[command.type](command as never)).catch(fail);
  });
  process.on('disconnect', () => void close());
  report({ type: 'ready' });
}

async function currentState(
  db: HADatabase,
  places: PlacesService,
  meter: Meter,
  { loaded, total }: Workload,
): Promise<NodeState> {
  const rows = await places.count();
  const received = Number(db.position().received);
  return { rows, loaded, total, commits: meter.commits, received, ...meter.takeSightings() };
}

async function resultOf(db: HADatabase, places: PlacesService, meter: Meter): Promise<NodeResult> {
  meter.stop();
  const { commits, commitTimes, skipped } = meter;
  return {
    rows: countRows(db.reader),
    checksum: checksum(db.reader),
    overwritten: await places.overwritten(),
    skipped,
    commits,
    commitTimes,
  };
}

function report(message: Report): void {
  if (process.connected) process.send?.(message);
}

function fail(error: unknown): void {
  report({ type: 'failed', error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

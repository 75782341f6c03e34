import 'reflect-metadata';
import { Module } from '@nestjs/common';
import type { DynamicModule } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { HADatabase, HAModule } from '../../lib/index.js';
import type { Command, NodeConfig, Report } from './messages.js';
import { OPERATIONS } from './operations.js';
import type { Work } from './operations.js';

@Module({})
class NodeModule {
  static of({ name, file, urls, stream, replicas, publisherTimeout, fold, leader }: NodeConfig): DynamicModule {
    const database = HAModule.forRoot(`file:${file}`, {
      name,
      replicationID: 'chaos',
      replicationStream: stream,
      replicationURL: urls,
      replicas,
      publisherTimeout,
      disablePublisher: fold,
      ...(leader === undefined ? {} : { leaderProvider: `dynamic:${leader.target}`, grpcPort: leader.port }),
      retryAttempts: 1_000,
      retryDelay: 250,
    });
    return { module: NodeModule, imports: [database] };
  }
}

const config = JSON.parse(process.env.CHAOS_NODE ?? '') as NodeConfig;
// Ctrl-C reaches the whole process group: the harness decides.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(1));
try {
  await run();
} catch (error) {
  send({ type: 'failed', ...describe(error) });
  console.error(error);
  process.disconnect();
  process.exit(1);
}

async function run(): Promise<void> {
  const app = await NestFactory.createApplicationContext(NodeModule.of(config), { abortOnError: false });
  const db = app.get(HADatabase);
  db.events.subscribe((event) => {
    if (event.type === 'halted') send({ type: 'halted', message: event.error.message });
    if (event.type === 'error') console.error('event', event.error);
  });
  process.on('message', (command: Command) => {
    if (command.type === 'close') void app.close().then(() => process.exit());
    else if (command.type === 'clock') setClock(command.ms);
    else if (command.type === 'state') send({ type: 'state', id: command.id, state: stateOf(db) });
    else void execute(db, command);
  });
  send({ type: 'ready' });
}

async function execute(db: HADatabase, command: Extract<Command, { type: 'run' | 'setup' }>): Promise<void> {
  const { id } = command;
  try {
    const result = await work(db, command);
    const { changes, txseq } = result ?? {};
    send({
      type: 'done',
      id,
      ...(changes === undefined ? {} : { changes }),
      ...(txseq === undefined ? {} : { sequence: Number(txseq) }),
    });
  } catch (error) {
    send({ type: 'refused', id, ...describe(error) });
  }
}

function work(db: HADatabase, command: Extract<Command, { type: 'run' | 'setup' }>): ReturnType<Work> {
  if (command.type === 'setup') return db.exec(command.script);
  return OPERATIONS[command.operation.kind](db, command.operation);
}

function stateOf(db: HADatabase): Extract<Report, { type: 'state' }>['state'] {
  const { state, backlog, waitingWrites, lastError, position, leader } = db.status();
  const received = Number(position.received);
  const leads = leader?.isLeader === true;
  return { state, backlog, waiting: waitingWrites, received, error: lastError?.message, leads };
}

const now = Date.now;

/** As if somebody had set the clock of the machine: what runs by it must not matter. */
function setClock(ms: number): void {
  Date.now = () => now() + ms;
}

function describe(error: unknown): { code: string; message: string; retryable: boolean } {
  if (!(error instanceof Error)) return { code: '', message: String(error), retryable: false };
  const { code, retryable } = error as { code?: string; retryable?: boolean };
  return { code: code ?? '', message: error.message, retryable: retryable === true };
}

function send(report: Report): void {
  if (process.connected) process.send?.(report);
}

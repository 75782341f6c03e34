import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import type { Program } from './program.js';
import { runProgram } from './run-program.js';
import type { ProgramOptions } from './run-program.js';

/** Batches that a thread may be ahead of its reader. */
const WINDOW = 4;
const MOST_THREADS = 4;

/** Runs in the threads. CommonJS and self-contained, so that it runs from sources, bundles and dist alike. */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.driver);
const tools = { open: Database, emptyFile: workerData.emptyFile };
const runs = new Map();
${runProgram.toString()}
parentPort.on('message', (message) => {
  if (message.kind === 'run') return void start(message);
  const run = runs.get(message.id);
  if (run === undefined) return;
  if (message.kind === 'cancel') run.isCancelled = true;
  else run.unread--;
  run.wake();
});
async function start({ id, program, options }) {
  const post = (message) => parentPort.postMessage({ id, ...message });
  const run = {
    isCancelled: false,
    unread: 0,
    wake: () => {},
    opened: (index) => post({ kind: 'opened', index }),
    failed: (index, error) => post({ kind: 'failed', index, error: plain(error) }),
    rows: async (rows) => {
      if (run.isCancelled) return false;
      run.unread++;
      post({ kind: 'rows', rows });
      while (run.unread >= ${WINDOW} && !run.isCancelled) await new Promise((resolve) => (run.wake = resolve));
      return !run.isCancelled;
    },
  };
  runs.set(id, run);
  try {
    await runProgram(tools, program, options, run);
    post({ kind: 'end' });
  } catch (error) {
    post({ kind: 'error', error: plain(error) });
  } finally {
    runs.delete(id);
  }
}
function plain(error) {
  const { name, message, code, source, isStale } = error;
  return { name, message: String(message), code, source, isStale };
}`;

/** An error of a thread. */
interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  /** Index of the database that failed. */
  readonly source: number | undefined;
  readonly isStale: boolean | undefined;
}

type Message = { readonly id: number } & (
  | { readonly kind: 'opened'; readonly index: number }
  | { readonly kind: 'failed'; readonly index: number; readonly error: PlainError }
  | { readonly kind: 'rows'; readonly rows: unknown[][] }
  | { readonly kind: 'end' }
  | { readonly kind: 'error'; readonly error: PlainError }
  | { readonly kind: 'lost'; readonly reason: string }
);

/** What a program tells besides its rows. */
export interface QueryListener {
  /** Throws where what was opened does not count any more. */
  opened(index: number): void;
  failed(index: number, error: Error): void;
}

/** The failure of one database, or a plan that does not fit any more. */
export class ProgramFailure extends Error {
  constructor(
    readonly source: number,
    readonly isStale: boolean,
    override readonly cause: Error,
  ) {
    super(cause.message);
    this.name = 'ProgramFailure';
  }
}

interface Thread {
  readonly worker: Worker;
  readonly running: Map<number, (message: Message) => void>;
}

/** Threads that run programs, so that long ones do not hold up the event loop. They start when they are first needed. */
export class QueryThreads {
  private readonly threads: Thread[] = [];
  private folder: string | undefined;
  private lastId = 0;
  private closed = false;

  /** Starts a thread ahead of the first query. */
  warm(): void {
    if (!this.closed && this.threads.length === 0) this.start();
  }

  /** Rows as arrays, batch by batch. Ends the program where its reader stops early. */
  async *run(program: Program, options: ProgramOptions, listener: QueryListener): AsyncGenerator<unknown[][]> {
    const thread = this.idleThread();
    const id = ++this.lastId;
    const arrived: Message[] = [];
    let wake: () => void = () => undefined;
    thread.running.set(id, (message) => {
      arrived.push(message);
      wake();
    });
    thread.worker.ref();
    let isOver = false;
    try {
      thread.worker.postMessage({ kind: 'run', id, program, options });
      for (;;) {
        const message = arrived.shift();
        if (message === undefined) {
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        isOver = message.kind === 'end' || message.kind === 'error' || message.kind === 'lost';
        if (message.kind === 'end') return;
        if (message.kind === 'error') throw rebuilt(message.error);
        if (message.kind === 'lost') throw threadEnded(message.reason);
        if (message.kind === 'opened') listener.opened(message.index);
        else if (message.kind === 'failed') listener.failed(message.index, errorOf(message.error));
        else {
          thread.worker.postMessage({ kind: 'more', id });
          yield message.rows;
        }
      }
    } finally {
      if (!isOver) thread.worker.postMessage({ kind: 'cancel', id });
      thread.running.delete(id);
      if (thread.running.size === 0) thread.worker.unref();
    }
  }

  /** Ends all threads; what runs fails. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.threads.splice(0).map(({ worker }) => worker.terminate()));
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
  }

  private idleThread(): Thread {
    if (this.closed) throw threadEnded('the application is shutting down');
    const most = Math.max(1, Math.min(MOST_THREADS, availableParallelism()));
    const [least] = [...this.threads].sort((a, b) => a.running.size - b.running.size);
    if (least === undefined || (least.running.size > 0 && this.threads.length < most)) return this.start();
    return least;
  }

  private start(): Thread {
    this.folder ??= mkdtempSync(join(tmpdir(), 'nestjs-ha-'));
    const emptyFile = join(this.folder, 'empty.db');
    writeFileSync(emptyFile, '');
    const driver = createRequire(import.meta.url).resolve('better-sqlite3');
    const worker = new Worker(WORKER, { eval: true, workerData: { driver, emptyFile } });
    worker.unref();
    const thread: Thread = { worker, running: new Map() };
    worker.on('message', (message: Message) => thread.running.get(message.id)?.(message));
    let reason = 'the thread ended';
    worker.on('error', (error) => (reason = error.message));
    worker.on('exit', () => {
      const at = this.threads.indexOf(thread);
      if (at >= 0) this.threads.splice(at, 1);
      for (const [id, tell] of thread.running) tell({ id, kind: 'lost', reason });
    });
    this.threads.push(thread);
    return thread;
  }
}

function threadEnded(reason: string): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    `The thread that read several databases has ended: ${reason}. Run the statement again.`,
    {
      retryable: true,
    },
  );
}

function rebuilt(error: PlainError): Error {
  const made = errorOf(error);
  return error.source === undefined ? made : new ProgramFailure(error.source, error.isStale === true, made);
}

function errorOf({ name, message, code }: PlainError): Error {
  if (code?.startsWith('SQLITE_') === true) return new BetterSqlite3.SqliteError(message, code);
  if (name === 'RangeError') return new RangeError(message);
  if (name === 'TypeError') return new TypeError(message);
  return new Error(message);
}

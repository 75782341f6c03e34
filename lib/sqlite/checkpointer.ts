import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import type { Connection, Statement } from './connection.js';
import type { WriteTurn } from './write-turn.js';

/** The WAL is written back in the background above this many pages that are not. */
const BACKGROUND_PAGES = 4_000;
/** Above this length writers wait for it: a checkpoint that races with them never lets the WAL begin anew. */
const WAITING_PAGES = 32_000;
/** How often the length is looked at: in write turns, and in milliseconds. */
const TURNS_PER_LOOK = 32;
const MS_PER_LOOK = 20;

/** Runs in the worker. CommonJS and self-contained, so that it runs from sources, bundles and dist alike. */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.driver);
let db;
parentPort.on('message', () => {
  try {
    db ??= new Database(workerData.path, { timeout: 0 });
    db.pragma('wal_checkpoint(PASSIVE)');
    parentPort.postMessage({ error: null });
  } catch (error) {
    parentPort.postMessage({ error: String(error && error.message) });
  }
});`;

/**
 * Writes the WAL back to the database file in a worker thread. SQLite would do it inside a COMMIT, and its fsync would
 * stop the event loop for tens of milliseconds: https://www.sqlite.org/wal.html#automatic_checkpoint
 */
export class Checkpointer {
  private readonly length: Statement;
  private worker: Worker | undefined;
  private waiting: ((error: string | null) => void) | undefined;
  private running: Promise<void> | undefined;
  private turns = 0;
  private looked = 0;
  private closed = false;

  constructor(
    private readonly path: string,
    db: Connection,
    private readonly turn: WriteTurn,
    private readonly onError: (error: Error) => void,
  ) {
    // Tells the length of the WAL and does nothing: https://www.sqlite.org/pragma.html#pragma_wal_checkpoint
    this.length = db.prepare('PRAGMA wal_checkpoint(NOOP)').raw(true);
    turn.onRelease = () => this.look();
  }

  /** Ends the worker, behind the checkpoint that is under way. */
  async close(): Promise<void> {
    this.closed = true;
    await this.running;
    await this.worker?.terminate();
  }

  private look(): void {
    if (this.closed || this.running !== undefined) return;
    const now = performance.now();
    if (++this.turns < TURNS_PER_LOOK && now - this.looked < MS_PER_LOOK) return;
    this.turns = 0;
    this.looked = now;
    if (this.pages().waiting < BACKGROUND_PAGES) return;
    this.running = this.checkpoint().finally(() => {
      this.running = undefined;
    });
  }

  private async checkpoint(): Promise<void> {
    await this.ask();
    if (this.closed || this.pages().total < WAITING_PAGES) return;
    const release = await this.turn.acquire();
    try {
      await this.ask();
    } finally {
      release();
    }
  }

  private async ask(): Promise<void> {
    const worker = (this.worker ??= this.startWorker());
    const error = await new Promise<string | null>((resolve) => {
      this.waiting = resolve;
      worker.postMessage(null);
    });
    if (error !== null) this.onError(new Error(`The WAL of '${this.path}' cannot be written back: ${error}`));
  }

  private startWorker(): Worker {
    const driver = createRequire(import.meta.url).resolve('better-sqlite3');
    const worker = new Worker(WORKER, { eval: true, workerData: { driver, path: this.path } });
    worker.unref();
    worker.on('message', ({ error }: { error: string | null }) => this.waiting?.(error));
    worker.on('error', (error) => {
      this.worker = undefined;
      this.waiting?.(error.message);
    });
    return worker;
  }

  private pages(): { readonly total: number; readonly waiting: number } {
    const [, total, written] = this.length.get() as [busy: number, log: number, checkpointed: number];
    return { total, waiting: total - written };
  }
}

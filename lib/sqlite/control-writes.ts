import { retry } from '../common/timing.js';
import type { Connection } from './connection.js';
import { isBusy } from './connections.js';
import type { ForeignWrites } from './foreign-writes.js';
import type { WriteTurn } from './write-turn.js';

const BUSY_PAUSE_MS = 5;

/** Writes to the control tables that belong to no message: each is a transaction of its own, in the write turn. */
export class ControlWrites {
  constructor(
    private readonly db: Connection,
    private readonly turn: WriteTurn,
    private readonly foreign: ForeignWrites,
    /** How long to wait for other processes that write to the file, ms. */
    private readonly busyTimeout: number,
  ) {}

  /** @param committed Called behind the COMMIT, as long as nobody else can write. */
  async run<R>(work: (db: Connection) => R, committed?: (result: R) => void): Promise<R> {
    const release = await this.turn.acquire();
    try {
      const deadline = performance.now() + this.busyTimeout;
      return await retry(
        async () => this.commit(work, committed),
        (error) => isBusy(error) && performance.now() < deadline,
        BUSY_PAUSE_MS,
      );
    } finally {
      release();
    }
  }

  private commit<R>(work: (db: Connection) => R, committed?: (result: R) => void): R {
    this.db.exec('BEGIN IMMEDIATE');
    try {
      this.foreign.begun(this.db);
      const result = work(this.db);
      this.db.exec('COMMIT');
      this.foreign.committed(this.db);
      committed?.(result);
      return result;
    } catch (error) {
      if (this.db.inTransaction) this.db.exec('ROLLBACK');
      else this.foreign.interrupted(this.db);
      throw error;
    }
  }
}

import type { Telemetry } from '../common/telemetry.js';
import { isBusy } from '../sqlite/connections.js';
import type { TransactionControl } from '../sqlite/transaction-control.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import type { Member } from './member.js';
import { rolledBack } from './open-transaction.js';
import type { TransactionRunner } from './transaction-runner.js';

/** How long writes may follow each other without the event loop coming round, ms. */
const LONGEST_MS = 5;

/**
 * Runs a write in the call itself: without a stream there is nothing to wait for, and a queue with its promises costs more than
 * what SQLite does. Only for statements, and only where nobody has the write turn or waits for it.
 */
export class DirectLane {
  /** The event loop comes round at the latest behind this time of `performance.now()`. */
  private until: number | undefined;

  constructor(
    private readonly control: TransactionControl,
    private readonly runner: TransactionRunner,
    private readonly turn: WriteTurn,
    private readonly telemetry: Telemetry | undefined,
  ) {}

  /** Runs a transaction and answers it; false where it has to queue. */
  run(member: Member): boolean {
    if (!this.isFreeFor(member)) return false;
    try {
      this.control.begin();
    } catch (error) {
      // Another process writes: who queues waits for it without blocking the loop.
      if (isBusy(error)) return false;
      member.reject(error);
      return true;
    }
    try {
      const value = this.runAndCommit(member);
      this.telemetry?.sink?.committed(1);
      member.resolve(value, undefined);
    } catch (error) {
      this.control.rollback();
      member.reject(error);
    }
    this.turn.onRelease();
    return true;
  }

  private runAndCommit(member: Member): unknown {
    this.runner.start(false);
    const value = member.run(1, false);
    if (!this.control.inTransaction) throw rolledBack();
    this.runner.finish();
    this.control.commit();
    return value;
  }

  private isFreeFor(member: Member): boolean {
    // A function of the user that SQLite calls may write: then the writer is in the middle of a statement.
    if (member.isCallback || !this.turn.isFree || this.control.inTransaction) return false;
    if (!this.runner.enforcement.suits(member.foreignKeys)) return false;
    if (this.until === undefined) {
      this.until = member.enqueuedAt + LONGEST_MS;
      setImmediate(() => (this.until = undefined));
      return true;
    }
    return member.enqueuedAt < this.until;
  }
}

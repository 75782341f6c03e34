import { HAError } from '../common/ha-error.js';
import type {
  HAExecuteOptions,
  HAParameters,
  HAResult,
  HARunResult,
  HAStatement,
  HATransaction,
  HAUnmanagedTransaction,
} from './executor.js';
import { isMoved, leaderChanged } from './write-router.js';
import type { SessionTransaction, TransactionCalls, WriteRouter } from './write-router.js';

/** A transaction that its user ends, here or at the leader. */
export class UnmanagedTransaction implements HAUnmanagedTransaction {
  readonly attempt = 1;
  private readonly calls: TransactionCalls;
  private ended = false;

  /** @param written Told where it stands in the stream; undefined where it changed nothing. */
  constructor(
    owner: object,
    private readonly transaction: SessionTransaction,
    private readonly written: (sequence: number | undefined) => void,
    /** Absent in a database without a leader. */
    private readonly router: WriteRouter | undefined,
  ) {
    this.calls = transaction.calls(owner);
  }

  get open(): boolean {
    return !this.ended && this.transaction.isOpen;
  }

  async run(sql: string, params?: HAParameters): Promise<HARunResult> {
    return this.taking().run(sql, params);
  }

  async get<T = unknown>(sql: string, params?: HAParameters): Promise<T | undefined> {
    return this.taking().get<T>(sql, params);
  }

  async all<T = unknown>(sql: string, params?: HAParameters): Promise<T[]> {
    return this.taking().all<T>(sql, params);
  }

  iterate<T = unknown>(sql: string, params?: HAParameters): AsyncIterableIterator<T> {
    return this.taking().iterate<T>(sql, params);
  }

  async execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>> {
    return this.taking().execute<T>(sql, params, options);
  }

  async exec(script: string): Promise<void> {
    return this.taking().exec(script);
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    return this.taking().prepare<T>(sql);
  }

  async savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
    return this.taking().savepoint(() => fn(this));
  }

  async commit(): Promise<bigint | undefined> {
    const { overlap } = this.taking();
    if (overlap !== undefined) {
      await this.rollback();
      throw overlap;
    }
    this.ended = true;
    try {
      const running = this.transaction.commit();
      const sequence = await (this.router?.follow(running) ?? running);
      this.written(sequence);
      return sequence === undefined ? undefined : BigInt(sequence);
    } catch (error) {
      // Its statements have run: it is not for us to run them again elsewhere.
      throw isMoved(error) ? leaderChanged(error) : error;
    }
  }

  async rollback(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    await this.transaction.rollback();
  }

  private taking(): TransactionCalls {
    if (!this.ended) return this.calls;
    throw new HAError('HA_TRANSACTION_CLOSED', 'The transaction has ended. Begin another one.');
  }
}

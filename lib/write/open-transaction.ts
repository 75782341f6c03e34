import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import { Prepared } from './prepared.js';
import { PLAIN_SHAPE } from './executor.js';
import type { ResultShape, StatementResult } from './result.js';
import { Savepoints } from './savepoints.js';
import { shapeOf, toResult } from './shapes.js';
import type { HAExecuteOptions, HAParameters, HAResult, HARunResult, HAStatement, HATransaction } from './executor.js';
import type { TransactionContext } from './transaction-context.js';
import type { CallMethod, TransactionRunner } from './transaction-runner.js';

/** The transaction handed to a callback: its calls run at once on the writer. */
export class OpenTransaction implements HATransaction, TransactionContext {
  private ended = false;
  private readonly savepoints = new Savepoints('ha_user');

  constructor(
    readonly owner: object,
    private readonly db: Connection,
    private readonly runner: TransactionRunner,
    readonly attempt: number,
  ) {}

  get open(): boolean {
    return !this.ended;
  }

  /** Why the transaction can no longer be committed. */
  get overlap(): HAError | undefined {
    return this.savepoints.overlap;
  }

  end(): void {
    this.ended = true;
  }

  async run(sql: string, params?: HAParameters): Promise<HARunResult> {
    return this.call('run', sql, params, PLAIN_SHAPE) as HARunResult;
  }

  async get<T = unknown>(sql: string, params?: HAParameters): Promise<T | undefined> {
    return this.call('get', sql, params, PLAIN_SHAPE) as T | undefined;
  }

  async all<T = unknown>(sql: string, params?: HAParameters): Promise<T[]> {
    return this.call('all', sql, params, PLAIN_SHAPE) as T[];
  }

  async *iterate<T = unknown>(sql: string, params?: HAParameters): AsyncIterableIterator<T> {
    yield* this.call('all', sql, params, PLAIN_SHAPE) as T[];
  }

  async execute<T = unknown>(sql: string, params?: HAParameters, options: HAExecuteOptions = {}): Promise<HAResult<T>> {
    const shape = shapeOf(options);
    return toResult<T>(this.result('result', sql, params, shape), shape);
  }

  async exec(script: string): Promise<void> {
    this.refuseEnded();
    this.savepoints.called();
    this.runner.exec(script);
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    this.refuseEnded();
    return new Prepared<T>(sql, {
      call: async (method, text, params, shape) => this.call(method, text, params, shape),
      iterate: (text, params, shape) => this.iterateShaped(text, params, shape),
    });
  }

  async savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
    this.refuseEnded();
    const mark = this.runner.mark();
    const savepoint = this.savepoints.enter();
    const { name } = savepoint;
    this.db.exec(`SAVEPOINT ${name}`);
    try {
      const result = await this.savepoints.run(savepoint, () => fn(this));
      this.refuseEnded();
      this.savepoints.release(savepoint);
      this.db.exec(`RELEASE ${name}`);
      return result;
    } catch (error) {
      if (this.open && this.db.inTransaction && this.overlap === undefined) {
        this.savepoints.rollBack(savepoint);
        this.db.exec(`ROLLBACK TO ${name}; RELEASE ${name}`);
        this.runner.rolledBackTo(mark);
      }
      throw error;
    }
  }

  /** All that a statement did, with its rows. @internal */
  result(
    method: 'result' | 'rows',
    sql: string,
    params: HAParameters | undefined,
    shape: ResultShape,
  ): StatementResult {
    return this.call(method, sql, params, shape) as StatementResult;
  }

  private async *iterateShaped(sql: string, params: HAParameters, shape: RowShape): AsyncIterableIterator<unknown> {
    yield* this.call('all', sql, params, shape) as unknown[];
  }

  /** Calls a statement as it was prepared. @internal */
  call(method: CallMethod, sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    this.refuseEnded();
    this.savepoints.called();
    return this.runner.call(method, sql, params, shape);
  }

  private refuseEnded(): void {
    const { overlap } = this.savepoints;
    if (overlap !== undefined) throw overlap;
    if (!this.ended && !this.db.inTransaction) throw rolledBack();
    if (!this.ended) return;
    throw new HAError(
      'HA_TRANSACTION_CLOSED',
      'The transaction has ended. Await every call before the callback returns, and do not keep tx for later.',
    );
  }
}

/** OR ROLLBACK and RAISE(ROLLBACK) end the SQLite transaction: what came behind them would commit by itself, unseen. */
export function rolledBack(): HAError {
  return new HAError(
    'HA_TRANSACTION_CLOSED',
    'A statement of the transaction has rolled it back (OR ROLLBACK, RAISE(ROLLBACK)): nothing of it was written. Let that error leave the callback.',
  );
}

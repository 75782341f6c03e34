import { HAError } from '../common/ha-error.js';
import { foldCase } from '../sql/identifiers.js';
import type { HAParameters } from './executor.js';
import type { OpenDatabase } from './open-database.js';
import { OpenTransaction } from './open-transaction.js';
import { WatchedTransaction } from './watched-transaction.js';
import { conflict } from './publish-errors.js';
import type { ResultShape, RowCursor, StatementResult } from './result.js';
import type { SessionTransaction, TransactionCalls } from './write-router.js';

/** Limits of a transaction that somebody else steers. */
export interface InteractiveLimits {
  /** Milliseconds without a statement after which it is rolled back. */
  readonly idleTimeout: number;
  /** Milliseconds after which it is rolled back in any case. */
  readonly timeout: number;
  /** It is stored only where nobody wrote in between. */
  readonly serializable: boolean;
  /** Whether foreign keys are enforced in it. Default: as by the writer. */
  readonly foreignKeys?: boolean | undefined;
}

interface Savepoint {
  readonly name: string;
  readonly internal: string;
  readonly mark: number;
}

/** Sessions have this kind in common: nobody knows what comes. */
const SESSION = 'session';

/**
 * How long one may stand still while others wait in front of it, ms. Its user may be waiting for one of them, for a lock that is
 * given back behind COMMIT: neither would ever end.
 */
const STALL_MS = 1_000;

/** What the body of a transaction ends with where its user rolls it back. */
const ROLLED_BACK = new Error('rolled back');

/**
 * A transaction whose statements come one by one, from outside, until somebody says commit or rollback. Inside it is a
 * callback that waits. It holds the write turn all the time, so it is rolled back where nothing comes for `idleTimeout`.
 * It never runs again: where an ordered one is refused, its commit fails with `HA_CONFLICT`, and only its user can repeat it.
 */
export class InteractiveTransaction implements SessionTransaction {
  private readonly savepoints: Savepoint[] = [];
  private made = 0;
  private id: string | undefined;
  private tx: OpenTransaction | undefined;
  private cursor: RowCursor | undefined;
  private timer: NodeJS.Timeout | undefined;
  private touched = 0;
  private endBody: () => void = () => undefined;
  private failBody: (error: unknown) => void = () => undefined;
  private settle: (sequence: number | undefined) => void = () => undefined;
  private refuse: (error: unknown) => void = () => undefined;
  private readonly body = new Promise<void>((resolve, reject) => {
    this.endBody = resolve;
    this.failBody = reject;
  });
  private readonly done = new Promise<number | undefined>((resolve, reject) => {
    this.settle = resolve;
    this.refuse = reject;
  });
  /** Why it has ended, where its user has not ended it. */
  failure: Error | undefined;

  private constructor(
    private readonly open: OpenDatabase,
    private readonly limits: InteractiveLimits,
  ) {
    this.body.catch(() => undefined);
    this.done.catch(() => undefined);
  }

  /** Waits for the write turn. Where `refuse` throws then, it is given back at once. */
  static begin(
    owner: object,
    open: OpenDatabase,
    limits: InteractiveLimits,
    refuse?: () => void,
  ): Promise<InteractiveTransaction> {
    return new Promise((resolve, reject) => {
      const transaction = new InteractiveTransaction(open, limits);
      open.committer.enqueue({
        key: SESSION,
        serializable: limits.serializable,
        foreignKeys: limits.foreignKeys,
        isCallback: true,
        retry: false,
        timeout: limits.timeout,
        enqueuedAt: performance.now(),
        transactionId: () => transaction.id,
        run: (attempt, behindOthers) => {
          if (attempt > 1) throw conflict(1);
          refuse?.();
          transaction.enter(owner, behindOthers);
          resolve(transaction);
          return transaction.body;
        },
        abandon: () => transaction.leave(),
        resolve: (_value, sequence) => transaction.settle(sequence),
        reject: (error) => {
          transaction.fail(error);
          reject(error);
        },
      });
    });
  }

  /** True while statements are taken. */
  get isOpen(): boolean {
    return this.tx?.open === true && this.open.connections.writer.inTransaction;
  }

  execute(sql: string, params: HAParameters | undefined, shape: ResultShape, wantsRows = false): StatementResult {
    return this.use((tx) => tx.result(wantsRows ? 'rows' : 'result', sql, params, shape));
  }

  calls(): TransactionCalls {
    return new WatchedTransaction(
      (work) => this.use(work),
      () => this.isOpen,
      () => this.tx?.overlap,
    );
  }

  /** Rows one by one; the next statement ends them. */
  read(sql: string, params: HAParameters | undefined): RowCursor {
    return this.use(() => {
      const cursor = this.open.runner.cursor(sql, params);
      this.cursor = cursor;
      return {
        ...cursor,
        next: () => {
          this.touched = performance.now();
          if (this.failure !== undefined) throw this.failure;
          return cursor.next();
        },
      };
    });
  }

  savepoint(name: string): void {
    this.use(() => {
      const mark = this.open.runner.mark();
      const internal = `ha_session_${++this.made}`;
      this.open.connections.writer.exec(`SAVEPOINT ${internal}`);
      this.savepoints.push({ name: foldCase(name), internal, mark });
    });
  }

  /** Undoes everything behind a savepoint, which stays: https://www.sqlite.org/lang_savepoint.html */
  rollbackTo(name: string): void {
    this.use(() => {
      const index = this.find(name);
      const { internal, mark } = this.savepoints[index] as Savepoint;
      this.open.connections.writer.exec(`ROLLBACK TO ${internal}`);
      this.open.runner.rolledBackTo(mark);
      this.savepoints.length = index + 1;
    });
  }

  /** Returns true where it was the outermost savepoint. */
  release(name: string): boolean {
    return this.use(() => {
      const index = this.find(name);
      this.open.connections.writer.exec(`RELEASE ${this.savepoints[index]?.internal}`);
      this.savepoints.length = index;
      return index === 0;
    });
  }

  /** Resolves with the sequence of the transaction in the stream, undefined where there is none. */
  async commit(id?: string): Promise<number | undefined> {
    this.id = id;
    this.closeCursor();
    if (this.isOpen) this.endBody();
    else this.failBody(this.failure ?? closedError());
    return this.done;
  }

  /** Never fails. */
  async rollback(): Promise<void> {
    this.closeCursor();
    this.failBody(ROLLED_BACK);
    await this.done.catch(() => undefined);
  }

  private use<R>(work: (tx: OpenTransaction) => R): R {
    const { tx } = this;
    // Who stops the database waits for it, but not for a session that goes on and on.
    const ending = this.open.committer.ending(this.limits.idleTimeout);
    this.closeCursor();
    if (ending !== undefined) this.failBody(ending);
    if (this.failure !== undefined) throw this.failure;
    if (tx === undefined || ending !== undefined) throw ending ?? closedError();
    try {
      return work(tx);
    } finally {
      this.touched = performance.now();
    }
  }

  private enter(owner: object, behindOthers: boolean): void {
    const { open, limits } = this;
    this.tx = new OpenTransaction(owner, open.connections.writer, open.runner, 1);
    this.touched = performance.now();
    if (behindOthers && limits.idleTimeout > STALL_MS) this.watch(STALL_MS, stalled);
    else this.watch(limits.idleTimeout, () => idledOut(limits.idleTimeout));
  }

  /** Ends the transaction where no statement came for so many milliseconds. */
  private watch(limit: number, failure: () => HAError, ms = limit): void {
    this.timer = setTimeout(() => {
      const left = this.touched + limit - performance.now();
      if (left > 0) this.watch(limit, failure, left);
      else this.failBody(failure());
    }, ms);
  }

  /** The transaction is over, or is being rolled back: nothing may be open on the writer then. */
  private leave(): void {
    clearTimeout(this.timer);
    this.closeCursor();
    this.tx?.end();
  }

  private fail(error: unknown): void {
    this.failure = error as Error;
    this.refuse(error);
  }

  private closeCursor(): void {
    this.cursor?.close();
    this.cursor = undefined;
  }

  private find(name: string): number {
    const index = this.savepoints.findLastIndex((savepoint) => savepoint.name === foldCase(name));
    if (index < 0) {
      throw new HAError('HA_TRANSACTION_CONTROL', `There is no savepoint '${name}' in this transaction.`, {
        details: { name },
      });
    }
    return index;
  }
}

function closedError(): HAError {
  return new HAError('HA_TRANSACTION_CLOSED', 'The transaction has ended. Begin another one.');
}

function stalled(): HAError {
  return new HAError(
    'HA_CONFLICT',
    `The transaction was rolled back: no statement came for ${STALL_MS} ms while others waited for it. Nothing of it was written. Run it again.`,
    { retryable: true, details: { timeout: STALL_MS } },
  );
}

function idledOut(ms: number): HAError {
  return new HAError(
    'HA_TRANSACTION_TIMEOUT',
    `The transaction was rolled back: no statement came for ${ms} ms, and all writes wait for it. Send its statements without pauses, and slow work before or behind it.`,
    { details: { timeout: ms } },
  );
}

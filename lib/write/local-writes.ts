import { isThenable } from '../common/thenable.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAParameters, HATransaction } from './executor.js';
import { withSequence } from './member.js';
import type { Member } from './member.js';
import type { OpenDatabase } from './open-database.js';
import { OpenTransaction } from './open-transaction.js';
import type { ResultShape, StatementResult } from './result.js';
import { resultAt } from './session.js';
import type { WriteTicket } from './session.js';
import { currentSession } from './session-context.js';
import { callersContext, runInContext } from './transaction-context.js';
import { refuseVacuum } from './vacuum.js';
import type { WriteMemory } from './write-memory.js';
import type { ReadMethod } from './write-router.js';

/** A transaction of the user's code, with all that was left to defaults. */
export interface CallbackOptions {
  /** Text by which the committer remembers what this kind of transaction turned out to be. */
  readonly key: string;
  /** It has to be stored where nobody wrote in between. */
  readonly serializable: boolean;
  /** It may run again after a refusal. */
  readonly retry: boolean;
  /** Milliseconds for a callback that returns a promise. */
  readonly timeout: number;
}

/** Writes on this node: makes them members of the commit queue, and notes where they came to stand. */
export class LocalWrites {
  /**
   * @param owner The database, which calls from inside its transactions are told by.
   * @param memory Told of every write.
   */
  constructor(
    private readonly owner: object,
    private readonly memory: WriteMemory,
  ) {}

  /** One statement. */
  call(
    open: OpenDatabase,
    method: ReadMethod,
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...statementMember(sql, reject),
        run: () => open.runner.call(method, sql, params, shape),
        resolve: (value, sequence) => resolve(method === 'run' ? withSequence(value, sequence) : value),
      });
    });
  }

  /** One statement or several as one transaction; gives all that the last of them did. */
  writeAll(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult> {
    const method = ticket?.wantsRows === true ? 'rows' : 'result';
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...statementMember(statements.join(';'), reject),
        transactionId: ticket && (() => ticket.id),
        foreignKeys: ticket?.foreignKeys,
        run: () => statements.map((sql) => open.runner.call(method, sql, params, shape)).at(-1),
        resolve: (value, sequence) => resolve(resultAt(value as StatementResult, sequence)),
      });
    });
  }

  /** Statements as one transaction, whatever they give. */
  script(open: OpenDatabase, statements: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.enqueue(open, {
        ...statementMember(statements.join(';'), reject),
        run: () => {
          for (const sql of statements) open.runner.call('exec', sql);
        },
        resolve: () => resolve(),
      });
    });
  }

  /** A callback as one transaction, which runs with what `AsyncLocalStorage` holds for its caller. */
  transaction<R>(
    open: OpenDatabase,
    fn: (tx: HATransaction) => R | Promise<R>,
    { key, serializable, retry, timeout }: CallbackOptions,
  ): Promise<R> {
    const asCaller = callersContext();
    return new Promise<R>((resolve, reject) => {
      let tx: OpenTransaction | undefined;
      this.enqueue(open, {
        key,
        serializable,
        isCallback: true,
        retry,
        timeout,
        enqueuedAt: performance.now(),
        run: (attempt) => {
          const current = new OpenTransaction(this.owner, open.connections.writer, open.runner, attempt);
          tx = current;
          return asCaller(() => runInContext(current, () => complete(current, fn)));
        },
        abandon: () => tx?.end(),
        resolve: (value) => resolve(value as R),
        reject,
      });
    });
  }

  /** VACUUM and checkpoints: SQLite refuses them inside a transaction. */
  async runAlone(open: OpenDatabase, method: ReadMethod, sql: string): Promise<unknown> {
    return open.committer.exclusive((db) => {
      if (open.position !== undefined) refuseVacuum(db, open.infos.of(sql));
      const statement = db.prepare(sql);
      const rows = statement.reader ? statement.all() : (statement.run(), []);
      if (method === 'run') return { changes: 0, lastInsertRowid: 0 };
      return method === 'get' ? rows[0] : rows;
    });
  }

  /**
   * Has a transaction wait for its turn, and its place noted for the session that it belongs to: it is answered in the course of
   * another. What wrote nothing leads to where the database stands: a request that found its work done has seen that.
   */
  private enqueue(open: OpenDatabase, member: Member): void {
    const session = currentSession();
    open.committer.enqueue({
      ...member,
      resolve: (value, sequence) => {
        this.memory.noteFor(session, sequence ?? open.position?.received);
        member.resolve(value, sequence);
      },
    });
  }
}

function statementMember(key: string, reject: (error: unknown) => void): Omit<Member, 'run' | 'resolve'> {
  return {
    key,
    serializable: false,
    isCallback: false,
    retry: true,
    timeout: 0,
    enqueuedAt: performance.now(),
    abandon: () => undefined,
    reject,
  };
}

/** Runs a callback; fails where the transaction is broken, even if the callback swallowed that. */
function complete<R>(tx: OpenTransaction, fn: (tx: HATransaction) => R | Promise<R>): R | Promise<R> {
  const result = fn(tx);
  if (!isThenable(result)) return result;
  return Promise.resolve(result).then((value) => {
    if (tx.overlap !== undefined) throw tx.overlap;
    return value;
  });
}

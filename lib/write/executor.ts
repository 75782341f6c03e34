import { parameters } from '../sql/params.js';
import type { RowShape } from '../sqlite/statement-cache.js';

/**
 * Parameters as better-sqlite3 binds them: values in order, or an object for named and numbered parameters. Each element of an
 * array is one value, but for one object with the parameters that have a name, where the statement has some beside its `?`:
 * any other array or object among them is a `TypeError`.
 */
export type HAParameters = readonly unknown[] | Readonly<Record<string, unknown>>;

/** What a write did. */
export interface HARunResult {
  /** Rows inserted, changed or deleted by the statement itself, as better-sqlite3 counts them. */
  readonly changes: number;
  /** Rowid of the last inserted row; a bigint where `safeIntegers()` asks for it. */
  readonly lastInsertRowid: number | bigint;
  /** Sequence of the transaction in the stream; absent without replication, inside a transaction, and where nothing changed. */
  readonly txseq?: bigint;
}

/** A column of a result, as better-sqlite3 describes it: https://www.sqlite.org/c3ref/column_database_name.html */
export interface HAColumn {
  /** Name or alias in the result. */
  readonly name: string;
  /** The column of the table that it comes from; null for expressions, and for a result of another node. */
  readonly column: string | null;
  readonly table: string | null;
  readonly database: string | null;
  /** Declared type. */
  readonly type: string | null;
}

/** How {@link HAExecutor.execute} returns rows. */
export interface HAExecuteOptions {
  /** Rows as objects, or as arrays in the order of the columns, where none of one name hides another. Default `object`. */
  readonly rowMode?: 'object' | 'array' | undefined;
  /** Integers as `bigint`, without the loss that numbers have beyond 2^53. Default false. */
  readonly safeIntegers?: boolean | undefined;
  /** Describes the columns of the result too. Default false. */
  readonly columns?: boolean | undefined;
}

/** All that one statement did. */
export interface HAResult<T = unknown> extends HARunResult {
  /** True where the statement returns rows, even if there were none. */
  readonly reader: boolean;
  /** The columns of the rows, where `columns: true` asks for them. */
  readonly columns?: readonly HAColumn[];
  readonly rows: T[];
}

/** Rows as objects, integers as numbers: better-sqlite3's default. */
export const PLAIN_SHAPE: RowShape = { pluck: false, raw: false, safeIntegers: false };

/** Rows as arrays, integers as bigint: nothing is lost, and columns of one name do not hide each other. */
export const EXACT_SHAPE: RowShape = { pluck: false, raw: true, safeIntegers: true };

/** A statement that was prepared once and runs often. Rows and results are as better-sqlite3 returns them. */
export interface HAStatement<T = unknown> {
  run(...params: unknown[]): Promise<HARunResult>;
  get(...params: unknown[]): Promise<T | undefined>;
  all(...params: unknown[]): Promise<T[]>;
  iterate(...params: unknown[]): AsyncIterableIterator<T>;
  /** Return only the first column of each row. */
  pluck(on?: boolean): this;
  /** Return rows as arrays. */
  raw(on?: boolean): this;
  /** Return integers as bigint, without the loss that numbers have beyond 2^53. */
  safeIntegers(on?: boolean): this;
}

/** What database and transaction have in common. SQLite's own failures surface as better-sqlite3's `SqliteError`. */
export interface HAExecutor {
  /** Runs one statement that writes. */
  run(sql: string, params?: HAParameters): Promise<HARunResult>;
  /** The first row, undefined where there is none. */
  get<T = unknown>(sql: string, params?: HAParameters): Promise<T | undefined>;
  /** All rows. */
  all<T = unknown>(sql: string, params?: HAParameters): Promise<T[]>;
  /** Rows one by one. */
  iterate<T = unknown>(sql: string, params?: HAParameters): AsyncIterableIterator<T>;
  /**
   * Runs any one statement, and tells all that it did: rows, also of RETURNING, and counts. What a statement is need not be
   * known: query builders call this.
   */
  execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>>;
  /** Runs a script of several statements as one transaction: all of it or nothing. */
  exec(script: string): Promise<void>;
  prepare<T = unknown>(sql: string): HAStatement<T>;
}

/** The open transaction that a callback gets. Its calls run at once, on the state that the transaction sees. */
export interface HATransaction extends HAExecutor {
  /** 1 on the first run; more where the callback runs again because others came first. */
  readonly attempt: number;
  /** False once the transaction has ended; calls are refused then. */
  readonly open: boolean;
  /** Runs a part that is rolled back alone if it throws. */
  savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R>;
}

/**
 * A transaction that its user ends: see {@link HADatabase.begin}. It is never run again: where an ordered one was refused,
 * `commit` fails with a retryable `HA_CONFLICT`.
 */
export interface HAUnmanagedTransaction extends HATransaction {
  /**
   * Writes all of it. Resolves with its sequence in the stream; undefined where nothing changed, and without replication.
   *
   * @throws HAError `HA_CONFLICT`, `HA_TRANSACTION_TIMEOUT`, `HA_TRANSACTION_CLOSED`; nothing was written then.
   */
  commit(): Promise<bigint | undefined>;
  /** Undoes all of it. Never fails, also where it has ended. */
  rollback(): Promise<void>;
}

/**
 * What a read has to see.
 *
 * - `local`: what this node has applied. Never waits.
 * - `session`: also everything that was written before in the same {@link HADatabase.withSession}, or else by this process.
 * - `leader`: everything that anybody was told is written. It is read at the leader; without a leaderProvider this node
 *   applies first what the stream holds now.
 */
export type HAConsistency = 'local' | 'session' | 'leader';

/** Options of a read. */
export interface HAReadOptions {
  /** Default `local`. */
  readonly consistency?: HAConsistency;
}

/** Options of a transaction. */
export interface HATransactionOptions {
  /** Milliseconds until an unfinished callback is rolled back. Default: option `transactionTimeout` (5 s). */
  readonly timeout?: number;
  /** The transaction is stored only if nobody wrote in between; else it runs again. Default false. */
  readonly serializable?: boolean;
  /** False: do not run the callback again, fail with `HA_CONFLICT` instead. Default true. */
  readonly retry?: boolean;
}

/** Arguments of a call as better-sqlite3 takes them: values, arrays of values, and an object with those that have a name. */
export class ArgumentList extends Array<unknown> {}

/**
 * Parameters as arguments of a better-sqlite3 statement. Values are spread, which is faster than to hand over the array; but
 * that would take an array among them for several parameters, and shift those behind it. So the whole array is one argument
 * then, of which better-sqlite3 refuses what is no value.
 */
export function bindArguments(params: HAParameters | undefined, sql: string): readonly unknown[] {
  if (params === undefined) return [];
  if (!Array.isArray(params)) return [params];
  return params instanceof ArgumentList || areValues(params) || isMixed(params, sql) ? params : [params];
}

/** Values for `?`, and an object with those that have a name. */
function isMixed(given: readonly unknown[], sql: string): boolean {
  const others = given.filter((value) => !areValues([value]));
  const named = parameters(sql).filter(({ key }) => key !== undefined).length;
  return others.length === 1 && !Array.isArray(others[0]) && named > 0;
}

/** False where something among them is an array or an object, and no bytes. */
export function areValues(given: readonly unknown[]): boolean {
  for (let at = 0; at < given.length; at++) {
    const value = given[at];
    if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value)) return false;
  }
  return true;
}

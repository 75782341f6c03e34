import { HAError } from '../common/ha-error.js';
import { isRowChange } from './changeset.js';
import type { Change, RowChange, SqlChange, SqlValue } from './changeset.js';

/**
 * Interceptors decide what a transaction of the stream changes: they let it pass, leave it out, or replace its changes.
 *
 * ```
 * stream ─▶ 1, 2, 3 … each on every node, its writer too
 *            └▶ beforeApply  of each interceptor in order: the transaction as a whole
 *            └▶ beforeRow    of each, for every row: in front of the change, behind those before it
 *            └▶ afterApply   of each: the rows are there, and not yet committed
 *            └▶ COMMIT of rows and position
 * ```
 * *Every node has to decide alike*, or their rows differ for good. So an interceptor is a function of the transaction and of
 * what is stored at its place in the stream (`context.get`, `context.stored`). It must not ask a clock, a random number, the
 * environment, a file, another service or `HADatabase`, nor remember what it saw before, and it must not depend on `own` or
 * `node`, unless the nodes shall differ. All nodes have to have the same interceptors in the same order.
 *
 * *More than once.* A batch that is rolled back is applied again. With asynchronous publishing an own transaction is also
 * shown while it waits for its place (`context.provisional`), and again whenever others come in front of it.
 *
 * *One that fails stops replication* at that message (`HA_INTERCEPTOR`): nothing is passed over in silence.
 */
export interface HAInterceptor {
  /** For errors and events. Default: the name of the class. */
  readonly name?: string;
  /**
   * Tables whose rows it cares about, in any case of letters; all, and statements, where it is left out. Transactions without
   * rows of these tables pass unseen, and as fast as without interceptors.
   */
  readonly tables?: readonly string[];
  /** Decides on a transaction as a whole, before anything of it is applied. All others wait for a promise. */
  beforeApply?(
    changeSet: HAChangeSet,
    context: HAInterceptorContext,
  ): HAInterceptorAnswer | Promise<HAInterceptorAnswer>;
  /** Decides on the change of one row of its tables, behind the changes in front of it. It has to answer at once. */
  beforeRow?(change: RowChange, context: HARowContext): HARowAnswer;
  /**
   * Sees what took effect, inside the same SQLite transaction: what it throws takes everything back and halts. Not called
   * while a transaction waits for its place. For what others shall learn of, use `@OnHAChange`, which is behind the commit.
   */
  afterApply?(changeSet: HAChangeSet, context: HAInterceptorContext): void | Promise<void>;
}

/** Nothing or `'pass'`: as it is. `'skip'`: nothing of it takes effect. A list: these changes instead. */
export type HAInterceptorAnswer = void | undefined | 'pass' | 'skip' | readonly HAInterceptedChange[];

/** Nothing or `'pass'`: as it is. `'skip'`: the row stays as it is. A change: that one instead. */
export type HARowAnswer = void | undefined | 'pass' | 'skip' | RowChange;

/** A change of a row, or a statement (DDL, a write to a virtual table). Statements can be left out, not added. */
export type HAInterceptedChange = RowChange | SqlChange;

/** A transaction as an interceptor sees it: frozen, complete, also where it came in several messages. Names are those of now. */
export interface HAChangeSet {
  /** Name of the node that wrote it. */
  readonly node: string;
  readonly changes: readonly HAInterceptedChange[];
  /** When it was written, nanoseconds since 1970, by the clock of its writer. */
  readonly timestampNs: bigint;
}

/** Where a transaction stands, and what is stored there. Of use only until the interceptor has answered. */
export interface HAInterceptorContext {
  /** Sequence in the stream; 0 while {@link provisional}. */
  readonly sequence: bigint;
  /** True where this node wrote it. */
  readonly own: boolean;
  /** Name of this node. */
  readonly node: string;
  readonly replicationID: string;
  /** With asynchronous publishing: it is not at its place in the stream yet, and will be asked about again there. */
  readonly provisional: boolean;
  /** The first row of a query on the database as it is at this place. INTEGER is a `bigint`. Only reads. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- who wrote the query knows its columns
  get<T = Record<string, SqlValue>>(sql: string, params?: readonly SqlValue[]): T | undefined;
  /** All rows of a query. */
  all<T = Record<string, SqlValue>>(sql: string, params?: readonly SqlValue[]): T[];
}

/** A row as it is stored in front of a change. */
export interface HAStoredRow {
  /** By column name; generated columns are left out. */
  readonly values: Readonly<Record<string, SqlValue>>;
  /** Whether the stored value sorts behind another one, as SQLite sorts in that column. NULL comes before everything. */
  isGreater(column: string, value: SqlValue): boolean;
}

/** What is stored where the change of a row is to be applied. */
export interface HARowContext extends HAInterceptorContext {
  /** The row that the change means: by key, by rowid, or by all its values, as applying finds it. For INSERT: the row with its key. */
  readonly stored: HAStoredRow | undefined;
  /** Other rows that would be removed: one that has the new key, and those in the way of unique indexes. */
  readonly inTheWay: readonly HAStoredRow[];
  /** What became of the change of this row in front of this one in the same transaction; undefined where there was none. */
  readonly earlier: 'applied' | 'skipped' | undefined;
  /** A value of the row as its writer had it right before this change; undefined where it had none. */
  before(column: string): SqlValue | undefined;
}

/** The value that a change gives to a column; undefined for DELETE, and where the change does not name the column. */
export function newValue(change: RowChange, column: string): SqlValue | undefined {
  return change.newValues?.[columnIndex(change, column)];
}

/** The value that a column had at the writer; undefined for INSERT, and where the change does not name the column. */
export function oldValue(change: RowChange, column: string): SqlValue | undefined {
  return change.oldValues?.[columnIndex(change, column)];
}

/**
 * The change with other new values in some columns.
 *
 * @throws HAError `HA_INTERCEPTOR` where it is a DELETE, or does not name a column.
 */
export function withValues(change: RowChange, values: Readonly<Record<string, SqlValue>>): RowChange {
  const { newValues } = change;
  if (newValues === undefined) throw invalid(`a DELETE of '${change.table}' has no new values`);
  const changed = [...newValues];
  for (const [column, value] of Object.entries(values)) {
    const index = columnIndex(change, column);
    if (index < 0) throw invalid(`the change of '${change.table}' has no column '${column}'`);
    changed[index] = value;
  }
  return { ...change, newValues: changed };
}

/** Place of a column in a change, in any case of letters; -1 where it is not there. */
export function columnIndex({ columns }: RowChange, column: string): number {
  const index = columns.indexOf(column);
  if (index >= 0) return index;
  const lower = column.toLowerCase();
  return columns.findIndex((name) => name.toLowerCase() === lower);
}

/** True for what interceptors see. */
export function isIntercepted(change: Change): change is HAInterceptedChange {
  return isRowChange(change) || change.operation === 'SQL';
}

/** What a call must not do or answer; who calls adds the name of the interceptor. */
export function invalid(reason: string): HAError {
  return new HAError('HA_INTERCEPTOR', reason);
}

import type { HAChangeRow, HAChangeOperation } from '../changeset/row-changes.js';

/**
 * Where a range of the history begins: the stream sequence of a transaction (`17n`), or a duration in Go's notation (`'5m'`,
 * `'1h30m'`): that long before now, by the clock of this machine and the time at which the stream stored a transaction.
 */
export type HAHistoryStart = bigint | string;

/** Which transactions {@link HADatabase.history} tells of. */
export interface HAHistoryOptions {
  /** In place of `from`: those behind this sequence, which is the last one of the page before. */
  readonly after?: bigint | undefined;
  /** At most so many transactions. Default: all. */
  readonly limit?: number | undefined;
  /** Only those that changed rows of this table; the others of their changes are told too. */
  readonly table?: string | undefined;
  /** Only those of this node. */
  readonly node?: string | undefined;
  /** Those too that the stream holds, but that no node counts: see {@link HAHistoryOutcome}. Default false. */
  readonly all?: boolean | undefined;
}

/**
 * What became of what the stream holds: `committed` by every node; `duplicate`: stored again, and left out by all; `aborted`: a
 * large transaction whose parts never came together; `void`: its id was taken first (`db.outcome`); `skipped`: left out by an
 * operator on this node (`db.skip`).
 */
export type HAHistoryOutcome = 'committed' | 'duplicate' | 'aborted' | 'void' | 'skipped';

/** A row that a transaction changed. */
export interface HAHistoryChange {
  readonly table: string;
  readonly operation: HAChangeOperation;
  /** Absent in tables WITHOUT ROWID. */
  readonly rowid: bigint | undefined;
  /** The row before; null for an insert. */
  readonly before: HAChangeRow | null;
  /** The row after; null for a delete. */
  readonly after: HAChangeRow | null;
  /** The change as one statement of SQL, with exact values: for people, not for running it again. */
  readonly sql: string;
}

/** A transaction of the past. */
export interface HAHistoryTransaction {
  /** Its sequence in the stream; that of the last part where it lies in several messages. */
  readonly sequence: bigint;
  /** Name of the node that ran it. */
  readonly node: string;
  /** When the stream stored it. */
  readonly time: Date;
  readonly outcome: HAHistoryOutcome;
  /** The rows that it changed, in its order, those of triggers and foreign keys among them. */
  readonly changes: readonly HAHistoryChange[];
  /** Statements that every node ran: changes of the schema, writes to virtual tables. */
  readonly statements: readonly string[];
  /** All of it as SQL, for people. */
  readonly sql: string;
}

/** The value of a key of one column, or those of all its columns in table order. */
export type HARowKey = bigint | number | string | Buffer | readonly (bigint | number | string | Buffer)[];

/** What {@link HADatabase.undo} takes back. */
export interface HAUndoOptions {
  readonly from: HAHistoryStart;
  /**
   * - `all`: everything from there on (the default).
   * - `entities`: only what happened to the rows that the first transaction touched.
   * - `transactions`: the whole of every transaction that touched one of those rows.
   */
  readonly scope?: 'all' | 'entities' | 'transactions' | undefined;
  /**
   * In place of the rows of the first transaction: these rows, by table. An integer is a rowid where the table has them;
   * everything else is a key. With scope `all` the same as with `entities`.
   */
  readonly rows?: Readonly<Record<string, readonly HARowKey[]>> | undefined;
  /** Take rows back that others changed since, too. Default false: that is refused. */
  readonly force?: boolean | undefined;
  /** Only tell what would be done. Default false. */
  readonly dryRun?: boolean | undefined;
  /** Milliseconds for computing it, in which other writes wait. Default 60,000. */
  readonly timeout?: number | undefined;
}

/** Why a row cannot simply become what it was. */
export interface HAUndoConflict {
  readonly table: string;
  readonly rowid: bigint | undefined;
  /**
   * `changed`: somebody outside the selection changed it since. `unique`: another row has its place in a unique index now.
   * `foreignKey`: what it refers to would be missing, or what refers to it.
   */
  readonly reason: 'changed' | 'unique' | 'foreignKey';
  /** Who changed it, where the history tells. */
  readonly sequence: bigint | undefined;
  readonly node: string | undefined;
  /** The row as it is now; null where there is none. With `unique` the other row. */
  readonly current: HAChangeRow | null;
  /** What undo would make of it; null where there was no row. */
  readonly restored: HAChangeRow | null;
}

/** What an undo did. */
export interface HAUndoResult {
  /** Sequence of the transaction that it became; undefined for a dry run, and where every row already is what it was. */
  readonly sequence: bigint | undefined;
  /** How many transactions it took something of back. */
  readonly transactions: number;
  /** Rows that came back, changed back, and went. One whose key or unique value another one gets back may do both: go, and come. */
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  readonly tables: readonly string[];
  /** With `dryRun` or `force`: what stands in the way. */
  readonly conflicts: readonly HAUndoConflict[];
  /** With `dryRun`: the changes that it would make. */
  readonly changes: readonly HAHistoryChange[];
}

/** Where the copy of {@link HADatabase.restoreTo} stands. */
export interface HARestored {
  /** Sequence of the last transaction in it; 0 where there is none. */
  readonly sequence: bigint;
  readonly path: string;
}

/** The past of a database, as far as it is kept. */
export interface HistoryPort {
  history(from: HAHistoryStart | undefined, options: HAHistoryOptions): AsyncIterableIterator<HAHistoryTransaction>;
  undo(options: HAUndoOptions): Promise<HAUndoResult>;
  restoreTo(point: bigint | Date, path: string): Promise<HARestored>;
}

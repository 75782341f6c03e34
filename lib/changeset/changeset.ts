/**
 * A changeset is one committed transaction, as it travels from the node that ran it to all others.
 *
 * Values keep SQLite's five storage classes apart, because JavaScript's own types would not: an INTEGER is always a
 * `bigint`, a `number` is always a REAL, a BLOB is a `Buffer`, NULL is `null`, and TEXT is a `string` unless its bytes
 * are not valid UTF-8, which SQLite permits ({@link InvalidText}).
 */

/** TEXT whose bytes are not valid UTF-8, and so cannot be a JavaScript string without loss. */
export class InvalidText {
  constructor(readonly bytes: Buffer) {}
}

/** One value of SQLite, exact. */
export type SqlValue = null | bigint | number | string | Buffer | InvalidText;

/** What happened to a row. */
export type RowOperation = 'INSERT' | 'UPDATE' | 'DELETE';

/** One row that was inserted, changed or deleted. */
export interface RowChange {
  readonly operation: RowOperation;
  /** Always `main` in messages of this library. */
  readonly database: string;
  readonly table: string;
  /** Column names in table order, generated columns left out. */
  readonly columns: readonly string[];
  /** Names of the declared primary key in table order; empty where there is none. */
  readonly pkColumns: readonly string[];
  /** Absent for tables without a rowid. */
  readonly oldRowid?: bigint;
  readonly newRowid?: bigint;
  /** The row before, for UPDATE and DELETE. */
  readonly oldValues?: readonly SqlValue[];
  /** The row after, for INSERT and UPDATE. */
  readonly newValues?: readonly SqlValue[];
}

/** A statement that every node runs: DDL, a write to a virtual table, a replicated PRAGMA. */
export interface SqlChange {
  readonly operation: 'SQL';
  readonly command: string;
  /** Values in the order of SQLite's parameter numbers. */
  readonly args: readonly SqlValue[];
}

/** A message between nodes that changes no row. */
export interface CustomChange {
  readonly operation: 'CUSTOM';
  readonly command: string;
}

export type Change = RowChange | SqlChange | CustomChange;

/** An AUTOINCREMENT counter (`sqlite_sequence`) that a transaction raised (`bump`) or wrote itself (`set`). */
export type SequenceChange =
  { readonly table: string; readonly bump: bigint } | { readonly table: string; readonly set: bigint | null };

/** One committed transaction. */
export interface ChangeSet {
  /** Name of the node that ran it. */
  readonly node: string;
  /** Start of that node's process, nanoseconds since 1970. */
  readonly processId: bigint;
  /** Replication id of its database. */
  readonly filename: string;
  readonly changes: readonly Change[];
  readonly sequences: readonly SequenceChange[];
  /** The stream position the writer had applied when it ran the transaction; 0 in messages of go-ha. */
  readonly epoch: bigint;
  /** When it was run, nanoseconds since 1970. */
  readonly timestampNs: bigint;
  /**
   * It ran on top of what was published, or waits to be, under so many ids of its origin right in front of its own, and saw what
   * those did, whether they are stored or not. Of others of its origin behind the epoch it saw nothing. Absent where it is none.
   */
  readonly behind?: number;
  /** It may have taken rows away that none of its changes tells of, as REPLACE does without recursive triggers. */
  readonly untold?: boolean;
  /** It is of a leader, elected so often: nobody wrote between what it saw and its place in the stream. */
  readonly term?: number;
  /** What its writer was to be answered, where that is a node that may lose the answer. */
  readonly answer?: WriteAnswer;
}

/** What a statement that writes is answered with. */
export interface WriteAnswer {
  readonly changes: number;
  readonly lastInsertRowid: bigint;
}

/** True where a change is a change of a row. */
export function isRowChange(change: Change): change is RowChange {
  return change.operation !== 'SQL' && change.operation !== 'CUSTOM';
}

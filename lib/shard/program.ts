/** One database that a program reads. */
export interface ProgramSource {
  /** Its connection name: the value of `_ha_db`. */
  readonly name: string;
  readonly path: string;
  /** What the plan was made for: another one means that it has to be made anew. */
  readonly schemaVersion: number;
}

/** Values by the names of {@link parameterName}. */
export type ProgramValues = Readonly<Record<string, unknown>>;

interface ProgramBase {
  readonly sources: readonly ProgramSource[];
  /** Run on every connection. */
  readonly pragmas: readonly string[];
  readonly values: ProgramValues;
  /** Runs on every database, or on what was merged. Its parameters are {@link values}, and `@_ha_db` where streamed. */
  readonly query: string;
}

/** Rows of one database after another, as they come. */
export interface StreamProgram extends ProgramBase {
  readonly kind: 'stream';
  readonly skip: number;
  /** Rows at most. */
  readonly take: number;
}

/** Rows of all databases are brought into one, and the query runs there. */
export interface MergeProgram extends ProgramBase {
  readonly kind: 'merge';
  readonly encoding: string;
  /** Makes the tables of the merging database. */
  readonly setup: readonly string[];
  /** Fills them from the database that is attached as {@link SOURCE_SCHEMA}. */
  readonly copies: readonly string[];
  /** Gives a row where what was copied cannot be merged exactly. */
  readonly inexact?: string;
  /** Runs instead then, or where SQLite finds that a sum overflows. */
  readonly otherwise?: MergeProgram;
}

/** How an answer is made: texts and values alone, so that a thread of its own can run it. */
export type Program = StreamProgram | MergeProgram;

/** The schema name of what is merged: temporary, for no database is ever written to. */
export const MERGED_SCHEMA = 'temp';
/** The schema name of the database that is being read. */
export const SOURCE_SCHEMA = '_ha_src';
/** The column that names the database of a row. */
export const SOURCE_COLUMN = '_ha_db';
/** The table of partial groups. */
export const GROUPS_TABLE = '_ha_groups';

/** The name, without its prefix, under which a parameter is bound; `ordinal` is SQLite's number of it. */
export function parameterName(ordinal: number): string {
  return `_ha_p${ordinal}`;
}

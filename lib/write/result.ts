import type { Statement } from '../sqlite/connection.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAColumn, HARunResult } from './executor.js';

/** How rows are returned, and whether their columns are described. */
export interface ResultShape extends RowShape {
  readonly columns?: boolean | undefined;
}

/** All that one statement did. Rows are in the shape that was asked for. */
export interface StatementResult<Row = unknown> extends HARunResult {
  /** True where the statement returns rows, even if there were none. */
  readonly reader: boolean;
  /** Names of the columns, as SQLite gives them; the same name may come twice. Empty where rows are objects. */
  readonly columns: readonly string[];
  /** The columns, where they are to be described. */
  readonly described?: readonly HAColumn[] | undefined;
  readonly rows: readonly Row[];
}

/** With rows as arrays, integers as `bigint`. */
export type ExactResult = StatementResult<readonly unknown[]>;

/** What better-sqlite3 says where rows are asked of a statement that gives none; nothing of it is run. */
export const NO_ROWS = 'This statement does not return data. Use run() instead';

/** Rows of one read, taken one by one. Close it, or take rows until there are no more. */
export interface RowCursor {
  /** Names of the columns. */
  readonly columns: readonly string[];
  /** The next row, undefined behind the last. */
  next(): readonly unknown[] | undefined;
  /** Ends the read; harmless behind the last row. */
  close(): void;
}

/**
 * Opens a cursor on a statement that returns arrays. The first row is fetched at once: SQLite compiles a statement anew
 * when the schema has changed, and only then its columns are those of the rows.
 */
export function openCursor(statement: Statement, args: readonly unknown[], released: () => void): RowCursor {
  let iterator: IterableIterator<unknown> | undefined;
  const close = (): void => {
    if (iterator === undefined) return;
    const ended = iterator;
    iterator = undefined;
    ended.return?.();
    released();
  };
  let first: IteratorResult<unknown> | undefined;
  try {
    iterator = statement.iterate(...args);
    first = iterator.next();
    const columns = statement.columns().map(({ name }) => name);
    return {
      columns,
      close,
      next: () => {
        const step = first ?? iterator?.next();
        first = undefined;
        if (step !== undefined && step.done !== true) return step.value as readonly unknown[];
        if (iterator !== undefined) {
          // It has ended by itself.
          iterator = undefined;
          released();
        }
        return undefined;
      },
    };
  } catch (error) {
    if (iterator === undefined) released();
    else close();
    throw error;
  }
}

/** Runs a statement to its end. What it changed is asked of SQLite where rows came back: better-sqlite3 does not tell then. */
export function runToEnd(
  statement: Statement,
  args: readonly unknown[],
  shape: ResultShape,
  counts: () => Counts,
): StatementResult {
  if (!statement.reader) {
    const counted = statement.run(...args) as Counts;
    return { reader: false, columns: [], rows: [], ...counted, ...(shape.columns === true && { described: [] }) };
  }
  const rows = statement.all(...args);
  const result = { reader: true, rows, ...counts() };
  // Behind the rows: SQLite compiles a statement anew when the schema has changed, and only then knows its columns.
  const described = shape.raw || shape.columns === true ? statement.columns() : [];
  return {
    ...result,
    columns: described.map(({ name }) => name),
    ...(shape.columns === true && { described }),
  };
}

/** How many rows a statement changed, and the rowid of the last one that it inserted. */
export interface Counts {
  readonly changes: number;
  readonly lastInsertRowid: number | bigint;
}

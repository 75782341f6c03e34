import type { Statement } from '../sqlite/connection.js';
import type { HARunResult } from './executor.js';

/** What one statement of a session gave. Rows are arrays in the order of the columns; integers are `bigint`, REAL is a number. */
export interface HAResult extends HARunResult {
  /** True where the statement returns rows, even if there were none. */
  readonly reader: boolean;
  /** Names of the columns, as SQLite gives them; the same name may come twice. Empty where it returns no rows. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

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
export function runToEnd(statement: Statement, args: readonly unknown[], counts: () => Counts): HAResult {
  if (!statement.reader) return { reader: false, columns: [], rows: [], ...(statement.run(...args) as Counts) };
  const rows = statement.all(...args) as unknown[][];
  return { reader: true, columns: statement.columns().map(({ name }) => name), rows, ...counts() };
}

/** How many rows a statement changed, and the rowid of the last one that it inserted. */
export interface Counts {
  readonly changes: number;
  readonly lastInsertRowid: number | bigint;
}

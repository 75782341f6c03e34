import { newValue, oldValue } from '../changeset/interceptor.js';
import type { HAInterceptor, HARowContext } from '../changeset/interceptor.js';
import type { RowChange, SqlValue } from '../changeset/changeset.js';

/** Of which tables. */
export interface LastWriteWinsOptions {
  /** Tables that it is for. Default: all that have the column. */
  readonly tables?: readonly string[];
}

/**
 * The row with the greater value of a column wins, in place of the one that comes later in the stream: an INSERT or UPDATE
 * whose value is less than that of a row which it would overwrite or remove is left out, and so is a DELETE of a row whose value
 * is greater by now than when it was read. Equal values: the later one in the stream. SQLite compares, by storage class and
 * collation; NULL is less than anything.
 *
 * Each row is decided by itself, also where a transaction has several. A row that was deleted has no value to compare with:
 * an UPDATE that comes behind the DELETE brings it back.
 *
 * @param column Holds a time, a version or the like, which every write of the application sets.
 */
export function LastWriteWinsByColumn(column: string, options: LastWriteWinsOptions = {}): HAInterceptor {
  return {
    name: `LastWriteWinsByColumn(${column})`,
    ...(options.tables === undefined ? {} : { tables: options.tables }),
    beforeRow: (change, context) => (isOlder(change, context, column) ? 'skip' : 'pass'),
  };
}

function isOlder(change: RowChange, context: HARowContext, column: string): boolean {
  const value = change.operation === 'DELETE' ? seen(change, context, column) : newValue(change, column);
  if (value === undefined) return false;
  const { stored } = context;
  const others = change.operation === 'DELETE' ? [] : context.inTheWay;
  return [...(stored === undefined ? [] : [stored]), ...others].some(
    (row) => hasColumn(row.values, column) && row.isGreater(column, value),
  );
}

/** What the writer had in front of a DELETE. */
function seen(change: RowChange, context: HARowContext, column: string): SqlValue | undefined {
  return context.before(column) ?? oldValue(change, column);
}

/** The table may have lost the column since. */
function hasColumn(values: object, column: string): boolean {
  const lower = column.toLowerCase();
  return Object.keys(values).some((name) => name.toLowerCase() === lower);
}

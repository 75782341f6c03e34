import { newValue, withValues } from '../changeset/interceptor.js';
import type { HAInterceptor } from '../changeset/interceptor.js';
import type { SqlValue } from '../changeset/changeset.js';

const MIN_INTEGER = -(2n ** 63n);
const MAX_INTEGER = 2n ** 63n - 1n;

/**
 * Adds up what several nodes do to a number at the same time: an UPDATE changes the stored value by as much as it changed the
 * value at its writer. Other columns of the row are set as written.
 *
 * INTEGER is exact to 64 bits. With a REAL among the values it is floating-point addition: the same on all nodes, and rounded.
 * The value is set as written where there is nothing to add to or with: the row is gone, a value is NULL, text or BLOB, or the
 * sum does not fit. INSERT and DELETE are not changed, so make the row before it is counted on; `INSERT … ON CONFLICT DO UPDATE`
 * of two nodes that both find no row is an INSERT at both. An UPDATE that sets a fixed value counts by its difference too.
 * Rows need a primary key, or `rowIdentify=rowid`: one that is found by all its values is not found when it has changed.
 *
 * @example
 * interceptors: [MergeCounter('accounts', 'balance')]
 */
export function MergeCounter(table: string, column: string): HAInterceptor {
  return {
    name: `MergeCounter(${table}.${column})`,
    tables: [table],
    beforeRow: (change, context) => {
      if (change.operation !== 'UPDATE') return 'pass';
      const now = context.stored && valueIn(context.stored.values, column);
      const sum = merged(now, context.before(column), newValue(change, column));
      return sum === undefined || sum === newValue(change, column) ? 'pass' : withValues(change, { [column]: sum });
    },
  };
}

/** `stored` + (`after` - `before`); undefined where that cannot be told. */
function merged(
  stored: SqlValue | undefined,
  before: SqlValue | undefined,
  after: SqlValue | undefined,
): bigint | number | undefined {
  if (typeof stored === 'bigint' && typeof before === 'bigint' && typeof after === 'bigint') {
    const sum = stored + (after - before);
    return sum < MIN_INTEGER || sum > MAX_INTEGER ? undefined : sum;
  }
  if (!isNumber(stored) || !isNumber(before) || !isNumber(after) || stored === before) return undefined;
  const sum = Number(stored) + (Number(after) - Number(before));
  return Number.isFinite(sum) ? sum : undefined;
}

function isNumber(value: SqlValue | undefined): value is bigint | number {
  return typeof value === 'bigint' || typeof value === 'number';
}

function valueIn(values: Readonly<Record<string, SqlValue>>, column: string): SqlValue | undefined {
  if (Object.hasOwn(values, column)) return values[column];
  const lower = column.toLowerCase();
  const name = Object.keys(values).find((key) => key.toLowerCase() === lower);
  return name === undefined ? undefined : values[name];
}

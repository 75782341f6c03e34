import { own } from '../common/own.js';
import { InvalidText } from '../changeset/changeset.js';
import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { HAInterceptor, HARowContext, HAStoredRow } from '../changeset/interceptor.js';

/** Of which tables. */
export interface FirstWriteWinsOptions {
  /** Tables that it is for. Default: all. */
  readonly tables?: readonly string[];
}

/**
 * Who was first in the stream wins: an UPDATE or DELETE of a row that is not stored any more as its writer saw it is left out,
 * and so is an INSERT or UPDATE for which a row of somebody else would have to go.
 *
 * Each row is decided by itself, also where a transaction has several: the first change of a row in a transaction decides on
 * the others. INSERT OR REPLACE does not say that it saw the row which it replaces (unless `recursive_triggers` is on), so it
 * does not replace one: use `INSERT … ON CONFLICT DO UPDATE`.
 */
export function FirstWriteWins(options: FirstWriteWinsOptions = {}): HAInterceptor {
  return {
    name: 'FirstWriteWins',
    ...(options.tables === undefined ? {} : { tables: options.tables }),
    beforeRow: (change, context) => (isLate(change, context) ? 'skip' : 'pass'),
  };
}

function isLate(change: RowChange, context: HARowContext): boolean {
  if (context.earlier !== undefined) return context.earlier === 'skipped' || context.inTheWay.length > 0;
  const { stored } = context;
  if (change.operation === 'INSERT') return stored !== undefined || context.inTheWay.length > 0;
  return stored === undefined || !isAsSeen(stored, change) || context.inTheWay.length > 0;
}

/** Columns that one of the two does not know, say nothing. */
function isAsSeen({ values }: HAStoredRow, { columns, oldValues = [] }: RowChange): boolean {
  return columns.every((column, index) => {
    const value = own(values, column);
    return value === undefined || same(value, oldValues[index] ?? null);
  });
}

/** Numbers by value: go-ha tells no storage class. */
function same(a: SqlValue, b: SqlValue): boolean {
  if (Buffer.isBuffer(a)) return Buffer.isBuffer(b) && a.equals(b);
  if (b instanceof InvalidText) return a === b.bytes.toString('utf8');
  if (typeof a === 'bigint' && typeof b === 'number') return isSame(a, b);
  if (typeof a === 'number' && typeof b === 'bigint') return isSame(b, a);
  return a === b;
}

function isSame(integer: bigint, real: number): boolean {
  return Number.isInteger(real) && BigInt(real) === integer;
}

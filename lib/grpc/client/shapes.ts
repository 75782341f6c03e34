import type { RowShape } from '../../sqlite/statement-cache.js';
import type { SqlValue } from '../codec/any.js';

/** Rows as better-sqlite3 would return them. */
export function shaped(columns: readonly string[], values: readonly SqlValue[], shape: RowShape): unknown {
  const cells = shape.safeIntegers ? values : values.map(plain);
  if (shape.pluck) return cells[0];
  if (shape.raw) return [...cells];
  const row: Record<string, unknown> = {};
  columns.forEach((name, index) => (row[name] = cells[index]));
  return row;
}

/** Without `safeIntegers` an integer is a number, exact up to 2^53. */
export function plain(value: SqlValue): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

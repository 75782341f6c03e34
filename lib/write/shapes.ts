import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAColumn, HAExecuteOptions, HAResult } from './executor.js';
import type { ExactResult, ResultShape, StatementResult } from './result.js';

/** A row as better-sqlite3 would return it. */
export function shaped(columns: readonly string[], values: readonly unknown[], shape: RowShape): unknown {
  const cells = shape.safeIntegers ? values : values.map(plain);
  if (shape.pluck) return cells[0];
  if (shape.raw) return [...cells];
  const row: Record<string, unknown> = {};
  columns.forEach((name, index) => (row[name] = cells[index]));
  return row;
}

/** Without `safeIntegers` an integer is a number, exact up to 2^53. */
export function plain(value: unknown): unknown {
  return typeof value === 'bigint' ? Number(value) : value;
}

/** A result that came from elsewhere, in the shape that is wanted. */
export function inShape(result: ExactResult, shape: ResultShape): StatementResult {
  const { columns, rows, lastInsertRowid } = result;
  return {
    ...result,
    rows: rows.map((row) => shaped(columns, row, shape)),
    lastInsertRowid: shape.safeIntegers ? lastInsertRowid : Number(lastInsertRowid),
    ...(shape.columns === true && { described: columns.map(undescribed) }),
  };
}

/** How a statement has to return rows for what its caller wants. */
export function shapeOf({ rowMode, safeIntegers, columns }: HAExecuteOptions): ResultShape {
  return { pluck: false, raw: rowMode === 'array', safeIntegers: safeIntegers === true, columns: columns === true };
}

/** What the caller of `execute` gets. */
export function toResult<T>(result: StatementResult, { safeIntegers, columns }: ResultShape): HAResult<T> {
  const { reader, rows, changes, lastInsertRowid, described, txseq } = result;
  return {
    reader,
    rows: rows as T[],
    changes,
    lastInsertRowid: safeIntegers ? BigInt(lastInsertRowid) : Number(lastInsertRowid),
    ...(columns === true && { columns: described ?? [] }),
    ...(txseq !== undefined && { txseq }),
  };
}

/** The protocol tells names only. */
function undescribed(name: string): HAColumn {
  return { name, column: null, table: null, database: null, type: null };
}

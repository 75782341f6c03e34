/** Integers as TypeORM knows them of better-sqlite3, where a number holds them; else `bigint`, which loses nothing. */
export function exactInteger(value: number | bigint): number | bigint {
  if (typeof value === 'number') return value;
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

/** The same in all columns of a row, which it gives back. */
export function exactRow(row: Record<string, unknown>): Record<string, unknown> {
  for (const name in row) {
    const value = row[name];
    if (typeof value === 'bigint') row[name] = exactInteger(value);
  }
  return row;
}

import type BetterSqlite3 from 'better-sqlite3';

/**
 * True for errors of SQLite itself, as better-sqlite3 raises them. Not by `instanceof`: the native part takes the class
 * of whoever loaded it first in the process, and test runners load its JavaScript anew for each file.
 */
export function isSqliteError(error: unknown): error is InstanceType<typeof BetterSqlite3.SqliteError> {
  if (typeof error !== 'object' || error === null) return false;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && code.startsWith('SQLITE_');
}

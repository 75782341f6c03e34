import BetterSqlite3 from 'better-sqlite3';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import type { SchemaInfo, TableInfo } from '../sqlite/schema.js';

/**
 * Deferred foreign keys are checked at COMMIT, and a group of transactions has one COMMIT: peers would get what this node
 * cannot commit. So each transaction is checked before it is sent, in the tables that it touched and their children
 * (https://www.sqlite.org/pragma.html#pragma_foreign_key_check). The check reads those tables whole; it runs only where
 * the schema has such keys.
 *
 * What is violated already in the committed state is not this transaction's doing: two nodes may have written a child and
 * deleted its parent at the same time.
 *
 * @throws SqliteError `SQLITE_CONSTRAINT_FOREIGNKEY`, as COMMIT would.
 */
export function findDeferredViolation(
  db: Connection,
  committed: Connection,
  schema: SchemaInfo,
  touched: ReadonlySet<TableInfo>,
): void {
  const names = new Set([...touched].map((table) => table.name.toLowerCase()));
  for (const table of schema.tables.values()) {
    const parents = db
      .prepare(`SELECT DISTINCT lower("table") FROM pragma_foreign_key_list(?, 'main')`)
      .pluck()
      .all(table.name) as string[];
    const concerned = parents.length > 0 && [table.name.toLowerCase(), ...parents].some((name) => names.has(name));
    if (!concerned) continue;
    const found = violations(db, table);
    if (found.length > 0 && hasNew(found, violationsBefore(committed, table))) {
      throw new BetterSqlite3.SqliteError('FOREIGN KEY constraint failed', 'SQLITE_CONSTRAINT_FOREIGNKEY');
    }
  }
}

/** Each as text: rowid (NULL in tables without), parent and number of the key. */
function violations(db: Connection, table: TableInfo): string[] {
  const check = db.prepare(`PRAGMA main.foreign_key_check(${q(table.name)})`);
  return (check.safeIntegers(true).raw(true).all() as unknown[][]).map((row) => row.map(String).join());
}

function violationsBefore(committed: Connection, table: TableInfo): string[] {
  const known = committed.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ?`).get(table.name);
  return known === undefined ? [] : violations(committed, table);
}

function hasNew(found: readonly string[], before: readonly string[]): boolean {
  const left = [...before];
  return found.some((violation) => {
    const at = left.indexOf(violation);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

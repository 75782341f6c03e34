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
 * @throws SqliteError `SQLITE_CONSTRAINT_FOREIGNKEY`, as COMMIT would.
 */
export function findDeferredViolation(db: Connection, schema: SchemaInfo, touched: ReadonlySet<TableInfo>): void {
  const names = new Set([...touched].map((table) => table.name.toLowerCase()));
  for (const table of schema.tables.values()) {
    const parents = db
      .prepare(`SELECT DISTINCT lower("table") FROM pragma_foreign_key_list(?, 'main')`)
      .pluck()
      .all(table.name) as string[];
    const concerned = parents.length > 0 && [table.name.toLowerCase(), ...parents].some((name) => names.has(name));
    if (!concerned) continue;
    const violation = db.prepare(`PRAGMA main.foreign_key_check(${q(table.name)})`).get();
    if (violation !== undefined) {
      throw new BetterSqlite3.SqliteError('FOREIGN KEY constraint failed', 'SQLITE_CONSTRAINT_FOREIGNKEY');
    }
  }
}

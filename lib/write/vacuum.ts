import { HAError } from '../common/ha-error.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { Connection } from '../sqlite/connection.js';
import { readSchema } from '../sqlite/schema.js';

/**
 * VACUUM renumbers the rowids of tables that have neither an INTEGER PRIMARY KEY nor an index, on this node alone, and
 * rowids tell equal rows of such tables apart (https://www.sqlite.org/lang_vacuum.html).
 *
 * @throws HAError `HA_STATEMENT_REFUSED` where the database has such a table.
 */
export function refuseVacuum(db: Connection, info: StatementInfo): void {
  if (info.kind !== 'vacuum' || info.into === true) return;
  const indexed = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'index' AND tbl_name = ?`);
  for (const table of readSchema(db).tables.values()) {
    if (table.withoutRowid || table.rowidAlias !== undefined || indexed.get(table.name) !== undefined) continue;
    throw new HAError(
      'HA_STATEMENT_REFUSED',
      `VACUUM would renumber the rows of '${table.name}' on this node only, for it has neither an INTEGER PRIMARY KEY nor an index. Add one, or copy the database with VACUUM INTO.`,
      { details: { table: table.name } },
    );
  }
}

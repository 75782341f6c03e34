import { HAError } from '../common/ha-error.js';
import type { RowChange, SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import type { SchemaInfo, TableInfo } from '../sqlite/schema.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import { bound, doubled, keyMatch, mark, marks } from './row-plan.js';
import type { Bound } from './row-plan.js';

/**
 * Takes row changes back: the plain inverse of each, by rowid, in tables WITHOUT ROWID by key. Nothing is looked for and
 * nothing replaced: what is taken back here is what this node did last, so each inverse has to meet exactly one row. If it
 * does not, the rows are not what they were taken for, and nothing can be built on them.
 */
export class Undo {
  private readonly statements: StatementCache;

  constructor(db: Connection) {
    this.statements = new StatementCache(db);
  }

  /**
   * Takes changes back, the last one first.
   *
   * @throws HAError `HA_OVERLAY_BROKEN` where an inverse does not change exactly one row.
   */
  run(changes: readonly RowChange[], schema: SchemaInfo): void {
    for (let index = changes.length - 1; index >= 0; index--) {
      const change = changes[index] as RowChange;
      const table = schema.tables.get(change.table);
      if (table === undefined) throw broken(change, 'the table is gone');
      try {
        if (this.inverse(change, table) !== 1) throw broken(change, 'its row is not there');
      } catch (error) {
        if (isSqliteError(error) && /^SQLITE_(CONSTRAINT|MISMATCH)/.test(error.code))
          throw broken(change, error.message);
        throw error;
      }
    }
  }

  private inverse(change: RowChange, table: TableInfo): number {
    const { operation, oldValues = [], newValues = [] } = change;
    if (operation === 'DELETE') return this.insert(change, table, oldValues);
    const { where, args } = match(change, table, newValues);
    if (operation === 'INSERT') return this.change(`DELETE FROM ${nameOf(table)} WHERE ${where}`, args);
    const sets = change.columns.map((name, index) => `${q(name)} = ${mark(oldValues[index])}`).join(', ');
    const met = this.change(`UPDATE ${nameOf(table)} SET ${sets} WHERE ${where}`, [...bound(oldValues), ...args]);
    return met === 1 ? this.moveBack(change, table) : met;
  }

  private insert(change: RowChange, table: TableInfo, values: readonly SqlValue[]): number {
    const hidden = hasHiddenRowid(table) ? [`${q(table.rowid ?? '')}, `, '?, '] : ['', ''];
    const columns = change.columns.map(q).join(', ');
    const rowid = hasHiddenRowid(table) ? [change.oldRowid ?? null] : [];
    const sql = `INSERT INTO ${nameOf(table)}(${hidden[0]}${columns}) VALUES(${hidden[1]}${marks(values)})`;
    return this.change(sql, [...rowid, ...bound(values)]);
  }

  private moveBack({ oldRowid, newRowid }: RowChange, table: TableInfo): number {
    if (!hasHiddenRowid(table) || oldRowid === undefined || newRowid === undefined || oldRowid === newRowid) return 1;
    const rowid = q(table.rowid ?? '');
    return this.change(`UPDATE ${nameOf(table)} SET ${rowid} = ? WHERE ${rowid} = ?`, [oldRowid, newRowid]);
  }

  private change(sql: string, args: readonly Bound[]): number {
    return this.statements.get(sql).run(...args).changes;
  }
}

/** The row that a change left behind. */
function match(
  change: RowChange,
  table: TableInfo,
  values: readonly SqlValue[],
): { readonly where: string; readonly args: readonly Bound[] } {
  if (table.rowid !== undefined && change.newRowid !== undefined) {
    return { where: `${q(table.rowid)} = ?`, args: [change.newRowid] };
  }
  if (table.withoutRowid) {
    const key = table.pk.map((name) => values[change.columns.indexOf(name)] ?? null);
    return { where: keyMatch(table, '=', key), args: bound(key) };
  }
  // Columns bear all names of the rowid: rows that are equal in all of them cannot be told apart by anybody.
  const terms = change.columns.map((name, index) => {
    const value = mark(values[index]);
    return `${q(name)} IS ${value} COLLATE BINARY AND typeof(${q(name)}) = typeof(${value})`;
  });
  return { where: `${terms.join(' AND ')} LIMIT 1`, args: doubled(values) };
}

function nameOf(table: TableInfo): string {
  return `main.${q(table.name)}`;
}

function hasHiddenRowid(table: TableInfo): boolean {
  return table.rowid !== undefined && table.rowidAlias === undefined;
}

function broken({ operation, table }: RowChange, why: string): HAError {
  return new HAError(
    'HA_OVERLAY_BROKEN',
    `A transaction of this node that waits for its place in the stream cannot be taken back: ${operation} in '${table}', ${why}. Something else has changed the file. Nothing further is applied or published. Save the table ha_outbox, then start with a new file to take over what the stream holds, and write again what was not published.`,
    { details: { table, operation } },
  );
}

import BetterSqlite3 from 'better-sqlite3';
import { bound, mark, marks } from '../apply/row-plan.js';
import { matches } from '../apply/unique-index.js';
import type { UniqueIndex } from '../apply/unique-index.js';
import type { SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { ConfigureConnection, Connection } from '../sqlite/connection.js';
import type { TableInfo } from '../sqlite/schema.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import { exactRows } from './row-places.js';
import type { RowImage, RowPlaces } from './row-places.js';

/** A table of the same shape, empty, in memory: SQLite computes there what generated columns of a row would be. */
interface Mould {
  readonly db: Connection;
  readonly statements: StatementCache;
  readonly indexes: readonly UniqueIndex[];
}

/** Unique indexes on generated columns: what rows will have there stands in no message. */
export class GeneratedUniques {
  private readonly moulds = new Map<TableInfo, Mould | undefined>();

  constructor(
    private readonly places: RowPlaces,
    private readonly configure: ConfigureConnection | undefined,
  ) {}

  /** The stored rows that a row would meet. */
  inTheWayOf(table: TableInfo, { values }: RowImage): RowImage[] {
    const mould = this.mouldOf(table);
    if (mould === undefined) return [];
    return mould.indexes.flatMap((index) => {
      const key = valuesIn(mould, table, index, values);
      return key === undefined ? [] : this.having(table, index, key);
    });
  }

  /** True where two rows cannot be in the table at once. */
  exclude(table: TableInfo, a: RowImage, b: RowImage): boolean {
    const mould = this.mouldOf(table);
    if (mould === undefined) return false;
    return mould.indexes.some((index) => {
      const x = valuesIn(mould, table, index, a.values);
      const y = valuesIn(mould, table, index, b.values);
      if (x === undefined || y === undefined) return false;
      const terms = index.parts.map((part, at) => `${mark(x[at])} = ${mark(y[at])} COLLATE ${q(part.collation)}`);
      const pairs = x.flatMap((value, at) => [value, y[at] ?? null]);
      return mould.statements.get(`SELECT 1 WHERE ${terms.join(' AND ')}`).get(...bound(pairs)) !== undefined;
    });
  }

  close(): void {
    for (const mould of this.moulds.values()) mould?.db.close();
    this.moulds.clear();
  }

  private having(table: TableInfo, index: UniqueIndex, key: readonly SqlValue[]): RowImage[] {
    const names = table.columns.map(({ name }) => q(name));
    const rowid = table.rowid === undefined ? [] : [q(table.rowid)];
    const rest = ` FROM main.${q(table.name)} WHERE ${matches(index, key)}`;
    return exactRows(this.places.statements, [...names, ...rowid], rest, bound(key)).map((row) => ({
      values: row.slice(0, names.length),
      rowid: rowid.length === 0 ? undefined : (row.at(-1) as bigint),
    }));
  }

  private mouldOf(table: TableInfo): Mould | undefined {
    if (!this.moulds.has(table)) this.moulds.set(table, this.cast(table));
    return this.moulds.get(table);
  }

  private cast(table: TableInfo): Mould | undefined {
    const indexes = this.places.generatedOf(table);
    if (indexes.length === 0) return undefined;
    const sql = this.places.db
      .prepare(`SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?`)
      .pluck()
      .get(table.name) as string;
    const db = new BetterSqlite3(':memory:');
    this.configure?.(db, 'reader');
    db.pragma('foreign_keys = OFF');
    db.exec(sql);
    return { db, statements: new StatementCache(db), indexes };
  }
}

/** What a row has in an index; undefined where NULL among it, or the condition, keeps the row out of conflicts. */
function valuesIn(
  { statements }: Mould,
  table: TableInfo,
  { parts, where }: UniqueIndex,
  row: readonly SqlValue[],
): readonly SqlValue[] | undefined {
  const name = `main.${q(table.name)}`;
  const columns = table.columns.map((column) => q(column.name)).join(', ');
  statements.get(`DELETE FROM ${name}`).run();
  statements.get(`INSERT INTO ${name}(${columns}) VALUES(${marks(row)})`).run(...bound(row));
  const condition = where === undefined ? '' : ` WHERE (${where})`;
  const [key] = exactRows(
    statements,
    parts.map(({ sql }) => `(${sql})`),
    ` FROM ${name}${condition}`,
    [],
  );
  return key?.includes(null) === true ? undefined : key;
}

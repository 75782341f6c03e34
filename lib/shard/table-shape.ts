import BetterSqlite3 from 'better-sqlite3';
import { foldCase, quoteIdentifier } from '../sql/identifiers.js';
import { MERGED_SCHEMA } from './program.js';

/** A column of a table, as far as answers depend on it. */
export interface ColumnShape {
  readonly name: string;
  /** `INTEGER`, `REAL`, `TEXT`, `NUMERIC`, or `BLOB` where values are kept as they are. */
  readonly affinity: string;
  /** In upper case. */
  readonly collation: string;
}

/** A table without its constraints: rows of several databases may break them together. */
export interface TableShape {
  readonly name: string;
  readonly columns: readonly ColumnShape[];
  /** The columns that `*` gives and names reach, by folded name. */
  readonly byName: ReadonlyMap<string, ColumnShape>;
}

const MOST_SHAPES = 2_000;
const shapes = new Map<string, TableShape>();

/**
 * The shape of an ordinary table, from the text of its CREATE TABLE. SQLite itself is asked: the table is made in a
 * scratch database, with an index that tells the collations.
 *
 * @throws SqliteError where the text needs what the application registers, such as a collation.
 */
export function tableShape(sql: string): TableShape {
  let shape = shapes.get(sql);
  if (shape === undefined) {
    if (shapes.size >= MOST_SHAPES) shapes.clear();
    shape = readShape(sql);
    shapes.set(sql, shape);
  }
  return shape;
}

function readShape(sql: string): TableShape {
  const db = new BetterSqlite3(':memory:');
  try {
    db.exec(sql);
    const { name, strict } = db
      .prepare(
        `SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name <> 'sqlite_schema' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'`,
      )
      .get() as { name: string; strict: number };
    const table = quoteIdentifier(name);
    const columns = db
      .prepare(`SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid`)
      .all(name) as { name: string; type: string }[];
    db.exec(`CREATE INDEX _ha_probe ON ${table}(${columns.map((column) => quoteIdentifier(column.name)).join(', ')})`);
    const collations = db
      .prepare(`SELECT coll FROM pragma_index_xinfo('_ha_probe') ORDER BY seqno LIMIT ?`)
      .pluck()
      .all(columns.length) as string[];
    const read = columns.map((column, i) => ({
      name: column.name,
      affinity: strict === 1 && column.type.toUpperCase() === 'ANY' ? 'BLOB' : affinityOf(column.type),
      collation: (collations[i] ?? 'BINARY').toUpperCase(),
    }));
    return { name, columns: read, byName: new Map(read.map((column) => [foldCase(column.name), column])) };
  } finally {
    db.close();
  }
}

/** https://www.sqlite.org/datatype3.html#determination_of_column_affinity */
export function affinityOf(type: string): string {
  const upper = type.toUpperCase();
  if (upper.includes('INT')) return 'INTEGER';
  if (/CHAR|CLOB|TEXT/.test(upper)) return 'TEXT';
  if (upper === '' || upper.includes('BLOB')) return 'BLOB';
  if (/REAL|FLOA|DOUB/.test(upper)) return 'REAL';
  return 'NUMERIC';
}

/** Whether two tables give the same answers for the same rows. */
export function sameShape(a: TableShape, b: TableShape): boolean {
  return a.name === b.name && JSON.stringify(a.columns) === JSON.stringify(b.columns);
}

/** The declaration of a column with the same affinity and collation. */
export function declareColumn(name: string, affinity: string, collation: string): string {
  return `${quoteIdentifier(name)} ${affinity} COLLATE ${quoteIdentifier(collation)}`;
}

/** The statement that makes a table of this shape for the rows of many databases. */
export function createMerged(name: string, columns: readonly ColumnShape[]): string {
  const declared = columns.map((column) => declareColumn(column.name, column.affinity, column.collation));
  return `CREATE TABLE ${MERGED_SCHEMA}.${quoteIdentifier(name)}(${declared.join(', ')})`;
}

import type { SqlValue } from '../changeset/changeset.js';
import { Char } from '../sql/characters.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import { StatementReader } from '../sql/statement-reader.js';
import type { Connection } from '../sqlite/connection.js';
import { readKeyCollations } from '../sqlite/key-collations.js';
import type { KeyCollations } from '../sqlite/key-collations.js';
import type { TableInfo } from '../sqlite/schema.js';
import { mark } from './row-plan.js';

/** One part of an index: a column, or an expression as it was written. */
export interface IndexPart {
  /** SQL of the part. */
  readonly sql: string;
  /** Place of its column among {@link TableInfo.columns}; undefined for an expression. */
  readonly column: number | undefined;
  readonly collation: string;
}

/** An index that lets no two rows of a table have the same values. */
export interface UniqueIndex {
  readonly parts: readonly IndexPart[];
  /** The condition of a partial index. */
  readonly where: string | undefined;
}

/** What identifies the rows of a table, and what keeps them apart. */
export interface TableKeys {
  /** Collations of the primary key, in the order of {@link TableInfo.pk}. */
  readonly collations: KeyCollations;
  /** The primary key as an index; undefined where there is none. */
  readonly primary: UniqueIndex | undefined;
  /** Unique indexes besides it. */
  readonly others: readonly UniqueIndex[];
}

interface ListedIndex {
  readonly name: string;
  readonly origin: 'pk' | 'u' | 'c';
}

/** Reads the unique indexes of a table: https://www.sqlite.org/pragma.html#pragma_index_xinfo */
export function readTableKeys(db: Connection, table: TableInfo): TableKeys {
  const list = db
    .prepare(`SELECT name, origin FROM pragma_index_list(?, 'main') WHERE "unique" = 1`)
    .all(table.name) as ListedIndex[];
  const collations = readKeyCollations(db, table.name, table.pk);
  const key = table.pkIndexes.flatMap((column, at) =>
    (collations[at] ?? []).map((collation) => ({ sql: q(table.pk[at] ?? ''), column, collation })),
  );
  return {
    collations,
    primary: key.length === 0 ? undefined : { parts: key, where: undefined },
    others: list.flatMap((index) => (index.origin === 'pk' ? [] : (readIndex(db, table, index.name) ?? []))),
  };
}

/**
 * The unique indexes that speak of generated columns. Values of those are in no message, so {@link readTableKeys} leaves them
 * out; here such a part is an expression, the name of its column.
 */
export function readGeneratedIndexes(db: Connection, table: TableInfo): UniqueIndex[] {
  const generated = db.prepare(`SELECT lower(name) FROM pragma_table_xinfo(?, 'main') WHERE hidden IN (2, 3)`);
  const names = generated.pluck().all(table.name) as string[];
  if (names.length === 0) return [];
  const list = db
    .prepare(`SELECT name, origin FROM pragma_index_list(?, 'main') WHERE "unique" = 1 AND origin <> 'pk'`)
    .all(table.name) as ListedIndex[];
  return list.flatMap(({ name }) => {
    const index = readIndex(db, table, name, true);
    if (index === undefined) return [];
    const written = index.parts.flatMap(({ sql, column }) => (column === undefined ? [sql] : []));
    const text = [...written, index.where ?? ''].join(' ').toLowerCase();
    return names.some((each) => text.includes(each)) ? [index] : [];
  });
}

/** SQL for the stored rows that have given values in an index. */
export function matches(index: UniqueIndex, values: readonly SqlValue[]): string {
  const terms = index.parts.map(({ sql, collation }, at) => `(${sql}) = ${mark(values[at])} COLLATE ${q(collation)}`);
  return [...terms, ...(index.where === undefined ? [] : [`(${index.where})`])].join(' AND ');
}

/** Undefined for an index on generated columns: their values are in no message. */
function readIndex(db: Connection, table: TableInfo, name: string, takesGenerated = false): UniqueIndex | undefined {
  const sql = db.prepare(`SELECT sql FROM main.sqlite_schema WHERE type = 'index' AND name = ?`).pluck().get(name);
  const text = typeof sql === 'string' ? readDefinition(sql) : { parts: [], where: undefined };
  const parts: IndexPart[] = [];
  for (const [at, { name: columnName, coll }] of keyColumns(db, name).entries()) {
    const column = table.columns.findIndex((c) => c.name === columnName);
    if (columnName !== null && column < 0 && !takesGenerated) return undefined;
    const part = columnName === null ? text.parts[at] : q(columnName);
    if (part === undefined) return undefined;
    parts.push({ sql: part, column: column < 0 ? undefined : column, collation: coll });
  }
  return { parts, where: text.where };
}

function keyColumns(db: Connection, index: string): { name: string | null; coll: string }[] {
  return db.prepare(`SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE key = 1 ORDER BY seqno`).all(index) as {
    name: string | null;
    coll: string;
  }[];
}

/** Parts and condition of `CREATE UNIQUE INDEX name ON table(parts) WHERE condition`, as SQLite stores it. */
function readDefinition(sql: string): { readonly parts: readonly string[]; readonly where: string | undefined } {
  const reader = new StatementReader(sql);
  const index = reader.name(3);
  const table = index === undefined ? undefined : reader.name(index.next + 1);
  if (table === undefined) return { parts: [], where: undefined };
  const close = reader.skipParentheses(table.next);
  const parts: string[] = [];
  let from = table.next + 1;
  for (let at = from; at < close; at = Math.max(at + 1, reader.skipParentheses(at))) {
    if (at < close - 1 && !reader.isOperator(at, Char.COMMA)) continue;
    parts.push(reader.text(from, reader.isAny(at - 1, ['ASC', 'DESC']) ? at - 2 : at - 1));
    from = at + 1;
  }
  return { parts, where: reader.is(close, 'WHERE') ? reader.text(close + 1, reader.length - 1) : undefined };
}

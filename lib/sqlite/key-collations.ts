import { foldCase, quoteIdentifier as q } from '../sql/identifiers.js';
import { StatementReader } from '../sql/statement-reader.js';
import type { Connection } from './connection.js';

/** Collations by which a key compares each of its columns; more than one where it names a column more than once. */
export type KeyCollations = readonly (readonly string[])[];

const BUILT_IN = ['BINARY', 'NOCASE', 'RTRIM'];

/**
 * The collations by which the index of a primary key compares its columns, which need not be those of the columns:
 * https://www.sqlite.org/pragma.html#pragma_index_xinfo. Without an index nothing but integers are compared.
 *
 * @param columns of the key, in the order of {@link TableInfo.pk}.
 */
export function readKeyCollations(db: Connection, table: string, columns: readonly string[]): KeyCollations {
  const parts = db
    .prepare(
      `SELECT x.name, x.coll FROM pragma_index_list(?, 'main') l, pragma_index_xinfo(l.name, 'main') x
       WHERE l.origin = 'pk' AND x.key = 1 ORDER BY x.seqno`,
    )
    .all(table) as { name: string | null; coll: string }[];
  return columns.map((column) => {
    const names = new Set(parts.filter(({ name }) => name === column).map(({ coll }) => canonical(coll)));
    // Texts that are equal by BINARY are equal by every other one.
    return names.size === 0 || names.has('BINARY') ? ['BINARY'] : [...names];
  });
}

/** True where the key of a table names a collation: then it may compare a column otherwise than the column itself does. */
export function keyNamesCollation(createTable: string): boolean {
  if (!/\bcollate\b/i.test(createTable)) return false;
  const reader = new StatementReader(createTable);
  for (let at = 0; at < reader.length; at++) {
    if (!reader.is(at, 'PRIMARY', 'KEY')) continue;
    const end = reader.skipParentheses(at + 2);
    for (let inner = at + 2; inner < end; inner++) if (reader.is(inner, 'COLLATE')) return true;
  }
  return false;
}

/**
 * SQL that compares a column of the key with a value in the way of the key's index: in the way of the column it might find
 * another row, and no row by the index.
 *
 * @param collations where the key names them; else undefined, which is the column's own.
 * @param value SQL, in which a parameter stands once.
 */
export function keyTerm(
  column: string,
  operator: '=' | 'IS',
  value: string,
  collations: readonly string[] | undefined,
): string {
  const [only, ...others] = keyColumn(column, collations);
  if (others.length === 0) return `${column} ${operator} ${value}${collate(collations?.[0])}`;
  const both = [only, ...others];
  return `(${both.join(', ')}) ${operator} (SELECT ${both.map(() => 'v').join(', ')} FROM (SELECT ${value} AS v))`;
}

/** SQL of a column of the key by which rows sort as in the key's index; collations as in {@link keyTerm}. */
export function keyColumn(column: string, collations: readonly string[] | undefined): string[] {
  return collations === undefined ? [column] : collations.map((name) => `${column}${collate(name)}`);
}

function collate(name: string | undefined): string {
  return name === undefined ? '' : ` COLLATE ${q(name)}`;
}

/** The pragma tells names as they were written, and SQLite does not mind case. */
function canonical(name: string): string {
  return BUILT_IN.find((known) => foldCase(known) === foldCase(name)) ?? name;
}

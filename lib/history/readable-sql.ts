import { InvalidText, isRowChange } from '../changeset/changeset.js';
import type { Change, ChangeSet, RowChange, SqlValue } from '../changeset/changeset.js';
import { realLiteral } from '../changeset/values.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';

/**
 * Writes changes as SQL that people can read, with every value exact: `2` is an INTEGER and `2.0` a REAL, a BLOB is
 * `X'00ff'`. It is not what any node runs.
 */
export function sqlOf({ changes }: ChangeSet): string {
  return changes.flatMap((change) => textOf(change) ?? []).join('\n');
}

function textOf(change: Change): string | undefined {
  if (change.operation === 'CUSTOM') return undefined;
  if (isRowChange(change)) return `${rowSql(change)};`;
  const args = change.args.length === 0 ? '' : ` /* ${change.args.map(literal).join(', ')} */`;
  return `${change.command.replace(/[;\s]+$/, '')}${args};`;
}

/** One row change as a statement. */
export function rowSql(change: RowChange): string {
  const { operation, table, columns, oldValues = [], newValues = [] } = change;
  switch (operation) {
    case 'INSERT':
      return `INSERT INTO ${q(table)}(${columns.map(q).join(', ')}) VALUES(${newValues.map(literal).join(', ')})`;
    case 'DELETE':
      return `DELETE FROM ${q(table)} WHERE ${rowOf(change, oldValues)}`;
    default:
      return `UPDATE ${q(table)} SET ${assignments(columns, oldValues, newValues)} WHERE ${rowOf(change, oldValues)}`;
  }
}

/** What changed; all columns where nothing did, for the statement has to have one. */
function assignments(columns: readonly string[], before: readonly SqlValue[], after: readonly SqlValue[]): string {
  const all = columns.map((name, index) => ({ name, old: literal(before[index]), now: literal(after[index]) }));
  const changed = all.filter(({ old, now }) => old !== now);
  return (changed.length > 0 ? changed : all).map(({ name, now }) => `${q(name)} = ${now}`).join(', ');
}

/** The row by its key, else by its rowid, else by all its values. */
function rowOf({ columns, pkColumns, oldRowid }: RowChange, before: readonly SqlValue[]): string {
  const key = pkColumns.map((name) => [name, before[columns.indexOf(name)] ?? null] as const);
  if (key.length > 0 && key.every(([, value]) => value !== null)) return condition(key);
  if (oldRowid !== undefined) return `rowid = ${oldRowid}`;
  return condition(columns.map((name, index) => [name, before[index] ?? null] as const));
}

function condition(values: readonly (readonly [name: string, value: SqlValue])[]): string {
  return values.map(([name, value]) => `${q(name)} ${value === null ? 'IS' : '='} ${literal(value)}`).join(' AND ');
}

/** A value as an SQL literal: https://www.sqlite.org/lang_expr.html#literal_values_constants_ */
export function literal(value: SqlValue | undefined): string {
  if (value === null || value === undefined) return 'NULL';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'number') {
    // SQLite has no literal for infinity; what is too large becomes it.
    return Number.isFinite(value) ? realLiteral(value) : value > 0 ? '9e999' : '-9e999';
  }
  if (value instanceof InvalidText) return `CAST(${blob(value.bytes)} AS TEXT)`;
  if (typeof value !== 'string') return blob(value);
  return value.includes('\0') ? `CAST(${blob(Buffer.from(value))} AS TEXT)` : `'${value.replaceAll("'", "''")}'`;
}

function blob(bytes: Buffer): string {
  return `X'${bytes.toString('hex').toUpperCase()}'`;
}

import { bound } from '../apply/row-plan.js';
import { matches } from '../apply/unique-index.js';
import type { UniqueIndex } from '../apply/unique-index.js';
import type { SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { TableInfo } from '../sqlite/schema.js';
import { exactRows } from './row-places.js';
import type { RowImage, RowPlaces } from './row-places.js';

/** The stored rows that have given values in an index. */
export function rowsHaving(
  { statements }: RowPlaces,
  table: TableInfo,
  index: UniqueIndex,
  values: readonly SqlValue[],
): RowImage[] {
  const names = table.columns.map(({ name }) => q(name));
  const rowid = table.rowid === undefined ? [] : [q(table.rowid)];
  const rest = ` FROM main.${q(table.name)} WHERE ${matches(index, values)}`;
  return exactRows(statements, [...names, ...rowid], rest, bound(values)).map((row) => ({
    values: row.slice(0, names.length),
    rowid: rowid.length === 0 ? undefined : (row.at(-1) as bigint),
  }));
}

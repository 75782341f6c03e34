import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { TableInfo } from '../sqlite/schema.js';

/**
 * go-ha's messages tell less than ours: a BLOB in a column declared exactly `BLOB` is base64 text, and a REAL without a
 * fraction is an integer; with generated columns an image has more values than names, in the order of all columns; and a
 * rowid of 0 is left out. All are mended with the help of the schema.
 */
export function adaptForeign(change: RowChange, table: TableInfo): RowChange {
  const types = new Map(table.columns.map((c) => [c.name, c.type.toUpperCase()]));
  const fix = (image: readonly SqlValue[]): SqlValue[] =>
    pickStored(image, change.columns, table).map((value, index) =>
      fixValue(value, types.get(change.columns[index] ?? '') ?? ''),
    );
  return {
    ...change,
    ...rowidsOf(change, table),
    ...(change.oldValues === undefined ? {} : { oldValues: fix(change.oldValues) }),
    ...(change.newValues === undefined ? {} : { newValues: fix(change.newValues) }),
  };
}

function fixValue(value: SqlValue, type: string): SqlValue {
  if (typeof value === 'string' && type === 'BLOB') return canonicalBase64(value) ?? value;
  return typeof value === 'bigint' && hasRealAffinity(type) ? Number(value) : value;
}

/** By the order of the rules: https://www.sqlite.org/datatype3.html#determination_of_column_affinity */
function hasRealAffinity(type: string): boolean {
  return !/INT|CHAR|CLOB|TEXT|BLOB/.test(type) && /REAL|FLOA|DOUB/.test(type);
}

/**
 * A change without both rowids is of a row at 0, or of a table that is WITHOUT ROWID at the writer: go-ha loses that clause
 * on the way. The latter always has a key.
 */
function rowidsOf({ oldRowid, newRowid }: RowChange, table: TableInfo): Pick<RowChange, 'oldRowid' | 'newRowid'> {
  if (table.rowid === undefined) return {};
  if (oldRowid === undefined && newRowid === undefined && table.pk.length > 0) return {};
  return { oldRowid: oldRowid ?? 0n, newRowid: newRowid ?? 0n };
}

function pickStored(image: readonly SqlValue[], columns: readonly string[], table: TableInfo): readonly SqlValue[] {
  if (image.length <= columns.length || image.length !== table.allColumns.length) return image;
  return columns.map((name) => image[table.allColumns.indexOf(name)] ?? null);
}

/** The bytes of a text that is base64 in its one canonical spelling, else undefined. */
function canonicalBase64(text: string): Buffer | undefined {
  if (text.length % 4 !== 0) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

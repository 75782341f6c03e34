import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { TableInfo } from '../sqlite/schema.js';

/**
 * go-ha's messages tell less than ours: a BLOB in a column declared exactly `BLOB` is base64 text, and with generated
 * columns an image has more values than names, in the order of all columns. Both are mended with the help of the schema.
 */
export function adaptForeign(change: RowChange, table: TableInfo): RowChange {
  const blobs = new Set(table.columns.filter((c) => c.type.toUpperCase() === 'BLOB').map((c) => c.name));
  const fix = (image: readonly SqlValue[]): SqlValue[] =>
    pickStored(image, change.columns, table).map((value, index) =>
      typeof value === 'string' && blobs.has(change.columns[index] ?? '') ? (canonicalBase64(value) ?? value) : value,
    );
  return {
    ...change,
    ...(change.oldValues === undefined ? {} : { oldValues: fix(change.oldValues) }),
    ...(change.newValues === undefined ? {} : { newValues: fix(change.newValues) }),
  };
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

import { isUtf8 } from 'node:buffer';
import { InvalidText } from '../changeset/changeset.js';
import type { RowChange, SqlValue } from '../changeset/changeset.js';
import { letterOf, valueLiteral } from '../changeset/values.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import { keyText } from '../apply/row-identity.js';
import { bound, doubled, RowPlan } from '../apply/row-plan.js';
import { readGeneratedIndexes, readTableKeys } from '../apply/unique-index.js';
import type { TableKeys, UniqueIndex } from '../apply/unique-index.js';
import type { Connection } from '../sqlite/connection.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { SchemaInfo, TableInfo } from '../sqlite/schema.js';

/** A row, as it was or is. */
export interface RowImage {
  /** In the order of the columns of its table, generated ones left out. */
  readonly values: readonly SqlValue[];
  readonly rowid: bigint | undefined;
}

/** Where a row is: at most one row is there at any time, except where rows are told apart by all their values. */
export interface RowPlace {
  readonly table: TableInfo;
  readonly text: string;
  /** `values`: neither a rowid nor a key tells rows apart, so equal ones are counted. */
  readonly by: 'rowid' | 'key' | 'values';
  readonly rowid: bigint | undefined;
  readonly key: readonly SqlValue[];
}

/** The tables of a schema, and where their rows are. */
export class RowPlaces {
  readonly statements: StatementCache;
  private readonly tables = new Map<string, TableInfo>();
  private readonly keys = new Map<TableInfo, TableKeys>();
  private readonly generated = new Map<TableInfo, readonly UniqueIndex[]>();
  private readonly plans = new Map<TableInfo, RowPlan>();

  constructor(
    readonly db: Connection,
    readonly schema: SchemaInfo,
  ) {
    this.statements = new StatementCache(db, 1_000);
    for (const table of schema.tables.values()) this.tables.set(table.name.toLowerCase(), table);
  }

  table(name: string): TableInfo | undefined {
    return this.schema.tables.get(name) ?? this.tables.get(name.toLowerCase());
  }

  keysOf(table: TableInfo): TableKeys {
    let keys = this.keys.get(table);
    if (keys === undefined) this.keys.set(table, (keys = readTableKeys(this.db, table)));
    return keys;
  }

  /** Unique indexes on generated columns. */
  generatedOf(table: TableInfo): readonly UniqueIndex[] {
    let indexes = this.generated.get(table);
    if (indexes === undefined) this.generated.set(table, (indexes = readGeneratedIndexes(this.db, table)));
    return indexes;
  }

  planOf(table: TableInfo): RowPlan {
    let plan = this.plans.get(table);
    const names = table.columns.map(({ name }) => name);
    if (plan === undefined) this.plans.set(table, (plan = new RowPlan(table, names)));
    return plan;
  }

  /** The place of a row that is known whole. */
  place(table: TableInfo, { values, rowid }: RowImage): RowPlace {
    if (table.rowid !== undefined && rowid !== undefined) return this.atRowid(table, rowid);
    const key = keyIn(table, values);
    if (key !== undefined) return this.atKey(table, key);
    return { table, by: 'values', rowid: undefined, key: [], text: `${table.name}\0v${exactText(values)}` };
  }

  atRowid(table: TableInfo, rowid: bigint): RowPlace {
    return { table, by: 'rowid', rowid, key: [], text: `${table.name}\0r${rowid}` };
  }

  atKey(table: TableInfo, key: readonly SqlValue[]): RowPlace {
    const text = `${table.name}\0k${keyText(key.map(distinct), this.keysOf(table).collations)}`;
    return { table, by: 'key', rowid: undefined, key, text };
  }

  /** The place, and the text of its key where it has one besides: a row that comes back under the same key is the same. */
  names(place: RowPlace, image: RowImage): readonly string[] {
    if (place.by !== 'rowid' || place.table.rowidAlias !== undefined) return [place.text];
    const key = keyIn(place.table, image.values);
    return key === undefined ? [place.text] : [place.text, this.atKey(place.table, key).text];
  }

  /** What stands at a place. */
  read(place: RowPlace): RowImage | undefined {
    return this.readFrom(this.statements, place);
  }

  /** The same in another copy of the database, whose schema is the same. */
  readFrom(statements: StatementCache, { table, by, rowid, key }: RowPlace): RowImage | undefined {
    const plan = this.planOf(table);
    if (by === 'rowid') {
      const values = exactRow(statements, table, plan.selectByRowid(), [rowid]);
      return values === undefined ? undefined : { values, rowid };
    }
    const at = bound(key);
    const values = exactRow(statements, table, plan.selectByKey(key), at);
    if (values === undefined) return undefined;
    if (table.rowid === undefined) return { values, rowid: undefined };
    const [found] = statements.exact(plan.rowidByKey(key)).get(...at) as [bigint];
    return { values, rowid: found };
  }

  /** How many rows have exactly these values. */
  count(table: TableInfo, values: readonly SqlValue[]): number {
    const sql = this.planOf(table)
      .existsExact(values)
      .replace('SELECT 1', 'SELECT count(*)')
      .replace(/ LIMIT 1$/, '');
    return Number((this.statements.exact(sql).get(...doubled(values)) as [bigint])[0]);
  }
}

/** A text that is equal for rows that are equal in every value, by storage class and bytes. */
export function exactText(values: readonly SqlValue[]): string {
  return values.map((value) => `${letterOf(value)}${valueLiteral(value)}`).join(',');
}

/** The row of a statement that selects all columns of a table; text that is not UTF-8 with its bytes. */
export function exactRow(
  statements: StatementCache,
  table: TableInfo,
  sql: string,
  args: readonly unknown[],
): SqlValue[] | undefined {
  const values = statements.exact(sql).get(...args) as SqlValue[] | undefined;
  if (values === undefined || !mayHideBytes(values)) return values;
  const names = table.columns.map(({ name }) => q(name));
  const rest = sql.slice(`SELECT ${names.join(', ')}`.length);
  return exactRows(statements, names, rest, args)[0];
}

/** The rows of `SELECT names` and the rest of a statement; text that is not UTF-8 with its bytes. */
export function exactRows(
  statements: StatementCache,
  names: readonly string[],
  rest: string,
  args: readonly unknown[],
): SqlValue[][] {
  const rows = statements.exact(`SELECT ${names.join(', ')}${rest}`).all(...args) as SqlValue[][];
  if (!rows.some(mayHideBytes)) return rows;
  // Values and bytes of one row have to come together, for the order of rows may be anything.
  const casts = names.map((name) => `CAST(${name} AS BLOB)`);
  const both = statements.exact(`SELECT ${[...names, ...casts].join(', ')}${rest}`).all(...args) as SqlValue[][];
  return both.map((row) => names.map((_name, index) => exactValue(row[index] ?? null, row[names.length + index])));
}

/** What is not UTF-8 has become this character; so has, of course, the character itself. */
function mayHideBytes(values: readonly SqlValue[]): boolean {
  return values.some((value) => typeof value === 'string' && value.includes('\uFFFD'));
}

function exactValue(value: SqlValue, bytes: SqlValue | undefined): SqlValue {
  return typeof value === 'string' && Buffer.isBuffer(bytes) && !isUtf8(bytes) ? new InvalidText(bytes) : value;
}

/** True where two images are the same row in every value, by storage class and bytes, and at the same rowid. */
export function isSameImage(a: RowImage | undefined, b: RowImage | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.rowid === b.rowid && a.values.every((value, index) => isSameValue(value, b.values[index]));
}

function isSameValue(a: SqlValue, b: SqlValue | undefined): boolean {
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return Object.is(a, b);
  if (a instanceof InvalidText) return b instanceof InvalidText && a.bytes.equals(b.bytes);
  return Buffer.isBuffer(b) && a.equals(b);
}

/** Text that is not UTF-8 by its bytes, so that it is equal to no other: behind a half character, which no text begins with. */
function distinct(value: SqlValue): SqlValue {
  return value instanceof InvalidText ? `\uDC00${value.bytes.toString('latin1')}` : value;
}

/** The key of a row; undefined where its table has none, or NULL is in it. */
export function keyIn(table: TableInfo, values: readonly SqlValue[]): readonly SqlValue[] | undefined {
  if (table.pkIndexes.length === 0) return undefined;
  const key = table.pkIndexes.map((index) => values[index] ?? null);
  return key.includes(null) ? undefined : key;
}

/** The rows in front of and behind a change; undefined where it has columns that its table has not, or lacks some. */
export function imagesOf(
  table: TableInfo,
  change: RowChange,
): { readonly before: RowImage | undefined; readonly after: RowImage | undefined } | undefined {
  const { columns, oldValues, newValues, oldRowid = change.newRowid, newRowid = change.oldRowid } = change;
  if (columns.length !== table.columns.length) return undefined;
  if (table.columns.some(({ name }, index) => columns[index] !== name)) return undefined;
  const hasRowid = table.rowid !== undefined;
  if (hasRowid && (oldRowid === undefined || newRowid === undefined)) return undefined;
  return {
    before: oldValues && { values: oldValues, rowid: hasRowid ? oldRowid : undefined },
    after: newValues && { values: newValues, rowid: hasRowid ? newRowid : undefined },
  };
}

import { InvalidText } from '../changeset/changeset.js';
import type { SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import { keyTerm } from '../sqlite/key-collations.js';
import type { ColumnInfo, TableInfo } from '../sqlite/schema.js';

/** A value as better-sqlite3 binds it. */
export type Bound = null | bigint | number | string | Buffer;

/**
 * The SQL that applies changes with a given list of columns to a table as it is now. Columns that the table no longer
 * has are ignored; columns that the message does not know keep what is stored.
 */
export class RowPlan {
  /** For each column that message and table share: its place in the message. */
  readonly sources: readonly number[];
  /** The same columns: their place in the table. */
  readonly targets: readonly number[];
  /** Places of the table's key in the message; empty where the table has none. */
  readonly keySources: readonly number[];
  /** True where the message cannot identify rows here: no column in common, or a part of the key missing. */
  readonly unusable: boolean;
  /** True where the table has columns that the message does not know. */
  readonly partial: boolean;
  /** Columns that the message does not know, and whose default every node would make anew. */
  readonly unsettled: readonly ColumnInfo[];
  private readonly names: readonly string[];
  private readonly target: string;
  private readonly texts = new Map<string, string>();

  constructor(
    readonly table: TableInfo,
    columns: readonly string[],
  ) {
    const places = table.columns.map((column) => columns.indexOf(column.name));
    this.targets = places.flatMap((source, target) => (source >= 0 ? [target] : []));
    this.sources = places.filter((source) => source >= 0);
    this.keySources = table.pkIndexes.map((index) => places[index] ?? -1);
    const lacksKey = this.keySources.some((source) => source < 0);
    const needsKey = table.identity === 'key' || table.rowidAlias !== undefined;
    this.unusable = this.sources.length === 0 || (needsKey && lacksKey);
    this.partial = this.sources.length < table.columns.length;
    this.unsettled = table.columns.filter((c, target) => c.volatileDefault !== undefined && (places[target] ?? -1) < 0);
    this.names = this.targets.map((index) => q(table.columns[index]?.name ?? ''));
    this.target = `main.${q(table.name)}`;
  }

  /** True where rows of this table have a rowid that is not one of their columns. */
  get hasHiddenRowid(): boolean {
    return this.table.rowid !== undefined && this.table.rowidAlias === undefined;
  }

  /** The shared columns of an image, in table order. */
  pick(image: readonly SqlValue[]): SqlValue[] {
    return this.sources.map((source) => image[source] ?? null);
  }

  keyOf(image: readonly SqlValue[]): SqlValue[] {
    return this.keySources.map((source) => image[source] ?? null);
  }

  /** True where rows are found by their rowid, as long as the message names it. */
  get isByRowid(): boolean {
    return this.table.identity === 'rowid';
  }

  /** True where the row of this image is found by its key. */
  isKeyed(image: readonly SqlValue[]): boolean {
    return this.table.identity !== 'values' && this.hasKey(image);
  }

  /** True where this image has a key, and no NULL in it: at most one row has the same. */
  hasKey(image: readonly SqlValue[]): boolean {
    if (this.keySources.length === 0) return false;
    return this.keySources.every((source) => image[source] !== null && image[source] !== undefined);
  }

  /** True where two images have the same key, storage classes included. */
  hasSameKey(a: readonly SqlValue[], b: readonly SqlValue[]): boolean {
    return this.keySources.every((source) => a[source] === b[source]);
  }

  /** Texts without marks for odd values are made once. */
  private text(name: string, values: readonly SqlValue[], make: () => string): string {
    if (values.some((value) => value instanceof InvalidText)) return make();
    let text = this.texts.get(name);
    if (text === undefined) this.texts.set(name, (text = make()));
    return text;
  }

  private get rowidName(): string {
    return q(this.table.rowid ?? '');
  }

  updateByKey(values: readonly SqlValue[], key: readonly SqlValue[]): string {
    return this.text('updateByKey', [...values, ...key], () => {
      return `UPDATE ${this.target} SET ${this.assignments(values)} WHERE ${this.keyMatch(key)}`;
    });
  }

  deleteByKey(key: readonly SqlValue[]): string {
    return this.text('deleteByKey', key, () => {
      return `DELETE FROM ${this.target} WHERE ${this.keyMatch(key)}`;
    });
  }

  /** The stored row. Its rowid is asked for apart: SQLite returns 2,000 columns at most, and a table may have as many. */
  selectByKey(key: readonly SqlValue[]): string {
    return this.text('selectByKey', key, () => {
      return `SELECT ${this.allNames()} FROM ${this.target} WHERE ${this.keyMatch(key)}`;
    });
  }

  rowidByKey(key: readonly SqlValue[]): string {
    return `SELECT ${this.rowidName} FROM ${this.target} WHERE ${this.keyMatch(key)}`;
  }

  insert(values: readonly SqlValue[]): string {
    return this.text('insert', values, () => this.insertSql([], values, []));
  }

  insertWithRowid(values: readonly SqlValue[]): string {
    return this.text('insertWithRowid', values, () => this.insertSql([this.rowidName], values, []));
  }

  /** Inserts with these expressions for the {@link unsettled} columns; with the rowid in front where that is hidden. */
  insertSettled(values: readonly SqlValue[], expressions: readonly string[]): string {
    return this.insertSql(this.hasHiddenRowid ? [this.rowidName] : [], values, expressions);
  }

  private insertSql(first: readonly string[], values: readonly SqlValue[], last: readonly string[]): string {
    const names = [...first, ...this.names, ...this.unsettled.slice(0, last.length).map((column) => q(column.name))];
    const given = [...first.map(() => '?'), ...values.map(mark), ...last];
    return `INSERT OR REPLACE INTO ${this.target}(${names.join(', ')}) VALUES(${given.join(', ')})`;
  }

  /** Inserts a complete row, with its rowid in front where it has a hidden one. */
  insertWhole(values: readonly SqlValue[]): string {
    const rowid = this.hasHiddenRowid ? [`${this.rowidName}, `, '?, '] : ['', ''];
    return `INSERT OR REPLACE INTO ${this.target}(${rowid[0]}${this.allNames()}) VALUES(${rowid[1]}${marks(values)})`;
  }

  rowidIsTaken(): string {
    return this.text('rowidIsTaken', [], () => {
      return `SELECT 1 FROM ${this.target} WHERE ${this.rowidName} = ?`;
    });
  }

  /** Finds a row that equals an image in every value, by storage class too: 2 is not 2.0, 'A' is not 'a'. */
  findExact(values: readonly SqlValue[], byRowid: boolean): string {
    return this.text(byRowid ? 'findHere' : 'find', values, () => {
      const rowid = byRowid ? `${this.rowidName} = ? AND ` : '';
      const order = byRowid ? '' : ` ORDER BY ${this.rowidName} LIMIT 1`;
      return `SELECT ${this.rowidName} FROM ${this.target} WHERE ${rowid}${this.exactMatch(values)}${order}`;
    });
  }

  /** Whether there is a row that equals an image, for tables whose columns shadow every name of the rowid. */
  existsExact(values: readonly SqlValue[]): string {
    return `SELECT 1 FROM ${this.target} WHERE ${this.exactMatch(values)} LIMIT 1`;
  }

  /** The rows that meet a condition: rowids where rows have them, else all values. */
  selectWhere(condition: string): string {
    const what = this.table.rowid === undefined ? this.allNames() : this.rowidName;
    return `SELECT ${what} FROM ${this.target} WHERE ${condition}`;
  }

  selectByRowid(): string {
    return this.text('selectByRowid', [], () => {
      return `SELECT ${this.allNames()} FROM ${this.target} WHERE ${this.rowidName} = ?`;
    });
  }

  updateByRowid(values: readonly SqlValue[]): string {
    return this.text('updateByRowid', values, () => {
      return `UPDATE ${this.target} SET ${this.assignments(values)} WHERE ${this.rowidName} = ?`;
    });
  }

  /** Apart from the values, for SQLite sets 2,000 columns at most, and a table may have as many. */
  moveRowid(): string {
    return `UPDATE ${this.target} SET ${this.rowidName} = ? WHERE ${this.rowidName} = ?`;
  }

  deleteByRowid(): string {
    return this.text('deleteByRowid', [], () => {
      return `DELETE FROM ${this.target} WHERE ${this.rowidName} = ?`;
    });
  }

  /** For tables whose columns shadow every name of the rowid. */
  updateExact(before: readonly SqlValue[], after: readonly SqlValue[]): string {
    return `UPDATE ${this.target} SET ${this.assignments(after)} WHERE ${this.exactMatch(before)} LIMIT 1`;
  }

  deleteExact(before: readonly SqlValue[]): string {
    return `DELETE FROM ${this.target} WHERE ${this.exactMatch(before)} LIMIT 1`;
  }

  private keyMatch(key: readonly SqlValue[]): string {
    return keyMatch(this.table, '=', key);
  }

  private allNames(): string {
    return this.table.columns.map((column) => q(column.name)).join(', ');
  }

  private assignments(values: readonly SqlValue[]): string {
    return this.names.map((name, index) => `${name} = ${mark(values[index])}`).join(', ');
  }

  private exactMatch(values: readonly SqlValue[]): string {
    return allOf(
      this.names.map((name, index) => {
        const value = mark(values[index]);
        return `${name} IS ${value} COLLATE BINARY AND typeof(${name}) = typeof(${value})`;
      }),
    );
  }
}

/** SQL for the row with a key, which its index finds: a value is bound for each column of the key. */
export function keyMatch({ pk, keyCollations }: TableInfo, operator: '=' | 'IS', key: readonly SqlValue[]): string {
  return pk.map((name, at) => keyTerm(q(name), operator, mark(key[at]), keyCollations[at])).join(' AND ');
}

/** Joined in halves: SQLite takes expressions of a depth of 1,000, and tables of 2,000 columns. */
function allOf(terms: readonly string[]): string {
  if (terms.length <= 2) return terms.join(' AND ');
  const half = terms.length >> 1;
  return `(${allOf(terms.slice(0, half))}) AND (${allOf(terms.slice(half))})`;
}

/** Twice each value, as {@link RowPlan.findExact} binds them. */
export function doubled(values: readonly SqlValue[]): Bound[] {
  return values.flatMap((value) => [bind(value), bind(value)]);
}

export function bound(values: readonly SqlValue[]): Bound[] {
  return values.map(bind);
}

function bind(value: SqlValue): Bound {
  return value instanceof InvalidText ? value.bytes : value;
}

/** TEXT that is not UTF-8 cannot be a JavaScript string: its bytes are bound and called TEXT by SQLite. */
export function mark(value: SqlValue | undefined): string {
  return value instanceof InvalidText ? 'CAST(? AS TEXT)' : '?';
}

export function marks(values: readonly SqlValue[]): string {
  return values.map(mark).join(', ');
}

import type { SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import type { TableInfo } from '../sqlite/schema.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { PlannedChange } from './row-applier.js';
import { imageText, keyText } from './row-identity.js';
import { bound, doubled, keyMatch, mark } from './row-plan.js';
import type { Bound, RowPlan } from './row-plan.js';
import { matches, readTableKeys } from './unique-index.js';
import type { TableKeys, UniqueIndex } from './unique-index.js';

/** A row as it is stored. */
export interface StoredRow {
  /** Every column of the table, generated ones left out. */
  readonly values: readonly SqlValue[];
  /** What {@link StoredRows.identity} makes of it. */
  readonly identity: string;
  /** Absent where rows are found by their key, and where columns shadow every name of it. */
  readonly rowid?: bigint | undefined;
}

/** Reads what is stored where a change is about to be applied; writes nothing. */
export class StoredRows {
  private readonly statements: StatementCache;
  private readonly keys = new WeakMap<TableInfo, TableKeys>();

  constructor(private readonly db: Connection) {
    this.statements = new StatementCache(db, 1_000);
  }

  /** A text for the row that an image speaks of, as applying finds it: by rowid, by key, or by all its values. */
  identity(plan: RowPlan, image: readonly SqlValue[], rowid: bigint | undefined): string {
    const { name } = plan.table;
    if (plan.isByRowid && rowid !== undefined) return `${name}\0r${rowid}`;
    if (plan.isKeyed(image)) return `${name}\0k${keyText(plan.keyOf(image), this.keysOf(plan.table).collations)}`;
    return `${name}\0v${imageText(plan.pick(image))}`;
  }

  /** The row with the key of an image, which has to have one. */
  byKey(plan: RowPlan, image: readonly SqlValue[]): StoredRow | undefined {
    const key = plan.keyOf(image);
    if (plan.table.identity === 'key') return this.atKey(plan, key);
    const [rowid] = (this.statements.exact(plan.rowidByKey(key)).get(...bound(key)) as [bigint] | undefined) ?? [];
    return rowid === undefined ? undefined : this.atRowid(plan, rowid);
  }

  /** The row at a rowid. */
  atRowid(plan: RowPlan, rowid: bigint): StoredRow | undefined {
    const values = this.statements.exact(plan.selectByRowid()).get(rowid) as SqlValue[] | undefined;
    if (values === undefined) return undefined;
    const identity = this.identityOf(plan, values, rowid);
    return { values, identity, ...(this.isFoundByKey(plan, values) ? {} : { rowid }) };
  }

  /** Rowid of the row that is found by all values of an old image; null where rows have none, undefined without a row. */
  byValues(plan: RowPlan, { oldRowid, oldValues }: PlannedChange['change']): bigint | null | undefined {
    const values = plan.pick(oldValues ?? []);
    const match = doubled(values);
    if (plan.table.rowid === undefined) {
      return this.statements.exact(plan.existsExact(values)).get(...match) === undefined ? undefined : null;
    }
    const here =
      oldRowid === undefined ? undefined : this.statements.exact(plan.findExact(values, true)).get(oldRowid, ...match);
    return ((here ?? this.statements.exact(plan.findExact(values, false)).get(...match)) as [bigint] | undefined)?.[0];
  }

  /** The rows that would be in the way of a row, by unique indexes. */
  inTheWayOf(plan: RowPlan, row: readonly SqlValue[]): StoredRow[] {
    return this.uniqueOf(plan).flatMap((index) => this.having(plan, index, row));
  }

  /** True where a row that was read before is not there any more. */
  isGone(plan: RowPlan, row: StoredRow): boolean {
    if (row.rowid === undefined) return this.atKey(plan, storedKey(plan, row.values)) === undefined;
    const now = this.atRowid(plan, row.rowid);
    return now === undefined || imageText(now.values) !== imageText(row.values);
  }

  /** True where rows may give way to others that are not found where they are. */
  hasUnique(plan: RowPlan): boolean {
    return this.uniqueOf(plan).length > 0;
  }

  /** True where two rows cannot be in the table at once. */
  exclude(plan: RowPlan, a: readonly SqlValue[], b: readonly SqlValue[]): boolean {
    return this.uniqueOf(plan).some((index) => {
      const x = this.valuesIn(plan.table, index, a);
      const y = this.valuesIn(plan.table, index, b);
      if (x === undefined || y === undefined) return false;
      const terms = index.parts.map((part, at) => `${mark(x[at])} = ${mark(y[at])} COLLATE ${q(part.collation)}`);
      const pairs = x.flatMap((value, at) => [value, y[at] ?? null]);
      return this.statements.exact(`SELECT 1 WHERE ${terms.join(' AND ')}`).get(...bound(pairs)) !== undefined;
    });
  }

  /** True where the stored value of a column sorts behind another one: SQLite compares, as in that column. */
  compares(plan: RowPlan, row: StoredRow, column: string, value: SqlValue): boolean {
    const { where, args } = whereIs(plan, row);
    const sql = `SELECT ${q(column)} > ${mark(value)} FROM main.${q(plan.table.name)} WHERE ${where} LIMIT 1`;
    const [answer] = (this.statements.exact(sql).get(...bound([value]), ...args) as [bigint | null] | undefined) ?? [];
    return answer === 1n;
  }

  /** The primary key is one of them where rows are not found by it. */
  private uniqueOf({ table }: RowPlan): readonly UniqueIndex[] {
    const { others, primary } = this.keysOf(table);
    if (table.identity === 'key' || primary === undefined) return others;
    return table.identity === 'rowid' && table.rowidAlias !== undefined ? others : [...others, primary];
  }

  private keysOf(table: TableInfo): TableKeys {
    let keys = this.keys.get(table);
    if (keys === undefined) this.keys.set(table, (keys = readTableKeys(this.db, table)));
    return keys;
  }

  private atKey(plan: RowPlan, key: readonly SqlValue[]): StoredRow | undefined {
    const values = this.statements.exact(plan.selectByKey(key)).get(...bound(key)) as SqlValue[] | undefined;
    return values === undefined ? undefined : { values, identity: this.identityOf(plan, values) };
  }

  private identityOf(plan: RowPlan, values: readonly SqlValue[], rowid?: bigint): string {
    const { name } = plan.table;
    if (plan.isByRowid && rowid !== undefined) return `${name}\0r${rowid}`;
    if (!this.isFoundByKey(plan, values)) {
      return `${name}\0v${imageText(plan.targets.map((target) => values[target] ?? null))}`;
    }
    return `${name}\0k${keyText(storedKey(plan, values), this.keysOf(plan.table).collations)}`;
  }

  private isFoundByKey({ table }: RowPlan, values: readonly SqlValue[]): boolean {
    return table.identity === 'key' && storedKeyOf(table, values) !== undefined;
  }

  private having(plan: RowPlan, index: UniqueIndex, row: readonly SqlValue[]): StoredRow[] {
    const values = this.valuesIn(plan.table, index, row);
    if (values === undefined) return [];
    const sql = plan.selectWhere(matches(index, values));
    const found = (tolerant(() => this.statements.exact(sql).all(...bound(values))) ?? []) as SqlValue[][];
    if (plan.table.rowid === undefined) {
      return found.map((stored) => ({ values: stored, identity: this.identityOf(plan, stored) }));
    }
    return found.flatMap(([rowid]) => this.atRowid(plan, rowid as bigint) ?? []);
  }

  /** Values of a row in an index; undefined where NULL among them, or the condition, keeps it out of conflicts. */
  valuesIn(table: TableInfo, index: UniqueIndex, row: readonly SqlValue[]): readonly SqlValue[] | undefined {
    const { parts, where } = index;
    const plain = where === undefined && parts.every((part) => part.column !== undefined);
    const values = plain ? parts.map(({ column }) => row[column ?? 0] ?? null) : this.computed(table, index, row);
    return values?.includes(null) === true ? undefined : values;
  }

  private computed(table: TableInfo, { parts, where }: UniqueIndex, row: readonly SqlValue[]): SqlValue[] | undefined {
    const columns = table.columns.map(({ name }, at) => `${mark(row[at])} AS ${q(name)}`);
    const condition = where === undefined ? '' : ` WHERE (${where})`;
    const from = `(SELECT ${columns.join(', ')}) AS ${q(table.name)}`;
    const sql = `SELECT ${parts.map((part) => `(${part.sql})`).join(', ')} FROM ${from}${condition}`;
    return tolerant(() => this.statements.exact(sql).get(...bound(row))) as SqlValue[] | undefined;
  }
}

/** Finds a row that was read before. */
function whereIs({ table }: RowPlan, { values, rowid }: StoredRow): { readonly where: string; readonly args: Bound[] } {
  if (rowid !== undefined && table.rowid !== undefined) return { where: `${q(table.rowid)} = ?`, args: [rowid] };
  const key = storedKeyOf(table, values);
  if (key !== undefined) return { where: keyMatch(table, 'IS', key), args: bound(key) };
  const terms = table.columns.map(({ name }, index) => `${q(name)} IS ${mark(values[index])}`);
  return { where: terms.join(' AND '), args: bound(values) };
}

/** What a user wrote into an index may speak of generated columns, or refuse values: then it tells nothing here. */
export function tolerant(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    if (isSqliteError(error) && error.code === 'SQLITE_ERROR') return undefined;
    throw error;
  }
}

function storedKey({ table }: RowPlan, values: readonly SqlValue[]): SqlValue[] {
  return table.pkIndexes.map((index) => values[index] ?? null);
}

/** The primary key of a stored row; undefined where it has none, or NULL in it. */
export function storedKeyOf(table: TableInfo, values: readonly SqlValue[]): readonly SqlValue[] | undefined {
  const key = table.pkIndexes.map((index) => values[index] ?? null);
  return key.length === 0 || key.includes(null) ? undefined : key;
}

import { bound, mark } from '../apply/row-plan.js';
import type { SqlValue } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import type { TableInfo } from '../sqlite/schema.js';
import { exactRow, exactRows, exactText, isSameImage } from './row-places.js';
import type { RowImage, RowPlace, RowPlaces } from './row-places.js';
import type { RowsInTheWay } from './rows-in-the-way.js';
import type { RowStep, UndoPlan } from './undo-plan.js';

interface ForeignKey {
  readonly child: TableInfo;
  readonly parent: TableInfo;
  /** Places of its columns in the child, and of those they refer to in the parent. */
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/**
 * What taking back only a part of the past can break: a row that comes back may meet another one in a unique index, and foreign
 * keys may be left without the row that they refer to. Everything is looked up in front, and nothing written.
 */
export class UndoChecks {
  /** Rows that the plan changes, as they will be. */
  private readonly future = new Map<string, RowStep>();
  /** Keys that rows of the plan will have, by foreign key. */
  private readonly arriving = new Map<ForeignKey, Set<string>>();

  constructor(
    private readonly db: Connection,
    private readonly places: RowPlaces,
    private readonly plan: UndoPlan,
    private readonly inTheWay: RowsInTheWay,
  ) {
    for (const step of plan.steps) this.future.set(step.place.text, step);
  }

  /** Rows that others have put where a row is to come back; `isLater` are those that are not of the range's start. */
  *unique(isLater: (place: RowPlace) => boolean): Generator<void, void> {
    const later = this.plan.steps.filter(({ place }) => isLater(place));
    for (const [index, step] of this.plan.steps.entries()) {
      if (index % 64 === 63) yield;
      const { place, target } = step;
      if (target === undefined || place.by === 'values') continue;
      for (const { text, image } of this.inTheWay.of(place, target)) {
        if (!this.future.has(text)) this.plan.conflict(place, 'unique', image, target);
      }
      for (const other of later) {
        if (other === step || other.place.table !== place.table || other.target === undefined) continue;
        if (this.inTheWay.exclude(place.table, target, other.target))
          this.plan.conflict(place, 'unique', other.target, target);
      }
    }
  }

  /** Rows that would refer to nothing. */
  *foreignKeys(): Generator<void, void> {
    const keys = this.readForeignKeys();
    if (keys.length === 0) return;
    for (const key of keys) this.arriving.set(key, this.arrivingIn(key));
    for (const [index, step] of this.plan.steps.entries()) {
      if (index % 64 === 63) yield;
      for (const key of keys) {
        if (key.child === step.place.table) this.checkChild(key, step);
        if (key.parent === step.place.table) this.checkParent(key, step);
      }
    }
  }

  /** A row that comes back has to find its parent. */
  private checkChild(key: ForeignKey, { place, now, target }: RowStep): void {
    const values = target && pick(target.values, key.from);
    if (values === undefined || values.includes(null)) return;
    if (this.arriving.get(key)?.has(exactText(values)) === true) return;
    const parent = this.parentAt(key, values);
    if (parent !== undefined && !this.leaves(key.parent, parent, key.to)) return;
    this.plan.conflict(place, 'foreignKey', now, target);
  }

  /** A row that goes, or gets another key, must not leave children behind. */
  private checkParent(key: ForeignKey, step: RowStep): void {
    const { place, now, target } = step;
    const values = now && pick(now.values, key.to);
    if (values === undefined || values.includes(null)) return;
    if (target !== undefined && exactText(pick(target.values, key.to)) === exactText(values)) return;
    if (this.arriving.get(key)?.has(exactText(values)) === true) return;
    for (const child of this.childrenOf(key, values)) {
      if (!this.leaves(key.child, child, key.from)) {
        this.plan.conflict(place, 'foreignKey', now, target);
        return;
      }
    }
  }

  /** True where the plan takes a stored row away, or other values into these columns of it. */
  private leaves(table: TableInfo, image: RowImage, columns: readonly number[]): boolean {
    const step = this.future.get(this.places.place(table, image).text);
    if (step === undefined || isSameImage(step.now, step.target)) return false;
    if (step.target === undefined) return true;
    return exactText(pick(step.target.values, columns)) !== exactText(pick(image.values, columns));
  }

  private arrivingIn({ parent, to }: ForeignKey): Set<string> {
    const texts = new Set<string>();
    for (const { place, target } of this.plan.steps) {
      if (place.table === parent && target !== undefined) texts.add(exactText(pick(target.values, to)));
    }
    return texts;
  }

  private parentAt({ parent, to }: ForeignKey, values: readonly SqlValue[]): RowImage | undefined {
    const where = to.map((column, index) => `${nameOf(parent, 'r', column)} = ${mark(values[index])}`);
    return this.rows(parent, `FROM main.${q(parent.name)} r WHERE ${where.join(' AND ')} LIMIT 1`, values)[0];
  }

  /**
   * Rows that refer to a stored one. A child is compared in the way of the parent's column, by collation and affinity, which
   * only the column itself brings along: https://www.sqlite.org/foreignkeys.html#fk_indexes
   */
  private childrenOf({ child, parent, from, to }: ForeignKey, values: readonly SqlValue[]): RowImage[] {
    const where = to.map((column, index) => `${nameOf(parent, 'p', column)} = ${mark(values[index])}`);
    const pairs = to.map((column, index) => `${nameOf(parent, 'p', column)} = ${nameOf(child, 'r', from[index])}`);
    const tables = `main.${q(parent.name)} p CROSS JOIN main.${q(child.name)} r`;
    return this.rows(child, `FROM ${tables} WHERE ${[...where, ...pairs].join(' AND ')}`, values);
  }

  /** Rows of the table that the rest of a statement calls `r`. */
  private rows(table: TableInfo, from: string, values: readonly SqlValue[]): RowImage[] {
    const { statements } = this.places;
    if (table.rowid === undefined) {
      const names = table.columns.map((_column, index) => nameOf(table, 'r', index));
      const rows = exactRows(statements, names, ` ${from}`, bound(values));
      return rows.map((row) => ({ values: row, rowid: undefined }));
    }
    const rowids = statements.exact(`SELECT r.${q(table.rowid)} ${from}`).all(...bound(values)) as [bigint][];
    const plan = this.places.planOf(table);
    return rowids.map(([rowid]) => ({
      values: exactRow(statements, table, plan.selectByRowid(), [rowid]) ?? [],
      rowid,
    }));
  }

  private readForeignKeys(): ForeignKey[] {
    const list = this.db.prepare(
      `SELECT id, seq, "table" AS parent, "from", "to" FROM pragma_foreign_key_list(?, 'main') ORDER BY id, seq`,
    );
    return [...this.places.schema.tables.values()].flatMap((child) => {
      const rows = list.all(child.name) as { id: number; parent: string; from: string; to: string | null }[];
      const ids = [...new Set(rows.map(({ id }) => id))];
      return ids.flatMap(
        (id) =>
          this.foreignKey(
            child,
            rows.filter((row) => row.id === id),
          ) ?? [],
      );
    });
  }

  /** Without names of columns it is the parent's key: https://www.sqlite.org/foreignkeys.html#fk_basics */
  private foreignKey(
    child: TableInfo,
    parts: readonly { readonly parent: string; readonly from: string; readonly to: string | null }[],
  ): ForeignKey | undefined {
    const parent = this.places.table(parts[0]?.parent ?? '');
    if (parent === undefined) return undefined;
    const from = parts.map((part) => placeOf(child, part.from));
    const declared = declaredKey(this.db, parent);
    const to = parts.map((part, index) => placeOf(parent, part.to ?? declared[index] ?? ''));
    return [...from, ...to].includes(-1) ? undefined : { child, parent, from, to };
  }
}

function nameOf(table: TableInfo, as: string, column: number | undefined): string {
  return `${as}.${q(table.columns[column ?? -1]?.name ?? '')}`;
}

/** Columns of the primary key in the order in which it names them. */
function declaredKey(db: Connection, table: TableInfo): string[] {
  return db
    .prepare(`SELECT name FROM pragma_table_info(?, 'main') WHERE pk > 0 ORDER BY pk`)
    .pluck()
    .all(table.name) as string[];
}

function placeOf(table: TableInfo, column: string): number {
  return table.columns.findIndex(({ name }) => name.toLowerCase() === column.toLowerCase());
}

function pick(values: readonly SqlValue[], columns: readonly number[]): SqlValue[] {
  return columns.map((column) => values[column] ?? null);
}

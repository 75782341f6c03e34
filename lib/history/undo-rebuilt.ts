import type { SqlValue } from '../changeset/changeset.js';
import { bound, marks } from '../apply/row-plan.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import { keyColumn } from '../sqlite/key-collations.js';
import type { TableInfo } from '../sqlite/schema.js';
import { refusedUndo } from './history-errors.js';
import { exactRows, exactText, keyIn } from './row-places.js';
import type { RowImage, RowPlace, RowPlaces } from './row-places.js';
import type { UndoPlan } from './undo-plan.js';
import type { UndoSelection } from './undo-selection.js';

const PAGE_ROWS = 1_000;

/**
 * Compares rows with a copy of the database that was rebuilt as it was in front of the range. That is the way where old values
 * cannot be relied on: where writers met, or REPLACE took rows away that nobody told of.
 */
export class RebuiltRows {
  private readonly statements: StatementCache;

  constructor(
    db: Connection,
    private readonly places: RowPlaces,
  ) {
    this.statements = new StatementCache(db);
  }

  /** What stood at a place. */
  read(place: RowPlace): RowImage | undefined {
    return this.places.readFrom(this.statements, place);
  }

  /** Plans to make a whole table what it was. */
  *wholeTable(table: TableInfo, plan: UndoPlan): Generator<void, void> {
    if (table.rowid === undefined && !table.withoutRowid) {
      this.counted(table, plan);
      return;
    }
    for (const place of this.placesIn(this.places.statements, table)) {
      if (place === undefined) yield;
      else plan.step(place, this.places.read(place), this.read(place));
    }
    for (const place of this.placesIn(this.statements, table)) {
      if (place === undefined) yield;
      else if (this.places.read(place) === undefined) plan.step(place, undefined, this.read(place));
    }
  }

  /** Every place of a table in order, page by page: an open cursor would lock its connection. Undefined behind each page. */
  private *placesIn(statements: StatementCache, table: TableInfo): Generator<RowPlace | undefined, void> {
    const names = (table.rowid === undefined ? table.pk : [table.rowid]).map(q);
    const from = ` FROM main.${q(table.name)}`;
    // In the order of the key's index: by the collation of a column two rows may have one place, and a page end between them.
    const terms = names.map((name, at) =>
      keyColumn(name, table.rowid === undefined ? table.keyCollations[at] : undefined),
    );
    const key = terms.flat().join(', ');
    const order = ` ORDER BY ${key} LIMIT ${PAGE_ROWS}`;
    let last: readonly SqlValue[] | undefined;
    for (;;) {
      const values = last?.flatMap((value, at) => (terms[at] ?? []).map(() => value));
      const behind = values === undefined ? '' : ` WHERE (${key}) > (${marks(values)})`;
      const rows = exactRows(statements, names, `${from}${behind}${order}`, bound(values ?? []));
      for (const row of rows) {
        yield table.rowid === undefined ? this.places.atKey(table, row) : this.places.atRowid(table, row[0] as bigint);
      }
      last = rows.at(-1);
      if (rows.length < PAGE_ROWS) return;
      yield undefined;
    }
  }

  /** Rows that nothing tells apart are counted. */
  private counted(table: TableInfo, plan: UndoPlan): void {
    const balance = new Map<string, { readonly image: RowImage; count: number }>();
    for (const [statements, sign] of [[this.statements, 1] as const, [this.places.statements, -1] as const]) {
      const names = table.columns.map(({ name }) => q(name));
      for (const values of exactRows(statements, names, ` FROM main.${q(table.name)}`, [])) {
        const text = exactText(values);
        const entry = balance.get(text) ?? { image: { values, rowid: undefined }, count: 0 };
        entry.count += sign;
        balance.set(text, entry);
      }
    }
    for (const { image, count } of balance.values()) {
      const place = this.places.place(table, image);
      for (let n = 0; n < count; n++) plan.steps.push({ place, now: undefined, target: image });
      for (let n = 0; n > count; n--) plan.steps.push({ place, now: image, target: undefined });
    }
  }
}

/**
 * Of a part of the past only those rows can be compared that are told apart by a key alone, and that give way to nothing else.
 *
 * @throws HAError `HA_UNDO_REFUSED`.
 */
export function refuseUncertain(selection: UndoSelection, places: RowPlaces): void {
  for (const { place, isLater, image } of selection.rows.values()) {
    const { table } = place;
    const blame = selection.tainted.get(table);
    if (blame === undefined) continue;
    const isKeyed = table.rowidAlias !== undefined || (table.withoutRowid && keyIn(table, image.values) !== undefined);
    const { others } = places.keysOf(table);
    const hasUnique = others.length > 0 || places.generatedOf(table).length > 0;
    if (isKeyed && !hasUnique && !isLater) continue;
    throw refusedUndo(
      `What the rows of '${table.name}' were cannot be told for some of them alone: in the transaction at sequence ${blame.sequence}, of ${blame.changeSet.node}, writers met, or REPLACE took rows away. Undo everything from there on (scope 'all'), or look at a copy of the time before: db.restoreTo().`,
      { table: table.name, sequence: blame.sequence },
    );
  }
}

import type { RowChange } from '../changeset/changeset.js';
import { rowChangeHead, rowChangeJson } from '../changeset/codec.js';
import { namedRow } from '../changeset/row-changes.js';
import type { TableInfo } from '../sqlite/schema.js';
import type { HAUndoConflict } from '../write/history-port.js';
import { isSameImage } from './row-places.js';
import type { RowImage, RowPlace, RowPlaces } from './row-places.js';
import type { RowsInTheWay } from './rows-in-the-way.js';
import type { Outsider, SelectedRow } from './undo-selection.js';

/** A row that an undo changes. */
export interface RowStep {
  readonly place: RowPlace;
  /** As it is now. */
  readonly now: RowImage | undefined;
  /** As it will be. */
  readonly target: RowImage | undefined;
}

/** What an undo does to the rows as they are now, and what stands in its way. */
export class UndoPlan {
  readonly steps: RowStep[] = [];
  readonly conflicts: HAUndoConflict[] = [];
  /** Places of rows that go and come back in place of changing. */
  private readonly apart = new Set<string>();

  constructor(private readonly places: RowPlaces) {}

  /** Plans one row of a selection against what is there now. */
  add(row: SelectedRow, before: RowImage | undefined): void {
    const { place, after, outsider } = row;
    if (place.by === 'values') {
      this.addCounted(row);
      return;
    }
    const read = this.places.read(place);
    // The history has the exact bytes of it.
    const now = isSameImage(read, after) ? after : read;
    if (outsider !== undefined) this.conflict(place, 'changed', now, before, outsider);
    else if (now !== after) this.conflict(place, 'changed', now, before, undefined);
    this.step(place, now, before);
  }

  /** Plans a row whatever the history says of it. */
  step(place: RowPlace, now: RowImage | undefined, target: RowImage | undefined): void {
    if (!isSameImage(now, target)) this.steps.push({ place, now, target });
  }

  conflict(
    place: RowPlace,
    reason: HAUndoConflict['reason'],
    current: RowImage | undefined,
    restored: RowImage | undefined,
    by?: Outsider,
  ): void {
    this.conflicts.push({
      table: place.table.name,
      rowid: current?.rowid ?? restored?.rowid,
      reason,
      sequence: by === undefined ? undefined : BigInt(by.sequence),
      node: by?.node,
      current: rowOf(place.table, current),
      restored: rowOf(place.table, restored),
    });
  }

  /**
   * Finds the rows that cannot become what they were where they are, for another one is to become, in a unique index, what they
   * still are: it would remove them, and where they are found by their key, or by all their values, be taken for them. They go
   * first and come back last. Call when the plan is whole; yields now and then.
   */
  *settle(inTheWay: RowsInTheWay): Generator<void, void> {
    const updates = new Map<string, RowStep>();
    for (const step of this.steps) if (kindOf(step) === 'UPDATE') updates.set(step.place.text, step);
    let count = 0;
    for (const { place, now, target } of updates.values()) {
      if (++count % 64 === 0) yield;
      if (now === undefined || target === undefined || this.apart.has(place.text)) continue;
      if (!inTheWay.mayMeet(place, now, target)) continue;
      for (const { text } of inTheWay.of(place, target)) if (updates.has(text)) this.apart.add(text);
    }
  }

  /** The changes in an order in which none stands in the way of another: what goes, what changes, what comes. */
  changes(): RowChange[] {
    const ranked: Record<RowChange['operation'], RowStep[]> = { DELETE: [], UPDATE: [], INSERT: [] };
    for (const step of this.steps) {
      if (this.apart.has(step.place.text)) {
        ranked.DELETE.push({ ...step, target: undefined });
        ranked.INSERT.push({ ...step, now: undefined });
      } else ranked[kindOf(step)].push(step);
    }
    return [...ranked.DELETE, ...ranked.UPDATE, ...ranked.INSERT].map(changeOf);
  }

  /** Equal rows cannot be told apart: as many come back, or go, as the selection took or brought. */
  private addCounted({ place, image, balance }: SelectedRow): void {
    if (balance === 0) return;
    const there = this.places.count(place.table, image.values);
    if (balance < 0 && there < -balance) this.conflict(place, 'changed', undefined, undefined);
    for (let n = 0; n < balance; n++) this.steps.push({ place, now: undefined, target: image });
    for (let n = 0; n < Math.min(there, -balance); n++) this.steps.push({ place, now: image, target: undefined });
  }
}

/** JSON of changes for messages, in pieces of so many bytes, about; they are added to `pieces`. Yields now and then. */
export function* encode(
  changes: readonly RowChange[],
  timestampNs: bigint,
  pieceBytes: number,
  pieces: Buffer[],
): Generator<void, void> {
  let texts: string[] = [];
  let size = 0;
  const heads = new Map<string, string>();
  for (const [index, change] of changes.entries()) {
    if (index % 256 === 255) yield;
    const { operation, table, columns, pkColumns } = change;
    const kind = `${operation} ${table}`;
    let head = heads.get(kind);
    if (head === undefined) heads.set(kind, (head = rowChangeHead(operation, table, columns, pkColumns)));
    const text = rowChangeJson(change, head, timestampNs);
    const bytes = Buffer.byteLength(text);
    if (size > 0 && size + bytes > pieceBytes) {
      pieces.push(Buffer.from(texts.join(',')));
      texts = [];
      size = 0;
    }
    texts.push(text);
    size += bytes + 1;
  }
  if (texts.length > 0) pieces.push(Buffer.from(texts.join(',')));
}

const columnNames = new WeakMap<TableInfo, readonly string[]>();

function columnsOf(table: TableInfo): readonly string[] {
  let names = columnNames.get(table);
  if (names === undefined) columnNames.set(table, (names = table.columns.map(({ name }) => name)));
  return names;
}

function kindOf({ now, target }: RowStep): RowChange['operation'] {
  return now === undefined ? 'INSERT' : target === undefined ? 'DELETE' : 'UPDATE';
}

function changeOf(step: RowStep): RowChange {
  const { place, now, target } = step;
  const { table } = place;
  const oldRowid = now?.rowid ?? target?.rowid;
  const newRowid = target?.rowid ?? now?.rowid;
  return {
    operation: kindOf(step),
    database: 'main',
    table: table.name,
    columns: columnsOf(table),
    pkColumns: table.pk,
    ...(oldRowid === undefined ? {} : { oldRowid }),
    ...(newRowid === undefined ? {} : { newRowid }),
    ...(now === undefined ? {} : { oldValues: now.values }),
    ...(target === undefined ? {} : { newValues: target.values }),
  };
}

function rowOf(table: TableInfo, image: RowImage | undefined): HAUndoConflict['current'] {
  return namedRow(columnsOf(table), image?.values);
}

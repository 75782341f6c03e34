import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { TableInfo } from '../sqlite/schema.js';
import { classify } from '../sql/classify.js';
import type { HARowKey, HAUndoOptions } from '../write/history-port.js';
import { isUserRow } from './history-transaction.js';
import { gone, invalidUndo, refusedUndo } from './history-errors.js';
import { imagesOf } from './row-places.js';
import type { RowImage, RowPlace, RowPlaces } from './row-places.js';
import type { StreamTransaction } from './transaction-assembler.js';

/** Somebody who changed a row and is not taken back. */
export interface Outsider {
  readonly sequence: number;
  readonly node: string;
}

/** A place that the selection touched. */
export interface SelectedRow {
  readonly place: RowPlace;
  /** What stood there in front of the selection; undefined for nothing. */
  readonly before: RowImage | undefined;
  /** What the history leaves there. */
  after: RowImage | undefined;
  /** The last one outside the selection that changed it behind the selection's first change. */
  outsider: Outsider | undefined;
  /** True where somebody outside changed it in the range, in front of the selection: `before` is later than the range's start. */
  readonly isLater: boolean;
  /** A row that was there. */
  readonly image: RowImage;
  /** Where rows are counted: how many have to come back, negative where they have to go. */
  balance: number;
}

/** A row that a change took or left. */
interface Touch {
  readonly place: RowPlace;
  readonly names: readonly string[];
  readonly image: RowImage;
  readonly isBefore: boolean;
}

/** Statements that make no difference to rows or schema. */
const HARMLESS = new Set(['analyze', 'reindex']);

/** Whether interceptors decide on what changes these tables; names in lower case. */
export type Intercepts = (tables: ReadonlySet<string>, hasStatements: boolean) => boolean;

/** Whose rows an undo takes back. */
export type UndoScope = NonNullable<HAUndoOptions['scope']>;

/**
 * Follows the transactions of a range, and keeps for every row that the selection touches what it was and what it is. A row is
 * told by its place; where it moves, its new place belongs to it too.
 */
export class UndoSelection {
  readonly rows = new Map<string, SelectedRow>();
  /** Tables in which old values cannot be relied on, with the transaction that is to blame. */
  readonly tainted = new Map<TableInfo, StreamTransaction>();
  /** Transactions of which something is selected. */
  transactions = 0;
  /** Sequence of the first transaction of the range that counts. */
  first: number | undefined;
  private readonly seeds = new Set<string>();
  private readonly outside = new Set<string>();
  private readonly named = new Map<string, string>();

  constructor(
    private readonly places: RowPlaces,
    private readonly scope: UndoScope,
    rows: HAUndoOptions['rows'],
    /** Transactions of which every node left something out. */
    private readonly refused: ReadonlySet<number>,
    /** Whether interceptors decide on a transaction that changes these tables; names in lower case. */
    private readonly intercepts: Intercepts = () => false,
  ) {
    if (rows !== undefined) this.name(rows);
  }

  /** True where everything of the range is taken back. */
  get isWhole(): boolean {
    return this.scope === 'all' && this.named.size === 0;
  }

  /** Takes the next transaction; yields now and then. */
  *take(transaction: StreamTransaction): Generator<void, void> {
    if (transaction.outcome === 'skipped') throw leftOut(transaction.sequence);
    if (transaction.base !== undefined) throw replacedAll(transaction);
    if (transaction.isCut)
      throw gone(`The beginning of the transaction at sequence ${transaction.sequence}`, transaction.sequence + 1);
    if (transaction.outcome !== 'committed') return;
    this.refuseStatements(transaction);
    const isFirst = this.first === undefined;
    this.first ??= transaction.sequence;
    const changes = transaction.changeSet.changes.filter(isUserRow);
    this.refuseIntercepted(transaction, changes);
    const doubts = this.refused.has(transaction.sequence) ? 'all' : transaction.doubts;
    const touches: Touch[][] = [];
    for (const [index, change] of changes.entries()) {
      if (index % 256 === 255) yield;
      const table = this.places.table(change.table);
      // No node has it, for the range changes no schema.
      if (table === undefined) continue;
      const images = imagesOf(table, change);
      const isDoubtful = doubts === 'all' || doubts.has(table.name.toLowerCase());
      if (isDoubtful || images === undefined) this.taint(table, transaction);
      if (images === undefined) continue;
      const touched = this.touchesOf(table, images.before, images.after);
      if (this.isWhole) for (const touch of touched) this.record(touch);
      else touches.push(touched);
    }
    if (this.isWhole) this.transactions += changes.length === 0 ? 0 : 1;
    if (!this.isWhole) yield* this.select(touches, transaction, isFirst);
  }

  /** @throws HAError `HA_UNDO_INVALID` where nothing is selected. */
  refuseEmpty(): void {
    const missing = [...this.named].filter(([text]) => !this.seeds.has(`hit:${text}`)).map(([, name]) => name);
    if (missing.length > 0) {
      throw invalidUndo(
        `Nothing in the range changed ${missing.slice(0, 10).join(', ')}. Nothing was undone. Name rows that were changed: db.history() tells them.`,
        { rows: missing },
      );
    }
    if (this.rows.size > 0 || this.tainted.size > 0) return;
    throw invalidUndo('The range changes no rows: there is nothing to undo. db.history() tells what there is.');
  }

  private *select(
    touches: readonly Touch[][],
    transaction: StreamTransaction,
    isFirst: boolean,
  ): Generator<void, void> {
    const seedsNow = isFirst && this.named.size === 0 && this.scope !== 'all';
    const whole = seedsNow || (this.scope === 'transactions' && this.touchesSeed(touches));
    let isTaken = false;
    for (const [index, change] of touches.entries()) {
      if (index % 256 === 255) yield;
      const ofSeed = change.some(({ names }) => names.some((name) => this.isSeed(name)));
      if (ofSeed || seedsNow) for (const { names } of change) for (const name of names) this.seeds.add(name);
      if (whole || ofSeed) {
        for (const touch of change) this.record(touch);
        isTaken = true;
      } else for (const touch of change) this.pass(touch, transaction);
    }
    if (isTaken) this.transactions++;
  }

  private touchesSeed(touches: readonly Touch[][]): boolean {
    return touches.some((change) => change.some(({ names }) => names.some((name) => this.isSeed(name))));
  }

  private isSeed(name: string): boolean {
    if (!this.seeds.has(name)) return false;
    if (this.named.has(name)) this.seeds.add(`hit:${name}`);
    return true;
  }

  /** Something of the selection happened at a place. */
  private record({ place, image, isBefore }: Touch): void {
    const known = this.rows.get(place.text);
    const row = known ?? {
      place,
      before: isBefore ? image : undefined,
      after: undefined,
      outsider: undefined,
      isLater: this.outside.has(place.text),
      image,
      balance: 0,
    };
    if (place.by === 'values') row.balance += isBefore ? 1 : -1;
    row.after = isBefore ? undefined : image;
    if (known === undefined) this.rows.set(place.text, row);
  }

  /** Something else did. */
  private pass({ place, image, isBefore }: Touch, { sequence, changeSet }: StreamTransaction): void {
    const row = this.rows.get(place.text);
    if (row === undefined) this.outside.add(place.text);
    else if (place.by !== 'values') {
      row.outsider = { sequence, node: changeSet.node };
      row.after = isBefore ? undefined : image;
    }
  }

  private touchesOf(table: TableInfo, before: RowImage | undefined, after: RowImage | undefined): Touch[] {
    const touches: Touch[] = [];
    for (const [image, isBefore] of [[before, true] as const, [after, false] as const]) {
      if (image === undefined) continue;
      const place = this.places.place(table, image);
      const names = this.isWhole ? [] : this.places.names(place, image);
      touches.push({ place, names, image, isBefore });
    }
    return touches;
  }

  private taint(table: TableInfo, transaction: StreamTransaction): void {
    if (!this.tainted.has(table)) this.tainted.set(table, transaction);
  }

  /** What interceptors made of it is in no message, and they would decide on its undo too. */
  private refuseIntercepted({ sequence }: StreamTransaction, changes: readonly RowChange[]): void {
    const tables = new Set(changes.map(({ table }) => table.toLowerCase()));
    if (!this.intercepts(tables, false)) return;
    throw refusedUndo(
      `Interceptors decide on the transaction at sequence ${sequence}: what its rows were in front of it, and what they would make of an undo, cannot be told. Begin behind it, or write what shall be there.`,
      { sequence, tables: [...tables] },
    );
  }

  private refuseStatements({ changeSet, sequence }: StreamTransaction): void {
    for (const change of changeSet.changes) {
      if (change.operation !== 'SQL' || HARMLESS.has(classify(change.command).kind)) continue;
      throw refusedUndo(
        `The range holds a statement that cannot be taken back, at sequence ${sequence}: ${change.command} Begin behind it.`,
        { sequence, statement: change.command },
      );
    }
  }

  private name(rows: NonNullable<HAUndoOptions['rows']>): void {
    for (const [name, keys] of Object.entries(rows)) {
      const table = this.places.table(name);
      if (table === undefined) throw invalidUndo(`There is no table '${name}' to undo rows of.`, { table: name });
      if (keys.length === 0)
        throw invalidUndo(`No rows of '${name}' are named. Name some, or leave the table out.`, { table: name });
      for (const key of keys) {
        const { text } = this.placeOf(table, key);
        this.seeds.add(text);
        this.named.set(text, `${name}(${describeKey(key)})`);
      }
    }
    if (this.named.size === 0) throw invalidUndo('rows names no row. Leave it out, or name some.');
  }

  private placeOf(table: TableInfo, given: HARowKey): RowPlace {
    const isRowid = (typeof given === 'bigint' || typeof given === 'number') && table.rowid !== undefined;
    const values = (Array.isArray(given) ? given : [given]).map((value) => exactKeyValue(value, table.name));
    const [only] = values;
    if (isRowid || (table.rowidAlias !== undefined && values.length === 1)) {
      if (typeof only === 'bigint') return this.places.atRowid(table, only);
      throw invalidUndo(`${describeKey(given)} is no rowid of '${table.name}': rowids are integers.`, {
        table: table.name,
      });
    }
    if (table.pk.length === values.length && values.length > 0) return this.places.atKey(table, values);
    const wants = table.pk.length === 0 ? 'no key: name its rows by rowid' : `the key (${table.pk.join(', ')})`;
    throw invalidUndo(`${describeKey(given)} is no key of '${table.name}', which has ${wants}.`, { table: table.name });
  }
}

function leftOut(sequence: number): Error {
  return refusedUndo(
    `An operator had this node leave out the message at sequence ${sequence}: what others have of it is not known here. Undo on a node that has it, or begin behind it.`,
    { sequence },
  );
}

function replacedAll({ sequence, changeSet: { node } }: StreamTransaction): Error {
  return refusedUndo(
    `At sequence ${sequence} the rows of ${node} took the place of all that the cluster had. What was there before is in no message. Begin behind it.`,
    { sequence },
  );
}

function exactKeyValue(value: unknown, table: string): SqlValue {
  if (typeof value === 'number' && Number.isInteger(value)) {
    if (Number.isSafeInteger(value)) return BigInt(value);
    // No INTEGER is so large: it is a REAL.
    if (Math.abs(value) > 2 ** 63) return value;
    throw invalidUndo(`${value} is beyond 2^53, where numbers are not exact: pass a bigint.`, { table });
  }
  if (typeof value === 'bigint' || typeof value === 'string' || Buffer.isBuffer(value)) return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw invalidUndo(`${String(value)} cannot be a key of '${table}': pass a number, bigint, text or Buffer.`, {
    table,
  });
}

function describeKey(key: HARowKey): string {
  if (Array.isArray(key)) return key.map((part: HARowKey) => describeKey(part)).join(', ');
  return Buffer.isBuffer(key) ? `X'${key.toString('hex')}'` : String(key);
}

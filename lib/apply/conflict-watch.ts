import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { HAConflict, HARow } from '../common/events.js';
import type { WatchedMessage } from './conflict-detector.js';
import { ranBehind } from './recent-messages.js';
import type { RecentMessage, RecentMessages } from './recent-messages.js';
import { wholeRow } from './recent-rows.js';
import type { RecentRows } from './recent-rows.js';
import type { LaterChanges, RowWitness } from './applier.js';
import type { RemovedRows } from './removed-rows.js';
import type { PlannedChange } from './row-applier.js';
import { isSameValue, legible } from './row-identity.js';
import type { RowPlan } from './row-plan.js';
import { storedKeyOf } from './stored-rows.js';
import type { StoredRow, StoredRows } from './stored-rows.js';

/** Whether the message with an id was ever applied here. */
export type WasApplied = (origin: string, n: number) => boolean;

/** A row of somebody else that a change is about to overwrite. */
interface Loss {
  readonly row: StoredRow | undefined;
  readonly loser: RecentMessage | undefined;
  /** It has to be gone behind the change. */
  readonly inTheWay: boolean;
}

/** Finds the conflicts of one message, which was written while others wrote. */
export class ConflictWatch implements RowWitness {
  readonly conflicts: HAConflict[] = [];
  /** Places of the changes that do not find the row without a key that they speak of. */
  readonly missed = new Set<number>();
  /** Rows that the message itself has changed. */
  private readonly own = new Set<string>();
  /** What comes behind the change that is looked at. */
  private later: LaterChanges | undefined;
  /** The same, whose names nobody has asked for yet. */
  private unnamed: (PlannedChange & { readonly index: number })[] = [];
  /** What its writer had applied. */
  private readonly epoch: number;
  /** Whether all is known that came behind that. */
  private readonly isCovered: boolean;

  constructor(
    private readonly message: WatchedMessage,
    private readonly recent: RecentMessages,
    private readonly rows: RecentRows,
    private readonly stored: StoredRows,
    private readonly wasApplied: WasApplied,
    /** Rows that gave way to those of the message, by unique indexes; absent where no interceptor decides. */
    readonly removed: RemovedRows | undefined,
  ) {
    this.epoch = message.foreign ? -1 : message.epoch;
    this.isCovered = !message.foreign && message.epoch >= recent.floor;
  }

  /** @inheritdoc */
  before(planned: PlannedChange, index: number, later: LaterChanges): () => void {
    const { plan, change } = planned;
    this.later = later;
    const losses = this.lossesBy(plan, change, index);
    const removal = this.removed?.before(planned, index);
    return () => {
      removal?.();
      this.unnamed.push({ plan, change, index });
      for (const loss of losses) {
        if (loss.row !== undefined) this.own.add(loss.row.identity);
        if (loss.row !== undefined && loss.inTheWay && !this.stored.isGone(plan, loss.row)) continue;
        this.conflicts.push(this.conflict(plan, change, loss));
      }
    };
  }

  /** True where the message itself has changed the row before. */
  private isOwn(identity: string): boolean {
    for (const { plan, change, index } of this.unnamed) {
      const { oldValues, newValues, oldRowid, newRowid = oldRowid } = change;
      if (oldValues !== undefined && !this.missed.has(index)) {
        this.own.add(this.stored.identity(plan, oldValues, oldRowid));
      }
      if (newValues !== undefined) this.own.add(this.stored.identity(plan, newValues, newRowid));
    }
    this.unnamed = [];
    return this.own.has(identity) || this.removed?.has(identity) === true;
  }

  private lossesBy(plan: RowPlan, change: RowChange, index: number): Loss[] {
    const { operation, oldValues = [], oldRowid } = change;
    if (operation === 'INSERT') return this.lostToRow(plan, change, undefined);
    const byRowid = plan.isByRowid && oldRowid !== undefined;
    if (!byRowid && !plan.isKeyed(oldValues)) return this.lostInBag(plan, change, index);
    const row = byRowid ? this.stored.atRowid(plan, oldRowid) : this.stored.byKey(plan, oldValues);
    if (operation === 'DELETE') return row === undefined ? [] : this.lostAt(plan, change, row);
    const target = row === undefined ? this.lostDelete({ plan, change }, false) : this.lostAt(plan, change, row);
    return [...target, ...this.lostToRow(plan, change, row)];
  }

  /** The row that a change means, if it is not what the writer saw. */
  private lostAt(plan: RowPlan, change: RowChange, row: StoredRow): Loss[] {
    const { operation, oldValues = [], newValues = [], oldRowid } = change;
    if (this.isLike(plan, row, oldValues)) return [];
    if (operation === 'UPDATE' && this.isLike(plan, row, newValues)) return [];
    return this.loss(row, [row.identity, this.stored.identity(plan, oldValues, oldRowid)], false, true);
  }

  /** The row that a change means is not there. */
  private lostDelete({ plan, change }: PlannedChange, isInBag: boolean): Loss[] {
    const { oldValues = [], oldRowid } = change;
    const identity = this.stored.identity(plan, oldValues, oldRowid);
    if (this.isOwn(identity)) return [];
    // Where a row has its key, it was changed: that row is what is lost.
    if (plan.hasKey(oldValues) && this.stored.byKey(plan, oldValues) !== undefined) return [];
    const { later } = this;
    const isMadeBehind = (): boolean => later !== undefined && this.rows.isMadeBehind({ plan, change }, later);
    const wasSeen = (): boolean => this.followsItsOwn() && !isMadeBehind();
    const image = wholeRow(plan, oldValues);
    const culprit = this.rows.whoRemoved({ plan, identity, image, epoch: this.epoch, wasSeen });
    if (culprit !== undefined && this.saw(culprit.message)) return [];
    const isItsOwn = (): boolean => isMadeBehind() || this.rows.isMadeBy(this.message, identity, plan);
    if (culprit === undefined && (this.isCovered || isItsOwn())) return [];
    // A row without a key that somebody else updated is still there: both are kept.
    if (isInBag && culprit?.operation !== 'DELETE') return [];
    return [{ row: undefined, loser: culprit?.message, inTheWay: false }];
  }

  /** The change means a row that is found by all its values. */
  private lostInBag(plan: RowPlan, change: RowChange, index: number): Loss[] {
    const rowid = this.stored.byValues(plan, change);
    if (rowid === undefined) this.missed.add(index);
    if (change.operation === 'DELETE') return [];
    if (rowid === undefined)
      return [...this.lostDelete({ plan, change }, true), ...this.lostToRow(plan, change, undefined)];
    return rowid === null ? [] : this.lostToRow(plan, change, this.stored.atRowid(plan, rowid));
  }

  /** The rows that have to go for a new one. `target` is the one that becomes it, where there is one. */
  private lostToRow(plan: RowPlan, change: RowChange, target: StoredRow | undefined): Loss[] {
    const { newValues: after = [] } = change;
    const same = this.atPlaceOf(plan, change, target);
    const losses: Loss[] = [];
    if (same !== undefined && !isSameRow(same, target) && !this.isLike(plan, same, after)) {
      losses.push(...this.loss(same, [same.identity], false));
    }
    const isNamed = plan.table.rowid !== undefined || plan.isKeyed(after);
    if (!isNamed || !this.stored.hasUnique(plan)) return losses;
    const taken = [same, target];
    for (const row of this.stored.inTheWayOf(plan, wholeRow(plan, after, (target ?? same)?.values))) {
      if (taken.some((other) => isSameRow(row, other)) || this.isLike(plan, row, after)) continue;
      taken.push(row);
      losses.push(...this.loss(row, [row.identity], true));
    }
    return losses;
  }

  /** The row that stands where the new one is to be, by rowid or key. */
  private atPlaceOf(plan: RowPlan, change: RowChange, target: StoredRow | undefined): StoredRow | undefined {
    const { oldValues, newValues = [], oldRowid, newRowid = oldRowid } = change;
    if (plan.isByRowid && newRowid !== undefined) {
      return newRowid === target?.rowid ? target : this.stored.atRowid(plan, newRowid);
    }
    if (plan.isKeyed(newValues) && oldValues !== undefined && plan.hasSameKey(oldValues, newValues)) return undefined;
    return plan.hasKey(newValues) ? this.stored.byKey(plan, newValues) : undefined;
  }

  /** `seen`: the old image proves that the writer did not know the row. */
  private loss(row: StoredRow, identities: readonly string[], inTheWay: boolean, seen = this.message.foreign): Loss[] {
    if (identities.some((identity) => this.isOwn(identity))) return [];
    const loser = this.rows.lastToTouch(identities, this.epoch)?.message;
    if (loser !== undefined && this.saw(loser)) return [];
    return loser !== undefined || (seen && !this.isCovered) ? [{ row, loser, inTheWay }] : [];
  }

  /** True for one of the same writer, unless it did not know of that itself. */
  private saw(other: RecentMessage): boolean {
    return other.origin === this.message.origin && ranBehind(this.message, other.ids);
  }

  /**
   * False where a message of the same origin in front of this one may be lost: it failed, and this one ran behind it. Then
   * what the writer saw may never have been.
   */
  private followsItsOwn(): boolean {
    const { origin, ids } = this.message;
    if (ids === undefined) return true;
    let { first } = ids;
    for (const other of this.recent.newestFirst(this.epoch)) {
      if (other.origin === origin) first = Math.min(first, other.ids?.first ?? first);
    }
    for (let id = ids.first - 1; id >= Math.max(1, first - 1); id--) if (!this.wasApplied(origin, id)) return false;
    return true;
  }

  private isLike(plan: RowPlan, row: StoredRow, image: readonly SqlValue[]): boolean {
    return plan.targets.every((target, index) =>
      isSameValue(row.values[target] ?? null, image[plan.sources[index] ?? -1] ?? null, this.message.foreign),
    );
  }

  private conflict(plan: RowPlan, change: RowChange, { row, loser }: Loss): HAConflict {
    const { node } = this.message;
    const sequence = BigInt(this.message.sequence);
    const { oldValues = [], newValues, oldRowid, operation } = change;
    const key = storedKeyOf(plan.table, row?.values ?? wholeRow(plan, oldValues));
    return {
      type: 'conflict',
      sequence,
      table: plan.table.name,
      key: key === undefined ? (row === undefined ? oldRowid : row.rowid) : object(plan.table.pk, key),
      operation,
      lost: row === undefined ? undefined : named(plan, row.values),
      winner: { node, sequence, values: newValues === undefined ? undefined : shared(plan, newValues) },
      loser: loser === undefined ? undefined : { node: loser.node, sequence: BigInt(loser.sequence) },
    };
  }
}

function isSameRow(a: StoredRow, b: StoredRow | undefined): boolean {
  return a.rowid === undefined ? a.identity === b?.identity : a.rowid === b?.rowid;
}

function named(plan: RowPlan, values: readonly SqlValue[]): HARow {
  return object(
    plan.table.columns.map(({ name }) => name),
    values,
  );
}

function shared(plan: RowPlan, image: readonly SqlValue[]): HARow {
  return object(
    plan.targets.map((target) => plan.table.columns[target]?.name ?? ''),
    plan.pick(image),
  );
}

function object(names: readonly string[], values: readonly SqlValue[]): HARow {
  return Object.fromEntries(names.map((name, index) => [name, legible(values[index] ?? null)]));
}

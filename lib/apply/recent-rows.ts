import { isRowChange } from '../changeset/changeset.js';
import type { LaterChanges } from './applier.js';
import type { RowChange, RowOperation, SqlValue } from '../changeset/changeset.js';
import type { RemovedRow } from './removed-rows.js';
import type { PlannedChange } from './row-applier.js';
import type { RecentMessage, RecentMessages } from './recent-messages.js';
import { imageText } from './row-identity.js';
import type { RowPlan } from './row-plan.js';
import type { StoredRows } from './stored-rows.js';

/** What a message did last to a row. */
interface Touch {
  /** Place among the changes of its message. */
  readonly at: number;
  readonly operation: RowOperation;
  /** The row that it left there; undefined where it took the row away. */
  readonly wrote: readonly SqlValue[] | undefined;
}

/** A row that a message wrote. */
interface Written {
  readonly at: number;
  readonly plan: RowPlan;
  readonly row: readonly SqlValue[];
  /** The same row before, where there was one. */
  readonly before: readonly SqlValue[] | undefined;
}

/** A row that is missing, as it may have been. */
export interface MissingRow {
  readonly row: readonly SqlValue[];
  /** A message says that it was like this. */
  readonly isProven: boolean;
}

interface Rows {
  /** The schema for which they were read. */
  readonly schema: unknown;
  readonly touches: ReadonlyMap<string, Touch>;
  readonly written: readonly Written[];
}

/** How changes of the past would be applied to the schema as it is now. */
export interface ChangePlanner {
  readonly schemaAsKnown: unknown;
  planned(change: RowChange, epoch: number, foreign: boolean): PlannedChange | undefined;
  /** True where interceptors decide on the rows of these tables; names in lower case. */
  intercepts(tables: readonly string[]): boolean;
}

/** Who changed a row: a message, or one that is not remembered. */
export interface Culprit {
  readonly message: RecentMessage;
  readonly operation: RowOperation;
}

/** Tells which of the recent messages changed a row last. A message is read when that is asked first. */
export class RecentRows {
  private readonly cache = new WeakMap<RecentMessage, Rows>();

  constructor(
    private readonly recent: RecentMessages,
    private readonly planner: ChangePlanner,
    private readonly stored: StoredRows,
  ) {}

  /** Who changed one of these rows last, behind a sequence. */
  lastToTouch(identities: readonly string[], after: number): (Culprit & { readonly touch: Touch }) | undefined {
    for (const message of this.recent.newestFirst(after)) {
      const { touches } = this.rowsOf(message);
      let last: Touch | undefined;
      for (const identity of identities) {
        const touch = touches.get(identity);
        if (touch !== undefined && touch.at >= (last?.at ?? 0)) last = touch;
      }
      if (last !== undefined) return { message, operation: last.operation, touch: last };
    }
    return undefined;
  }

  /**
   * Who took a row away, behind a sequence. If no change names it, it may have given way to another row by a unique index;
   * `missing` is asked then how it was. Where interceptors decide on the table, that was written down.
   */
  whoRemoved(
    plan: RowPlan,
    identity: string,
    missing: () => MissingRow | undefined,
    after: number,
  ): Culprit | undefined {
    const last = this.lastToTouch([identity], after);
    if (last !== undefined && last.touch.wrote === undefined) return last;
    if (!this.stored.hasUnique(plan) || this.isDecided(plan.table.name)) return undefined;
    const wrote = last?.touch.wrote;
    const row = wrote === undefined ? missing() : { row: wrote, isProven: true };
    if (row === undefined) return undefined;
    const from = last === undefined ? undefined : { sequence: last.message.sequence, at: last.touch.at };
    return this.firstInTheWayOf(plan, row, after, from);
  }

  /** True where interceptors decide on the rows of a table. */
  readonly isDecided = (table: string): boolean => this.planner.intercepts([table.toLowerCase()]);

  /** True where the last message that is known to have changed a row left it like this. */
  wasLeftLike(identity: string, row: readonly SqlValue[]): boolean {
    const wrote = this.lastToTouch([identity], -1)?.touch.wrote;
    return wrote !== undefined && imageText(wrote) === imageText(row);
  }

  /**
   * True where a later change of the same message makes the row that a change of it speaks of, as that left it. What a foreign
   * key or a trigger does to a row that was just made or moved is logged in front of the change that made it, for the triggers
   * of the inner statement fire first: https://www.sqlite.org/lang_createtrigger.html
   */
  isMadeBehind({ plan, change }: PlannedChange, { changes, from: first, epoch, foreign }: LaterChanges): boolean {
    let [, identity] = this.identitiesOf({ plan, change });
    let { newValues: image } = change;
    for (const later of changes.slice(first)) {
      if (identity === undefined || image === undefined || later.operation === 'SQL') return false;
      const planned = isRowChange(later) ? this.planner.planned(later, epoch, foreign) : undefined;
      if (planned === undefined) continue;
      const [from, to] = this.identitiesOf(planned);
      const { newValues } = planned.change;
      if (from === identity) [identity, image] = [to, newValues];
      else if (to === identity) return imageText(planned.plan.pick(newValues ?? [])) === imageText(plan.pick(image));
    }
    return false;
  }

  /** True where a message, as it was written, makes a row that interceptors may have left out. */
  isMadeBy({ sequence, foreign, read }: RecentMessage, identity: string, { table }: RowPlan): boolean {
    if (!this.isDecided(table.name)) return false;
    const { changes, epoch } = read();
    const names = foreign ? sequence : Number(epoch);
    return changes.some((change) => {
      const planned = isRowChange(change) ? this.planner.planned(change, names, foreign) : undefined;
      const [from, to] = planned === undefined ? [] : this.identitiesOf(planned);
      return to === identity && from !== identity;
    });
  }

  /** The row that a change speaks of, and the row that it makes of it. */
  private identitiesOf({ plan, change }: PlannedChange): [string | undefined, string | undefined] {
    const { oldValues, newValues, oldRowid, newRowid = oldRowid } = change;
    return [
      oldValues && this.stored.identity(plan, oldValues, oldRowid),
      newValues && this.stored.identity(plan, newValues, newRowid),
    ];
  }

  private firstInTheWayOf(
    plan: RowPlan,
    { row, isProven }: MissingRow,
    after: number,
    from: { readonly sequence: number; readonly at: number } | undefined,
  ): Culprit | undefined {
    const messages = [...this.recent.newestFirst(from === undefined ? after : from.sequence - 1)].toReversed();
    for (const message of messages) {
      const behind = message.sequence === from?.sequence ? from.at : -1;
      const found = this.rowsOf(message).written.find((other) => {
        if (other.at <= behind || other.plan.table !== plan.table) return false;
        if (!this.stored.exclude(plan, row, other.row)) return false;
        // Where the other had the same values before, the row was not there by then, or never.
        return isProven || other.before === undefined || !this.stored.exclude(plan, row, other.before);
      });
      if (found !== undefined) return { message, operation: 'DELETE' };
    }
    return undefined;
  }

  private rowsOf(message: RecentMessage): Rows {
    const known = this.cache.get(message);
    if (known !== undefined && known.schema === this.planner.schemaAsKnown) return known;
    const rows = this.read(message);
    this.cache.set(message, rows);
    return rows;
  }

  private read({ sequence, foreign, refused, missed, removed = [], read }: RecentMessage): Rows {
    const { changes, epoch } = read();
    let gone = 0;
    const touches = new Map<string, Touch>();
    const written: Written[] = [];
    // Behind a change of the schema in the same message, names are those that it made.
    let names = foreign ? sequence : Number(epoch);
    changes.forEach((change, at) => {
      if (change.operation === 'SQL') names = sequence;
      if (!isRowChange(change) || refused?.has(at) === true) return;
      const planned = this.planner.planned(change, names, foreign);
      for (; removed[gone]?.at === at; gone++) {
        const identity = this.removedIdentity((removed[gone] as RemovedRow).change, names);
        if (identity !== undefined) touches.set(identity, { at, operation: 'DELETE', wrote: undefined });
      }
      if (planned === undefined) return;
      const { plan } = planned;
      const { operation, oldValues, newValues, oldRowid, newRowid = oldRowid } = planned.change;
      const wrote = newValues === undefined ? undefined : wholeRow(plan, newValues);
      if (oldValues !== undefined && missed?.has(at) !== true) {
        touches.set(this.stored.identity(plan, oldValues, oldRowid), { at, operation, wrote: undefined });
      }
      if (newValues === undefined || wrote === undefined) return;
      touches.set(this.stored.identity(plan, newValues, newRowid), { at, operation, wrote });
      written.push({ at, plan, row: wrote, before: oldValues && wholeRow(plan, oldValues) });
    });
    return { schema: this.planner.schemaAsKnown, touches, written };
  }

  private removedIdentity(change: RowChange, names: number): string | undefined {
    const planned = this.planner.planned(change, names, false);
    return planned && this.identitiesOf(planned)[0];
  }
}

/** A row in the order of its table, of an image; what the image does not know is taken from another row, else NULL. */
export function wholeRow(plan: RowPlan, image: readonly SqlValue[], under?: readonly SqlValue[]): SqlValue[] {
  const row: SqlValue[] = plan.table.columns.map((_column, index) => under?.[index] ?? null);
  plan.targets.forEach((target, index) => (row[target] = image[plan.sources[index] ?? -1] ?? null));
  return row;
}

import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { RowWitness } from './applier.js';
import { wholeRow } from './recent-rows.js';
import { legible } from './row-identity.js';
import type { PlannedChange } from './row-applier.js';
import type { RowPlan } from './row-plan.js';
import type { StoredRow, StoredRows } from './stored-rows.js';

/** A row that gave way to another one by a unique index: no change names it. */
export interface RemovedRow {
  /** Place of the change that removed it, among those of its message. */
  readonly at: number;
  /** Its removal as a change: what it means is asked again where the schema has changed since. */
  readonly change: RowChange;
}

/**
 * Writes down which rows give way to those of a message. Where interceptors decide, what a writer had in front of it tells
 * nothing: it may have changed rows by what is left out, or another thing, at its place. So what was there has to be seen there.
 */
export class RemovedRows implements RowWitness {
  readonly all: RemovedRow[] = [];
  /** About how many bytes they take. */
  bytes = 0;
  private readonly identities = new Set<string>();

  constructor(
    private readonly stored: StoredRows,
    /** Whether interceptors decide on the rows of a table. */
    private readonly isDecided: (table: string) => boolean,
  ) {}

  /** @inheritdoc */
  before({ plan, change }: PlannedChange, at: number): (() => void) | undefined {
    const { newValues } = change;
    if (newValues === undefined || !this.isDecided(plan.table.name) || !this.stored.hasUnique(plan)) return undefined;
    if (plan.table.rowid === undefined && !plan.isKeyed(newValues)) return undefined;
    const rows = this.inTheWay(plan, change, newValues);
    if (rows.length === 0) return undefined;
    return () => {
      for (const row of rows) if (this.stored.isGone(plan, row)) this.add(plan, row, at);
    };
  }

  /** True where a row, by its identity, gave way to the message. */
  has(identity: string): boolean {
    return this.identities.has(identity);
  }

  /** Rows besides those that the change names. */
  private inTheWay(plan: RowPlan, change: RowChange, newValues: readonly SqlValue[]): StoredRow[] {
    const { oldValues, oldRowid, newRowid = oldRowid } = change;
    const own = [this.stored.identity(plan, newValues, newRowid)];
    if (oldValues !== undefined) own.push(this.stored.identity(plan, oldValues, oldRowid));
    const row = wholeRow(plan, newValues, plan.partial ? this.under(plan, change) : undefined);
    return this.stored.inTheWayOf(plan, row).filter(({ identity }) => !own.includes(identity));
  }

  /** The stored row whose columns stay where the change does not know them. */
  private under(plan: RowPlan, change: RowChange): readonly SqlValue[] | undefined {
    const { oldValues, newValues = [], oldRowid, newRowid = oldRowid } = change;
    const rowid = oldValues === undefined ? newRowid : oldRowid;
    if (plan.isByRowid && rowid !== undefined) return this.stored.atRowid(plan, rowid)?.values;
    const image = oldValues ?? newValues;
    if (plan.isKeyed(image)) return this.stored.byKey(plan, image)?.values;
    const found = oldValues === undefined ? undefined : this.stored.byValues(plan, change);
    return typeof found === 'bigint' ? this.stored.atRowid(plan, found)?.values : undefined;
  }

  private add(plan: RowPlan, row: StoredRow, at: number): void {
    this.identities.add(row.identity);
    const change = removalOf(plan, row);
    this.bytes += sizeOf(change);
    this.all.push({ at, change });
  }
}

function removalOf({ table }: RowPlan, { values, rowid }: StoredRow): RowChange {
  return {
    operation: 'DELETE',
    database: 'main',
    table: table.name,
    columns: table.columns.map(({ name }) => name),
    pkColumns: table.pk,
    oldValues: values,
    ...(rowid === undefined ? {} : { oldRowid: rowid }),
  };
}

function sizeOf({ oldValues = [] }: RowChange): number {
  return oldValues.reduce<number>((sum, value) => {
    const shown = legible(value);
    return sum + (typeof shown === 'string' || Buffer.isBuffer(shown) ? shown.length : 8);
  }, 0);
}

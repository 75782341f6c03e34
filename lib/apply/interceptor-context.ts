import type { RowChange, SqlValue } from '../changeset/changeset.js';
import { columnIndex, invalid } from '../changeset/interceptor.js';
import type { HAInterceptorContext, HARowContext, HAStoredRow } from '../changeset/interceptor.js';
import type { Connection, Statement } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import type { InterceptingNode } from './interceptors.js';
import { wholeRow } from './recent-rows.js';
import type { PlannedChange } from './row-applier.js';
import { bound } from './row-plan.js';
import type { StoredRow, StoredRows } from './stored-rows.js';

/** What the writer had of a row behind a change of it, and what became of the change. */
export interface EarlierChange {
  readonly change: RowChange;
  readonly outcome: 'applied' | 'skipped';
}

/** The place of a transaction, as its interceptors see it. */
export interface InterceptedPlace {
  readonly sequence: number;
  readonly writer: string;
}

/** Reads for interceptors, on the connection of the applier, until {@link close}. */
export class TransactionContext implements HAInterceptorContext {
  /** What the environment did to a read: that is no fault of the interceptor. */
  failure: unknown;
  private open = true;

  constructor(
    private readonly db: Connection,
    private readonly place: InterceptedPlace,
    private readonly facts: InterceptingNode,
  ) {}

  get sequence(): bigint {
    return BigInt(this.place.sequence);
  }

  get own(): boolean {
    return this.place.writer === this.facts.node;
  }

  get node(): string {
    return this.facts.node;
  }

  get replicationID(): string {
    return this.facts.replicationID;
  }

  get provisional(): boolean {
    return this.place.sequence === 0;
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- who wrote the query knows its columns
  get<T = Record<string, SqlValue>>(sql: string, params: readonly SqlValue[] = []): T | undefined {
    return this.read(() => this.prepared(sql).get(...bound(params)) as T | undefined);
  }

  all<T = Record<string, SqlValue>>(sql: string, params: readonly SqlValue[] = []): T[] {
    return this.read(() => this.prepared(sql).all(...bound(params)) as T[]);
  }

  close(): void {
    this.open = false;
  }

  /** Reads while this context counts. */
  read<R>(work: () => R): R {
    if (!this.open) throw invalid('its context was used after it had answered');
    try {
      return work();
    } catch (error) {
      if (isSqliteError(error) && !/^SQLITE_(ERROR|MISUSE|RANGE|CONSTRAINT|MISMATCH)/.test(error.code)) {
        this.failure ??= error;
      }
      throw error;
    }
  }

  private prepared(sql: string): Statement {
    const statement = this.db.prepare(sql);
    if (!statement.readonly || !statement.reader) throw invalid(`its context only reads, and was given: ${sql}`);
    return statement.safeIntegers(true);
  }
}

/** The place of one change of a row. */
export class RowContext implements HARowContext {
  private rows: { readonly stored: StoredRow | undefined; readonly inTheWay: readonly StoredRow[] } | undefined;

  constructor(
    private readonly context: TransactionContext,
    private readonly reads: StoredRows,
    private readonly planned: PlannedChange,
    private readonly past: EarlierChange | undefined,
  ) {}

  get sequence(): bigint {
    return this.context.sequence;
  }

  get own(): boolean {
    return this.context.own;
  }

  get node(): string {
    return this.context.node;
  }

  get replicationID(): string {
    return this.context.replicationID;
  }

  get provisional(): boolean {
    return this.context.provisional;
  }

  get earlier(): 'applied' | 'skipped' | undefined {
    return this.past?.outcome;
  }

  get stored(): HAStoredRow | undefined {
    const { stored } = this.find();
    return stored === undefined ? undefined : this.view(stored);
  }

  get inTheWay(): readonly HAStoredRow[] {
    return this.find().inTheWay.map((row) => this.view(row));
  }

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- who wrote the query knows its columns
  get<T = Record<string, SqlValue>>(sql: string, params?: readonly SqlValue[]): T | undefined {
    return this.context.get<T>(sql, params);
  }

  all<T = Record<string, SqlValue>>(sql: string, params?: readonly SqlValue[]): T[] {
    return this.context.all<T>(sql, params);
  }

  /** A trigger that changes the row on which it fires leaves an old image behind that is not what the writer had. */
  before(column: string): SqlValue | undefined {
    const { change } = this.planned;
    const { past } = this;
    if (change.operation === 'INSERT') return undefined;
    if (past !== undefined) return past.change.newValues?.[columnIndex(past.change, column)];
    return change.oldValues?.[columnIndex(change, column)];
  }

  private find(): NonNullable<RowContext['rows']> {
    return (this.rows ??= this.context.read(() => this.look()));
  }

  private look(): NonNullable<RowContext['rows']> {
    const { plan, change } = this.planned;
    const { operation, oldValues, newValues, oldRowid, newRowid = oldRowid } = change;
    const target =
      operation === 'INSERT' ? undefined : this.meant(plan.isKeyed(oldValues ?? []), oldValues ?? [], oldRowid);
    if (newValues === undefined) return { stored: target, inTheWay: [] };
    const atPlace = this.atPlace(newValues, newRowid, target);
    const stored = operation === 'INSERT' ? atPlace : target;
    const isNamed = plan.table.rowid !== undefined || plan.isKeyed(newValues);
    const conflicting = isNamed
      ? this.reads.inTheWayOf(plan, wholeRow(plan, newValues, (target ?? atPlace)?.values))
      : [];
    const others: StoredRow[] = [];
    for (const row of [...(atPlace === undefined ? [] : [atPlace]), ...conflicting]) {
      if (!isSame(row, stored) && !others.some((other) => isSame(row, other))) others.push(row);
    }
    return { stored, inTheWay: others };
  }

  private meant(keyed: boolean, image: readonly SqlValue[], rowid: bigint | undefined): StoredRow | undefined {
    const { plan, change } = this.planned;
    if (plan.isByRowid && rowid !== undefined) return this.reads.atRowid(plan, rowid);
    if (keyed) return this.reads.byKey(plan, image);
    const found = this.reads.byValues(plan, change);
    if (found === undefined) return undefined;
    if (found !== null) return this.reads.atRowid(plan, found);
    return { values: wholeRow(plan, image), identity: this.reads.identity(plan, image, undefined) };
  }

  /** The row that stands where the new one is to be, by rowid or key. */
  private atPlace(
    image: readonly SqlValue[],
    rowid: bigint | undefined,
    target: StoredRow | undefined,
  ): StoredRow | undefined {
    const { plan } = this.planned;
    if (plan.isByRowid && rowid !== undefined) {
      return rowid === target?.rowid ? target : this.reads.atRowid(plan, rowid);
    }
    return plan.isKeyed(image) ? this.reads.byKey(plan, image) : undefined;
  }

  private view(row: StoredRow): HAStoredRow {
    const { table } = this.planned.plan;
    const values = Object.fromEntries(table.columns.map(({ name }, index) => [name, row.values[index] ?? null]));
    return Object.freeze({
      values: Object.freeze(values),
      isGreater: (column: string, value: SqlValue) => this.isGreater(row, column, value),
    });
  }

  private isGreater(row: StoredRow, column: string, value: SqlValue): boolean {
    const { plan } = this.planned;
    const lower = column.toLowerCase();
    const index = plan.table.columns.findIndex(({ name }) => name.toLowerCase() === lower);
    if (index < 0) throw invalid(`the table '${plan.table.name}' has no column '${column}'`);
    if ((row.values[index] ?? null) === null) return false;
    if (value === null) return true;
    return this.context.read(() => this.reads.compares(plan, row, plan.table.columns[index]?.name ?? '', value));
  }
}

function isSame(a: StoredRow, b: StoredRow | undefined): boolean {
  return a.rowid === undefined ? a.identity === b?.identity : a.rowid === b?.rowid;
}

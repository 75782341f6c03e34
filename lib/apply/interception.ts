import { isRowChange, InvalidText } from '../changeset/changeset.js';
import type { Change, ChangeSet, RowChange, SqlValue } from '../changeset/changeset.js';
import { invalid, isIntercepted } from '../changeset/interceptor.js';
import type { HAChangeSet, HAInterceptedChange, HAInterceptorAnswer } from '../changeset/interceptor.js';
import { HAError } from '../common/ha-error.js';
import { callInterceptor } from '../common/interceptor-call.js';
import type { Connection } from '../sqlite/connection.js';
import { isInternalTable } from '../sqlite/schema.js';
import { RowContext, TransactionContext } from './interceptor-context.js';
import type { EarlierChange, InterceptedPlace } from './interceptor-context.js';
import { isConcerned } from './interceptors.js';
import type { InterceptingNode, NamedInterceptor } from './interceptors.js';
import type { PlannedChange } from './row-applier.js';
import type { StoredRows } from './stored-rows.js';

/** A pause between two steps; a promise is to be awaited before the next one. */
export type Step = Promise<void> | undefined;

/** What an interception needs of the applier. */
export interface InterceptionPorts {
  readonly db: Connection;
  readonly stored: StoredRows;
  readonly facts: InterceptingNode;
  /** How a change would be applied now; undefined where it cannot be. Names as they are now. */
  readonly planned: (change: RowChange) => PlannedChange | undefined;
}

/** What changes hold: names of tables in lower case. */
interface Reach {
  readonly tables: ReadonlySet<string>;
  readonly hasStatements: boolean;
}

/**
 * One transaction on its way through the interceptors. Each is asked where what those in front of it left concerns it: rows
 * that one of them adds to another table are shown to those behind it, and rows that are taken out are not.
 */
export class Interception {
  /** What takes effect, in order. */
  readonly effective: Change[] = [];
  private readonly changedBy = new Set<NamedInterceptor>();
  private readonly earlier = new Map<string, EarlierChange>();
  /** Made by interceptors for tables that may come into being in the same transaction. */
  private readonly unchecked = new Map<unknown, NamedInterceptor>();
  /** What the writer did, by table, as far as somebody asked. */
  private readonly writtenTo = new Map<string, readonly RowChange[]>();
  private view: HAChangeSet;
  /** What {@link view} holds. */
  private reach: Reach = { tables: new Set(), hasStatements: false };

  /** @param shown Names as they are now. */
  constructor(
    private readonly ports: InterceptionPorts,
    private readonly interceptors: readonly NamedInterceptor[],
    private readonly shown: ChangeSet,
    private readonly place: InterceptedPlace,
  ) {
    this.view = this.show(shown.changes.filter(isShown));
  }

  /** Names of those that changed something, in order. */
  get names(): readonly string[] {
    return this.interceptors.filter((one) => this.changedBy.has(one)).map(({ name }) => name);
  }

  /** How many changes it had before. */
  get written(): number {
    return this.shown.changes.filter(isShown).length;
  }

  /** The transaction as it took effect. Names as they were at its place. */
  get taken(): ChangeSet {
    return { ...this.shown, changes: this.effective, epoch: BigInt(Math.max(0, this.place.sequence - 1)) };
  }

  /** Asks about the transaction as a whole. Returns the changes that remain. */
  *before(): Generator<Step, readonly HAInterceptedChange[]> {
    for (const one of this.interceptors) {
      if (one.interceptor.beforeApply === undefined || !concerns(one, this.reach)) continue;
      const answer = yield* this.call(one, (context) => one.interceptor.beforeApply?.(this.view, context));
      this.guarded(one, undefined, () => this.take(one, answer));
    }
    return this.view.changes;
  }

  /** Asks about the change of a row, behind those in front of it; undefined where it is left out. */
  row(change: RowChange): RowChange | undefined {
    const planned = this.ports.planned(change);
    const maker = this.unchecked.get(change);
    if (maker !== undefined) this.guarded(maker, undefined, () => this.checked(change));
    // Applying tells why it cannot be applied.
    if (planned === undefined) return change;
    if (!this.interceptors.some((one) => decidesOnRow(one, change))) return planned.change;
    const identity = this.identity(planned, 'old');
    let past = this.earlier.get(identity);
    let result: PlannedChange | undefined = planned;
    for (const one of this.interceptors) {
      if (!decidesOnRow(one, result.change)) continue;
      const answer: PlannedChange | undefined = this.askRow(one, result, past);
      // Its writer knew nothing of a row that was put in its place in another table.
      if (answer !== undefined && answer.plan.table.name !== result.plan.table.name) past = undefined;
      result = answer;
      if (result === undefined) break;
    }
    const outcome = { change: planned.change, outcome: result === undefined ? 'skipped' : 'applied' } as const;
    this.earlier.set(identity, outcome);
    if (planned.change.newValues !== undefined) this.earlier.set(this.identity(planned, 'new'), outcome);
    return result?.change;
  }

  /** Shows what took effect, in front of COMMIT. */
  *after(): Generator<Step, void> {
    if (this.place.sequence === 0) return;
    const written = reachOf(this.shown.changes.filter(isShown));
    this.view = this.show(this.effective.filter(isIntercepted));
    for (const one of this.interceptors) {
      if (one.interceptor.afterApply === undefined) continue;
      if (!concerns(one, written) && !concerns(one, this.reach)) continue;
      yield* this.call(one, (context) => one.interceptor.afterApply?.(this.view, context));
    }
  }

  private askRow(
    one: NamedInterceptor,
    planned: PlannedChange,
    past: EarlierChange | undefined,
  ): PlannedChange | undefined {
    const context = this.context();
    return this.guarded(one, context, () => {
      const row = new RowContext(context, this.ports.stored, planned, past);
      const answer = callInterceptor(one.name, () => one.interceptor.beforeRow?.(planned.change, row));
      if (answer instanceof Promise) {
        answer.catch(() => undefined);
        throw invalid('beforeRow has to answer at once, not with a promise');
      }
      if (answer === undefined || answer === 'pass' || answer === planned.change) return planned;
      this.changedBy.add(one);
      if (answer === 'skip') return undefined;
      const checked = this.checked(answer);
      // Its own row is there to be decided on, so another one has to have a place too.
      if (checked.planned === undefined) throw unplaceable(checked.change);
      return checked.planned;
    });
  }

  /** Calls an interceptor, and waits for it where it asks for that. */
  private *call<R>(
    one: NamedInterceptor,
    call: (context: TransactionContext) => R | Promise<R>,
  ): Generator<Step, R | undefined> {
    const context = this.context();
    try {
      const answer = this.guarded(one, context, () => callInterceptor(one.name, () => call(context)), true);
      if (!(answer instanceof Promise)) return answer;
      let settled: { readonly value?: R; readonly error?: unknown } = {};
      yield answer.then(
        (value) => {
          settled = { value };
        },
        (error: unknown) => {
          settled = { error: error ?? new Error('it was rejected without a reason') };
        },
      );
      if (settled.error !== undefined) throw this.failed(one, context, settled.error);
      return settled.value;
    } finally {
      context.close();
    }
  }

  private guarded<R>(
    one: NamedInterceptor,
    context: TransactionContext | undefined,
    work: () => R,
    staysOpen = false,
  ): R {
    try {
      return work();
    } catch (error) {
      throw this.failed(one, context, error);
    } finally {
      if (!staysOpen) context?.close();
    }
  }

  /** What the environment did to a read is tried again; anything else would fail again. */
  private failed({ name }: NamedInterceptor, context: TransactionContext | undefined, error: unknown): unknown {
    if (context?.failure !== undefined) return context.failure;
    const { sequence } = this.place;
    const reason = error instanceof Error ? error.message : String(error);
    const details = { interceptor: name, ...(sequence === 0 ? {} : { sequence }) };
    const message =
      sequence === 0
        ? `The interceptor '${name}' failed on a transaction that has no place in the stream yet: ${reason}.`
        : `The interceptor '${name}' failed at sequence ${sequence}: ${reason}. Nothing from there on is applied, for the nodes would not decide alike without it. Mend it on all nodes, and start the database again: it is asked again.`;
    return new HAError('HA_INTERCEPTOR', message, { cause: error, details });
  }

  private take(one: NamedInterceptor, answer: HAInterceptorAnswer): void {
    const { changes } = this.view;
    if (answer === undefined || answer === 'pass' || answer === changes) return;
    if (answer === 'skip') {
      this.changedBy.add(one);
      this.view = this.show([]);
      return;
    }
    if (!Array.isArray(answer)) throw invalid(`its answer is neither 'pass', 'skip' nor a list of changes`);
    const list = answer as readonly HAInterceptedChange[];
    if (list.length === changes.length && list.every((change, index) => change === changes[index])) return;
    this.changedBy.add(one);
    const known = new Set<unknown>(changes);
    const makesTables = changes.some((change) => !isRowChange(change));
    const checked = list.map((change) => {
      if (known.has(change)) return change;
      if (!makesTables) return this.checked(change).change;
      const made = asRowChange(change);
      this.unchecked.set(made, one);
      return made;
    });
    this.view = this.show(checked);
  }

  /**
   * A change that an interceptor made, where it can be applied. What its writer did not know of the schema either is no fault
   * of the interceptor: tables and columns that somebody dropped meanwhile are treated as without it.
   */
  private checked(change: unknown): { readonly change: RowChange; readonly planned: PlannedChange | undefined } {
    const made = asRowChange(change);
    if (isInternalTable(made.table)) throw invalid(`'${made.table}' belongs to replication`);
    const planned = this.ports.planned(made);
    if (planned === undefined) {
      const written = this.changesOf(made.table);
      if (written.length > 0 && !written.some((change) => this.ports.planned(change))) return { change: made, planned };
      throw unplaceable(made);
    }
    const names = new Set(planned.plan.table.columns.map(({ name }) => name));
    const unknown = made.columns.find(
      (column) => !names.has(column) && !this.changesOf(made.table).some(({ columns }) => columns.includes(column)),
    );
    if (unknown !== undefined) throw invalid(`the table '${made.table}' has no column '${unknown}'`);
    return { change: planned.change, planned };
  }

  /** What the writer did to rows of a table; looked for once, for an interceptor may replace every change. */
  private changesOf(table: string): readonly RowChange[] {
    const name = table.toLowerCase();
    let changes = this.writtenTo.get(name);
    if (changes === undefined) {
      changes = this.shown.changes.filter(isRowChange).filter((change) => change.table.toLowerCase() === name);
      this.writtenTo.set(name, changes);
    }
    return changes;
  }

  /** The row of an image: by what finds it, and where only its values do, by the rowid that it had at its writer. */
  private identity({ plan, change }: PlannedChange, image: 'old' | 'new'): string {
    const { oldValues, newValues, oldRowid, newRowid = oldRowid } = change;
    const isOld = image === 'old' && oldValues !== undefined;
    const values = (isOld ? oldValues : newValues) ?? [];
    const rowid = isOld ? oldRowid : newRowid;
    if (rowid !== undefined && !plan.isByRowid && !plan.isKeyed(values)) return `${plan.table.name}\0w${rowid}`;
    return this.ports.stored.identity(plan, values, rowid);
  }

  private context(): TransactionContext {
    return new TransactionContext(this.ports.db, this.place, this.ports.facts);
  }

  private show(changes: readonly HAInterceptedChange[]): HAChangeSet {
    this.reach = reachOf(changes);
    const { node, timestampNs } = this.shown;
    return Object.freeze({ node, timestampNs, changes: Object.freeze(changes.map(frozen)) });
  }
}

function unplaceable({ table }: RowChange): Error {
  return invalid(`a change of '${table}' cannot be applied: no such table, or its key is missing`);
}

function reachOf(changes: readonly HAInterceptedChange[]): Reach {
  const tables = new Set<string>();
  let hasStatements = false;
  for (const change of changes) {
    if (isRowChange(change)) tables.add(change.table.toLowerCase());
    else hasStatements = true;
  }
  return { tables, hasStatements };
}

function concerns(one: NamedInterceptor, { tables, hasStatements }: Reach): boolean {
  return isConcerned(one, tables, hasStatements);
}

function decidesOnRow({ interceptor, tables }: NamedInterceptor, { table }: RowChange): boolean {
  return interceptor.beforeRow !== undefined && (tables === undefined || tables.has(table.toLowerCase()));
}

/** Tables of replication itself are not applied, so they are no affair of interceptors. */
function isShown(change: Change): change is HAInterceptedChange {
  return isIntercepted(change) && !(isRowChange(change) && isInternalTable(change.table));
}

function frozen(change: HAInterceptedChange): HAInterceptedChange {
  if (isRowChange(change)) {
    for (const list of [change.columns, change.pkColumns, change.oldValues, change.newValues]) Object.freeze(list);
  } else Object.freeze(change.args);
  return Object.freeze(change);
}

/** Without types an interceptor may answer with anything. */
function asRowChange(value: unknown): RowChange {
  const change = value as Partial<RowChange> | null | undefined;
  const { operation, table, columns, oldValues, newValues } = change ?? {};
  if (operation !== 'INSERT' && operation !== 'UPDATE' && operation !== 'DELETE') {
    throw invalid(
      'it answered with something that is neither one of the changes that it was given nor the change of a row',
    );
  }
  if (typeof table !== 'string' || !Array.isArray(columns))
    throw invalid('it answered with a change without table or columns');
  const needed = [...(operation === 'INSERT' ? [] : [oldValues]), ...(operation === 'DELETE' ? [] : [newValues])];
  for (const values of needed) {
    if (!Array.isArray(values) || values.length !== columns.length) {
      throw invalid(`its ${operation} of '${table}' needs one value for each column`);
    }
    for (const item of values) checkValue(item, table);
  }
  return { ...(change as RowChange), database: 'main', pkColumns: change?.pkColumns ?? [] };
}

const MIN_INTEGER = -(2n ** 63n);
const MAX_INTEGER = 2n ** 63n - 1n;

function checkValue(value: SqlValue, table: string): void {
  const isValue =
    value === null ||
    typeof value === 'string' ||
    (typeof value === 'number' && !Number.isNaN(value)) ||
    (typeof value === 'bigint' && value >= MIN_INTEGER && value <= MAX_INTEGER) ||
    Buffer.isBuffer(value) ||
    value instanceof InvalidText;
  if (!isValue) {
    throw invalid(
      `its change of '${table}' holds ${typeof value} ${String(value)}: a value is null, a bigint of 64 bits (INTEGER), a number (REAL), a string or a Buffer`,
    );
  }
}

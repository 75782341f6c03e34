import type { RowChange, SqlValue } from '../changeset/changeset.js';
import type { Connection, Statement } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import type { SchemaInfo, TableInfo } from '../sqlite/schema.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import { adaptForeign } from './foreign-rows.js';
import { RowPlan, bound, doubled } from './row-plan.js';
import { settledDefault } from './settled-defaults.js';
import type { ChangePlace } from './settled-defaults.js';
import type { Bound } from './row-plan.js';

/** Why a change was left out; every node leaves it out alike. */
export interface Refusal {
  readonly reason: string;
}

/** A change with the plan by which it is applied. */
export interface PlannedChange {
  readonly plan: RowPlan;
  readonly change: RowChange;
}

type SqlOf = (plan: RowPlan) => string;

/**
 * Applies one row change with *assignment* semantics: what a row shall be is set, whatever is stored. So all nodes that
 * apply the same changes in the same order hold the same rows, even where a change meets a row that a concurrent writer
 * changed meanwhile.
 *
 * - A row whose table has a key, and whose key has no NULL, is found by key. Anything else is a member of a bag: the row
 *   at the rowid if it equals the old image exactly, else the first that does. The option `rowIdentify` may say otherwise:
 *   with `full` all rows are members of bags, with `rowid` all are found by rowid alone, where their table has one.
 * - UPDATE that meets no row becomes INSERT. INSERT replaces what stands in its way, and keeps the writer's rowid where
 *   that is free, or where rows are found by it.
 * - A row moves to the rowid that it got at the writer on the same terms.
 * - An UPDATE that violates uniqueness deletes its row and inserts it anew with OR REPLACE. `UPDATE OR REPLACE` would not
 *   do: with recursive triggers it fails where a trigger exists.
 */
export class RowApplier {
  private readonly statements: StatementCache;
  private plans = new Map<string, RowPlan>();
  private schema: SchemaInfo | undefined;
  /** Where the change that is being applied stands. */
  place: ChangePlace = { sequence: 0, index: 0, time: 0 };

  constructor(private readonly db: Connection) {
    this.statements = new StatementCache(db, 1_000);
  }

  /** Names the schema that the following changes meet. */
  useSchema(schema: SchemaInfo): void {
    if (schema === this.schema) return;
    this.schema = schema;
    this.plans = new Map();
  }

  /** How a change is to be applied to the schema as it is, or why no node can. */
  planned(change: RowChange, foreign: boolean): PlannedChange | Refusal {
    const table = this.schema?.tables.get(change.table) ?? this.findTable(change.table);
    if (table === undefined) return { reason: `there is no table '${change.table}'` };
    const adapted = foreign ? adaptForeign(change, table) : change;
    const plan = this.plan(table, adapted);
    if (plan.unusable) return { reason: `the change does not name the key of '${change.table}'` };
    return { plan, change: adapted };
  }

  /** Applies a change; returns why not where every node refuses it. Any other failure is thrown. */
  apply({ plan, change }: PlannedChange): Refusal | undefined {
    try {
      this.run(plan, change);
      return undefined;
    } catch (error) {
      if (isSqliteError(error) && /^SQLITE_(CONSTRAINT|MISMATCH)/.test(error.code)) return { reason: error.message };
      throw error;
    }
  }

  private findTable(name: string): TableInfo | undefined {
    const lower = name.toLowerCase();
    for (const table of this.schema?.tables.values() ?? []) if (table.name.toLowerCase() === lower) return table;
    return undefined;
  }

  private plan(table: TableInfo, change: RowChange): RowPlan {
    const key = `${table.name}\0${change.columns.join('\0')}`;
    let plan = this.plans.get(key);
    if (plan === undefined) this.plans.set(key, (plan = new RowPlan(table, change.columns)));
    return plan;
  }

  private run(plan: RowPlan, change: RowChange): void {
    if (change.operation === 'DELETE') this.remove(plan, change, change.oldValues ?? []);
    else if (change.operation === 'INSERT') this.insert(plan, change, change.newValues ?? []);
    else if (!this.update(plan, change, change.oldValues ?? [], change.newValues ?? [])) {
      this.insert(plan, change, change.newValues ?? []);
    }
  }

  private remove(plan: RowPlan, change: RowChange, before: readonly SqlValue[]): void {
    if (plan.isByRowid && change.oldRowid !== undefined) {
      this.statements.get(plan.deleteByRowid()).run(change.oldRowid);
      return;
    }
    if (plan.isKeyed(before)) {
      const key = plan.keyOf(before);
      this.statements.get(plan.deleteByKey(key)).run(...bound(key));
      return;
    }
    const values = plan.pick(before);
    if (plan.table.rowid === undefined) {
      this.statements.get(plan.deleteExact(values)).run(...doubled(values));
      return;
    }
    const rowid = this.find(plan, change, values);
    if (rowid !== undefined) this.statements.get(plan.deleteByRowid()).run(rowid);
  }

  private insert(plan: RowPlan, change: RowChange, after: readonly SqlValue[]): void {
    const values = plan.pick(after);
    const { newRowid } = change;
    const byRowid = plan.isByRowid && newRowid !== undefined;
    if (plan.partial) {
      const isMet = byRowid
        ? this.overwriteAt(plan, values, newRowid, newRowid)
        : plan.hasKey(after) && this.overwrite(plan, values, plan.keyOf(after));
      if (isMet) return;
    }
    const rowid = plan.hasHiddenRowid ? [(byRowid ? newRowid : this.free(plan, newRowid)) ?? null] : [];
    if (plan.unsettled.length > 0) {
      const defaults = plan.unsettled.map((c) => settledDefault(c.volatileDefault ?? '', c.name, this.place));
      this.db.prepare(plan.insertSettled(values, defaults)).run(...rowid, ...bound(values));
    } else if (plan.hasHiddenRowid) this.statements.get(plan.insertWithRowid(values)).run(...rowid, ...bound(values));
    else this.statements.get(plan.insert(values)).run(...bound(values));
  }

  /** Returns false where no row was met. */
  private update(plan: RowPlan, change: RowChange, before: readonly SqlValue[], after: readonly SqlValue[]): boolean {
    const values = plan.pick(after);
    const { oldRowid, newRowid = oldRowid } = change;
    if (plan.isByRowid && oldRowid !== undefined) {
      return this.overwriteAt(plan, values, oldRowid, newRowid ?? oldRowid);
    }
    const moves = plan.hasHiddenRowid && newRowid !== oldRowid;
    if (plan.isKeyed(before)) {
      const key = plan.keyOf(before);
      if (!moves) return this.overwrite(plan, values, key);
      const [at] = (this.exact(plan.rowidByKey(key)).get(...bound(key)) as [bigint] | undefined) ?? [];
      return at !== undefined && this.overwriteAt(plan, values, at, this.free(plan, newRowid) ?? at);
    }
    const old = plan.pick(before);
    if (plan.table.rowid === undefined) {
      return this.statements.get(plan.updateExact(old, values)).run(...bound(values), ...doubled(old)).changes > 0;
    }
    const rowid = this.find(plan, change, old);
    if (rowid === undefined) return false;
    return this.overwriteAt(plan, values, rowid, (moves ? this.free(plan, newRowid) : undefined) ?? rowid);
  }

  private overwrite(plan: RowPlan, values: readonly SqlValue[], key: readonly SqlValue[]): boolean {
    const at = bound(key);
    return this.move(
      () => this.statements.get(plan.updateByKey(values, key)).run(...bound(values), ...at).changes > 0,
      {
        plan,
        values,
        to: () => (this.exact(plan.rowidByKey(key)).get(...at) as [bigint])[0],
        select: (p) => p.selectByKey(key),
        remove: (p) => p.deleteByKey(key),
        at,
      },
    );
  }

  /** Sets the row at a rowid, and moves it to another one; what stands there is replaced. False where there is no row. */
  private overwriteAt(plan: RowPlan, values: readonly SqlValue[], from: bigint, to: bigint): boolean {
    return this.move(
      () => {
        const isMet = this.statements.get(plan.updateByRowid(values)).run(...bound(values), from).changes > 0;
        if (isMet && plan.hasHiddenRowid && to !== from) this.statements.get(plan.moveRowid()).run(to, from);
        return isMet;
      },
      { plan, values, to: () => to, select: (p) => p.selectByRowid(), remove: (p) => p.deleteByRowid(), at: [from] },
    );
  }

  /** Runs an UPDATE; where uniqueness stops it, takes the row out and puts its new image in with OR REPLACE. */
  private move(
    update: () => boolean,
    row: {
      plan: RowPlan;
      values: readonly SqlValue[];
      to: () => bigint;
      select: SqlOf;
      remove: SqlOf;
      at: readonly Bound[];
    },
  ): boolean {
    try {
      return update();
    } catch (error) {
      if (!isSqliteError(error) || !/UNIQUE|PRIMARYKEY|ROWID/.test(error.code)) throw error;
    }
    const { plan, values, at } = row;
    const whole = this.exact(row.select(plan)).get(...at) as SqlValue[];
    plan.targets.forEach((target, index) => (whole[target] = values[index] ?? null));
    const rowid = plan.hasHiddenRowid ? [row.to()] : [];
    this.db.exec('SAVEPOINT ha_move');
    try {
      this.statements.get(row.remove(plan)).run(...at);
      this.statements.get(plan.insertWhole(whole)).run(...rowid, ...bound(whole));
    } catch (error) {
      this.db.exec('ROLLBACK TO ha_move');
      throw error;
    } finally {
      this.db.exec('RELEASE ha_move');
    }
    return true;
  }

  private find(plan: RowPlan, change: RowChange, values: readonly SqlValue[]): bigint | undefined {
    const match = doubled(values);
    const at = change.oldRowid;
    const here =
      at === undefined
        ? undefined
        : (this.exact(plan.findExact(values, true)).get(at, ...match) as [bigint] | undefined);
    const found = here ?? (this.exact(plan.findExact(values, false)).get(...match) as [bigint] | undefined);
    return found?.[0];
  }

  private free(plan: RowPlan, rowid: bigint | undefined): bigint | undefined {
    return rowid !== undefined && this.isFree(plan, rowid) ? rowid : undefined;
  }

  private isFree(plan: RowPlan, rowid: bigint): boolean {
    return this.statements.get(plan.rowidIsTaken()).get(rowid) === undefined;
  }

  private exact(sql: string): Statement {
    return this.statements.exact(sql);
  }
}

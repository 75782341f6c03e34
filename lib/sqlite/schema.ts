import { foldCase } from '../sql/identifiers.js';
import { volatilePart } from '../sql/volatile.js';
import { partOfTrigger } from '../sql/trigger-part.js';
import type { Connection, Statement } from './connection.js';
import { consequences } from './consequences.js';
import type { ForeignKey } from './consequences.js';
import { keyNamesCollation, readKeyCollations } from './key-collations.js';
import type { KeyCollations } from './key-collations.js';

/** How the row of a change is found: the option `rowIdentify`, which all nodes of a cluster must share. */
export type RowIdentify = 'pk' | 'rowid' | 'full';

/**
 * By what applying finds a row of a table: its key (and all values where the key holds NULL, or there is none), its rowid, or
 * all its values.
 */
export type RowIdentity = 'key' | 'rowid' | 'values';

/** A stored column of a table. */
export interface ColumnInfo {
  readonly name: string;
  /** The declared type, as written. */
  readonly type: string;
  readonly notNull: boolean;
  /** Place in the declared primary key, from 1; 0 where it is no part of it. */
  readonly pk: number;
  /** Its default, where that reads a clock, a random number or an id; else undefined. */
  readonly volatileDefault: string | undefined;
}

/** An ordinary table of the user, with what capture and apply need to know of it. */
export interface TableInfo {
  readonly name: string;
  /** Columns that hold values of their own, in table order: generated columns are left out. */
  readonly columns: readonly ColumnInfo[];
  /** Every column of the table in order, generated ones too. */
  readonly allColumns: readonly string[];
  /** Declared primary key in table order; empty where there is none. */
  readonly pk: readonly string[];
  /** Places of the key in {@link columns}. */
  readonly pkIndexes: readonly number[];
  /** Collations of the key in the order of {@link pk}, where it names some; else empty, for they are those of the columns. */
  readonly keyCollations: KeyCollations;
  readonly withoutRowid: boolean;
  /** Name by which the rowid can be reached, undefined where columns shadow all three or there is none. */
  readonly rowid: string | undefined;
  /** The column that is an alias of the rowid, if there is one. */
  readonly rowidAlias: string | undefined;
  readonly autoincrement: boolean;
  readonly identity: RowIdentity;
  /** True where some rows are found by all their values: two of them may be equal, and the old image has to be exact. */
  readonly bag: boolean;
  /** Name of the rowid where SQLite may choose it and rows are told apart by it: two nodes may choose the same. */
  readonly generatedId: string | undefined;
  /** True where foreign keys with actions point here: those actions run before our AFTER triggers. */
  readonly actionParent: boolean;
  /**
   * True where foreign key actions on a change here may lead back to this table, by themselves or through triggers: what
   * they change is told in front of the change that caused it.
   */
  readonly reentrant: boolean;
  /**
   * True where a BEFORE trigger may change a row that is about to be changed, and the row is changed all the same: SQLite hands
   * out the old image of before the trigger. A row that is found by its rowid or key is skipped where the trigger moves it, so
   * this is false without a hidden rowid.
   */
  readonly selfChanging: boolean;
  /** True where a BEFORE trigger may change other rows of the table in front of the change that it belongs to. */
  readonly changedBefore: boolean;
  /** Places in {@link columns} of what is unique, as far as whole indexes of plain columns say it; read where {@link reentrant}. */
  readonly uniqueKeys: readonly (readonly number[])[];
}

/** What the schema of the `main` database means for replication. */
export interface SchemaInfo {
  readonly version: number;
  readonly tables: ReadonlyMap<string, TableInfo>;
  /** Lower-case names of virtual tables: their writes are replicated as statements. */
  readonly virtualTables: ReadonlySet<string>;
  /** Lower-case names of views with a trigger that writes to a virtual table. */
  readonly virtualViews: ReadonlySet<string>;
  /** User triggers of `main`. */
  readonly triggers: readonly TriggerInfo[];
  /** True where a table reaches itself through foreign keys that carry actions. */
  readonly foreignKeyCycle: boolean;
  /** True where REPLACE occurs in a trigger, or as a conflict clause of a table. */
  readonly replaceInSchema: boolean;
  /** True where a trigger may name a rowid. */
  readonly rowidInTriggers: boolean;
  readonly deferredForeignKeys: boolean;
  readonly foreignKeyActions: boolean;
  readonly raiseRollback: boolean;
  readonly hasAutoincrement: boolean;
}

export interface TriggerInfo {
  readonly name: string;
  readonly table: string;
  readonly sql: string;
  /** The part of it that writes to virtual tables, as a trigger of its own; undefined where there is none. */
  readonly virtualPart: string | undefined;
}

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'] as const;

/** Matches where a text may name a rowid. */
export const NAMES_ROWID = /\b(?:rowid|_rowid_|oid)\b/i;

/** Tables of SQLite and of this library are never replicated. */
export function isInternalTable(name: string): boolean {
  const lower = name.toLowerCase();
  return lower.startsWith('sqlite_') || lower.startsWith('ha_');
}

/** Reads the schema of `main`. Costs about 50 µs a table: call it only when `schema_version` has moved. */
export function readSchema(db: Connection, rowIdentify: RowIdentify = 'pk'): SchemaInfo {
  const version = schemaVersion(db);
  const list = db.prepare(`SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'`).all() as {
    name: string;
    type: string;
    wr: number;
  }[];
  const objects = db.prepare(`SELECT type, name, tbl_name AS "table", sql FROM main.sqlite_schema`).all() as {
    type: string;
    name: string;
    table: string;
    sql: string | null;
  }[];
  const sqlOf = new Map(objects.filter((o) => o.type === 'table').map((o) => [o.name, o.sql ?? '']));
  const ordinary = list.filter((t) => t.type === 'table' && !isInternalTable(t.name));
  const keys = ordinary.flatMap((t) => foreignKeys(db, t.name));
  const parents = new Set(keys.filter((k) => k.actions).map((k) => k.parent.toLowerCase()));
  const leads = consequences(
    keys,
    objects.filter((o) => o.type === 'trigger'),
  );
  const tables = new Map<string, TableInfo>();
  for (const { name, wr } of ordinary) {
    const actionParent = parents.has(name.toLowerCase());
    const reentrant = actionParent && leads.ofActions(name);
    const changedBefore = leads.ofTriggersBefore(name);
    const sql = sqlOf.get(name) ?? '';
    const withoutRowid = wr === 1;
    tables.set(name, readTable(db, { name, withoutRowid, sql, actionParent, reentrant, changedBefore, rowIdentify }));
  }
  const virtualTables = new Set(list.filter((t) => t.type === 'virtual').map((t) => foldCase(t.name)));
  const triggers = objects
    .filter((o) => o.type === 'trigger')
    .map(({ name, table, sql }) => {
      const text = sql ?? '';
      const virtualPart = virtualTables.size === 0 ? undefined : partOfTrigger(text, virtualTables);
      return { name, table, sql: text, virtualPart };
    });
  const virtualWriters = new Set(triggers.filter((t) => t.virtualPart !== undefined).map((t) => foldCase(t.table)));
  const texts = [...triggers.map((t) => t.sql), ...ordinary.map((t) => sqlOf.get(t.name) ?? '')];
  return {
    version,
    tables,
    virtualTables,
    virtualViews: new Set(
      list.filter((t) => t.type === 'view' && virtualWriters.has(foldCase(t.name))).map((t) => foldCase(t.name)),
    ),
    triggers,
    foreignKeyCycle: hasCycle(keys),
    replaceInSchema: texts.some((sql) => /\breplace\b(?!\s*\()/i.test(sql)),
    rowidInTriggers: triggers.some(({ sql }) => NAMES_ROWID.test(sql)),
    deferredForeignKeys: ordinary.some((t) => /\binitially\s+deferred\b/i.test(sqlOf.get(t.name) ?? '')),
    foreignKeyActions: parents.size > 0,
    raiseRollback: texts.some((sql) => /\brollback\b/i.test(sql)),
    hasAutoincrement: [...tables.values()].some((t) => t.autoincrement),
  };
}

/** The counter that every change of the schema moves: https://www.sqlite.org/pragma.html#pragma_schema_version */
export function schemaVersion(db: Connection): number {
  let statement = versionStatements.get(db);
  if (statement === undefined) {
    statement = db.prepare('PRAGMA main.schema_version').pluck(true);
    versionStatements.set(db, statement);
  }
  return statement.get() as number;
}

/** Asked at every transaction, so the statement is compiled once for each connection. */
const versionStatements = new WeakMap<Connection, Statement>();

/**
 * The same counter of the TEMP database, which a dropped or forgotten trigger moves. Compiled anew each time: behind
 * `PRAGMA temp_store = …` there is no TEMP database until a statement is compiled that needs it, and one that was compiled
 * before crashes the process (SQLite 3.53).
 */
export function tempSchemaVersion(db: Connection): number {
  return db.pragma('temp.schema_version', { simple: true }) as number;
}

interface TableSource extends Pick<
  TableInfo,
  'name' | 'withoutRowid' | 'actionParent' | 'reentrant' | 'changedBefore'
> {
  readonly sql: string;
  readonly rowIdentify: RowIdentify;
}

function readTable(db: Connection, source: TableSource): TableInfo {
  const { name, withoutRowid, sql, actionParent, reentrant, changedBefore, rowIdentify } = source;
  const all = db
    .prepare(`SELECT name, type, "notnull", pk, hidden, dflt_value FROM pragma_table_xinfo(?, 'main')`)
    .all(name) as {
    name: string;
    type: string;
    notnull: number;
    pk: number;
    hidden: number;
    dflt_value: string | null;
  }[];
  const columns = all
    .filter((c) => c.hidden === 0)
    .map((c) => ({
      name: c.name,
      type: c.type,
      notNull: c.notnull === 1,
      pk: c.pk,
      volatileDefault: c.dflt_value !== null && volatilePart(c.dflt_value) !== undefined ? c.dflt_value : undefined,
    }));
  const pkIndexes = columns.flatMap((c, index) => (c.pk > 0 ? [index] : []));
  const key = pkIndexes.map((index) => columns[index] as ColumnInfo);
  const pk = key.map((c) => c.name);
  const rowidAlias = withoutRowid ? undefined : aliasOf(db, name, key);
  const used = new Set(all.map((c) => c.name.toLowerCase()));
  const rowid = withoutRowid ? undefined : (ROWID_NAMES.find((n) => !used.has(n)) ?? rowidAlias);
  const identity = identityOf(rowIdentify, rowid);
  const isKeyed = key.length > 0 && (withoutRowid || rowidAlias !== undefined || key.every((c) => c.notNull));
  return {
    name,
    columns,
    allColumns: all.map((c) => c.name),
    pk,
    pkIndexes,
    keyCollations: keyNamesCollation(sql) ? readKeyCollations(db, name, pk) : [],
    withoutRowid,
    rowid,
    rowidAlias,
    autoincrement: /\bautoincrement\b/i.test(sql),
    identity,
    bag: identity === 'values' || (identity === 'key' && !isKeyed),
    generatedId: rowidAlias ?? (identity === 'rowid' ? rowid : undefined),
    actionParent,
    reentrant,
    changedBefore,
    selfChanging: changedBefore && !withoutRowid && rowidAlias === undefined,
    uniqueKeys: reentrant ? readUniqueKeys(db, name, columns) : [],
  };
}

function readUniqueKeys(db: Connection, table: string, columns: readonly ColumnInfo[]): number[][] {
  const indexes = db.prepare(`SELECT name FROM pragma_index_list(?, 'main') WHERE "unique" AND NOT partial`).pluck();
  const parts = db.prepare(`SELECT name FROM pragma_index_info(?, 'main') ORDER BY seqno`).pluck();
  return (indexes.all(table) as string[])
    .map((index) => (parts.all(index) as (string | null)[]).map((name) => columns.findIndex((c) => c.name === name)))
    .filter((places) => !places.includes(-1));
}

/** Tables without a rowid, and those whose columns hide every name of it, keep their key in every mode. */
function identityOf(rowIdentify: RowIdentify, rowid: string | undefined): RowIdentity {
  if (rowid === undefined || rowIdentify === 'pk') return 'key';
  return rowIdentify === 'rowid' ? 'rowid' : 'values';
}

/**
 * `INTEGER PRIMARY KEY` is the rowid, `INTEGER PRIMARY KEY DESC` is not and has an index instead:
 * https://www.sqlite.org/lang_createtable.html#rowid
 */
function aliasOf(db: Connection, table: string, key: readonly ColumnInfo[]): string | undefined {
  const [only] = key;
  if (only === undefined || key.length > 1 || only.type.toUpperCase() !== 'INTEGER') return undefined;
  const index = db.prepare(`SELECT 1 FROM pragma_index_list(?, 'main') WHERE origin = 'pk'`).get(table);
  return index === undefined ? only.name : undefined;
}

function foreignKeys(db: Connection, child: string): ForeignKey[] {
  const rows = db
    .prepare(`SELECT DISTINCT "table" AS parent, on_update, on_delete FROM pragma_foreign_key_list(?, 'main')`)
    .all(child) as { parent: string; on_update: string; on_delete: string }[];
  return rows.map((row) => ({ child, parent: row.parent, actions: acts(row.on_update) || acts(row.on_delete) }));
}

function acts(action: string): boolean {
  return action !== 'NO ACTION' && action !== 'RESTRICT';
}

function hasCycle(keys: readonly ForeignKey[]): boolean {
  const parentsOf = new Map<string, string[]>();
  for (const key of keys.filter((k) => k.actions)) {
    const child = key.child.toLowerCase();
    parentsOf.set(child, [...(parentsOf.get(child) ?? []), key.parent.toLowerCase()]);
  }
  const reaches = (from: string, to: string, seen: Set<string>): boolean =>
    (parentsOf.get(from) ?? []).some((next) => {
      if (next === to) return true;
      if (seen.has(next)) return false;
      seen.add(next);
      return reaches(next, to, seen);
    });
  return [...parentsOf.keys()].some((table) => reaches(table, table, new Set()));
}

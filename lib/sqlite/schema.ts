import { foldCase } from '../sql/identifiers.js';
import { triggerTargets } from '../sql/trigger-targets.js';
import type { Connection, Statement } from './connection.js';

/** A stored column of a table. */
export interface ColumnInfo {
  readonly name: string;
  /** The declared type, as written. */
  readonly type: string;
  readonly notNull: boolean;
  /** Place in the declared primary key, from 1; 0 where it is no part of it. */
  readonly pk: number;
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
  readonly withoutRowid: boolean;
  /** Name by which the rowid can be reached, undefined where columns shadow all three or there is none. */
  readonly rowid: string | undefined;
  /** The column that is an alias of the rowid, if there is one. */
  readonly rowidAlias: string | undefined;
  readonly autoincrement: boolean;
  /** True where rows may exist that no key identifies: no declared key, or one that may hold NULL. */
  readonly bag: boolean;
  /** True where foreign keys with actions point here: those actions run before our AFTER triggers. */
  readonly actionParent: boolean;
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
  readonly deferredForeignKeys: boolean;
  readonly foreignKeyActions: boolean;
  readonly raiseRollback: boolean;
  readonly hasAutoincrement: boolean;
}

export interface TriggerInfo {
  readonly name: string;
  readonly table: string;
  readonly sql: string;
  /** It may write to a virtual table. */
  readonly writesVirtual: boolean;
}

interface ForeignKey {
  readonly child: string;
  readonly parent: string;
  readonly actions: boolean;
}

const ROWID_NAMES = ['rowid', '_rowid_', 'oid'] as const;

/** Tables of SQLite and of this library are never replicated. */
export function isInternalTable(name: string): boolean {
  const lower = name.toLowerCase();
  return lower.startsWith('sqlite_') || lower.startsWith('ha_');
}

/** Reads the schema of `main`. Costs about 50 µs a table: call it only when `schema_version` has moved. */
export function readSchema(db: Connection): SchemaInfo {
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
  const tables = new Map<string, TableInfo>();
  for (const { name, wr } of ordinary) {
    tables.set(name, readTable(db, name, wr === 1, sqlOf.get(name) ?? '', parents.has(name.toLowerCase())));
  }
  const virtualTables = new Set(list.filter((t) => t.type === 'virtual').map((t) => foldCase(t.name)));
  const triggers = objects
    .filter((o) => o.type === 'trigger')
    .map(({ name, table, sql }) => {
      const text = sql ?? '';
      const writesVirtual = virtualTables.size > 0 && triggerTargets(text).some((target) => virtualTables.has(target));
      return { name, table, sql: text, writesVirtual };
    });
  const virtualWriters = new Set(triggers.filter((t) => t.writesVirtual).map((t) => foldCase(t.table)));
  const texts = [...triggers.map((t) => t.sql), ...ordinary.map((t) => sqlOf.get(t.name) ?? '')];
  return {
    version,
    tables,
    virtualTables,
    virtualViews: new Set(
      list
        .filter((t) => t.type === 'view' && virtualWriters.has(t.name.toLowerCase()))
        .map((t) => t.name.toLowerCase()),
    ),
    triggers,
    foreignKeyCycle: hasCycle(keys),
    replaceInSchema: texts.some((sql) => /\breplace\b(?!\s*\()/i.test(sql)),
    deferredForeignKeys: ordinary.some((t) => /\binitially\s+deferred\b/i.test(sqlOf.get(t.name) ?? '')),
    foreignKeyActions: parents.size > 0,
    raiseRollback: texts.some((sql) => /\brollback\b/i.test(sql)),
    hasAutoincrement: [...tables.values()].some((t) => t.autoincrement),
  };
}

/** The counter that every change of the schema moves: https://www.sqlite.org/pragma.html#pragma_schema_version */
export function schemaVersion(db: Connection): number {
  return compiled(db, 'PRAGMA main.schema_version').get() as number;
}

/**
 * The same counter of the TEMP database, which a dropped or forgotten trigger moves. `PRAGMA temp_store` closes that
 * database, and a compiled PRAGMA that then reads its counter crashes the process; a SELECT notices, and opens it again.
 */
export function tempSchemaVersion(db: Connection): number {
  compiled(db, 'SELECT 1 FROM temp.sqlite_schema LIMIT 1').get();
  return compiled(db, 'PRAGMA temp.schema_version').get() as number;
}

/** Asked at every transaction, so the statements are compiled once for each connection. */
const compiledStatements = new WeakMap<Connection, Map<string, Statement>>();

function compiled(db: Connection, sql: string): Statement {
  let statements = compiledStatements.get(db);
  if (statements === undefined) compiledStatements.set(db, (statements = new Map()));
  let statement = statements.get(sql);
  if (statement === undefined) statements.set(sql, (statement = db.prepare(sql).pluck(true)));
  return statement;
}

function readTable(db: Connection, name: string, withoutRowid: boolean, sql: string, actionParent: boolean): TableInfo {
  const all = db.prepare(`SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?, 'main')`).all(name) as {
    name: string;
    type: string;
    notnull: number;
    pk: number;
    hidden: number;
  }[];
  const columns = all
    .filter((c) => c.hidden === 0)
    .map((c) => ({ name: c.name, type: c.type, notNull: c.notnull === 1, pk: c.pk }));
  const pkIndexes = columns.flatMap((c, index) => (c.pk > 0 ? [index] : []));
  const key = pkIndexes.map((index) => columns[index] as ColumnInfo);
  const rowidAlias = withoutRowid ? undefined : aliasOf(db, name, key);
  const used = new Set(all.map((c) => c.name.toLowerCase()));
  return {
    name,
    columns,
    allColumns: all.map((c) => c.name),
    pk: key.map((c) => c.name),
    pkIndexes,
    withoutRowid,
    rowid: withoutRowid ? undefined : (ROWID_NAMES.find((n) => !used.has(n)) ?? rowidAlias),
    rowidAlias,
    autoincrement: /\bautoincrement\b/i.test(sql),
    bag: key.length === 0 || (!withoutRowid && rowidAlias === undefined && key.some((c) => !c.notNull)),
    actionParent,
  };
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

import { rowChangeHead } from '../changeset/codec.js';
import type { RowOperation } from '../changeset/changeset.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import { keyTerm } from '../sqlite/key-collations.js';
import type { TableInfo } from '../sqlite/schema.js';

/**
 * The TEMP triggers that write every row change as JSON into `temp.ha_log`. Triggers follow SQLite's own rules of
 * rolling back (statement, savepoint, transaction), so the log always says exactly what is in the transaction.
 * AFTER triggers see the values as they are stored, affinities applied: https://www.sqlite.org/lang_createtrigger.html
 */

/** json_array takes at most 1,000 arguments (https://www.sqlite.org/limits.html); wider rows are joined from parts. */
const MAX_ARGUMENTS = 500;

/** Which triggers. */
export interface TriggerSettings {
  /** Mark inserts whose INTEGER PRIMARY KEY SQLite chose. */
  readonly markGeneratedIds: boolean;
  /** They do nothing while `temp.ha_gate` is empty. */
  readonly gated?: boolean;
}

/** One kind of log entry: a table and what happened to its row. */
export interface LogKind {
  readonly k: number;
  readonly operation: RowOperation;
  readonly table: TableInfo;
  /** The members of the change that are the same for all entries of the kind. */
  readonly head: string;
}

/**
 * The three kinds of a table, from its number. Entry `-k` of an INSERT says that SQLite is about to choose a rowid; that of an
 * UPDATE or DELETE holds the row that is about to change (row-chain.ts).
 */
export function kindsOf(table: TableInfo, base: number): readonly [insert: LogKind, update: LogKind, remove: LogKind] {
  const columns = table.columns.map((c) => c.name);
  const kind = (operation: RowOperation, k: number): LogKind => {
    const head = rowChangeHead(operation, table.name, columns, table.pk);
    return { k, operation, table, head };
  };
  return [kind('INSERT', base), kind('UPDATE', base + 1), kind('DELETE', base + 2)];
}

/** SQL that creates the triggers of a table. */
export function createTriggersSql(table: TableInfo, base: number, how: TriggerSettings): string {
  const make = how.gated === true ? gatedTrigger : trigger;
  const statements = [insertTrigger(table, base, make)];
  if (how.markGeneratedIds && table.generatedId !== undefined) statements.push(generatedTrigger(table, base));
  if (isMarked(table, how.gated)) {
    statements.push(...markTriggers(table, base), ...plainTriggers(table, base, make));
  } else {
    // Read back, rows without a name are as many as are equal.
    const readsBack = table.actionParent && !(table.bag && table.rowid === undefined);
    statements.push(...(readsBack ? parentTriggers(table, base, make) : plainTriggers(table, base, make)));
  }
  return statements.join('\n');
}

/** True where each change of a row is announced by an entry `-k`. What is gated runs without foreign key actions and triggers. */
export function isMarked(table: TableInfo, gated?: boolean): boolean {
  return (table.reentrant || isGuarded(table)) && gated !== true;
}

/** True where a BEFORE trigger may change a row under an old image, and no rowid tells which row that was. */
export function isGuarded({ selfChanging, rowid }: TableInfo): boolean {
  return selfChanging && rowid === undefined;
}

/** Names of the triggers that {@link createTriggersSql} may create. */
export function triggerNames(base: number): string[] {
  return ['b', 'v', 'e', 'i', 'u', 'd'].map((letter) => triggerName(base, letter));
}

function triggerName(base: number, letter: string): string {
  return `ha_capture_${base}_${letter}`;
}

type MakeTrigger = typeof trigger;

function trigger(base: number, letter: string, event: string, table: TableInfo, body: string, when = ''): string {
  return `CREATE TEMP TRIGGER ${triggerName(base, letter)} ${event} ON main.${q(table.name)}${when} BEGIN ${body}; END;`;
}

function gatedTrigger(base: number, letter: string, event: string, table: TableInfo, body: string): string {
  return trigger(base, letter, event, table, body, ' WHEN EXISTS (SELECT 1 FROM ha_gate)');
}

function insertTrigger(table: TableInfo, base: number, make: MakeTrigger): string {
  const values = `${base}, NULL, ${rowid(table, 'NEW')}, NULL, ${image(table, 'NEW')}`;
  return make(base, 'i', 'AFTER INSERT', table, `INSERT INTO ha_log(k, orid, nrid, o, n) VALUES(${values})`);
}

/** In a BEFORE INSERT trigger a rowid that SQLite has yet to choose reads as -1 (measured on 3.53 and 3.54). */
function generatedTrigger(table: TableInfo, base: number): string {
  const id = q(table.generatedId ?? '');
  const body = `INSERT INTO ha_log(k) VALUES(${-base})`;
  return `CREATE TEMP TRIGGER ${triggerName(base, 'b')} BEFORE INSERT ON main.${q(table.name)} WHEN NEW.${id} = -1 BEGIN ${body}; END;`;
}

/** TEMP triggers come before those of `main`, so BEFORE ones see the row as it is stored. */
function markTriggers(table: TableInfo, base: number): string[] {
  const mark = (k: number, there: string): string =>
    `INSERT INTO ha_log(k, orid, o, n) VALUES(${-k}, ${rowid(table, 'OLD')}, ${image(table, 'OLD')}, ${there})`;
  const there = table.reentrant && table.changedBefore ? rowsLikeNew(table) : 'NULL';
  return [
    trigger(base, 'v', 'BEFORE UPDATE', table, mark(base + 1, there)),
    trigger(base, 'e', 'BEFORE DELETE', table, mark(base + 2, 'NULL')),
  ];
}

/** How many other rows stand where the row is to come, and are like it already; NULL for none. */
function rowsLikeNew(table: TableInfo): string {
  const rows = `SELECT nullif(count(*), 0) FROM main.${q(table.name)} r WHERE ${sameRow(table, 'NEW')}`;
  return `iif(${image(table, 'OLD')} = ${image(table, 'NEW')}, NULL, (${rows} AND ${image(table, 'r')} = ${image(table, 'NEW')}))`;
}

function plainTriggers(table: TableInfo, base: number, make: MakeTrigger): string[] {
  const update = `${base + 1}, ${rowid(table, 'OLD')}, ${rowid(table, 'NEW')}, ${image(table, 'OLD')}, ${image(table, 'NEW')}`;
  const remove = `${base + 2}, ${rowid(table, 'OLD')}, NULL, ${image(table, 'OLD')}, NULL`;
  return [
    make(base, 'u', 'AFTER UPDATE', table, `INSERT INTO ha_log(k, orid, nrid, o, n) VALUES(${update})`),
    make(base, 'd', 'AFTER DELETE', table, `INSERT INTO ha_log(k, orid, nrid, o, n) VALUES(${remove})`),
  ];
}

/**
 * Foreign key actions run before AFTER triggers, so on their parents the log would tell them in the wrong order. Here
 * the trigger reads the row that is actually there: absent means deleted, present means updated.
 */
function parentTriggers(table: TableInfo, base: number, make: MakeTrigger): string[] {
  const readBack = (side: 'NEW' | 'OLD'): string => {
    const from = `FROM main.${q(table.name)} r WHERE ${sameRow(table, side)}`;
    const update = `SELECT ${base + 1}, ${rowid(table, 'OLD')}, ${rowid(table, 'r')}, ${image(table, 'OLD')}, ${image(table, 'r')} ${from}`;
    return `INSERT INTO ha_log(k, orid, nrid, o, n) ${update}; ${gone('OLD', side)}`;
  };
  const gone = (images: 'NEW' | 'OLD', side: 'NEW' | 'OLD'): string =>
    `INSERT INTO ha_log(k, orid, nrid, o, n) SELECT ${base + 2}, ${rowid(table, images)}, NULL, ${image(table, images)}, NULL WHERE NOT EXISTS (SELECT 1 FROM main.${q(table.name)} r WHERE ${sameRow(table, side)})`;
  return [
    make(base, 'u', 'AFTER UPDATE', table, `${readBack('NEW')}; ${gone('NEW', 'NEW')}`),
    make(base, 'd', 'AFTER DELETE', table, readBack('OLD')),
  ];
}

function sameRow(table: TableInfo, side: 'NEW' | 'OLD'): string {
  if (table.rowid !== undefined) return `r.${q(table.rowid)} = ${side}.${q(table.rowid)}`;
  const columns = table.pk.length > 0 ? table.pk : table.columns.map((c) => c.name);
  const collations = table.pk.length > 0 ? table.keyCollations : [];
  return columns.map((name, at) => keyTerm(`r.${q(name)}`, 'IS', `${side}.${q(name)}`, collations[at])).join(' AND ');
}

function rowid(table: TableInfo, row: string): string {
  return table.rowid === undefined ? 'NULL' : `${row}.${q(table.rowid)}`;
}

/** The values of a row as a JSON array, without loss (recode.ts turns the marks into type letters). */
export function image(table: TableInfo, row: string): string {
  const expressions = table.columns.map((column) => {
    const value = `${row}.${q(column.name)}`;
    return column.name === table.rowidAlias ? value : exactValue(value);
  });
  const parts: string[] = [];
  for (let at = 0; at < expressions.length; at += MAX_ARGUMENTS) {
    parts.push(`json_array(${expressions.slice(at, at + MAX_ARGUMENTS).join(', ')})`);
  }
  if (parts.length === 1) return parts.join('');
  return `'[' || ${parts.map((part) => `substr(CAST(${part} AS BLOB), 2, length(CAST(${part} AS BLOB)) - 2)`).join(` || ',' || `)} || ']'`;
}

/**
 * `x || ''` takes the JSON subtype off a text, which would make json_array nest it; a BLOB is marked, for JSON has none;
 * a negative zero is written out, for SQLite prints it without its sign. `atan2(-0.0, -1.0)` is negative.
 */
function exactValue(x: string): string {
  return `CASE typeof(${x}) WHEN 'text' THEN ${x} || '' WHEN 'blob' THEN json_object('$b', hex(${x})) WHEN 'real' THEN iif(${x} = 0.0 AND atan2(${x}, -1.0) < 0, json('-0.0'), ${x}) ELSE ${x} END`;
}

import BetterSqlite3 from 'better-sqlite3';
import { foldCase } from '../sql/identifiers.js';
import { parameters } from '../sql/params.js';
import { volatileParts } from '../sql/volatile.js';
import { stopClock } from './clock.js';
import type { DatabaseSchema, SchemaObject } from './database-schema.js';
import { planGroups } from './plan-aggregates.js';
import { planGather } from './plan-gather.js';
import { planStream } from './plan-stream.js';
import { SOURCE_COLUMN, parameterName } from './program.js';
import type { MergeProgram, Program, ProgramSource } from './program.js';
import { checkNames, checkRowids } from './refuse-names.js';
import { refused } from './refused.js';
import { SelectText, nameTokens, parseSelect, parseView, walk } from './select-text.js';
import type { Node } from './select-text.js';
import type { Statement } from './select-plan.js';
import { sameShape, tableShape, createMerged } from './table-shape.js';
import type { TableShape } from './table-shape.js';

/** A database that is asked. */
export interface PlanSource {
  readonly name: string;
  readonly path: string;
  readonly schema: DatabaseSchema;
}

/** What an answer is planned from. */
export interface PlanInput {
  readonly sql: string;
  /** As better-sqlite3 binds them. */
  readonly args: readonly unknown[];
  readonly sources: readonly PlanSource[];
  /** Run on every connection, such as `case_sensitive_like = 1`. */
  readonly pragmas: readonly string[];
  /** The time of the statement, milliseconds of the Unix epoch. */
  readonly now: number;
  /** Rows of a database count all or not at all. */
  readonly whole: boolean;
  /** Leaves out plans that put rows together in other ways than SQLite does itself; for tests. */
  readonly gatherOnly?: boolean;
}

/** How a statement is answered. */
export interface Plan {
  /** Names of the columns. */
  readonly columns: readonly string[];
  readonly program: Program;
}

/**
 * Plans the answer of a SELECT over several databases: that of a single one that holds the rows of all. Tables there have no
 * keys, for databases may use the same; and, where the statement mentions it, a last column `_ha_db`.
 *
 * @throws HAError `HA_CROSS_DATABASE_REFUSED`; SQLite's own errors where the statement is wrong.
 */
export function planCross(input: PlanInput): Plan {
  const { sql, sources, pragmas } = input;
  checkNames(sql, sources);
  const read = readObjects(input);
  const isColumn = (name: string): boolean => [...read.shapes.values()].every((shape) => shape.byName.has(name));
  for (const text of [sql, ...read.views.map((view) => view.sql)]) checkRowids(text, isColumn);
  const template = makeTemplate(read, pragmas);
  try {
    const prepared = template.prepare(sql);
    if (!prepared.reader) throw refused('it returns no rows.');
    const columns = prepared.columns().map(({ name }) => name);
    prepared.bind(...input.args);
    const values = namedValues(sql, input.args);
    const base = {
      sources: sources.map(programSource),
      pragmas,
      values,
    };
    const text = stoppedText(input, read, template);
    return { columns, program: chooseProgram(input, read, text, base) };
  } finally {
    template.close();
  }
}

function programSource({ name, path, schema }: PlanSource): ProgramSource {
  return { name, path, schemaVersion: schema.version };
}

/** Tables and views that a statement reads, as they are in all databases. */
interface ReadObjects {
  readonly shapes: ReadonlyMap<string, TableShape>;
  readonly views: readonly SchemaObject[];
  /** By folded name of a base table: how often it is referred to. */
  readonly uses: ReadonlyMap<string, number>;
}

type Base = Pick<MergeProgram, 'sources' | 'pragmas' | 'values'>;

function chooseProgram(input: PlanInput, read: ReadObjects, sql: string, base: Base): Program {
  const select = parseSelect(sql);
  const text = new SelectText(sql);
  const statement: Statement | undefined =
    select === undefined ? undefined : { text, select, values: base.values, shapes: read.shapes, uses: read.uses };
  const encoding = input.sources[0]?.schema.encoding ?? 'UTF-8';
  if (statement !== undefined && !input.whole && input.gatherOnly !== true) {
    const stream = planStream(statement);
    if (stream !== undefined) return { kind: 'stream', ...base, ...stream };
  }
  const { setup, copies } = planGather({ shapes: read.shapes, views: read.views.map(temporaryView), statement });
  const gather: MergeProgram = { kind: 'merge', ...base, encoding, setup, copies, query: text.all() };
  const groups = statement === undefined || input.gatherOnly === true ? undefined : planGroups(statement);
  if (groups === undefined) return gather;
  const { inexact } = groups;
  return {
    kind: 'merge',
    ...base,
    encoding,
    setup: [groups.setup],
    copies: [groups.copy],
    query: groups.query,
    ...(inexact === undefined ? {} : { inexact, otherwise: gather }),
  };
}

/** The clock is stopped where that can be seen in the text, and it stays a text that SQLite takes. */
function stoppedText(input: PlanInput, read: ReadObjects, template: BetterSqlite3.Database): string {
  const { sql, now } = input;
  if (read.views.some((view) => volatileParts(view.sql).length > 0)) return sql;
  const stopped = stopClock(sql, now);
  if (stopped === sql) return sql;
  try {
    template.prepare(stopped);
    return stopped;
  } catch {
    return sql;
  }
}

function readObjects({ sql, sources }: PlanInput): ReadObjects {
  const first = sources[0];
  if (first === undefined) throw refused('no database is asked.');
  for (const { name, schema } of sources) {
    if (schema.encoding !== first.schema.encoding) {
      throw refused(
        `'${name}' stores text as ${schema.encoding} and '${first.name}' as ${first.schema.encoding}, which sort differently.`,
        { connection: name },
      );
    }
  }
  const withSource = nameTokens(sql).some(({ name, kind }) => name === SOURCE_COLUMN && kind !== 'string');
  const shapes = new Map<string, TableShape>();
  const views = new Map<string, SchemaObject>();
  const uses = new Map<string, number>();
  const visit = (text: string): void => {
    for (const folded of tableNames(text)) {
      const object = findObject(folded, sources);
      if (object === undefined) continue;
      if (object.kind === 'view') {
        if (!views.has(folded)) views.set(folded, object);
        // A view that is read twice reads its tables twice.
        if (visiting.has(folded)) continue;
        visiting.add(folded);
        checkNames(object.sql, sources);
        visit(object.sql);
        visiting.delete(folded);
      } else {
        uses.set(folded, (uses.get(folded) ?? 0) + 1);
        if (!shapes.has(folded)) shapes.set(folded, commonShape(folded, object, sources, withSource));
      }
    }
  };
  const visiting = new Set<string>();
  visit(sql);
  return { shapes, views: [...views.values()], uses };
}

/** Folded names that a text may read from; one for each place. */
function tableNames(sql: string): string[] {
  const root: Node | undefined = parseSelect(sql) ?? parseView(sql)?.select;
  if (root === undefined) return nameTokens(sql).map(({ name }) => name);
  const names: string[] = [];
  walk(root, (node) => {
    if (node.type === 'TableSelectTable' || node.type === 'TableCallSelectTable') {
      names.push(foldCase(node.tblName.objName.text));
      if (node.type === 'TableSelectTable' && node.indexed?.type === 'IndexedByIndexed') {
        throw refused(
          `INDEXED BY ${node.indexed.idxName.text} names an index, which rows of several databases do not have. Leave it out.`,
        );
      }
    }
    if (node.type === 'InTableExpr') names.push(foldCase(node.rhs.objName.text));
  });
  return names;
}

/** The table or view of a name, where all databases agree about it. */
function findObject(folded: string, sources: readonly PlanSource[]): SchemaObject | undefined {
  const having = sources.filter(({ schema }) => schema.objects.has(folded));
  const object = having[0]?.schema.objects.get(folded);
  if (object === undefined) return undefined;
  const lacking = sources.find(({ schema }) => !schema.objects.has(folded));
  if (lacking !== undefined) {
    throw refused(
      `the database '${lacking.name}' has no '${object.name}'. Migrate it, or choose databases that have it.`,
      { connection: lacking.name },
    );
  }
  for (const { name, schema } of sources) {
    const other = schema.objects.get(folded);
    const isSame = object.kind === 'view' ? other?.sql === object.sql : true;
    if (other?.kind !== object.kind || !isSame) throw differs(object.name, name);
  }
  if (object.kind === 'virtual' || object.kind === 'shadow') {
    throw refused(`'${object.name}' is a virtual table, whose answers depend on what else its database holds.`);
  }
  return object;
}

function differs(table: string, connection: string): Error {
  return refused(
    `'${table}' is another one in the database '${connection}' than in the others. Migrate them to the same schema.`,
    {
      connection,
      table,
    },
  );
}

function commonShape(
  folded: string,
  object: SchemaObject,
  sources: readonly PlanSource[],
  withSource: boolean,
): TableShape {
  checkNames(object.sql, sources, true);
  const shape = shapeOf(object);
  for (const { name, schema } of sources) {
    const sql = schema.objects.get(folded)?.sql ?? '';
    if (sql !== object.sql && !sameShape(shape, shapeOf({ ...object, sql }))) throw differs(object.name, name);
  }
  // Also where only `*` or a view stands for it: its values would be taken for names of databases.
  if (shape.byName.has(SOURCE_COLUMN)) throw refused(`'${object.name}' has a column ${SOURCE_COLUMN} of its own.`);
  if (!withSource) return shape;
  const column = { name: SOURCE_COLUMN, affinity: 'TEXT', collation: 'BINARY' };
  return { ...shape, columns: [...shape.columns, column], byName: new Map([...shape.byName, [SOURCE_COLUMN, column]]) };
}

function shapeOf({ name, sql }: SchemaObject): TableShape {
  try {
    return tableShape(sql);
  } catch (error) {
    throw refused(
      `the declaration of '${name}' needs what only this application's connections have: ${(error as Error).message}.`,
    );
  }
}

/** The merging database without rows: SQLite tells whether it takes the statement, and how its columns are named. */
function makeTemplate({ shapes, views }: ReadObjects, pragmas: readonly string[]): BetterSqlite3.Database {
  const db = new BetterSqlite3(':memory:');
  try {
    for (const pragma of pragmas) db.pragma(pragma);
    for (const shape of shapes.values()) db.exec(createMerged(shape.name, shape.columns));
    for (const view of views) db.exec(temporaryView(view));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** SQLite keeps every view as `CREATE VIEW …`. */
function temporaryView({ name, sql }: SchemaObject): string {
  const text = sql.replace(/^CREATE VIEW /, 'CREATE TEMP VIEW ');
  if (text === sql) throw refused(`the declaration of the view '${name}' cannot be read.`);
  return text;
}

/** The bound values by {@link parameterName}; better-sqlite3 has checked them. */
function namedValues(sql: string, args: readonly unknown[]): Record<string, unknown> {
  const positional: unknown[] = [];
  let named: Readonly<Record<string, unknown>> = {};
  for (const arg of args) {
    if (Array.isArray(arg)) positional.push(...(arg as unknown[]));
    else if (isValue(arg)) positional.push(arg);
    else named = arg as Readonly<Record<string, unknown>>;
  }
  const values: Record<string, unknown> = {};
  let next = 0;
  for (const { ordinal, key } of parameters(sql)) {
    values[parameterName(ordinal)] = key === undefined ? positional[next++] : named[key];
  }
  return values;
}

function isValue(arg: unknown): boolean {
  return typeof arg !== 'object' || arg === null || ArrayBuffer.isView(arg);
}

import type { History, Step, TransactionSpec } from './history.js';
import type { SchemaSpec, TableSpec } from './schema-generator.js';

/** A history is run again; true where it still fails. */
export type Fails = (history: History) => Promise<boolean>;

/** Takes parts out of a failing history for as long as it still fails. */
export async function shrink(history: History, fails: Fails, maxRuns = 3_000): Promise<History> {
  let current = history;
  let runs = 0;
  for (let changed = true; changed;) {
    changed = false;
    for (let at = 0; runs < maxRuns;) {
      const candidate = nth(smaller(current), at);
      if (candidate === undefined) break;
      runs++;
      if (await fails(candidate)) {
        current = candidate;
        changed = true;
      } else at++;
    }
  }
  return current;
}

function nth<T>(values: Iterable<T>, index: number): T | undefined {
  let at = 0;
  for (const value of values) if (at++ === index) return value;
  return undefined;
}

function without<T>(list: readonly T[], index: number): T[] {
  return list.filter((_value, other) => other !== index);
}

function replaced<T>(list: readonly T[], index: number, value: T): T[] {
  return list.map((old, other) => (other === index ? value : old));
}

/** All histories that are one step smaller; the largest cuts first. */
function* smaller(history: History): Generator<History> {
  const { steps } = history;
  for (let index = steps.length - 1; index >= 0; index--) yield { ...history, steps: without(steps, index) };
  for (let index = 0; index < steps.length; index++) {
    for (const step of smallerSteps(steps[index] as Step)) yield { ...history, steps: replaced(steps, index, step) };
  }
  for (const schema of smallerSchemas(history.schema)) yield { ...history, schema };
  if (history.nodes > 2) yield { ...history, nodes: history.nodes - 1 };
  if (history.maxPayload < 1_000_000) yield { ...history, maxPayload: 1_048_576 };
  if (history.serializable) yield { ...history, serializable: false };
  if (history.batchLimit > 1) yield { ...history, batchLimit: 1 };
  if (history.replicas > 1) yield { ...history, replicas: 1 };
  if (history.rowIdentify !== 'pk') yield { ...history, rowIdentify: 'pk' };
  if (history.slowness > 0.02) yield { ...history, slowness: 0.02 };
  if (history.outboxFile) yield { ...history, outboxFile: false };
  for (let index = 0; index < history.asyncNodes.length; index++) {
    if (history.asyncNodes[index] === true)
      yield { ...history, asyncNodes: replaced(history.asyncNodes, index, false) };
  }
  if (history.generatedIds === 'overwrite') yield { ...history, generatedIds: 'ordered' };
}

function* smallerSteps(step: Step): Generator<Step> {
  const { event } = step;
  if (step.tasks !== Number.POSITIVE_INFINITY) yield { ...step, tasks: Number.POSITIVE_INFINITY };
  if (event.type === 'deliver' && event.count > 1) yield { ...step, event: { ...event, count: 1 } };
  if ((event.type === 'kill' || event.type === 'restart') && event.offline === true) {
    yield { ...step, event: { type: event.type, node: event.node } };
  }
  if (event.type === 'fault' && event.count > 1) yield { ...step, event: { ...event, count: 1 } };
  if (event.type !== 'write') return;
  const { transactions } = event;
  for (let index = transactions.length - 1; index >= 0; index--) {
    if (transactions.length > 1) yield { ...step, event: { ...event, transactions: without(transactions, index) } };
    for (const spec of smallerTransactions(transactions[index] as TransactionSpec)) {
      yield { ...step, event: { ...event, transactions: replaced(transactions, index, spec) } };
    }
  }
}

function* smallerTransactions(spec: TransactionSpec): Generator<TransactionSpec> {
  for (let index = spec.statements.length - 1; index >= 0 && spec.statements.length > 1; index--) {
    const statements = without(spec.statements, index);
    yield { ...spec, statements, inSavepoint: Math.min(spec.inSavepoint, statements.length) };
  }
  if (spec.slow) yield { ...spec, slow: false };
  if (spec.inSavepoint > 0) yield { ...spec, inSavepoint: 0 };
  if (spec.serializable) yield { ...spec, serializable: false };
  if (spec.session === true) {
    const { session: _session, foreignKeys: _left, ...outside } = spec;
    yield outside;
  }
  if (spec.form === 'callback') yield { ...spec, form: 'script' };
  if (spec.form !== 'statement' && spec.statements.length === 1) yield { ...spec, form: 'statement' };
}

const SIMPLER = [
  [' CHECK(v IS NULL OR v < 7)', ''],
  [' ON CONFLICT REPLACE', ''],
  [' NOT NULL DEFAULT 0', ''],
  [' COLLATE NOCASE', ''],
  [' DEFERRABLE INITIALLY DEFERRED', ''],
  ['u INT', 'u'],
  ['u TEXT', 'u'],
  ['v INT', 'v'],
] as const;

function* smallerSchemas(schema: SchemaSpec): Generator<SchemaSpec> {
  const { tables, extras } = schema;
  for (let index = tables.length - 1; index >= 0; index--) {
    if (tables.length > 1) yield { ...schema, tables: without(tables, index) };
    for (const table of smallerTables(tables[index] as TableSpec)) {
      yield { ...schema, tables: replaced(tables, index, table) };
    }
  }
  for (let index = extras.length - 1; index >= 0; index--) yield { ...schema, extras: without(extras, index) };
}

function* smallerTables(table: TableSpec): Generator<TableSpec> {
  for (let index = table.indexes.length - 1; index >= 0; index--) {
    yield { ...table, indexes: without(table.indexes, index) };
  }
  for (let index = table.rows.length - 1; index >= 0; index--) yield { ...table, rows: without(table.rows, index) };
  for (const [from, to] of SIMPLER) {
    if (table.sql.includes(from)) yield { ...table, sql: table.sql.replace(from, to) };
  }
}

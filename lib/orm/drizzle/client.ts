import type { RemoteCallback } from 'drizzle-orm/sqlite-proxy';
import type { HAExecutor, HARunResult, HAStatement } from '../../write/executor.js';
import type { HASession } from '../../write/session.js';

/** How rows are returned. */
export interface RowOptions {
  /** Rows as arrays, which Drizzle maps to fields; else as objects. */
  readonly isMapped: boolean;
  /** Integers that a number cannot hold come as `bigint`. */
  readonly exactIntegers: boolean;
}

/** What Drizzle runs its statements by: on the database, or in a transaction. */
export function clientOf(executor: HAExecutor, { isMapped, exactIntegers }: RowOptions): RemoteCallback {
  return async (sql, params, method) => {
    if (method === 'run') {
      const result: HARunResult = await executor.prepare(sql).safeIntegers().run(params);
      return { ...result, lastInsertRowid: plain(result.lastInsertRowid), rows: [] };
    }
    const statement = executor
      .prepare(sql)
      .raw(isMapped || method === 'values')
      .safeIntegers(exactIntegers);
    return { rows: (await rowsOf(statement, params, method, exactIntegers)) as unknown[] };
  };
}

/** The same in a session, which has no statements for each kind of call. */
export function clientIn(session: HASession, { isMapped, exactIntegers }: RowOptions): RemoteCallback {
  return async (sql, params, method) => {
    const rowMode = isMapped || method === 'values' ? 'array' : 'object';
    const result = await session.execute(sql, params, { rowMode, safeIntegers: exactIntegers || method === 'run' });
    if (method === 'run') return { ...result, lastInsertRowid: plain(result.lastInsertRowid) };
    const rows = exactIntegers ? result.rows.map(plainRow) : result.rows;
    return { rows: (method === 'get' ? rows[0] : rows) as unknown[] };
  };
}

/** One row for `get`, undefined where there is none. */
async function rowsOf(
  statement: HAStatement,
  params: readonly unknown[],
  method: 'all' | 'values' | 'get',
  exactIntegers: boolean,
): Promise<unknown> {
  if (method === 'get') {
    const row = await statement.get(params);
    return exactIntegers && row !== undefined ? plainRow(row) : row;
  }
  const rows = await statement.all(params);
  return exactIntegers ? rows.map(plainRow) : rows;
}

function plainRow(row: unknown): unknown {
  if (Array.isArray(row)) return row.map(plain);
  return Object.fromEntries(Object.entries(row as object).map(([name, value]) => [name, plain(value)]));
}

/** An integer as a number where that holds it exactly. */
function plain<T>(value: T): T | number {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

import type { StatementInfo } from '../sql/statement-info.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { CrossPort, CrossQuery } from './cross-port.js';
import type { HAParameters } from './executor.js';
import { refuseHinted } from './hinted.js';
import type { ReadMethod } from './write-router.js';

/**
 * The databases that answer a read instead of the one that is asked; undefined where that answers itself.
 *
 * @throws HAError `HA_CROSS_DATABASE_REFUSED` where the statement names databases, and cannot be answered by them.
 */
export function answeringAcross(
  cross: CrossPort | undefined,
  sql: string,
  info: StatementInfo,
): CrossQuery | undefined {
  if (info.hinted !== true && cross?.routesAll !== true) return undefined;
  if (cross !== undefined && info.kind === 'select') return cross.route(sql);
  refuseHinted(sql, info, 'this is no SELECT, or there is no application that knows other databases');
  return undefined;
}

/** Calls a SELECT that several databases answer, with what better-sqlite3 gives for one. */
export async function callAcross(
  across: CrossQuery,
  method: ReadMethod,
  params: HAParameters | undefined,
  shape: RowShape,
): Promise<unknown> {
  // What better-sqlite3 says of a statement in one database.
  if (method === 'run') throw new TypeError('This statement returns data. Use get(), all(), or iterate() instead');
  const rows: unknown[] = [];
  for await (const row of across.iterate(params, shape)) {
    if (method === 'get') return row;
    rows.push(row);
  }
  return method === 'get' ? undefined : rows;
}

import { CAPTURE_TABLES } from '../capture/capture.js';
import { foldCase, quoteString, unquoteIdentifier } from '../sql/identifiers.js';
import type { StatementInfo } from '../sql/statement-info.js';

/** A name, quoted or not. */
const NAME = /^(?:[\w$]+|'[^']*'|"[^"]*")$/;

/**
 * The statement to run instead of a PRAGMA that SQLite would answer with how this library works, and not with what its user has
 * to do with; the same statement for all others.
 *
 * @param busyTimeout How long writes wait for other programs, ms. SQLite itself never waits here: that would block the event loop.
 */
export function answeringStatement(sql: string, { pragma }: StatementInfo, busyTimeout: number): string {
  if (pragma?.name === 'busy_timeout' && !pragma.hasArgument) return `SELECT ${busyTimeout} AS timeout`;
  if (pragma?.name !== 'table_list') return sql;
  const { argument } = pragma;
  const schema = foldCase(pragma.schema ?? '');
  // Capture has its tables in `temp` alone; of a schema that is not there SQLite is to say so.
  if ((schema !== '' && schema !== 'temp') || (argument !== undefined && !NAME.test(argument))) return sql;
  const table = argument === undefined ? 'NULL' : quoteString(unquoteIdentifier(argument));
  const own = CAPTURE_TABLES.map(quoteString).join(', ');
  const within = schema === '' ? '' : ` AND l.schema = 'temp'`;
  return `SELECT * FROM pragma_table_list(${table}) l WHERE NOT (l.schema = 'temp' AND l.name IN (${own}))${within}`;
}

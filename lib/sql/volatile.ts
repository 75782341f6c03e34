import { Char } from './characters.js';
import { StatementReader } from './statement-reader.js';

const WORDS = ['CURRENT_DATE', 'CURRENT_TIME', 'CURRENT_TIMESTAMP'];
const FUNCTIONS = ['random', 'randomblob', 'last_insert_rowid', 'changes', 'total_changes', 'ha_id', 'ha_uuid'];
/** Without arguments these read the clock: https://www.sqlite.org/lang_datefunc.html */
const CLOCKS = ['date', 'time', 'datetime', 'julianday', 'unixepoch'];

/** The first part of a statement whose value differs where the statement runs again elsewhere; undefined if there is none. */
export function volatilePart(sql: string): string | undefined {
  const reader = new StatementReader(sql);
  for (let i = 0; i < reader.length; i++) {
    const text = reader.text(i, i);
    const isCall = reader.isOperator(i + 1, Char.LEFT_PAREN);
    const lower = text.toLowerCase();
    if (lower === "'now'" || reader.isAny(i, WORDS)) return text;
    if (isCall && FUNCTIONS.includes(lower)) return `${text}()`;
    if (isCall && CLOCKS.includes(lower) && reader.isOperator(i + 2, Char.RIGHT_PAREN)) return `${text}()`;
  }
  return undefined;
}

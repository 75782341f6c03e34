import { HAError } from '../common/ha-error.js';
import { significantTokens } from '../sql/tokenizer.js';

/** Functions whose answer depends on the node that asks: https://www.sqlite.org/deterministic.html */
const UNSTABLE = new Set([
  'random',
  'randomblob',
  'last_insert_rowid',
  'changes',
  'total_changes',
  'sqlite_version',
  'current_date',
  'current_time',
  'current_timestamp',
]);
/** These read the clock where they are asked for 'now', or for nothing. */
const CLOCK = new Set(['date', 'time', 'datetime', 'julianday', 'unixepoch', 'strftime', 'timediff']);

/**
 * Refuses a statement that every node has to run itself and that would do something else on each.
 *
 * @throws HAError `HA_STATEMENT_REFUSED`, naming the function.
 */
export function refuseUnstable(sql: string): void {
  const tokens = significantTokens(sql);
  const texts = tokens.map((token) => sql.slice(token.start, token.end).toLowerCase());
  const readsClock = texts.some((text) => text === "'now'") || tokens.length === 0;
  texts.forEach((text, index) => {
    const called = texts[index + 1] === '(';
    const unstable = UNSTABLE.has(text) && (called || text.startsWith('current_'));
    const clock = CLOCK.has(text) && called && (readsClock || texts[index + 2] === ')');
    if (unstable || clock) throw refused(text);
  });
}

function refused(name: string): HAError {
  return new HAError(
    'HA_STATEMENT_REFUSED',
    `Writes to virtual tables are run on every node, and ${name} would answer differently on each. Compute the value first, and pass it as a parameter.`,
    { details: { function: name } },
  );
}

import { HAError } from '../common/ha-error.js';

/**
 * Refuses a text that holds a NUL character. SQLite's C interface ends the text there: what follows would silently
 * never run here, while nodes that read on would run it.
 *
 * @throws HAError `HA_INVALID_SQL` with `details.offset`.
 */
export function refuseNul(sql: string): void {
  const offset = sql.indexOf('\0');
  if (offset < 0) return;
  throw new HAError(
    'HA_INVALID_SQL',
    `The SQL text holds a NUL character at offset ${offset}; SQLite ignores everything behind it. ` +
      'Remove it, or bind the value that holds it as a parameter.',
    { details: { offset } },
  );
}

import type { HAHistoryOptions, HAUndoOptions } from '../write/history-port.js';
import { invalidHistory, invalidUndo } from './history-errors.js';

/** The longest time that a timer of Node.js takes, ms: with more it would fire at once. */
const LONGEST_TIMER = 2_147_483_647;
const SCOPES: readonly unknown[] = [undefined, 'all', 'entities', 'transactions'];

/** Refuses options of `db.history()` that make no sense, whatever the history holds. @throws HAError `HA_HISTORY_INVALID`. */
export function checkHistoryOptions(given: HAHistoryOptions): void {
  refuseNoObject('history', given);
  const { limit = Infinity, table, node } = given;
  if (limit !== Infinity && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw invalidHistory(`limit is ${limit}, but has to be a whole number above 0.`, { limit });
  }
  for (const [name, value] of Object.entries({ table, node }) as [string, unknown][]) {
    if (value !== undefined && typeof value !== 'string') throw invalidHistory(`${name} has to be a text.`);
  }
}

/** The same for `db.undo()`. @throws HAError `HA_HISTORY_INVALID`, `HA_UNDO_INVALID` for its rows. */
export function checkUndoOptions(given: HAUndoOptions): void {
  refuseNoObject('undo', given);
  const { from, scope, rows, timeout } = given as { readonly [name in keyof HAUndoOptions]: unknown };
  if (!SCOPES.includes(scope))
    throw invalidHistory(`There is no scope '${String(scope)}'. Use all, entities or transactions.`);
  if (from === undefined) throw invalidHistory('undo needs from: a sequence or a duration.');
  if (timeout !== undefined && !(typeof timeout === 'number' && timeout >= 1 && timeout <= LONGEST_TIMER))
    throw invalidHistory(`timeout has to be a number of milliseconds, from 1 to ${LONGEST_TIMER}.`);
  if (rows === undefined) return;
  if (typeof rows !== 'object' || rows === null || !isPlain(rows))
    throw invalidUndo('rows has to be an object, with an array of rowids or keys for each table: { orders: [4, 5] }.');
  for (const [table, keys] of Object.entries(rows) as [string, unknown][]) {
    if (!Array.isArray(keys))
      throw invalidUndo(`The rows of '${table}' have to be an array of rowids or keys.`, { table });
  }
}

function refuseNoObject(call: string, given: unknown): void {
  if (typeof given === 'object' && given !== null) return;
  throw invalidHistory(`${call} takes its options as an object.`);
}

/** A Map or a Set has no tables of its own to look for. */
function isPlain(rows: object): boolean {
  return !(rows instanceof Map || rows instanceof Set || Array.isArray(rows));
}

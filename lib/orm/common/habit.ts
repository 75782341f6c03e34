import type { HATransaction } from '../../write/executor.js';

/**
 * A callback for `db.transaction` that an adapter wraps around one of the user. The database learns by the text of a callback
 * how its transactions turn out, and must not take all of them for one kind.
 */
export function sameHabit<C extends (tx: HATransaction) => unknown>(
  wrapped: C,
  original: (...args: never[]) => unknown,
): C {
  return Object.assign(wrapped, { toString: () => `${original.name} ${Function.prototype.toString.call(original)}` });
}

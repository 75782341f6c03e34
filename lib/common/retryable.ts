/** Where libraries put the error that they wrap: Error, TypeORM, Sequelize, Objection and Knex, MikroORM. */
const WRAPPED = ['cause', 'driverError', 'parent', 'original', 'nativeError'] as const;
/** Other transactions were in the way: https://www.sqlite.org/rescode.html#busy */
const BUSY = /^SQLITE_(BUSY|LOCKED)(_|$)/;

/**
 * Whether running the same again, all of its transaction, may succeed: others came first, or the leader changed, and nothing
 * of it was written. Looks through the errors that query builders and ORMs wrap. `retryTransaction` runs it again.
 *
 * @example
 * catch (error) {
 *   throw isRetryable(error) ? new ServiceUnavailableException('Send it again.') : error;
 * }
 */
export function isRetryable(error: unknown): boolean {
  return isRetryableIn(error, new Set());
}

function isRetryableIn(error: unknown, seen: Set<unknown>): boolean {
  if (typeof error !== 'object' || error === null || seen.has(error)) return false;
  seen.add(error);
  const facts = error as Readonly<Record<string, unknown>>;
  // What says itself that it is not must not be run again, whatever it wraps.
  if (typeof facts['retryable'] === 'boolean') return facts['retryable'];
  if (typeof facts['code'] === 'string' && BUSY.test(facts['code'])) return true;
  return WRAPPED.some((name) => isRetryableIn(facts[name], seen));
}

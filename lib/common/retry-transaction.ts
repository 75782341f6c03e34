import { setTimeout as delay } from 'node:timers/promises';
import { HAError } from './ha-error.js';
import { isRetryable } from './retryable.js';
import { backOff } from './timing.js';

/** How {@link retryTransaction} goes about it. */
export interface HARetryOptions {
  /** How often it is run again at most. Default 20. */
  readonly retries?: number;
  /** Milliseconds that the first pause is below. Each that follows may be twice as long. Default 10. */
  readonly minTimeout?: number;
  /** Milliseconds that no pause is longer than. Default 500. */
  readonly maxTimeout?: number;
  /** Ends the pause between two runs, and fails with its reason: that of a request whose client has gone. */
  readonly signal?: AbortSignal;
}

/**
 * Runs a transaction of an ORM, or a session, and again where {@link isRetryable} says so: others came first, and nothing of it
 * was written. All of it has to be in the callback, what it reads too. Pauses are random below a bound that doubles, so that
 * nodes that collided do not collide again: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 *
 * `db.transaction` needs none of this: it runs again by itself.
 *
 * @param work Gets the number of the run, 1 for the first.
 * @example
 * await retryTransaction(() => dataSource.transaction('SERIALIZABLE', (manager) => transfer(manager)));
 * @throws What the last run failed with; what is not retryable at once; HAError `HA_OPTIONS_INVALID`.
 */
export async function retryTransaction<T>(
  work: (attempt: number) => PromiseLike<T>,
  { retries = 20, minTimeout = 10, maxTimeout = 500, signal }: HARetryOptions = {},
): Promise<T> {
  for (const [name, value] of Object.entries({ retries, minTimeout, maxTimeout })) refuseUnlessCount(name, value);
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      if (!isRetryable(error) || attempt > retries) throw error;
    }
    await pause(Math.random() * backOff(attempt, minTimeout, maxTimeout), signal);
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

function refuseUnlessCount(name: string, value: number): void {
  if (value >= 0) return;
  throw new HAError('HA_OPTIONS_INVALID', `The option '${name}' of retryTransaction takes a number of 0 or more.`, {
    details: { option: name, value },
  });
}

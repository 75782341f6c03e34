import { HAError } from '../../common/ha-error.js';
import { within } from '../../common/timing.js';
import type { HATransaction } from '../../write/executor.js';
import { runInContext } from '../../write/transaction-context.js';
import type { RemoteTransaction } from './remote-transaction.js';

/**
 * Runs the callback of a transaction at the leader, and waits for the calls that it did not wait for.
 *
 * @throws HAError `HA_TRANSACTION_TIMEOUT`.
 */
export async function runCallback<R>(
  tx: RemoteTransaction,
  fn: (tx: HATransaction) => R | Promise<R>,
  timeout: number,
): Promise<R> {
  const run = async (): Promise<R> => {
    const result = await runInContext(tx, () => fn(tx));
    await tx.settled();
    if (tx.overlap !== undefined) throw tx.overlap;
    return result;
  };
  const settled = run().then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  const result = await within(timeout, settled);
  if (result === undefined) throw timedOut(timeout);
  if ('error' in result) throw result.error;
  return result.value;
}

function timedOut(ms: number): HAError {
  return new HAError(
    'HA_TRANSACTION_TIMEOUT',
    `The transaction was rolled back: its callback had not ended after ${ms} ms, and all writes of the leader wait for it. Do slow work before or behind it, or raise its timeout.`,
    { details: { timeout: ms } },
  );
}

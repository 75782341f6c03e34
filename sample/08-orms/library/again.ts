import { retryTransaction } from 'nestjs-ha';

/**
 * Runs a transaction again where a write of another node came first: nothing of it was stored then. ORMs cannot do that by
 * themselves, for they do not know what the application reckoned from what it had read. The load of the demonstration is many
 * writes to few rows, hence so many attempts.
 */
export function again<T>(transaction: () => Promise<T>): Promise<T> {
  return retryTransaction(transaction, { retries: 49, maxTimeout: 250 });
}

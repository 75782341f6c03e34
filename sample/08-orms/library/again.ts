import { setTimeout as sleep } from 'node:timers/promises';
import { isRetryable } from 'nestjs-ha';

const MOST_ATTEMPTS = 50;
const LONGEST_PAUSE_MS = 250;

/**
 * Runs a transaction again where a write of another node came first: nothing of it was stored then. ORMs cannot do that by
 * themselves, for they do not know what the application reckoned from what it had read.
 */
export async function again<T>(transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction();
    } catch (error) {
      if (!isRetryable(error) || attempt === MOST_ATTEMPTS) throw error;
    }
    await sleep(Math.random() * Math.min(LONGEST_PAUSE_MS, 10 * attempt));
  }
}

import { setTimeout as delay } from 'node:timers/promises';
import { isRetryable } from '../../common/retryable.js';
import type { HADatabase } from '../../write/ha-database.js';

const ATTEMPTS = 100;
const LONGEST_PAUSE_MS = 500;

/** Runs a transaction again where others came first: on all that the stream holds by then. */
export async function retrying<R>(db: Pick<HADatabase, 'get'>, work: () => Promise<R>): Promise<R> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isRetryable(error) || attempt === ATTEMPTS) throw error;
    }
    await delay(Math.random() * Math.min(LONGEST_PAUSE_MS, 10 * attempt));
    await db.get('SELECT 1', [], { consistency: 'leader' });
  }
}

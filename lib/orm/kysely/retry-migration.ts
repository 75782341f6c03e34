import { isRetryable } from '../../common/retryable.js';
import { backOff, sleep } from '../../common/timing.js';

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 1_000;
/** About half a minute in all. */
const MOST_ATTEMPTS = 35;

/**
 * Runs Kysely's migrations, and again where another node came first: nothing was written then, and what is left to do is looked
 * up anew. Nodes that start at once need it. Gives Kysely's result, whose `error` says what went wrong.
 *
 * @example const { error } = await retryMigration(() => new Migrator({ db, provider }).migrateToLatest());
 */
export async function retryMigration<R extends { readonly error?: unknown }>(migrate: () => Promise<R>): Promise<R> {
  for (let attempt = 1; ; attempt++) {
    const result = await migrate();
    if (!isRetryable(result.error) || attempt === MOST_ATTEMPTS) return result;
    await sleep(backOff(attempt, FIRST_PAUSE_MS, LONGEST_PAUSE_MS));
  }
}

import { SqliteAdapter } from 'kysely';
import type { Kysely } from 'kysely';
import { haConnection } from './driver.js';

/**
 * Kysely's SQLite adapter, whose migrations are one transaction each run. No lock is held: the stream stores the transaction
 * only if nobody wrote in between, so of two nodes that migrate at once one fails, retryable, with nothing written.
 */
export class HAKyselyAdapter extends SqliteAdapter {
  /** Kysely 0.29 would have every query wait for a single connection. */
  get supportsMultipleConnections(): boolean {
    return true;
  }

  override get supportsTransactionalDdl(): boolean {
    return true;
  }

  override async acquireMigrationLock(db: Kysely<unknown>): Promise<void> {
    await setMigrating(db, true);
  }

  override async releaseMigrationLock(db: Kysely<unknown>): Promise<void> {
    await setMigrating(db, false);
  }
}

/** Kysely hands over the one connection that the migrations will run on. */
async function setMigrating(db: Kysely<unknown>, on: boolean): Promise<void> {
  await db.getExecutor().provideConnection(async (connection) => {
    haConnection(connection).isMigrating = on;
  });
}

import { readMigrationFiles } from 'drizzle-orm/migrator';
import type { MigrationConfig, MigrationMeta } from 'drizzle-orm/migrator';
import { classify } from '../../sql/classify.js';
import type { HADrizzleDatabase } from './database.js';

/** Where the migrations of drizzle-kit are, and how they are run. */
export interface HAMigrateConfig extends MigrationConfig {
  /** Milliseconds that all of them may take. Default a minute. */
  readonly timeout?: number;
}

const LONGEST_MS = 60_000;

/**
 * Runs the migrations that drizzle-kit made and that this database lacks, all of them as one transaction. Nodes may do so at
 * once: what another has run is not run again.
 *
 * @throws Error where a folder or file is missing; DrizzleError where a statement fails: nothing of any of them is written then.
 */
export async function migrate<TFull extends Record<string, unknown>>(
  db: HADrizzleDatabase<TFull>,
  { timeout = LONGEST_MS, ...config }: HAMigrateConfig,
): Promise<void> {
  const migrations = readMigrationFiles(config).map(withoutForeignKeys);
  const { $dialect, $session } = db;
  await $session.within((session) => $dialect.migrate(migrations, session, config), migrate, {
    serializable: true,
    timeout,
  });
}

/** Inside a transaction SQLite takes no notice of `PRAGMA foreign_keys`: https://www.sqlite.org/pragma.html#pragma_foreign_keys */
function withoutForeignKeys(migration: MigrationMeta): MigrationMeta {
  return {
    ...migration,
    sql: migration.sql.filter((statement) => classify(statement).pragma?.name !== 'foreign_keys'),
  };
}

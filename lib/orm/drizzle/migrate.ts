import BetterSqlite3 from 'better-sqlite3';
import { readMigrationFiles } from 'drizzle-orm/migrator';
import type { MigrationConfig, MigrationMeta } from 'drizzle-orm/migrator';
import { classify } from '../../sql/classify.js';
import { quoteIdentifier } from '../../sql/identifiers.js';
import type { HADatabase } from '../../write/ha-database.js';
import type { HASession } from '../../write/session.js';
import { retrying } from '../common/retrying.js';
import type { HADrizzleDatabase } from './database.js';
import { inSession } from './places.js';

/** Where the migrations of drizzle-kit are, and how they are run. */
export interface HAMigrateConfig extends MigrationConfig {
  /** Milliseconds that all of them may take. Default a minute. */
  readonly timeout?: number;
}

const LONGEST_MS = 60_000;
const TABLE = '__drizzle_migrations';

/**
 * Runs the migrations that drizzle-kit made and that this database lacks, all of them as one transaction. Nodes may do so at
 * once: what another has run is not run again.
 *
 * Where one of them has `PRAGMA foreign_keys=OFF`, as drizzle-kit writes it to build a table anew, none is enforced meanwhile, so
 * that no row goes with the old table, and all are checked in the end.
 *
 * @throws Error where a folder or file is missing; DrizzleError where a statement fails, SqliteError
 * `SQLITE_CONSTRAINT_FOREIGNKEY` where rows lack what they refer to: nothing of any of them is written then.
 */
export async function migrate<TFull extends Record<string, unknown>>(
  db: HADrizzleDatabase<TFull>,
  { timeout = LONGEST_MS, ...config }: HAMigrateConfig,
): Promise<void> {
  const migrations = readMigrationFiles(config);
  await retrying(db.$client, async () => {
    const last = await lastOf(db.$client, config.migrationsTable ?? TABLE);
    // Another node may have run them meanwhile: that is looked up again inside the transaction.
    const pending = migrations.filter(({ folderMillis }) => folderMillis > last);
    if (pending.length === 0) return;
    await inExclusiveSession(db.$client, timeout, pending.some(setsForeignKeys), async (session) => {
      const own = db.$session.at(inSession(session));
      await db.$dialect.migrate(migrations.map(withoutForeignKeys), own, config);
    });
  });
}

/** When the last migration was made that this database has. */
async function lastOf(db: HADatabase, table: string): Promise<number> {
  const isThere = await db.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", [table]);
  if (isThere === undefined) return Number.NEGATIVE_INFINITY;
  const row = await db.get<{ last: number | null }>(`SELECT max(created_at) AS last FROM ${quoteIdentifier(table)}`);
  return row?.last ?? Number.NEGATIVE_INFINITY;
}

/** Runs something in a transaction that is stored only if nobody wrote in between. */
async function inExclusiveSession(
  db: HADatabase,
  timeout: number,
  withoutKeys: boolean,
  work: (session: HASession) => Promise<void>,
): Promise<void> {
  const session = db.connect({ timeout, idleTimeout: timeout, rowMode: 'array' });
  try {
    const { rows } = await session.execute<[number]>('PRAGMA foreign_keys');
    const isOff = withoutKeys && rows[0]?.[0] === 1;
    if (isOff) await session.execute('PRAGMA foreign_keys = OFF');
    await session.execute('BEGIN EXCLUSIVE');
    await work(session);
    if (isOff) await checkForeignKeys(session);
    await session.execute('COMMIT');
  } finally {
    await session.close();
  }
}

async function checkForeignKeys(session: HASession): Promise<void> {
  const { rows } =
    await session.execute<[table: string, rowid: number | null, parent: string]>('PRAGMA foreign_key_check');
  const [first] = rows;
  if (first === undefined) return;
  const [table, rowid, parent] = first;
  throw new BetterSqlite3.SqliteError(
    `FOREIGN KEY constraint failed: behind the migrations ${rows.length} row(s) lack what they refer to, such as row ${rowid} of ${table} in ${parent}.`,
    'SQLITE_CONSTRAINT_FOREIGNKEY',
  );
}

function setsForeignKeys({ sql }: MigrationMeta): boolean {
  return sql.some(isForeignKeys);
}

/** Inside a transaction SQLite takes no notice of them: https://www.sqlite.org/pragma.html#pragma_foreign_keys */
function withoutForeignKeys(migration: MigrationMeta): MigrationMeta {
  return { ...migration, sql: migration.sql.filter((statement) => !isForeignKeys(statement)) };
}

function isForeignKeys(statement: string): boolean {
  return classify(statement).pragma?.name === 'foreign_keys';
}

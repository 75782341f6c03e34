import {
  createTableRelationsHelpers,
  DefaultLogger,
  entityKind,
  extractTablesRelationalConfig,
  NoopLogger,
} from 'drizzle-orm';
import type { DrizzleConfig, ExtractTablesWithRelations, Logger, RelationalSchemaConfig } from 'drizzle-orm';
import { NoopCache } from 'drizzle-orm/cache/core';
import { BaseSQLiteDatabase, SQLiteAsyncDialect } from 'drizzle-orm/sqlite-core';
import type { HARunResult } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import { checkInstalled } from '../common/installed-version.js';
import type { Peer } from '../common/peer.js';
import { onDatabase } from './places.js';
import { HADrizzleSession } from './session.js';
import type { HADrizzleTransaction, HADrizzleTransactionConfig } from './session.js';

/** Drizzle promises nothing of what lies under its drivers before version 1. */
const DRIZZLE: Peer = { name: 'drizzle-orm', from: [0, 45], below: [0, 46] };

type Schema = Record<string, unknown>;

/** Drizzle's options, and those of a replicated database. */
export interface HADrizzleConfig<TFull extends Schema = Record<string, never>> extends DrizzleConfig<TFull> {
  /**
   * Integers that a number cannot hold exactly, beyond 2^53, come as `bigint` instead of the nearest number; all others stay
   * numbers, so that dates and booleans are what they were. Default false.
   */
  readonly exactIntegers?: boolean;
}

/** Drizzle over a replicated database: see {@link drizzle}. */
export class HADrizzleDatabase<TFull extends Schema = Record<string, never>> extends BaseSQLiteDatabase<
  'async',
  HARunResult,
  TFull
> {
  static override readonly [entityKind]: string = 'HADrizzleDatabase';

  constructor(
    readonly $client: HADatabase,
    readonly $dialect: SQLiteAsyncDialect,
    readonly $session: HADrizzleSession<TFull, ExtractTablesWithRelations<TFull>>,
    schema: RelationalSchemaConfig<ExtractTablesWithRelations<TFull>> | undefined,
  ) {
    super('async', $dialect, $session, schema);
  }

  /**
   * Runs a callback as one transaction by `db.transaction`: it may run more than once, unless `retry: false`. Inside of it
   * `tx.transaction` is a savepoint.
   *
   * @throws HAError `HA_TRANSACTION_TIMEOUT` after `timeout` ms, `HA_CONFLICT` where it may not run again; DrizzleQueryError,
   * whose cause is HAError `HA_NESTED_TRANSACTION`, where the database itself is used inside.
   */
  override transaction<R>(
    transaction: (tx: HADrizzleTransaction<TFull, ExtractTablesWithRelations<TFull>>) => Promise<R>,
    config?: HADrizzleTransactionConfig,
  ): Promise<R> {
    return this.$session.transaction(transaction, config);
  }
}

/**
 * Drizzle over a replicated database, as `drizzle()` of its own drivers, asynchronous.
 *
 * @example const orm = drizzle(db, { schema }); await orm.insert(users).values({ name: 'Ada' });
 * @throws HAError `HA_OPTIONS_INVALID` where drizzle-orm is not 0.45.
 */
export function drizzle<TFull extends Schema = Record<string, never>>(
  db: HADatabase,
  config: HADrizzleConfig<TFull> = {},
): HADrizzleDatabase<TFull> {
  checkInstalled(DRIZZLE);
  const dialect = new SQLiteAsyncDialect({ casing: config.casing });
  const schema = relationsOf(config.schema);
  const { exactIntegers = false, cache = new NoopCache() } = config;
  const session = new HADrizzleSession<TFull, ExtractTablesWithRelations<TFull>>(onDatabase(db), {
    dialect,
    schema,
    logger: loggerOf(config.logger),
    cache,
    exactIntegers,
  });
  return new HADrizzleDatabase(db, dialect, session, schema);
}

function relationsOf<TFull extends Schema>(
  schema: TFull | undefined,
): RelationalSchemaConfig<ExtractTablesWithRelations<TFull>> | undefined {
  if (schema === undefined) return undefined;
  const { tables, tableNamesMap } = extractTablesRelationalConfig<ExtractTablesWithRelations<TFull>>(
    schema,
    createTableRelationsHelpers,
  );
  return { fullSchema: schema, schema: tables, tableNamesMap };
}

function loggerOf(logger: boolean | Logger | undefined): Logger {
  if (logger === true) return new DefaultLogger();
  return logger === undefined || logger === false ? new NoopLogger() : logger;
}

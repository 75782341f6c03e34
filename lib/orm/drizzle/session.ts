import { entityKind } from 'drizzle-orm';
import type { Logger, Query, RelationalSchemaConfig, TablesRelationalConfig } from 'drizzle-orm';
import type { Cache } from 'drizzle-orm/cache/core';
import type { WithCacheConfig } from 'drizzle-orm/cache/core/types';
import { SQLiteSession, SQLiteTransaction } from 'drizzle-orm/sqlite-core';
import type {
  PreparedQueryConfig,
  SelectedFieldsOrdered,
  SQLiteAsyncDialect,
  SQLiteExecuteMethod,
  SQLitePreparedQuery,
  SQLiteTransactionConfig,
} from 'drizzle-orm/sqlite-core';
import { RemotePreparedQuery } from 'drizzle-orm/sqlite-proxy/session';
import type { HARunResult, HATransactionOptions } from '../../write/executor.js';
import type { Place } from './places.js';

/** Options of a transaction: those of `db.transaction`, and Drizzle's own, of which `behavior: 'exclusive'` means `serializable`. */
export interface HADrizzleTransactionConfig extends SQLiteTransactionConfig, HATransactionOptions {}

type Schema = Record<string, unknown>;

/** What the sessions of one database have in common. */
export interface SessionSettings<TSchema extends TablesRelationalConfig> {
  readonly dialect: SQLiteAsyncDialect;
  readonly schema: RelationalSchemaConfig<TSchema> | undefined;
  readonly logger: Logger;
  readonly cache: Cache;
  readonly exactIntegers: boolean;
}

/** A transaction as Drizzle gives it to callbacks. */
export class HADrizzleTransaction<
  TFull extends Schema,
  TSchema extends TablesRelationalConfig,
> extends SQLiteTransaction<'async', HARunResult, TFull, TSchema> {
  static override readonly [entityKind]: string = 'HADrizzleTransaction';
}

/** What Drizzle runs its statements on: a database, or one of its transactions. */
export class HADrizzleSession<TFull extends Schema, TSchema extends TablesRelationalConfig> extends SQLiteSession<
  'async',
  HARunResult,
  TFull,
  TSchema
> {
  static override readonly [entityKind]: string = 'HADrizzleSession';

  constructor(
    private readonly place: Place,
    private readonly settings: SessionSettings<TSchema>,
    private readonly depth = 0,
  ) {
    super(settings.dialect);
  }

  /** The same in another place. */
  at(place: Place): HADrizzleSession<TFull, TSchema> {
    return new HADrizzleSession(place, this.settings, this.depth + 1);
  }

  override prepareQuery(
    query: Query,
    fields: SelectedFieldsOrdered | undefined,
    executeMethod: SQLiteExecuteMethod,
    isResponseInArrayMode: boolean,
    customResultMapper?: (rows: unknown[][], mapColumnValue?: (value: unknown) => unknown) => unknown,
    queryMetadata?: { type: 'select' | 'update' | 'delete' | 'insert'; tables: string[] },
    cacheConfig?: WithCacheConfig,
  ): SQLitePreparedQuery<PreparedQueryConfig & { type: 'async' }> {
    const { logger, cache, exactIntegers } = this.settings;
    const isMapped = fields !== undefined || customResultMapper !== undefined;
    return new RemotePreparedQuery(
      this.place.client({ isMapped, exactIntegers }),
      query,
      logger,
      cache,
      queryMetadata,
      cacheConfig,
      fields,
      executeMethod,
      isResponseInArrayMode,
      customResultMapper,
    );
  }

  override transaction<R>(
    transaction: (tx: HADrizzleTransaction<TFull, TSchema>) => Promise<R>,
    { behavior, serializable, ...options }: HADrizzleTransactionConfig = {},
  ): Promise<R> {
    return this.place.begin((place) => transaction(this.at(place).asTransaction()), transaction, {
      ...options,
      serializable: serializable ?? behavior === 'exclusive',
    });
  }

  private asTransaction(): HADrizzleTransaction<TFull, TSchema> {
    const { dialect, schema } = this.settings;
    return new HADrizzleTransaction('async', dialect, this, schema, this.depth - 1);
  }
}

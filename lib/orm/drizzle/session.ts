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
import type { HAExecutor, HARunResult, HATransaction, HATransactionOptions } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import { sameHabit } from '../common/habit.js';
import { clientOf } from './client.js';

/** Options of a transaction: those of `db.transaction`, and Drizzle's own, of which `behavior: 'exclusive'` means `serializable`. */
export interface HADrizzleTransactionConfig extends SQLiteTransactionConfig, HATransactionOptions {}

type Schema = Record<string, unknown>;

/** Runs something as a transaction, or as a savepoint of one. */
type Begin = <R>(work: (tx: HATransaction) => Promise<R>, options: HATransactionOptions) => Promise<R>;

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

  private constructor(
    private readonly executor: HAExecutor,
    private readonly begin: Begin,
    private readonly settings: SessionSettings<TSchema>,
    private readonly depth: number,
  ) {
    super(settings.dialect);
  }

  /** A session on the database: every statement is a transaction of its own. */
  static on<TFull extends Schema, TSchema extends TablesRelationalConfig>(
    db: HADatabase,
    settings: SessionSettings<TSchema>,
  ): HADrizzleSession<TFull, TSchema> {
    return new HADrizzleSession(db, (work, options) => db.transaction(work, options), settings, 0);
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
      clientOf(this.executor, { isMapped, exactIntegers }),
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
    return this.within((session) => transaction(session.asTransaction()), transaction, {
      ...options,
      serializable: serializable ?? behavior === 'exclusive',
    });
  }

  /** Runs something on a session of a transaction. */
  within<R>(
    work: (session: HADrizzleSession<TFull, TSchema>) => Promise<R>,
    original: (...args: never[]) => unknown,
    options: HATransactionOptions,
  ): Promise<R> {
    return this.begin(
      sameHabit((tx: HATransaction) => work(this.inside(tx)), original),
      options,
    );
  }

  private inside(tx: HATransaction): HADrizzleSession<TFull, TSchema> {
    const savepoint: Begin = (work) => tx.savepoint(work);
    return new HADrizzleSession<TFull, TSchema>(tx, savepoint, this.settings, this.depth + 1);
  }

  private asTransaction(): HADrizzleTransaction<TFull, TSchema> {
    const { dialect, schema } = this.settings;
    return new HADrizzleTransaction('async', dialect, this, schema, this.depth - 1);
  }
}

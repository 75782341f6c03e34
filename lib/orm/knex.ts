import type { Knex } from 'knex';
import { HAError } from '../common/ha-error.js';
import { retryTransaction } from '../common/retry-transaction.js';
import type { HADatabase } from '../write/ha-database.js';
import type { HASessionOptions } from '../write/session.js';
import { withoutOwnTables } from './common/listed-tables.js';
import { NO_FILE } from './common/no-file.js';
import { derivedClient, knexClient } from './knex/base-client.js';
import type { KnexQuery } from './knex/base-client.js';
import { HAKnexConnection } from './knex/connection.js';
import { honest } from './knex/transaction.js';

/** How sessions of a Knex client behave. */
export interface HAKnexOptions extends Pick<HASessionOptions, 'idleTimeout' | 'timeout' | 'safeIntegers'> {
  /**
   * The class that the client is derived from, where it is not Knex's own client for better-sqlite3: MikroORM's
   * `BetterSqliteKnexDialect`. It brings its own copy of Knex along.
   */
  readonly client?: unknown;
}

/** How {@link orderedTransaction} goes about it. */
export interface HAOrderedOptions {
  /** How often it is run until somebody else's writes are told as an error. Default 20. */
  readonly attempts?: number;
}

/**
 * Without a bound: sessions cost next to nothing, and a transaction that waits for its turn holds one. With a bound, the one that
 * has the turn would find none for what it does past its transaction, and all would wait for each other.
 */
const POOL = { min: 0, max: Infinity };

/**
 * A client for Knex whose connections are sessions of the database. It never opens a file: a file name in `connection` is
 * not looked at.
 *
 * @example
 * const knex = Knex({ client: haKnexClient(db), useNullAsDefault: true });
 * await knex.transaction((trx) => trx('account').where({ id: 1 }).decrement('balance', 10));
 * @throws HAError `HA_OPTIONS_INVALID` where Knex is missing or of a version that it does not know.
 */
export function haKnexClient(db: Pick<HADatabase, 'connect'>, options: HAKnexOptions = {}): typeof Knex.Client {
  const { client, safeIntegers, ...session } = options;
  const Base = client === undefined ? knexClient() : derivedClient(client);
  /** What `PRAGMA foreign_keys` was last set to outside of a transaction: Knex's SQLite has one connection, which keeps it. */
  let foreignKeys: string | undefined;

  class HAKnexClient extends Base {
    constructor(config: Knex.Config) {
      const { connection } = config;
      super({ ...config, connection: { filename: NO_FILE, ...(typeof connection === 'object' ? connection : {}) } });
    }

    /** There is none: what asked for one would open a file. */
    _driver(): undefined {
      return undefined;
    }

    override async acquireRawConnection(): Promise<HAKnexConnection> {
      const { options } = this.connectionSettings as { options?: unknown };
      return new HAKnexConnection(
        db.connect({ ...session, safeIntegers: this._optSafeIntegers(options) ?? safeIntegers }),
      );
    }

    override poolDefaults(): ReturnType<Knex.Client['poolDefaults']> {
      return { ...super.poolDefaults(), ...POOL };
    }

    override async acquireConnection(): Promise<HAKnexConnection> {
      const pooled = (await super.acquireConnection()) as HAKnexConnection;
      try {
        if (foreignKeys !== undefined && foreignKeys !== pooled.foreignKeys) {
          await pooled.pragma(`foreign_keys = ${foreignKeys}`);
        }
      } catch (error) {
        // Nobody else would give it back.
        await super.releaseConnection(pooled);
        throw error;
      }
      return pooled.lease();
    }

    override async releaseConnection(connection: HAKnexConnection): Promise<void> {
      if (connection.isReleased) return;
      connection.isReleased = true;
      if (connection.foreignKeys !== undefined) {
        // Knex sets it back behind its transactions, and does not wait for that.
        await new Promise((resolve) => void setImmediate(resolve));
        foreignKeys = connection.foreignKeys;
        connection.pooled.foreignKeys = foreignKeys;
      }
      const { leftOpen } = connection;
      try {
        if (connection.inTransaction) {
          connection.pooled.__knex__disposed = new Error('It was given back amid a transaction.');
          await connection.close();
        }
      } finally {
        await super.releaseConnection(connection.pooled);
      }
      if (leftOpen) throw refusedBegin();
    }

    override async _query(connection: HAKnexConnection, query: KnexQuery): Promise<KnexQuery> {
      if (!query.sql) throw new Error('The query is empty');
      const safeIntegers = this._optSafeIntegers(query.options);
      const bindings = this._formatBindings(query.bindings);
      const { reader, rows, changes, lastInsertRowid } = await connection.execute(query.sql, bindings, safeIntegers);
      if (reader) {
        query.response = withoutOwnTables(query.sql, rows);
      } else {
        query.response = { changes, lastInsertRowid };
        query.context = { lastID: lastInsertRowid, changes };
      }
      return query;
    }

    override transaction(...args: Parameters<Knex.Client['transaction']>): ReturnType<Knex.Client['transaction']> {
      return honest(super.transaction(...args));
    }
  }
  return HAKnexClient as unknown as typeof Knex.Client;
}

/**
 * Runs a Knex transaction that is stored only if nobody wrote in between, and runs it again where somebody did: what several
 * nodes do at once happens one behind the other. Migrations and seeds are for it.
 *
 * @example
 * await orderedTransaction(knex, (trx) => trx.migrate.latest(config));
 * await orderedTransaction(knex, (trx) => trx.seed.run(config));
 */
export async function orderedTransaction<T>(
  knex: Knex,
  work: (trx: Knex.Transaction) => Promise<T>,
  { attempts = 20 }: HAOrderedOptions = {},
): Promise<T> {
  return retryTransaction(() => knex.transaction(work, { isolationLevel: 'serializable' }), {
    retries: Math.max(attempts, 1) - 1,
  });
}

function refusedBegin(): HAError {
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    'A statement began a transaction and gave its connection back: the next statement would have another. It was rolled back. Use knex.transaction().',
  );
}

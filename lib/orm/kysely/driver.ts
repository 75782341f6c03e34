import { CompiledQuery, SqliteDriver } from 'kysely';
import type { DatabaseConnection, TransactionSettings } from 'kysely';
import { HAError } from '../../common/ha-error.js';
import type { HADatabase } from '../../write/ha-database.js';
import { HAKyselyConnection } from './connection.js';
import type { HAKyselyOptions } from './connection.js';

/** Kysely's SQLite driver over sessions: every connection that Kysely asks for is one of its own. */
export class HAKyselyDriver extends SqliteDriver {
  constructor(
    private readonly db: HADatabase,
    private readonly options: HAKyselyOptions,
  ) {
    super({ database: neverOpened });
  }

  override async init(): Promise<void> {
    // The database is opened by its module.
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    return new HAKyselyConnection(this.db, this.options);
  }

  override async beginTransaction(connection: DatabaseConnection, settings?: TransactionSettings): Promise<void> {
    const isSerializable = settings?.isolationLevel === 'serializable' || haConnection(connection).isMigrating;
    await connection.executeQuery(CompiledQuery.raw(isSerializable ? 'begin exclusive' : 'begin'));
  }

  /** Rolls back what is still open. */
  override async releaseConnection(connection?: DatabaseConnection): Promise<void> {
    if (connection !== undefined) await haConnection(connection).session.close();
  }

  /** The database stays open: it is its module's. */
  override async destroy(): Promise<void> {
    // Nothing is kept here.
  }
}

/** @throws HAError `HA_OPTIONS_INVALID` where the connection is of another dialect. */
export function haConnection(connection: DatabaseConnection): HAKyselyConnection {
  if (connection instanceof HAKyselyConnection) return connection;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    'The connection is not one of HAKyselyDialect. Use one dialect for one Kysely.',
  );
}

function neverOpened(): never {
  throw new HAError('HA_OPTIONS_INVALID', 'Kysely would open a file by itself. Use HAKyselyDialect as it is.');
}

import { SqliteIntrospector, SqliteQueryCompiler } from 'kysely';
import type {
  DatabaseIntrospector,
  DatabaseMetadataOptions,
  Dialect,
  DialectAdapter,
  Driver,
  Kysely,
  QueryCompiler,
  TableMetadata,
} from 'kysely';
import type { HADatabase } from '../../write/ha-database.js';
import { isOwnName } from '../../sql/own-names.js';
import { checkInstalled } from '../common/installed-version.js';
import type { Peer } from '../common/peer.js';
import { HAKyselyAdapter } from './adapter.js';
import type { HAKyselyOptions } from './connection.js';
import { HAKyselyDriver } from './driver.js';

const KYSELY: Peer = { name: 'kysely', from: [0, 28], below: [0, 30] };

/**
 * Kysely over a replicated database. Every query and transaction is a session of its own; BEGIN takes the write turn at once.
 *
 * A transaction is not run again: where others came first it fails, and `isRetryable(error)` says so. `setIsolationLevel('serializable')`
 * stores it only if nobody wrote in between. A call on the root handle inside a transaction waits for it: it is rolled back after
 * `idleTimeout` then.
 *
 * @example new Kysely<Schema>({ dialect: new HAKyselyDialect(db) })
 * @throws HAError `HA_OPTIONS_INVALID` where Kysely is not 0.28 or 0.29.
 */
export class HAKyselyDialect implements Dialect {
  constructor(
    private readonly db: HADatabase,
    private readonly options: HAKyselyOptions = {},
  ) {
    checkInstalled(KYSELY);
  }

  createDriver(): Driver {
    return new HAKyselyDriver(this.db, this.options);
  }

  createQueryCompiler(): QueryCompiler {
    return new SqliteQueryCompiler();
  }

  createAdapter(): DialectAdapter {
    return new HAKyselyAdapter();
  }

  createIntrospector(db: Kysely<unknown>): DatabaseIntrospector {
    return new HAKyselyIntrospector(db);
  }
}

/** The library's own tables are not the application's. */
class HAKyselyIntrospector extends SqliteIntrospector {
  override async getTables(options?: DatabaseMetadataOptions): Promise<TableMetadata[]> {
    return (await super.getTables(options)).filter(({ name }) => !isOwnName(name));
  }
}

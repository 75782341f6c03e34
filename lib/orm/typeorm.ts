import type { DataSource, DataSourceOptions } from 'typeorm';
import type { HADatabase } from '../write/ha-database.js';
import { driverFor } from './typeorm/driver.js';
import { guardMigrations } from './typeorm/migrations.js';
import { bindOptions, bindingOf } from './typeorm/options.js';
import type { BetterSqlite3Options, HADataSourceLimits, HADataSourceOptions } from './typeorm/options.js';
import { refuseVersion, versionOf } from './typeorm/supported.js';

export type { HADataSourceLimits, HADataSourceOptions } from './typeorm/options.js';

/**
 * Options of a DataSource that works on a database: TypeORM's own for better-sqlite3, without those of a file. It opens none.
 *
 * @param options Entities, migrations, synchronize, subscribers, logging and the like; also what @nestjs/typeorm adds.
 * @param limits How long a transaction may idle (`idleTimeout`, default option `transactionTimeout`) and take (`timeout`, default
 * a minute), in milliseconds.
 * @throws HAError `HA_OPTIONS_INVALID` where `options` has some of a file: `database`, `driver`, `enableWAL` and others.
 * @example
 * TypeOrmModule.forRootAsync({
 *   inject: [getHAToken()],
 *   useFactory: (db: HADatabase) => haDataSourceOptions(db, { autoLoadEntities: true, migrations, migrationsRun: true }),
 *   dataSourceFactory: haDataSourceFactory(DataSource),
 * });
 */
export function haDataSourceOptions<O extends HADataSourceOptions>(
  db: Pick<HADatabase, 'connect' | 'execute' | 'get' | 'prepare'>,
  options: O,
  limits: HADataSourceLimits = {},
): O & BetterSqlite3Options {
  return bindOptions(db, options, limits);
}

/**
 * Lets a DataSource work on the database that its options name, and gives it back. Call it before `initialize()`. Its driver
 * and query runners are derived from its own, so it is always the application's copy of TypeORM that runs.
 *
 * @throws HAError `HA_OPTIONS_INVALID` where the options are not those of {@link haDataSourceOptions}, or TypeORM is of a
 * version that is not known.
 * @example const dataSource = haDataSource(new DataSource(haDataSourceOptions(db, { entities: [User] })));
 */
export function haDataSource<D extends DataSource>(dataSource: D): D {
  refuseVersion(versionOf(dataSource));
  const binding = bindingOf(dataSource.options);
  dataSource.driver = driverFor(dataSource, binding);
  guardMigrations(dataSource, binding);
  return dataSource;
}

/**
 * The same as a `dataSourceFactory` of @nestjs/typeorm.
 *
 * @param Type The application's `DataSource`, or a class derived from it.
 * @throws HAError as {@link haDataSource}.
 */
export function haDataSourceFactory<D extends DataSource>(
  Type: new (options: DataSourceOptions) => D,
): (options?: DataSourceOptions) => Promise<D> {
  return async (options) => {
    bindingOf(options);
    return haDataSource(new Type(options as DataSourceOptions));
  };
}

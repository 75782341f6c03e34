import type { DataSourceOptions } from 'typeorm';
import { HAError } from '../../common/ha-error.js';
import type { HADatabase } from '../../write/ha-database.js';
import type { HASessionOptions } from '../../write/session.js';
import { NO_FILE } from '../common/no-file.js';

/** TypeORM's options of its better-sqlite3 driver; the installed version says which there are. */
export type BetterSqlite3Options = Extract<DataSourceOptions, { readonly type: 'better-sqlite3' }>;

/** What the adapter says itself, and what is for a connection that TypeORM opens. */
const OWN_OPTIONS = ['type', 'database', 'driver'] as const;
const FILE_OPTIONS = [
  'key',
  'statementCacheSize',
  'prepareDatabase',
  'readonly',
  'fileMustExist',
  'timeout',
  'verbose',
  'nativeBinding',
  'enableWAL',
] as const;

type RefusedOption = (typeof OWN_OPTIONS)[number] | (typeof FILE_OPTIONS)[number];

/** TypeORM's options without those of a file that it opens itself: entities, migrations, subscribers, logging and the like. */
export type HADataSourceOptions = Omit<BetterSqlite3Options, RefusedOption>;

/** Limits of the transactions of a DataSource. */
export type HADataSourceLimits = Pick<HASessionOptions, 'idleTimeout' | 'timeout'>;

/** What a DataSource works on. */
export interface Binding {
  readonly db: Pick<HADatabase, 'connect' | 'execute' | 'get' | 'prepare'>;
  readonly limits: HADataSourceLimits;
}

const bindings = new WeakMap<object, Binding>();

/** Options of a DataSource that works on a database: see {@link haDataSourceOptions}. */
export function bindOptions<O extends HADataSourceOptions>(
  db: Binding['db'],
  options: O,
  limits: HADataSourceLimits,
): O & BetterSqlite3Options {
  refuse(options);
  // TypeORM's own driver would call it to open the file.
  const driver = function HADriver(): never {
    throw unbound();
  };
  bindings.set(driver, { db, limits });
  return { ...options, type: 'better-sqlite3', database: NO_FILE, driver };
}

/** @throws HAError `HA_OPTIONS_INVALID` where the options are not those of {@link bindOptions}. */
export function bindingOf(options: DataSourceOptions | undefined): Binding {
  const driver: unknown = options !== undefined && 'driver' in options ? options.driver : undefined;
  const binding = typeof driver === 'function' ? bindings.get(driver) : undefined;
  if (binding !== undefined) return binding;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    'This DataSource was made with options that name no database. Make them with haDataSourceOptions(db, { … }).',
  );
}

function refuse(options: object): void {
  const given = [...OWN_OPTIONS, ...FILE_OPTIONS].filter((name) => Object.hasOwn(options, name));
  if (given.length === 0) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `TypeORM opens no file here, so these options have no meaning: ${given.join(', ')}. Leave them out, and set up the connection with HAModule (DSN, configure).`,
    { details: { options: given } },
  );
}

function unbound(): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    'The options of haDataSourceOptions need a DataSource of haDataSource: pass `dataSourceFactory: haDataSourceFactory(DataSource)` to TypeOrmModule.forRootAsync, or call haDataSource(new DataSource(options)).',
  );
}

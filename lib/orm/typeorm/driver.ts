import type { DataSource } from 'typeorm';
import type { BetterSqlite3Driver } from 'typeorm/driver/better-sqlite3/BetterSqlite3Driver.js';
import { HAError } from '../../common/ha-error.js';
import type { HASession } from '../../write/session.js';
import type { Binding } from './options.js';
import { notConnected, OVERRIDDEN, queryRunnerClass } from './query-runner.js';
import type { HAQueryRunner, QueryRunnerClass, Sessions } from './query-runner.js';
import { retrying } from './retrying.js';
import { refuseWithout } from './supported.js';

type DriverClass = new (dataSource: DataSource) => BetterSqlite3Driver;
type SchemaBuilder = ReturnType<BetterSqlite3Driver['createSchemaBuilder']>;

/** Derives a driver from that of a DataSource, and so from the same copy of TypeORM. */
export function driverFor(dataSource: DataSource, { db, limits }: Binding): BetterSqlite3Driver {
  const stock = dataSource.driver as BetterSqlite3Driver;
  const Base = stock.constructor as DriverClass;
  refuseWithout(stock, ['createQueryRunner', 'createDatabaseConnection', 'attachDatabases', 'createSchemaBuilder']);
  const runner = stock.createQueryRunner('master');
  refuseWithout(runner, OVERRIDDEN);

  const open = new Set<HASession>();
  let isConnected = false;
  const sessions: Sessions = {
    open: () => {
      if (!isConnected) throw notConnected();
      const session = db.connect({ ...limits, safeIntegers: true });
      open.add(session);
      return session;
    },
    close: (session) => {
      open.delete(session);
      return session.close();
    },
  };
  const Runner = queryRunnerClass(runner.constructor as QueryRunnerClass, sessions);

  class HADriver extends Base {
    /** One for each caller: TypeORM's own driver shares one, and so its transactions. */
    override createQueryRunner(): HAQueryRunner {
      return new Runner(this);
    }

    override async disconnect(): Promise<void> {
      isConnected = false;
      await Promise.all([...open].map((session) => sessions.close(session)));
    }

    /** Two nodes that start at once build one schema: the second sees what the first has done. */
    override createSchemaBuilder(): SchemaBuilder {
      const builder = super.createSchemaBuilder();
      const build = builder.build.bind(builder);
      builder.build = () => retrying(db, build);
      return builder;
    }

    /** Waits until the database has started. */
    protected override async createDatabaseConnection(): Promise<Binding['db']> {
      await db.execute('SELECT 1');
      isConnected = true;
      return db;
    }

    protected override async attachDatabases(): Promise<void> {
      const files = Object.keys(this.attachedDatabases);
      if (files.length > 0) throw attached(files);
    }
  }
  return new HADriver(dataSource);
}

function attached(files: readonly string[]): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    `Entities with a database of their own are not replicated: ${files.join(', ')}. Leave \`database\` out of @Entity, or give them a DataSource of their own.`,
    { details: { files } },
  );
}

import type { DataSource, ObjectLiteral } from 'typeorm';
import type { BetterSqlite3Driver } from 'typeorm/driver/better-sqlite3/BetterSqlite3Driver.js';
import { HAError } from '../../common/ha-error.js';
import type { HASession } from '../../write/session.js';
import { boundNumbers } from './bound-numbers.js';
import { exactRow } from './exact-rows.js';
import type { Binding } from './options.js';
import { notConnected, OVERRIDDEN, queryRunnerClass } from './query-runner.js';
import type { HAQueryRunner, QueryRunnerClass, Sessions } from './query-runner.js';
import { retrying } from '../common/retrying.js';
import { refuseWithout } from './supported.js';

type DriverClass = new (dataSource: DataSource) => BetterSqlite3Driver;
type SchemaBuilder = ReturnType<BetterSqlite3Driver['createSchemaBuilder']>;

/** Derives a driver from that of a DataSource, and so from the same copy of TypeORM. */
export function driverFor(dataSource: DataSource, { db, limits }: Binding): BetterSqlite3Driver {
  const stock = dataSource.driver as BetterSqlite3Driver;
  const Base = stock.constructor as DriverClass;
  refuseWithout(stock, [
    'createQueryRunner',
    'createDatabaseConnection',
    'buildTableName',
    'createSchemaBuilder',
    'escapeQueryWithParameters',
  ]);
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
    rows: (sql, parameters) => {
      if (!isConnected) throw notConnected();
      return exactly(db.prepare<Record<string, unknown>>(sql).safeIntegers().iterate(parameters));
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

    /** @throws HAError `HA_OPTIONS_INVALID` where an entity is of another file. */
    override buildTableName(table: string, schema?: string, database?: string): string {
      if (database && database !== this.options.database) throw attached(database);
      return super.buildTableName(table, schema, database);
    }

    /** @param rest TypeORM 0.3 has another parameter. */
    override escapeQueryWithParameters(sql: string, parameters: ObjectLiteral, ...rest: []): [string, unknown[]] {
      return super.escapeQueryWithParameters(sql, boundNumbers(sql, parameters), ...rest) as [string, unknown[]];
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
  }
  return new HADriver(dataSource);
}

async function* exactly(rows: AsyncIterable<Record<string, unknown>>): AsyncIterable<Record<string, unknown>> {
  for await (const row of rows) yield exactRow(row);
}

function attached(database: string): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    `An entity names '${database}' as its database, which would not be replicated. Leave \`database\` out of @Entity, or put the entity into a DataSource of its own.`,
    { details: { database } },
  );
}

import type { DataSource, MigrationInterface } from 'typeorm';
import type { Binding } from './options.js';
import type { HAQueryRunner } from './query-runner.js';
import { retrying } from '../common/retrying.js';

type RunOptions = Parameters<DataSource['runMigrations']>[0];
type Migrations = readonly MigrationInterface[];

/**
 * Lets nodes that start at once run each migration once. TypeORM looks up which have been run, and then begins the transaction
 * that runs the others: two nodes would run them both. Here it looks them up inside of that transaction, and anew where another
 * node came first.
 */
export function guardMigrations(dataSource: DataSource, { db }: Binding): void {
  const stock = Object.getPrototypeOf(dataSource) as DataSource;

  dataSource.runMigrations = async (options) => {
    const mode = modeOf(dataSource, options);
    const { hasTable, pending } = await stateOf(dataSource);
    if (mode === 'none' || (hasTable && pending.length === 0)) return stock.runMigrations.call(dataSource, options);
    const all = { ...options, transaction: mode };
    const guarded = (migrations: Migrations): ReturnType<DataSource['runMigrations']> =>
      retrying(db, () => inTransaction(dataSource, migrations, (scope) => stock.runMigrations.call(scope, all)));
    if (mode === 'all' || pending.length === 0) return guarded(dataSource.migrations);
    const done = [];
    for (const migration of pending) {
      const alone = migration.transaction === false;
      const one = alone ? stock.runMigrations.call(scopeOf(dataSource, [migration]), all) : guarded([migration]);
      done.push(...(await one));
    }
    return done;
  };

  dataSource.undoLastMigration = async (options) => {
    if (options?.transaction === 'none') return stock.undoLastMigration.call(dataSource, options);
    const { migrations } = dataSource;
    return retrying(db, () =>
      inTransaction(dataSource, migrations, (scope) => stock.undoLastMigration.call(scope, options)),
    );
  };
}

function modeOf({ options }: DataSource, given: RunOptions): 'all' | 'none' | 'each' {
  return given?.transaction ?? options.migrationsTransactionMode ?? 'all';
}

/** What this node knows: which migrations are left to run, in their order. */
async function stateOf(dataSource: DataSource): Promise<{ hasTable: boolean; pending: MigrationInterface[] }> {
  const table = dataSource.options.migrationsTableName ?? 'migrations';
  const runner = dataSource.createQueryRunner();
  try {
    const hasTable = await runner.hasTable(table);
    const rows = (hasTable ? await runner.query(`SELECT "name" FROM ${dataSource.driver.escape(table)}`) : []) as {
      readonly name: string;
    }[];
    const names = new Set(rows.map(({ name }) => name));
    const pending = dataSource.migrations.filter((migration) => !names.has(nameOf(migration)));
    return { hasTable, pending: pending.sort((a, b) => timeOf(a) - timeOf(b)) };
  } finally {
    await runner.release();
  }
}

/** Runs something of TypeORM, that makes a query runner of its own, inside of one transaction. */
async function inTransaction<R>(
  dataSource: DataSource,
  migrations: Migrations,
  work: (scope: DataSource) => Promise<R>,
): Promise<R> {
  const runner = dataSource.createQueryRunner() as unknown as HAQueryRunner;
  try {
    await runner.beforeMigration();
    await runner.startTransaction('SERIALIZABLE');
    runner.isKept = true;
    const result = await work(scopeOf(dataSource, migrations, runner));
    await runner.commitTransaction();
    return result;
  } catch (error) {
    // The first error says more than one of the rollback.
    if (runner.isTransactionActive) await runner.rollbackTransaction().catch(() => undefined);
    throw error;
  } finally {
    runner.isKept = false;
    await runner.release();
  }
}

function scopeOf(dataSource: DataSource, migrations: Migrations, runner?: HAQueryRunner): DataSource {
  return Object.create(dataSource, {
    migrations: { value: migrations },
    ...(runner === undefined ? {} : { createQueryRunner: { value: () => runner } }),
  }) as DataSource;
}

/** As TypeORM reads them: https://typeorm.io/docs/migrations/why */
function nameOf(migration: MigrationInterface): string {
  return migration.name ?? migration.constructor.name;
}

function timeOf(migration: MigrationInterface): number {
  return Number.parseInt(nameOf(migration).slice(-13), 10);
}

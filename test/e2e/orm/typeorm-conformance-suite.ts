import { DataSource } from 'typeorm';
import { startCluster } from '../../helper/cluster.js';
import { CHECKS } from './typeorm-checks.js';
import { ENTITIES } from './typeorm-conformance-entities.js';
import { MIGRATIONS } from './typeorm-entities.js';
import { connect } from './typeorm-suite.js';

const OPTIONS = { entities: ENTITIES, migrations: MIGRATIONS, logging: false } as const;

/** Empties the tables, and begins their ids anew. */
async function empty(source: DataSource): Promise<void> {
  const runner = source.createQueryRunner();
  await runner.beforeMigration();
  await runner.startTransaction();
  const tables = source.entityMetadatas.filter(({ tableType }) => tableType !== 'view' && tableType !== 'entity-child');
  for (const { tableName } of tables) await runner.query(`DELETE FROM "${tableName}"`);
  await runner.query('DELETE FROM sqlite_sequence');
  await runner.commitTransaction();
  await runner.afterMigration();
  await runner.release();
}

export function describeConformance(version: string): void {
  describe.each(Object.entries(CHECKS))(`TypeORM ${version} as over better-sqlite3: %s`, (subject, checks) => {
    it('gives the same results', async () => {
      const cluster = await startCluster();
      const ours = await connect(cluster.a, { ...OPTIONS, synchronize: true });
      const options = { ...OPTIONS, type: 'better-sqlite3', database: ':memory:', synchronize: true } as const;
      const stock = await new DataSource(options).initialize();
      const anew = (source: DataSource): Promise<void> =>
        subject === 'SCHEMA' ? source.synchronize(true) : empty(source);
      const results = { ours: {} as Record<string, unknown>, stock: {} as Record<string, unknown> };
      for (const [name, check] of Object.entries(checks)) {
        for (const [side, source] of Object.entries({ ours, stock })) {
          await anew(source);
          results[side as 'ours' | 'stock'][name] = await check(source);
        }
      }
      await stock.destroy();
      expect(results.ours).toEqual(results.stock);
      await cluster.expectEqual();
    }, 300_000);
  });
}

import { DataSource } from 'typeorm';
import type { DataSourceOptions } from 'typeorm';
import { haDataSource, haDataSourceOptions } from '../../../lib/orm/typeorm.js';
import type { HADataSourceLimits, HADataSourceOptions } from '../../../lib/orm/typeorm.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { Author, Book, ENTITIES, MIGRATIONS, Tag } from './typeorm-entities.js';

export async function connect(
  db: HADatabase,
  options: HADataSourceOptions = {},
  limits?: HADataSourceLimits,
): Promise<DataSource> {
  const all = haDataSourceOptions(db, { entities: ENTITIES, ...options }, limits);
  const dataSource = haDataSource(new DataSource(all as DataSourceOptions));
  await dataSource.initialize();
  onCleanup(() => (dataSource.isInitialized ? dataSource.destroy() : undefined));
  return dataSource;
}

async function clusterWithEntities(): Promise<{ cluster: Cluster; a: DataSource; b: DataSource }> {
  const cluster = await startCluster();
  const a = await connect(cluster.a, { synchronize: true });
  await cluster.settle();
  const b = await connect(cluster.b);
  return { cluster, a, b };
}

export function describeTypeOrm(version: string): void {
  describe(`TypeORM ${version} over two nodes`, () => {
    it('saves and loads entities with their relations, on both nodes', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const author = a.manager.create(Author, { name: 'Ada' });
      author.books = [a.manager.create(Book, { title: 'Notes', tags: [{ name: 'x' }, { name: 'y' }] })];
      await a.manager.save(author);
      await cluster.settle();
      const loaded = await b.getRepository(Author).find({ relations: { books: { tags: true } } });
      expect(loaded).toMatchObject([
        { id: 1, name: 'Ada', books: [{ id: 1, title: 'Notes', tags: [{ name: 'x' }, { name: 'y' }] }] },
      ]);
      expect(loaded[0]?.books[0]?.tags[0]).toBeInstanceOf(Tag);
      await b.getRepository(Author).delete({ id: 1 });
      await cluster.settle();
      expect(await a.getRepository(Book).count()).toBe(0);
      await cluster.expectEqual();
    });

    it('runs migrations of both nodes at once, each of them once', async () => {
      for (const migrationsTransactionMode of ['all', 'each'] as const) {
        const cluster = await startCluster();
        const options = { migrations: MIGRATIONS, migrationsTransactionMode };
        const sources = await Promise.all([connect(cluster.a, options), connect(cluster.b, options)]);
        const ran = await Promise.all(sources.map((source) => source.runMigrations()));
        expect(
          ran
            .flat()
            .map(({ name }) => name)
            .sort(),
        ).toEqual(MIGRATIONS.map(({ name }) => name).sort());
        await cluster.settle();
        for (const source of sources) {
          expect(await source.query('SELECT * FROM note')).toEqual([{ id: 1, text: 'first' }]);
          expect(await source.query('SELECT name FROM migrations ORDER BY id')).toEqual(
            MIGRATIONS.map(({ name }) => ({ name })),
          );
          expect(await source.runMigrations()).toEqual([]);
        }
        await cluster.expectEqual();
      }
    });
  });
}

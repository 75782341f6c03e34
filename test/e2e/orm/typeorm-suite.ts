import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DataSource } from 'typeorm';
import type { DataSourceOptions, EntityManager, Logger } from 'typeorm';
import { isRetryable } from '../../../lib/common/retryable.js';
import { haDataSource, haDataSourceFactory, haDataSourceOptions } from '../../../lib/orm/typeorm.js';
import type { HADataSourceLimits, HADataSourceOptions } from '../../../lib/orm/typeorm.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';
import {
  Author,
  Book,
  Counter,
  ENTITIES,
  MIGRATIONS,
  Place,
  Sample,
  seen,
  Tag,
  TagListener,
} from './typeorm-entities.js';

const SILENT: Logger = {
  logQuery: () => undefined,
  logQueryError: () => undefined,
  logQuerySlow: () => undefined,
  logSchemaBuild: () => undefined,
  logMigration: () => undefined,
  log: () => undefined,
};
const CONCURRENT = 50;
const BEYOND = 2n ** 53n + 1n;

export async function connect(
  db: HADatabase,
  options: HADataSourceOptions = {},
  limits?: HADataSourceLimits,
): Promise<DataSource> {
  const dataSource = haDataSource(new DataSource(haDataSourceOptions(db, { entities: ENTITIES, ...options }, limits)));
  await dataSource.initialize();
  onCleanup(() => (dataSource.isInitialized ? dataSource.destroy() : undefined));
  return dataSource;
}

async function tablesOf(dataSource: DataSource): Promise<{ tables: string[] }> {
  const runner = dataSource.createQueryRunner();
  try {
    return { tables: (await runner.getTables()).map(({ name }) => name) };
  } finally {
    await runner.release();
  }
}

interface Nodes {
  readonly cluster: Cluster;
  readonly a: DataSource;
  readonly b: DataSource;
}

async function clusterWithEntities(options: HADataSourceOptions = {}, limits?: HADataSourceLimits): Promise<Nodes> {
  const cluster = await startCluster();
  const a = await connect(cluster.a, { synchronize: true, ...options }, limits);
  await cluster.settle();
  const b = await connect(cluster.b, options, limits);
  return { cluster, a, b };
}

/** Runs a transaction again while others came first. */
export async function again<R>(dataSource: DataSource, work: (manager: EntityManager) => Promise<R>): Promise<R> {
  for (;;) {
    try {
      return await dataSource.transaction(work);
    } catch (error) {
      if (!isRetryable(error)) throw error;
    }
  }
}

async function increment(manager: EntityManager): Promise<void> {
  const counter = await manager.findOneByOrFail(Counter, { name: 'n' });
  counter.value += 1;
  await manager.save(counter);
}

function many(length: number): Pick<Tag, 'name'>[] {
  return Array.from({ length }, (_, index) => ({ name: `tag ${index}` }));
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

    it('inserts 10,000 rows in one call, and every one is on the other node', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      await a.getRepository(Tag).save(many(10_000), { chunk: 500 });
      await a.getRepository(Counter).insert(many(400).map(({ name }, value) => ({ name, value })));
      await cluster.settle();
      expect(await b.getRepository(Tag).count()).toBe(10_000);
      expect(await b.getRepository(Counter).sum('value')).toBe((400 * 399) / 2);
      await cluster.expectEqual();
    });

    it('inserts more numbers in one call than SQLite binds values', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const rows = many(20_000).map(({ name }, value) => ({ name, value }));
      await a.createQueryBuilder().insert().into(Counter).values(rows).updateEntity(false).execute();
      await cluster.settle();
      expect(await b.getRepository(Counter).sum('value')).toBe((20_000 * 19_999) / 2);
    });

    it('opens no file', async () => {
      const { cluster, a } = await clusterWithEntities();
      const here = readdirSync('.');
      const beside = (): string[] =>
        readdirSync(dirname(cluster.node(0).path)).filter((name) => !/^n\d+[.]db/.test(name));
      const before = beside();
      await a.getRepository(Tag).insert({ name: 'x' });
      await a.destroy();
      await a.initialize();
      expect(await a.getRepository(Tag).find()).toEqual([{ name: 'x' }]);
      expect(readdirSync('.')).toEqual(here);
      expect(beside()).toEqual(before);
      await cluster.expectEqual();
    });

    it('keeps values exact: integers beyond 2^53, BLOBs, dates, JSON', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const at = new Date('2026-02-03T04:05:06.789Z');
      const sample = a.manager.create(Sample, {
        big: BEYOND,
        blob: Buffer.from([0, 1, 255]),
        at,
        day: '2026-02-03',
        flag: true,
        real: 0.1,
        json: { a: [1, null] },
        list: ['a', 'b'],
      });
      await a.manager.save(sample);
      const small = await a.manager.save(a.manager.create(Sample, { big: 42 }));
      await cluster.settle();
      const loaded = await b.getRepository(Sample).findOneByOrFail({ id: sample.id });
      expect(loaded).toMatchObject({
        big: BEYOND,
        blob: Buffer.from([0, 1, 255]),
        at,
        day: '2026-02-03',
        flag: true,
        real: 0.1,
        json: { a: [1, null] },
        list: ['a', 'b'],
        createdAt: expect.any(Date) as Date,
        deletedAt: null,
        version: 1,
      });
      expect(await b.getRepository(Sample).findOneByOrFail({ id: small.id })).toMatchObject({ big: 42, flag: false });
      expect(await b.getRepository(Sample).findOneBy({ big: BEYOND })).toMatchObject({ id: sample.id });
      // A key beyond 2^53 names its own row, and no neighbour.
      await b.manager.insert(Place, [
        { id: BEYOND, name: 'one' },
        { id: BEYOND - 1n, name: 'two' },
      ]);
      const place = await b.manager.findOneByOrFail(Place, { id: BEYOND });
      place.name = 'changed';
      await b.manager.save(place);
      expect(await b.query('SELECT id, name FROM place ORDER BY id')).toEqual([
        { id: BEYOND - 1n, name: 'two' },
        { id: BEYOND, name: 'changed' },
      ]);
      await cluster.expectEqual();
    });

    it('streams rows, exactly, in one snapshot; those of a transaction too', async () => {
      const { cluster, a } = await clusterWithEntities();
      await a.manager.insert(Place, [
        { id: 1n, name: 'one' },
        { id: BEYOND, name: 'far' },
      ]);
      const all = async (manager: EntityManager): Promise<unknown[]> => {
        const rows: unknown[] = [];
        const stream = await manager.createQueryBuilder(Place, 'p').orderBy('p.id').stream();
        for await (const row of stream as AsyncIterable<unknown>) {
          rows.push(row);
          if (rows.length === 1 && manager === a.manager) await a.manager.insert(Place, { id: 2n, name: 'later' });
          if (manager !== a.manager) await manager.count(Place);
        }
        return rows;
      };
      expect(await all(a.manager)).toEqual([
        { p_id: 1, p_name: 'one' },
        { p_id: BEYOND, p_name: 'far' },
      ]);
      await a.transaction(async (manager) => {
        await manager.delete(Place, { id: 1n });
        expect(await all(manager)).toEqual([
          { p_id: 2, p_name: 'later' },
          { p_id: BEYOND, p_name: 'far' },
        ]);
      });
      await cluster.expectEqual();
    });

    it('fails a stream as it fails a query: wrapped, logged once, and not when it is released', async () => {
      const { cluster } = await clusterWithEntities();
      const logged: unknown[] = [];
      const logger: Logger = {
        ...SILENT,
        logQuery: (query) => void logged.push(query),
        logQueryError: (error, query, parameters) => void logged.push([String(error), query, parameters]),
      };
      const source = await connect(cluster.a, { logger, logging: true });
      const runner = source.createQueryRunner();
      const heard: unknown[] = [];
      const drain = async (sql: string): Promise<void> => {
        logged.length = 0;
        const stream = await runner.stream(sql, ['x'], undefined, (error: Error) => void heard.push(error));
        for await (const row of stream as AsyncIterable<unknown>) void row;
      };
      const midway = "SELECT json(value) FROM (SELECT '1' AS value UNION ALL SELECT ?)";
      for (const sql of ['SELECT * FROM nope WHERE x = ?', midway]) {
        const error = await failureOf(drain(sql));
        const queried = await failureOf(runner.query(sql, ['x']));
        expect(error).toMatchObject({
          name: 'QueryFailedError',
          query: sql,
          parameters: ['x'],
          message: queried.message,
        });
        expect(error.constructor).toBe(queried.constructor);
        expect(heard.pop()).toBe(error);
        const cause = `SqliteError: ${(error as Error & { driverError: Error }).driverError.message}`;
        expect(logged).toEqual([sql, [cause, sql, ['x']], sql, [cause, sql, ['x']]]);
      }
      const thrown = new Error('mine');
      logged.length = 0;
      const used = async (): Promise<void> => {
        for await (const row of (await runner.stream('SELECT 1')) as AsyncIterable<unknown>) {
          void row;
          throw thrown;
        }
      };
      expect(await failureOf(used())).toBe(thrown);
      expect(logged).toEqual(['SELECT 1']);
      await runner.release();
      const released = await failureOf(async () => void (await runner.stream('SELECT 1')));
      expect(released.name).toBe('QueryRunnerAlreadyReleasedError');
    });

    it('gives the rows of RETURNING, of statements that TypeORM does not build', async () => {
      const { cluster, a } = await clusterWithEntities();
      expect(await a.query('INSERT INTO tag(name) VALUES(?), (?) RETURNING name', ['x', 'y'])).toEqual([
        { name: 'x' },
        { name: 'y' },
      ]);
      expect(await a.query('UPDATE tag SET name = upper(name) WHERE name = ? RETURNING *', ['y'])).toEqual([
        { name: 'Y' },
      ]);
      await cluster.expectEqual();
    });
  });

  describe(`transactions of TypeORM ${version}`, () => {
    it('are seen by nobody before they end', async () => {
      const { cluster, a } = await clusterWithEntities();
      const runner = a.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Tag, { name: 'x' });
      expect(await runner.manager.count(Tag)).toBe(1);
      expect(await a.getRepository(Tag).count()).toBe(0);
      await runner.commitTransaction();
      await runner.release();
      expect(await a.getRepository(Tag).count()).toBe(1);
      await cluster.expectEqual();
    });

    it('nest: an inner one is taken back alone, an outer one with all of it', async () => {
      const { cluster, a } = await clusterWithEntities();
      await a.transaction(async (outer) => {
        await outer.insert(Tag, { name: 'outer' });
        await failureOf(
          outer.transaction(async (inner) => {
            await inner.insert(Tag, { name: 'inner' });
            throw new Error('take it back');
          }),
        );
        await outer.transaction((inner) => inner.insert(Tag, { name: 'second' }));
      });
      const failed = a.transaction(async (outer) => {
        await outer.transaction((inner) => inner.insert(Tag, { name: 'lost' }));
        throw new Error('take all of it back');
      });
      expect(await failureOf(failed)).toMatchObject({ message: 'take all of it back' });
      expect(await a.getRepository(Tag).find({ order: { name: 'ASC' } })).toEqual([
        { name: 'outer' },
        { name: 'second' },
      ]);
      await cluster.expectEqual();
    });

    it('read, change and write at once on one node, and lose nothing', async () => {
      const { cluster, a } = await clusterWithEntities();
      await a.manager.insert(Counter, { name: 'n', value: 0 });
      await Promise.all(Array.from({ length: CONCURRENT }, () => again(a, increment)));
      expect(await a.manager.findOneBy(Counter, { name: 'n' })).toEqual({ name: 'n', value: CONCURRENT });
      await cluster.expectEqual();
    });

    it('with SERIALIZABLE lose nothing on two nodes; the caller runs again what came second', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      await a.manager.insert(Counter, { name: 'n', value: 0 });
      await cluster.settle();
      const refused: unknown[] = [];
      const onNode = async (dataSource: DataSource): Promise<void> => {
        for (let done = 0; done < 15;) {
          try {
            await dataSource.transaction('SERIALIZABLE', increment);
            done++;
          } catch (error) {
            if (!isRetryable(error)) throw error;
            refused.push(error);
          }
        }
      };
      await Promise.all([onNode(a), onNode(b)]);
      await cluster.settle();
      expect(await a.manager.findOneBy(Counter, { name: 'n' })).toEqual({ name: 'n', value: 30 });
      expect(refused.length).toBeGreaterThan(0);
      expect(refused[0]).toMatchObject({ name: 'QueryFailedError', driverError: { code: 'SQLITE_BUSY' } });
      await cluster.expectEqual();
    });

    it('generate ids on two nodes at once, and no row is lost', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const add = (dataSource: DataSource, name: string): Promise<void[]> =>
        Promise.all(
          Array.from({ length: 10 }, async (_, index) => {
            await again(dataSource, (manager) => manager.insert(Author, { name: `${name} ${index}` }));
          }),
        );
      await Promise.all([add(a, 'a'), add(b, 'b')]);
      await cluster.settle();
      expect(await b.getRepository(Author).count()).toBe(20);
      await cluster.expectEqual();
    });

    it('of one statement run again by themselves, and tell the ids of their rows', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const insert = (dataSource: DataSource, name: string): Promise<Author>[] =>
        Array.from({ length: 10 }, async (_, index) => {
          const author = dataSource.manager.create(Author, { name: `${name} ${index}` });
          await dataSource.manager.insert(Author, author);
          return author;
        });
      const told = await Promise.all([...insert(a, 'a'), ...insert(b, 'b')]);
      await cluster.settle();
      const found = await b.getRepository(Author).find({ order: { id: 'ASC' } });
      expect(found).toEqual(told.sort((left, right) => left.id - right.id));
      await cluster.expectEqual();
    });

    it('with ids of their own need not run again', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const save = (dataSource: DataSource): Promise<Sample>[] =>
        Array.from({ length: 20 }, (_, big) => dataSource.manager.save(dataSource.manager.create(Sample, { big })));
      await Promise.all([...save(a), ...save(b)]);
      await cluster.settle();
      expect(await b.getRepository(Sample).count()).toBe(40);
      await cluster.expectEqual();
    });

    it('that are forgotten are rolled back, and say so; others go on', async () => {
      const { cluster, a } = await clusterWithEntities({}, { idleTimeout: 1_000 });
      const runner = a.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Tag, { name: 'forgotten' });
      await a.getRepository(Tag).insert({ name: 'waited' });
      expect(await failureOf(runner.commitTransaction())).toMatchObject({
        driverError: { code: 'HA_TRANSACTION_TIMEOUT' },
      });
      await runner.rollbackTransaction();
      await runner.startTransaction();
      await runner.manager.insert(Tag, { name: 'again' });
      await runner.commitTransaction();
      await runner.release();
      expect(await a.getRepository(Tag).find({ order: { name: 'ASC' } })).toEqual([
        { name: 'again' },
        { name: 'waited' },
      ]);
      await cluster.expectEqual();
    });

    it('in which somebody writes through the DataSource end with an error, and do not hang', async () => {
      const { cluster, a } = await clusterWithEntities({}, { idleTimeout: 1_000 });
      const wrong = a.transaction(async (manager) => {
        await manager.insert(Tag, { name: 'inside' });
        await a.getRepository(Tag).insert({ name: 'outside' });
      });
      expect(await failureOf(wrong)).toMatchObject({ driverError: { code: 'HA_TRANSACTION_TIMEOUT' } });
      expect(await a.getRepository(Tag).find()).toEqual([{ name: 'outside' }]);
      await cluster.expectEqual();
    });

    it('that are released are rolled back, and their query runner refuses more', async () => {
      const { cluster, a } = await clusterWithEntities();
      const runner = a.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Tag, { name: 'x' });
      await runner.release();
      expect(await failureOf(runner.query('SELECT 1'))).toMatchObject({ name: 'QueryRunnerAlreadyReleasedError' });
      await a.getRepository(Tag).insert({ name: 'y' });
      expect(await a.getRepository(Tag).find()).toEqual([{ name: 'y' }]);
      await cluster.expectEqual();
    });

    it('fail clearly where the DataSource or the database is closed', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const runner = a.createQueryRunner();
      await runner.startTransaction();
      await a.destroy();
      expect(await failureOf(runner.query('SELECT 1'))).toMatchObject({
        driverError: { code: 'HA_TRANSACTION_CLOSED' },
      });
      expect(await failureOf(a.query('SELECT 1'))).toMatchObject({ driverError: { code: 'HA_DATABASE_CLOSED' } });
      await cluster.b.close();
      expect(await failureOf(b.getRepository(Tag).find())).toMatchObject({
        driverError: { code: 'HA_UNAVAILABLE' },
      });
      expect(await failureOf(connect(cluster.b))).toMatchObject({ code: 'HA_UNAVAILABLE' });
    });

    it('run at the leader where the node follows one', async () => {
      const cluster = await LeaderCluster.start({ nodes: 2 });
      const dataSource = await connect(cluster.follower.db, { synchronize: true });
      await dataSource.transaction(async (manager) => {
        await manager.save(manager.create(Author, { name: 'Ada' }));
        await failureOf(
          manager.transaction(async (inner) => {
            await inner.insert(Tag, { name: 'lost' });
            throw new Error('take it back');
          }),
        );
        expect(await manager.count(Author)).toBe(1);
      });
      await dataSource.manager.insert(Place, { id: BEYOND, name: 'far' });
      expect(await dataSource.getRepository(Author).find()).toEqual([{ id: 1, name: 'Ada' }]);
      expect(await dataSource.getRepository(Tag).count()).toBe(0);
      expect(await dataSource.getRepository(Place).find()).toEqual([{ id: BEYOND, name: 'far' }]);
      await cluster.expectEqual();
      cluster.expectOneWriterAtATime();
    });
  });

  describe(`the schema with TypeORM ${version}`, () => {
    it.each(['all', 'each'] as const)('runs migrations of both nodes at once, each of them once (%s)', async (mode) => {
      const cluster = await startCluster();
      const options = { migrations: MIGRATIONS, migrationsTransactionMode: mode };
      const sources = await Promise.all([connect(cluster.a, options), connect(cluster.b, options)]);
      const ran = await Promise.all(sources.map((source) => source.runMigrations()));
      const names = MIGRATIONS.map(({ name }) => name);
      expect(
        ran
          .flat()
          .map(({ name }) => name)
          .sort(),
      ).toEqual([...names].sort());
      await cluster.settle();
      for (const source of sources) {
        expect(await source.query('SELECT * FROM note')).toEqual([{ id: 1, text: 'first' }]);
        expect(await source.query('SELECT name FROM migrations ORDER BY id')).toEqual(names.map((name) => ({ name })));
        expect(await source.runMigrations()).toEqual([]);
        expect(await source.showMigrations()).toBe(false);
      }
      await sources[0]?.undoLastMigration();
      expect(await sources[0]?.query('SELECT * FROM note')).toEqual([]);
      await cluster.expectEqual();
    });

    it('takes all of a failed migration back', async () => {
      const cluster = await startCluster();
      class Fails1700000000003 {
        async up(runner: { query(sql: string): Promise<unknown> }): Promise<void> {
          await runner.query('CREATE TABLE half(id integer PRIMARY KEY)');
          await runner.query('INSERT INTO missing VALUES(1)');
        }

        async down(): Promise<void> {}
      }
      const a = await connect(cluster.a, { migrations: [...MIGRATIONS, Fails1700000000003] });
      expect(await failureOf(a.runMigrations())).toMatchObject({
        message: expect.stringMatching(/no such table: missing/) as string,
      });
      expect(await a.createQueryRunner().getTables(['note', 'half'])).toEqual([]);
      expect(await failureOf(a.runMigrations({ transaction: 'each' }))).toMatchObject({ name: 'QueryFailedError' });
      expect((await a.createQueryRunner().getTables(['note', 'half'])).map(({ name }) => name)).toEqual(['note']);
      await cluster.expectEqual();
    });

    it('synchronizes both nodes at once', async () => {
      const cluster = await startCluster();
      const options = { synchronize: true };
      const [a] = await Promise.all([connect(cluster.a, options), connect(cluster.b, options)]);
      await a.getRepository(Tag).insert({ name: 'x' });
      await cluster.expectEqual();
    });

    it('rebuilds a table on whose rows others depend without losing those', async () => {
      const { cluster, a } = await clusterWithEntities();
      const author = a.manager.create(Author, { name: 'Ada' });
      author.books = [a.manager.create(Book, { title: 'Notes', tags: [{ name: 'x' }] })];
      await a.manager.save(author);
      const runner = a.createQueryRunner();
      await runner.query('ALTER TABLE author ADD COLUMN old integer');
      await runner.release();
      await cluster.settle();
      // It has a column too many, so it is made anew, and dropped with its rows.
      const queries: string[] = [];
      const logger = { ...SILENT, logQuery: (sql: string) => void queries.push(sql) };
      await (await connect(cluster.b, { logger })).synchronize();
      expect(queries.some((sql) => sql === 'DROP TABLE "author"')).toBe(true);
      await cluster.settle();
      expect(await a.getRepository(Author).find({ relations: { books: { tags: true } } })).toEqual([
        { id: 1, name: 'Ada', books: [{ id: 1, title: 'Notes', tags: [{ name: 'x' }] }] },
      ]);
      await cluster.expectEqual();
    });

    it('finds nothing to do about tables of replication, nor anything of them to generate a migration from', async () => {
      const { cluster, a, b } = await clusterWithEntities();
      const own = "SELECT name FROM sqlite_schema WHERE name LIKE 'ha!_%' ESCAPE '!'";
      const before = await cluster.a.all(own);
      expect(before.length).toBeGreaterThan(0);
      // schema:log and migration:generate
      for (const source of [a, b]) {
        const { upQueries, downQueries } = await source.driver.createSchemaBuilder().log();
        expect([upQueries, downQueries]).toEqual([[], []]);
      }
      await a.getRepository(Tag).insert({ name: 'x' });
      await a.synchronize();
      const { tables } = await tablesOf(a);
      expect(tables.filter((name) => name.startsWith('ha_'))).toEqual([]);
      expect(tables).toContain('tag');
      // schema:drop
      await a.dropDatabase();
      await cluster.settle();
      expect(await cluster.b.all(own)).toEqual(before);
      await b.synchronize();
      await b.getRepository(Tag).insert({ name: 'y' });
      await cluster.expectEqual();
      expect(await cluster.a.all('SELECT name FROM tag')).toEqual([{ name: 'y' }]);
    });

    it('drops all tables but those of replication', async () => {
      const { cluster, a } = await clusterWithEntities();
      await a.getRepository(Tag).insert({ name: 'x' });
      await a.dropDatabase();
      const left = await a.createQueryRunner().getTables();
      expect(left.map(({ name }) => name)).toEqual(['sqlite_sequence']);
      await a.synchronize(true);
      expect(await a.getRepository(Tag).find()).toEqual([]);
      await cluster.expectEqual();
    });
  });

  describe(`the rest of TypeORM ${version}`, () => {
    it('calls subscribers, which write in the same transaction', async () => {
      const { cluster, a } = await clusterWithEntities({ subscribers: [TagListener] });
      seen.length = 0;
      await a.manager.save(a.manager.create(Tag, { name: 'x' }));
      await failureOf(
        a.transaction(async (manager) => {
          await manager.save(manager.create(Tag, { name: 'y' }));
          throw new Error('take it back');
        }),
      );
      expect(seen).toEqual(['x', 'y']);
      expect(await a.getRepository(Counter).find()).toEqual([{ name: 'x', value: 1 }]);
      await cluster.expectEqual();
    });

    it('keeps results in its cache table, on every node', async () => {
      const { cluster, a, b } = await clusterWithEntities({ cache: true });
      await a.getRepository(Tag).insert({ name: 'x' });
      const cached = { cache: { id: 'tags', milliseconds: 600_000 } };
      expect(await a.getRepository(Tag).find(cached)).toEqual([{ name: 'x' }]);
      await a.getRepository(Tag).insert({ name: 'y' });
      expect(await a.getRepository(Tag).find(cached)).toEqual([{ name: 'x' }]);
      await cluster.settle();
      expect(await b.getRepository(Tag).find(cached)).toEqual([{ name: 'x' }]);
      await b.queryResultCache?.remove(['tags']);
      await cluster.settle();
      expect(await a.getRepository(Tag).find(cached)).toHaveLength(2);
      await cluster.expectEqual();
    });

    it('does not cache integers beyond 2^53, and says so', async () => {
      const { a } = await clusterWithEntities({ cache: true });
      await a.manager.insert(Place, { id: BEYOND, name: 'far' });
      expect((await failureOf(a.manager.find(Place, { cache: true }))).message).toMatch(/serialize a BigInt/);
      expect(await a.manager.find(Place)).toEqual([{ id: BEYOND, name: 'far' }]);
    });

    it('logs queries, with what they failed of', async () => {
      const lines: unknown[][] = [];
      const logger: Logger = {
        ...SILENT,
        logQuery: (sql, params) => void lines.push(['query', sql, params]),
        logQueryError: (error, sql, params) => void lines.push(['error', (error as Error).message, sql, params]),
      };
      const { a } = await startCluster();
      const logged = await connect(a, { logger });
      lines.length = 0;
      await logged.query('SELECT ? AS x', [1]);
      await failureOf(logged.query('SELECT * FROM missing'));
      expect(lines).toEqual([
        ['query', 'SELECT ? AS x', [1]],
        ['query', 'SELECT * FROM missing', []],
        ['error', 'no such table: missing', 'SELECT * FROM missing', []],
      ]);
    });
  });

  describe(`what is given to TypeORM ${version} by mistake`, () => {
    it('is refused where options are of a file', async () => {
      const { a } = await startCluster();
      const options = { database: 'mine.db', enableWAL: true } as HADataSourceOptions;
      expect(() => haDataSourceOptions(a, options)).toThrow(
        expect.objectContaining({
          code: 'HA_OPTIONS_INVALID',
          message: expect.stringMatching(/database, enableWAL/) as string,
        }),
      );
    });

    it('is refused where the DataSource is not ours, or has no database of ours', async () => {
      const { a } = await startCluster();
      const plain = new DataSource(haDataSourceOptions(a, { entities: ENTITIES }));
      expect(await failureOf(plain.initialize())).toMatchObject({
        code: 'HA_OPTIONS_INVALID',
        message: expect.stringMatching(/haDataSourceFactory\(DataSource\)/) as string,
      });
      const theirs: DataSourceOptions = { type: 'better-sqlite3', database: ':memory:' };
      expect(() => haDataSource(new DataSource(theirs))).toThrow(/haDataSourceOptions\(db/);
      expect(await failureOf(haDataSourceFactory(DataSource)(theirs))).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
      expect(await failureOf(haDataSourceFactory(DataSource)())).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
    });

    it('is refused where an entity has a file of its own', async () => {
      const { a } = await startCluster();
      const here = readdirSync('.');
      const { EntitySchema } = await import('typeorm');
      const other = new EntitySchema({
        name: 'other',
        database: 'elsewhere/other.db',
        columns: { id: { type: Number, primary: true } },
      });
      expect(await failureOf(connect(a, { entities: [other] }))).toMatchObject({ code: 'HA_OPTIONS_INVALID' });
      expect(readdirSync('.')).toEqual(here);
    });
  });
}

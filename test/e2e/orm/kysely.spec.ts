import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Inject, Injectable, Module } from '@nestjs/common';
import { Kysely, sql } from 'kysely';
import type { Generated, Migration, Transaction } from 'kysely';
import { isRetryable } from '../../../lib/common/retryable.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { HAModule } from '../../../lib/ha.module.js';
import { HAKyselyDialect, retryMigration } from '../../../lib/orm/kysely.js';
import type { HAKyselyOptions } from '../../../lib/orm/kysely.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, pause, startCluster, temporaryFolder } from '../../helper/cluster.js';
import { startApp } from '../../helper/nest-app.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';
import { Migrator } from '../../helper/kysely-migrator.js';

interface Schema {
  author: { id: Generated<number>; name: string };
  book: {
    id: Generated<number>;
    author_id: number;
    title: string;
    cover: Uint8Array | null;
    published: string | null;
    copies: number | bigint;
  };
  counter: { id: number; n: number };
}

const MIGRATIONS: Record<string, Migration> = {
  '001-author': {
    up: async (db: Kysely<unknown>) => {
      await db.schema
        .createTable('author')
        .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('name', 'text', (column) => column.notNull().unique())
        .execute();
    },
    down: async (db: Kysely<unknown>) => db.schema.dropTable('author').execute(),
  },
  '002-book': {
    up: async (db: Kysely<unknown>) => {
      await db.schema
        .createTable('book')
        .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
        .addColumn('author_id', 'integer', (column) => column.notNull().references('author.id').onDelete('cascade'))
        .addColumn('title', 'text', (column) => column.notNull())
        .addColumn('cover', 'blob')
        .addColumn('published', 'text')
        .addColumn('copies', 'integer', (column) => column.notNull().defaultTo(0))
        .execute();
      await db.schema.createIndex('book_author').on('book').column('author_id').execute();
    },
    down: async (db: Kysely<unknown>) => db.schema.dropTable('book').execute(),
  },
  '003-counter': {
    up: async (db: Kysely<never>) => {
      await sql`CREATE TABLE counter(id INTEGER PRIMARY KEY, n INTEGER NOT NULL)`.execute(db);
      await sql`INSERT INTO counter VALUES(1, 0)`.execute(db);
    },
    down: async (db: Kysely<unknown>) => db.schema.dropTable('counter').execute(),
  },
};

function over(db: HADatabase, options?: HAKyselyOptions): Kysely<Schema> {
  return new Kysely<Schema>({ dialect: new HAKyselyDialect(db, options) });
}

function migratorOf(db: Kysely<Schema>): Migrator {
  return new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
}

async function migrate(db: Kysely<Schema>) {
  const { error, results } = await retryMigration(() => migratorOf(db).migrateToLatest());
  if (error !== undefined) throw new Error('The migrations failed.', { cause: error });
  return results ?? [];
}

/** The file of the test's nodes are all there is: nothing was opened besides. */
function expectNoOtherFile(cluster: Cluster): void {
  const files = cluster.nodes.flatMap(({ path }) => readdirSync(dirname(path)));
  expect(files.filter((file) => !/^n\d+\.db/.test(file))).toEqual([]);
}

describe('Kysely', () => {
  let cluster: Cluster;
  let a: Kysely<Schema>;
  let b: Kysely<Schema>;

  async function start(options?: HAKyselyOptions): Promise<void> {
    cluster = await startCluster({ query: '_foreign_keys=on' });
    a = over(cluster.a, options);
    b = over(cluster.b, options);
  }

  async function startMigrated(options?: HAKyselyOptions): Promise<void> {
    await start(options);
    await migrate(a);
    await cluster.settle();
  }

  it('migrates from both nodes at once, once each, and back', async () => {
    await start();
    const results = await Promise.all([migrate(a), migrate(b)]);
    expect(
      results
        .flat()
        .map(({ migrationName }) => migrationName)
        .sort(),
    ).toEqual(Object.keys(MIGRATIONS));
    await cluster.expectEqual();
    for (const db of [a, b]) {
      expect((await db.introspection.getTables()).map(({ name }) => name)).toEqual(['author', 'book', 'counter']);
      expect((await migratorOf(db).getMigrations()).every(({ executedAt }) => executedAt !== undefined)).toBe(true);
    }
    const { results: down } = await migratorOf(b).migrateDown();
    expect(down).toEqual([{ migrationName: '003-counter', direction: 'Down', status: 'Success' }]);
    await cluster.expectEqual();
    expectNoOtherFile(cluster);
  });

  it('leaves nothing of migrations of which one fails', async () => {
    await start();
    const failing: Migration = {
      up: async (db: Kysely<unknown>) => {
        await db.schema.createTable('half').addColumn('id', 'integer').execute();
        await sql`INSERT INTO missing VALUES(1)`.execute(db);
      },
    };
    const provider = { getMigrations: async () => ({ ...MIGRATIONS, '004-failing': failing }) };
    const { error, results } = await retryMigration(() => new Migrator({ db: a, provider }).migrateToLatest());
    expect((error as Error).message).toContain('no such table: missing');
    expect(results?.at(-1)).toMatchObject({ migrationName: '004-failing', status: 'Error' });
    expect(await a.introspection.getTables()).toEqual([]);
    expect(await migrate(a)).toHaveLength(3);
    await cluster.expectEqual();
  });

  it('runs a migration of data alone once, whoever comes first', async () => {
    await startMigrated();
    const provider = {
      getMigrations: async () => ({
        ...MIGRATIONS,
        '004-data': {
          up: async (db: Kysely<Schema>) => {
            await db
              .insertInto('author')
              .values({ name: `author ${await total(db)}` })
              .execute();
          },
        } as Migration,
      }),
    };
    const total = async (db: Kysely<Schema>): Promise<number> =>
      (await db.selectFrom('author').selectAll().execute()).length;
    const results = await Promise.all(
      [a, b].map((db) => retryMigration(() => new Migrator({ db, provider }).migrateToLatest())),
    );
    expect(results.flatMap(({ results: done = [] }) => done)).toHaveLength(1);
    expect(results.map(({ error }) => error)).toEqual([undefined, undefined]);
    await cluster.expectEqual();
    expect(await total(a)).toBe(1);
  });

  it('reads and writes rows of every kind, with relations, RETURNING and results as of SQLite', async () => {
    await startMigrated();
    const inserted = await a.insertInto('author').values({ name: 'Ursula' }).executeTakeFirstOrThrow();
    expect(inserted).toMatchObject({ insertId: 1n, numInsertedOrUpdatedRows: 1n });
    const published = new Date('1974-05-01T00:00:00.000Z').toISOString();
    const book = await a
      .insertInto('book')
      .values({ author_id: 1, title: 'The Dispossessed', cover: Buffer.from([0, 1, 255]), published, copies: 3 })
      .returningAll()
      .executeTakeFirstOrThrow();
    expect(book).toEqual({
      id: 1,
      author_id: 1,
      title: 'The Dispossessed',
      cover: Buffer.from([0, 1, 255]),
      published,
      copies: 3,
    });
    expect(await a.updateTable('book').set({ copies: 4 }).where('id', '=', 1).executeTakeFirst()).toMatchObject({
      numUpdatedRows: 1n,
    });
    const raised = await a
      .updateTable('book')
      .set((eb) => ({ copies: eb('copies', '+', 1) }))
      .returning('copies')
      .execute();
    expect(raised).toEqual([{ copies: 5 }]);
    await cluster.settle();
    const joined = await b
      .selectFrom('book')
      .innerJoin('author', 'author.id', 'book.author_id')
      .select(['author.name', 'book.title', 'book.published'])
      .execute();
    expect(joined).toEqual([{ name: 'Ursula', title: 'The Dispossessed', published }]);
    expect(await b.deleteFrom('author').where('id', '=', 1).executeTakeFirst()).toEqual({ numDeletedRows: 1n });
    expect(await b.selectFrom('book').selectAll().execute()).toEqual([]);
    const failure = await failureOf(a.insertInto('book').values({ author_id: 77, title: 'x', copies: 0 }).execute());
    expect(failure).toMatchObject({ name: 'SqliteError', code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
    await cluster.expectEqual();
  });

  it('keeps integers beyond 2^53: always in insertId, in rows with safeIntegers', async () => {
    await startMigrated({ safeIntegers: true });
    const exact = 2n ** 53n + 1n;
    const { insertId } = await a
      .insertInto('author')
      .values({ id: exact as unknown as number, name: 'far' })
      .executeTakeFirstOrThrow();
    expect(insertId).toBe(exact);
    await a
      .insertInto('book')
      .values({ author_id: exact as unknown as number, title: 't', copies: 2n ** 62n })
      .execute();
    await cluster.settle();
    expect(await b.selectFrom('book').select(['id', 'author_id', 'copies']).execute()).toEqual([
      { id: 1n, author_id: exact, copies: 2n ** 62n },
    ]);
    const plain = over(cluster.a);
    const next = await plain.insertInto('author').values({ name: 'behind' }).executeTakeFirstOrThrow();
    expect(next.insertId).toBe(exact + 1n);
    expect(await plain.selectFrom('author').select('id').where('name', '=', 'far').execute()).toEqual([
      { id: 2 ** 53 },
    ]);
    await cluster.expectEqual();
  });

  it('inserts 10,000 rows, streams them, and does other things meanwhile', async () => {
    await startMigrated();
    await a.insertInto('author').values({ name: 'all' }).execute();
    await a.transaction().execute(async (trx) => {
      for (let at = 0; at < 10_000; at += 1_000) {
        const values = Array.from({ length: 1_000 }, (_, i) => ({
          author_id: 1,
          title: `book ${at + i}`,
          copies: at + i,
        }));
        await trx.insertInto('book').values(values).execute();
      }
    });
    await cluster.settle();
    let sum = 0;
    for await (const { copies } of b.selectFrom('book').select('copies').stream()) sum += Number(copies);
    expect(sum).toBe((9_999 * 10_000) / 2);
    const unfinished = await b.transaction().execute(async (trx) => {
      await trx.updateTable('book').set({ copies: -1 }).where('id', '=', 5).execute();
      const own: number[] = [];
      for await (const { copies } of trx.selectFrom('book').select('copies').limit(5).stream())
        own.push(Number(copies));
      expect(own).toEqual([0, 1, 2, 3, -1]);
      const stream = trx.selectFrom('book').select('id').stream();
      await stream.next();
      return { stream };
    });
    expect((await failureOf(unfinished.stream.next())).code).toBe('HA_TRANSACTION_CLOSED');
    expect(await failureOf(b.updateTable('book').set({ copies: 1 }).returning('id').stream().next())).toMatchObject({
      message: expect.stringContaining('streaming'),
    });
    expect(await b.selectFrom('book').select('id').where('copies', '=', -1).execute()).toEqual([{ id: 5 }]);
    await cluster.expectEqual();
  });

  it('nests transactions by savepoints, and rolls back', async () => {
    await startMigrated();
    const trx = await a.startTransaction().execute();
    await trx.insertInto('author').values({ name: 'kept' }).execute();
    const inner = await trx.savepoint('inner').execute();
    await inner.insertInto('author').values({ name: 'taken back' }).execute();
    await inner.rollbackToSavepoint('inner').execute();
    await inner.insertInto('author').values({ name: 'instead' }).execute();
    await inner.releaseSavepoint('inner').execute();
    await trx.commit().execute();
    const reason = new Error('mine');
    const rolledBack = a.transaction().execute(async (inside) => {
      await inside.deleteFrom('author').execute();
      expect(await inside.selectFrom('author').selectAll().execute()).toEqual([]);
      throw reason;
    });
    expect(await failureOf(rolledBack)).toBe(reason);
    await cluster.expectEqual();
    expect((await b.selectFrom('author').select('name').execute()).map(({ name }) => name)).toEqual([
      'kept',
      'instead',
    ]);
  });

  it('loses no update of 50 concurrent read-modify-writes, of one node or two that repeat what was in conflict', async () => {
    await startMigrated();
    await Promise.all(Array.from({ length: 50 }, () => a.transaction().execute(increment)));
    expect(await a.selectFrom('counter').select('n').executeTakeFirst()).toEqual({ n: 50 });
    await cluster.settle();
    const serializable = async (db: Kysely<Schema>): Promise<void> => {
      for (let attempt = 1; ; attempt++) {
        try {
          await db.transaction().setIsolationLevel('serializable').execute(increment);
          return;
        } catch (error) {
          if (!isRetryable(error) || attempt === 100) throw error;
          expect(error).toMatchObject({ code: 'SQLITE_BUSY', retryable: true });
          await pause(Math.random() * 20);
        }
      }
    };
    await Promise.all(Array.from({ length: 20 }, (_, i) => serializable(i % 2 === 0 ? a : b)));
    await cluster.expectEqual();
    expect(await b.selectFrom('counter').select('n').executeTakeFirst()).toEqual({ n: 70 });
  });

  it('fails with a retryable conflict where another node came first, with nothing written', async () => {
    await startMigrated();
    const overtaken = a
      .transaction()
      .setIsolationLevel('serializable')
      .execute(async (trx) => {
        await increment(trx);
        await b.updateTable('counter').set({ n: 10 }).execute();
      });
    const error = await failureOf(overtaken);
    expect(error).toMatchObject({ name: 'SqliteError', code: 'SQLITE_BUSY', retryable: true });
    expect(isRetryable(error)).toBe(true);
    await a.transaction().setIsolationLevel('serializable').execute(increment);
    await cluster.expectEqual();
    expect(await b.selectFrom('counter').select('n').executeTakeFirst()).toEqual({ n: 11 });
  });

  it('ends a transaction that waits for the root handle, or that nobody ends', async () => {
    await startMigrated({ idleTimeout: 1_000 });
    const waiting = a.transaction().execute(async (trx) => {
      await trx.insertInto('author').values({ name: 'inside' }).execute();
      // It waits for its turn, which this transaction has.
      await a.insertInto('author').values({ name: 'outside' }).execute();
      await trx.insertInto('author').values({ name: 'behind' }).execute();
    });
    const error = await failureOf(waiting);
    expect(error.code).toBe('HA_TRANSACTION_TIMEOUT');
    expect(error.message).toContain('1000 ms');
    const forgotten = await a.startTransaction().execute();
    await forgotten.insertInto('author').values({ name: 'forgotten' }).execute();
    await b.insertInto('author').values({ name: 'meanwhile' }).execute();
    await a.insertInto('author').values({ name: 'next' }).execute();
    expect((await failureOf(forgotten.commit().execute())).code).toBe('HA_TRANSACTION_TIMEOUT');
    await cluster.expectEqual();
    const names = (await b.selectFrom('author').select('name').orderBy('name').execute()).map(({ name }) => name);
    expect(names).toEqual(['meanwhile', 'next', 'outside']);
  });

  it('says what is wrong: a closed database, a destroyed Kysely, transaction control by hand', async () => {
    await startMigrated();
    expect((await failureOf(sql`COMMIT`.execute(a))).code).toBe('HA_TRANSACTION_CONTROL');
    // A transaction begun on a connection that is given back is rolled back.
    await sql`BEGIN`.execute(a);
    await a.insertInto('author').values({ name: 'free' }).execute();
    await a.destroy();
    expect((await failureOf(a.selectFrom('author').selectAll().execute())).message).toContain('destroyed');
    expect(await cluster.a.all('SELECT name FROM author')).toEqual([{ name: 'free' }]);
    await cluster.expectEqual();
    await cluster.b.close();
    expect((await failureOf(b.selectFrom('author').selectAll().execute())).code).toBe('HA_UNAVAILABLE');
  });

  it('has its transactions at the leader on a follower', async () => {
    const nodes = await LeaderCluster.start({ nodes: 2 });
    const db = over(nodes.follower.db);
    await migrate(db);
    const names = await db.transaction().execute(async (trx) => {
      await trx.insertInto('author').values({ name: 'first' }).execute();
      const savepoint = (await db.selectFrom('author').selectAll().execute()).length;
      const { insertId } = await trx.insertInto('author').values({ name: 'second' }).executeTakeFirstOrThrow();
      await trx
        .insertInto('book')
        .values({ author_id: Number(insertId), title: 't', copies: savepoint })
        .execute();
      const rows: string[] = [];
      for await (const { name } of trx.selectFrom('author').select('name').stream()) rows.push(name);
      return rows;
    });
    expect(names).toEqual(['first', 'second']);
    expect(await db.selectFrom('book').select(['author_id', 'copies']).execute()).toEqual([
      { author_id: 2, copies: 0 },
    ]);
    await nodes.expectEqual();
    nodes.expectOneWriterAtATime();
  });

  it('is injected in a Nest application as a provider over the database of HAModule', async () => {
    await start();
    const path = `${temporaryFolder()}/app.db`;
    const dsn = `file:${path}?name=app&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}`;
    @Injectable()
    class Authors {
      constructor(@Inject(Kysely) private readonly db: Kysely<Schema>) {}

      async onModuleInit(): Promise<void> {
        await migrate(this.db);
      }

      add(...names: string[]): Promise<string[]> {
        return this.db.transaction().execute(async (trx: Transaction<Schema>) => {
          for (const name of names) await trx.insertInto('author').values({ name }).execute();
          return (await trx.selectFrom('author').select('name').execute()).map(({ name }) => name);
        });
      }
    }
    @Module({
      imports: [HAModule.forRoot(dsn)],
      providers: [Authors, { provide: Kysely, useFactory: (db: HADatabase) => over(db), inject: [getHAToken()] }],
    })
    class App {}
    const app = await startApp(App);
    expect(await app.get(Authors).add('Octavia', 'Stanisław')).toEqual(['Octavia', 'Stanisław']);
    await cluster.expectEqual();
    expect(await a.selectFrom('author').select('name').execute()).toHaveLength(2);
  });
});

async function increment(trx: Transaction<Schema>): Promise<void> {
  const { n } = await trx.selectFrom('counter').select('n').executeTakeFirstOrThrow();
  await trx
    .updateTable('counter')
    .set({ n: n + 1 })
    .execute();
}

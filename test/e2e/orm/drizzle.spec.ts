import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Inject, Injectable, Module } from '@nestjs/common';
import { asc, count, eq, relations, sql, TransactionRollbackError } from 'drizzle-orm';
import { blob, customType, integer, real, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import { isRetryable } from '../../../lib/common/retryable.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { HAModule } from '../../../lib/ha.module.js';
import { drizzle, migrate } from '../../../lib/orm/drizzle.js';
import type { HADrizzleConfig, HADrizzleDatabase } from '../../../lib/orm/drizzle.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, until, startCluster, temporaryFolder } from '../../helper/cluster.js';
import { startApp } from '../../helper/nest-app.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

/** 64 bits, which Drizzle has no column for. */
const int64 = customType<{ data: bigint; driverData: bigint | number }>({
  dataType: () => 'integer',
  fromDriver: (value) => BigInt(value),
});

const authors = sqliteTable('author', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  name: text('name').notNull().unique(),
});
const books = sqliteTable('book', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  authorId: integer('author_id')
    .notNull()
    .references(() => authors.id, { onDelete: 'cascade' }),
  title: text('title').notNull(),
  cover: blob('cover', { mode: 'buffer' }),
  published: integer('published', { mode: 'timestamp_ms' }),
  lent: integer('lent', { mode: 'boolean' }).notNull().default(false),
  copies: int64('copies').notNull().default(0n),
  tags: text('tags', { mode: 'json' }).$type<string[]>(),
  price: real('price'),
});
const counters = sqliteTable('counter', { id: integer('id').primaryKey(), n: integer('n').notNull() });
const schema = {
  authors,
  books,
  counters,
  authorRelations: relations(authors, ({ many }) => ({ books: many(books) })),
  bookRelations: relations(books, ({ one }) => ({
    author: one(authors, { fields: [books.authorId], references: [authors.id] }),
  })),
};
type Orm = HADrizzleDatabase<typeof schema>;
type Tx = Parameters<Parameters<Orm['transaction']>[0]>[0];

const BREAK = '\n--> statement-breakpoint\n';
const FILES: Record<string, string> = {
  '0000_first': [
    'CREATE TABLE `author` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` text NOT NULL);',
    'CREATE UNIQUE INDEX `author_name_unique` ON `author` (`name`);',
    'CREATE TABLE `counter` (`id` integer PRIMARY KEY NOT NULL, `n` integer NOT NULL);',
    'INSERT INTO `counter` VALUES (1, 0);',
  ].join(BREAK),
  '0001_second': [
    'PRAGMA foreign_keys=OFF;',
    'CREATE TABLE `book` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `author_id` integer NOT NULL, `title` text NOT NULL, ' +
      '`cover` blob, `published` integer, `lent` integer DEFAULT false NOT NULL, `copies` integer DEFAULT 0 NOT NULL, `tags` text, ' +
      '`price` real, FOREIGN KEY (`author_id`) REFERENCES `author`(`id`) ON UPDATE no action ON DELETE cascade);',
    'PRAGMA foreign_keys=ON;',
  ].join(BREAK),
};

/** Files as drizzle-kit makes them. */
function migrations(files = FILES): string {
  const folder = temporaryFolder();
  mkdirSync(`${folder}/meta`);
  const entries = Object.keys(files).map((tag, idx) => ({
    idx,
    version: '6',
    when: 1_700_000_000_000 + idx,
    tag,
    breakpoints: true,
  }));
  writeFileSync(`${folder}/meta/_journal.json`, JSON.stringify({ version: '7', dialect: 'sqlite', entries }));
  for (const [tag, text] of Object.entries(files)) writeFileSync(`${folder}/${tag}.sql`, text);
  return folder;
}

function over(db: HADatabase, config: HADrizzleConfig<typeof schema> = {}): Orm {
  return drizzle(db, { schema, ...config });
}

/** What Drizzle's own error wraps. */
async function causeOf(call: Promise<unknown>): Promise<unknown> {
  return (await failureOf(call)).cause;
}

describe('Drizzle', () => {
  let cluster: Cluster;
  let a: Orm;
  let b: Orm;

  async function start(config?: HADrizzleConfig<typeof schema>): Promise<void> {
    cluster = await startCluster({ query: '_foreign_keys=on' });
    a = over(cluster.a, config);
    b = over(cluster.b, config);
  }

  async function startMigrated(config?: HADrizzleConfig<typeof schema>): Promise<void> {
    await start(config);
    await migrate(a, { migrationsFolder: migrations() });
    await cluster.settle();
  }

  it('migrates from both nodes at once, once each, and again without a message', async () => {
    await start();
    const migrationsFolder = migrations();
    await Promise.all([migrate(a, { migrationsFolder }), migrate(b, { migrationsFolder })]);
    await cluster.expectEqual();
    for (const orm of [a, b]) {
      expect(await orm.select({ n: count() }).from(sql`__drizzle_migrations`)).toEqual([{ n: 2 }]);
      expect(await orm.select().from(counters)).toEqual([{ id: 1, n: 0 }]);
    }
    const before = await cluster.lastSequence();
    await migrate(b, { migrationsFolder });
    expect(await cluster.lastSequence()).toBe(before);
    const files = cluster.nodes.flatMap(({ path }) => readdirSync(dirname(path)));
    expect(files.filter((file) => !/^n\d+\.db/.test(file))).toEqual([]);
  });

  it('leaves nothing of migrations of which one fails', async () => {
    await start();
    const failing = migrations({
      ...FILES,
      '0002_failing': `CREATE TABLE half(id)${BREAK}INSERT INTO missing VALUES(1)`,
    });
    const error = await failureOf(migrate(a, { migrationsFolder: failing }));
    expect(String((error.cause as Error | undefined)?.message)).toContain('no such table: missing');
    expect(
      await cluster.a.all("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'ha_%' AND name NOT LIKE 'sqlite_%'"),
    ).toEqual([]);
    expect((await failureOf(migrate(a, { migrationsFolder: '/nowhere' }))).message).toContain('_journal.json');
    await migrate(a, { migrationsFolder: migrations() });
    await cluster.expectEqual();
  });

  it('builds a table anew without losing the rows that refer to it, and refuses rows that refer to nothing', async () => {
    await startMigrated();
    await a.insert(authors).values({ name: 'Ursula' });
    await a.insert(books).values({ authorId: 1, title: 'The Dispossessed' });
    const rebuilt = [
      'PRAGMA foreign_keys=OFF;',
      'CREATE TABLE `__new_author` (`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL, `name` text NOT NULL, `born` integer);',
      'INSERT INTO `__new_author`("id", "name") SELECT "id", "name" FROM `author`;',
      'DROP TABLE `author`;',
      'ALTER TABLE `__new_author` RENAME TO `author`;',
      'PRAGMA foreign_keys=ON;',
    ].join(BREAK);
    const lost = `PRAGMA foreign_keys=OFF;${BREAK}DELETE FROM author;`;
    const failing = migrate(a, {
      migrationsFolder: migrations({ ...FILES, '0002_rebuilt': rebuilt, '0003_lost': lost }),
    });
    expect(await failureOf(failing)).toMatchObject({
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
      message: expect.stringContaining('row 1 of book in author'),
    });
    const migrationsFolder = migrations({ ...FILES, '0002_rebuilt': rebuilt });
    await Promise.all([migrate(a, { migrationsFolder }), migrate(b, { migrationsFolder })]);
    await cluster.expectEqual();
    expect(await b.all(sql`SELECT * FROM author`)).toEqual([{ id: 1, name: 'Ursula', born: null }]);
    expect(await b.$count(books)).toBe(1);
    expect(await causeOf(b.insert(books).values({ authorId: 9, title: 'x' }).execute())).toMatchObject({
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    });
  });

  it('reads and writes rows of every kind, with relations, RETURNING and results as of better-sqlite3', async () => {
    await startMigrated();
    expect(await a.insert(authors).values({ name: 'Ursula' })).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    const published = new Date('1974-05-01T12:34:56.789Z');
    const row = {
      authorId: 1,
      title: 'The Dispossessed',
      cover: Buffer.from([0, 1, 255]),
      published,
      lent: true,
      copies: 7n,
      tags: ['Anarres', 'Urras'],
      price: 12.5,
    };
    expect(await a.insert(books).values(row).returning()).toEqual([{ id: 1, ...row }]);
    expect(await a.update(books).set({ lent: false }).where(eq(books.id, 1))).toMatchObject({ changes: 1 });
    await cluster.settle();
    expect(
      await b.query.authors.findFirst({ with: { books: { columns: { title: true, lent: true, cover: false } } } }),
    ).toEqual({
      id: 1,
      name: 'Ursula',
      books: [{ title: 'The Dispossessed', lent: false }],
    });
    expect(
      await b
        .select({ name: authors.name, title: books.title, published: books.published })
        .from(books)
        .innerJoin(authors, eq(authors.id, books.authorId)),
    ).toEqual([{ name: 'Ursula', title: 'The Dispossessed', published }]);
    expect(await b.$count(books)).toBe(1);
    expect(await b.get(sql`SELECT id, id AS id2 FROM ${books}`)).toEqual({ id: 1, id2: 1 });
    expect(await b.all(sql`SELECT title FROM ${books}`)).toEqual([{ title: 'The Dispossessed' }]);
    expect(await b.values(sql`SELECT id, id FROM ${books}`)).toEqual([[1, 1]]);
    const prepared = b
      .select()
      .from(authors)
      .where(eq(authors.id, sql.placeholder('id')))
      .prepare();
    expect([await prepared.get({ id: 1 }), await prepared.get({ id: 2 })]).toEqual([
      { id: 1, name: 'Ursula' },
      undefined,
    ]);
    const foreign = a.insert(books).values({ authorId: 77, title: 'x' });
    expect(await causeOf(foreign.execute())).toMatchObject({
      name: 'SqliteError',
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    });
    expect(await b.delete(authors)).toMatchObject({ changes: 1 });
    expect(await b.select().from(books)).toEqual([]);
    await cluster.expectEqual();
  });

  it('keeps integers beyond 2^53 with exactIntegers, and leaves all others numbers', async () => {
    await startMigrated({ exactIntegers: true });
    const exact = 2n ** 53n + 1n;
    const result = await a.run(sql`INSERT INTO author VALUES(${exact}, 'far')`);
    expect(result).toMatchObject({ changes: 1, lastInsertRowid: exact });
    const published = new Date(1_234);
    await a
      .insert(books)
      .values({ id: 5, authorId: exact as unknown as number, title: 't', copies: 2n ** 62n, published, lent: true });
    await cluster.settle();
    expect(await b.select().from(books)).toMatchObject([
      { id: 5, authorId: exact, copies: 2n ** 62n, published, lent: true },
    ]);
    expect(await b.get(sql`SELECT id, author_id, price FROM book`)).toEqual({ id: 5, author_id: exact, price: null });
    const plain = over(cluster.b);
    expect(
      await plain
        .select({ copies: books.copies, id: authors.id })
        .from(books)
        .innerJoin(authors, sql`1`),
    ).toEqual([{ copies: 2n ** 62n, id: 2 ** 53 }]);
    await cluster.expectEqual();
  });

  it('inserts 10,000 rows', async () => {
    await startMigrated();
    await a.insert(authors).values({ name: 'all' });
    await a.transaction(
      async (tx) => {
        for (let at = 0; at < 10_000; at += 1_000) {
          await tx
            .insert(books)
            .values(Array.from({ length: 1_000 }, (_, i) => ({ authorId: 1, title: `book ${at + i}` })));
        }
      },
      { timeout: 60_000 },
    );
    await cluster.expectEqual();
    expect(await b.$count(books)).toBe(10_000);
    expect(await b.query.books.findMany({ orderBy: asc(books.id), limit: 1, offset: 9_999 })).toMatchObject([
      { id: 10_000, title: 'book 9999' },
    ]);
  });

  it('nests transactions by savepoints, and rolls back', async () => {
    await startMigrated();
    const thrown = new Error('mine');
    const names = await a.transaction(async (tx) => {
      await tx.insert(authors).values({ name: 'kept' });
      const inner = tx.transaction(async (nested) => {
        await nested.insert(authors).values({ name: 'taken back' });
        expect(await nested.query.authors.findMany({ columns: { name: true } })).toHaveLength(2);
        throw thrown;
      });
      expect(await failureOf(inner)).toBe(thrown);
      await tx.transaction((nested) => nested.transaction((deep) => deep.insert(authors).values({ name: 'deep' })));
      return (await tx.select().from(authors)).map(({ name }) => name);
    });
    expect(names).toEqual(['kept', 'deep']);
    const rolledBack = a.transaction(async (tx) => {
      await tx.delete(authors);
      tx.rollback();
    });
    expect(await failureOf(rolledBack)).toBeInstanceOf(TransactionRollbackError);
    await cluster.expectEqual();
    expect(await b.$count(authors)).toBe(2);
  });

  it('refuses nested transactions at once of which one fails', async () => {
    await startMigrated();
    let second: unknown;
    const outer = a.transaction(async (tx) => {
      let fail = (): void => undefined;
      const over = new Promise<void>((resolve) => (fail = resolve));
      const first = tx.transaction(async (nested) => {
        await nested.insert(authors).values({ name: 'first' });
        await over;
        throw new Error('mine');
      });
      second = await tx.transaction((nested) => nested.insert(authors).values({ name: 'second' }));
      fail();
      await failureOf(first);
    });
    expect(await failureOf(outer)).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
    expect(second).toMatchObject({ changes: 1 });
    expect(await a.$count(authors)).toBe(0);
    await cluster.expectEqual();
  });

  it('loses no update of 50 concurrent read-modify-writes, of one node or two, and runs again by itself', async () => {
    await startMigrated();
    await Promise.all(Array.from({ length: 50 }, () => a.transaction((tx) => increment(tx))));
    expect(await a.select().from(counters)).toEqual([{ id: 1, n: 50 }]);
    await cluster.settle();
    const both = Array.from({ length: 20 }, (_, i) =>
      (i % 2 === 0 ? a : b).transaction((tx) => increment(tx), { behavior: 'exclusive', timeout: 30_000 }),
    );
    await Promise.all(both);
    await cluster.expectEqual();
    expect(await b.select().from(counters)).toEqual([{ id: 1, n: 70 }]);
  });

  it('runs again where another node came first, or fails with a retryable conflict where it may not', async () => {
    await startMigrated();
    let runs = 0;
    const overtaken = async (tx: Tx): Promise<void> => {
      const [row] = await tx.select().from(counters);
      if (runs++ === 0) await b.update(counters).set({ n: (row?.n ?? 0) + 10 });
      await increment(tx);
    };
    await a.transaction(overtaken, { behavior: 'exclusive', timeout: 30_000 });
    expect(runs).toBe(2);
    runs = 0;
    const error = await failureOf(a.transaction(overtaken, { serializable: true, retry: false, timeout: 30_000 }));
    expect(error).toMatchObject({ code: 'HA_CONFLICT' });
    expect(isRetryable(error)).toBe(true);
    await a.transaction(overtaken, { serializable: true, retry: false });
    await cluster.expectEqual();
    expect(await a.select().from(counters)).toEqual([{ id: 1, n: 22 }]);
  });

  it('refuses the database inside a transaction, and ends one that nobody ends', async () => {
    await startMigrated();
    const nested = a.transaction(async (tx) => {
      await tx.insert(authors).values({ name: 'inside' });
      await a.insert(authors).values({ name: 'outside' });
    });
    expect(await causeOf(nested)).toMatchObject({ code: 'HA_NESTED_TRANSACTION' });
    let late: Promise<Error> | undefined;
    let goOn = (): void => undefined;
    const isOver = new Promise<void>((resolve) => (goOn = resolve));
    const endless = a.transaction(
      async (tx) => {
        await tx.insert(authors).values({ name: 'late' });
        await isOver;
        late = failureOf(tx.insert(authors).values({ name: 'later' }).execute());
        await late;
      },
      { timeout: 1_000 },
    );
    expect(await failureOf(endless)).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    goOn();
    await until(() => late !== undefined);
    expect((await late)?.cause).toMatchObject({ code: 'HA_TRANSACTION_CLOSED' });
    expect(await causeOf(a.run(sql`BEGIN`).execute())).toMatchObject({ code: 'HA_TRANSACTION_CONTROL' });
    await cluster.expectEqual();
    expect(await b.$count(authors)).toBe(0);
    await cluster.b.close();
    expect(await causeOf(b.select().from(authors).execute())).toMatchObject({ code: 'HA_UNAVAILABLE' });
  });

  it('has its transactions at the leader on a follower', async () => {
    const nodes = await LeaderCluster.start({ nodes: 2 });
    const orm = over(nodes.follower.db);
    await migrate(orm, { migrationsFolder: migrations() });
    const names = await orm.transaction(async (tx) => {
      await tx.insert(authors).values({ name: 'first' });
      await tx.transaction((inner) => inner.insert(authors).values({ name: 'second' }));
      await failureOf(
        tx.transaction(async (inner) => {
          await inner.insert(authors).values({ name: 'third' });
          inner.rollback();
        }),
      );
      return (await tx.select().from(authors)).map(({ name }) => name);
    });
    expect(names).toEqual(['first', 'second']);
    expect(await orm.$count(authors)).toBe(2);
    await nodes.expectEqual();
    nodes.expectOneWriterAtATime();
  });

  it('is injected in a Nest application as a provider over the database of HAModule', async () => {
    await start();
    const path = `${temporaryFolder()}/app.db`;
    const dsn = `file:${path}?name=app&replicationID=db&replicationStream=${cluster.stream}&replicationURL=${cluster.url}`;
    const DRIZZLE = Symbol('drizzle');
    const migrationsFolder = migrations();
    @Injectable()
    class Authors {
      constructor(@Inject(DRIZZLE) private readonly orm: Orm) {}

      async onModuleInit(): Promise<void> {
        await migrate(this.orm, { migrationsFolder });
      }

      add(name: string): Promise<{ id: number }[]> {
        return this.orm.insert(authors).values({ name }).returning({ id: authors.id });
      }
    }
    @Module({
      imports: [HAModule.forRoot(dsn)],
      providers: [Authors, { provide: DRIZZLE, useFactory: (db: HADatabase) => over(db), inject: [getHAToken()] }],
    })
    class App {}
    const app = await startApp(App);
    expect(await app.get(Authors).add('Octavia')).toEqual([{ id: 1 }]);
    await cluster.expectEqual();
    expect(await a.query.authors.findMany()).toEqual([{ id: 1, name: 'Octavia' }]);
  });
});

async function increment(tx: Tx): Promise<void> {
  const [row] = await tx.select().from(counters);
  await tx.update(counters).set({ n: (row?.n ?? 0) + 1 });
}

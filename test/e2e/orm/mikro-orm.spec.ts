import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { BetterSqliteKnexDialect, EntitySchema, MikroORM } from '@mikro-orm/better-sqlite';
import type { Options } from '@mikro-orm/better-sqlite';
import { Collection, LockMode, OptimisticLockError, UniqueConstraintViolationException } from '@mikro-orm/core';
import { Injectable, Module } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import createKnex from 'knex';
import { retryTransaction } from '../../../lib/common/retry-transaction.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { haKnexClient } from '../../../lib/orm/knex.js';
import type { HAKnexOptions } from '../../../lib/orm/knex.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

class Author {
  id!: number;
  version!: number;
  name!: string;
  balance = 0;
  born?: Date | null;
  picture?: Buffer | null;
  big?: bigint | null;
  active = true;
  doc?: unknown;
  books = new Collection<Book>(this);

  constructor(name: string) {
    this.name = name;
  }
}

class Book {
  id!: number;
  author?: Author;
  tags = new Collection<Tag>(this);

  constructor(public title: string) {}
}

class Tag {
  id!: number;

  constructor(public label: string) {}
}

const entities = [
  new EntitySchema<Author>({
    class: Author,
    properties: {
      id: { type: 'number', primary: true },
      version: { type: 'number', version: true },
      name: { type: 'string', unique: true },
      balance: { type: 'number', default: 0 },
      born: { type: 'Date', nullable: true },
      picture: { type: 'blob', nullable: true },
      big: { type: 'bigint', nullable: true },
      active: { type: 'boolean', default: true },
      doc: { type: 'json', nullable: true },
      books: { kind: '1:m', entity: () => Book, mappedBy: 'author', orphanRemoval: true },
    },
  }),
  new EntitySchema<Book>({
    class: Book,
    properties: {
      id: { type: 'number', primary: true },
      title: { type: 'string' },
      author: { kind: 'm:1', entity: () => Author, deleteRule: 'cascade', nullable: true },
      tags: { kind: 'm:n', entity: () => Tag, owner: true },
    },
  }),
  new EntitySchema<Tag>({
    class: Tag,
    properties: { id: { type: 'number', primary: true }, label: { type: 'string' } },
  }),
];

function optionsOf(db: HADatabase, options?: HAKnexOptions): Options {
  return {
    dbName: '.',
    entities,
    driverOptions: { client: haKnexClient(db, { ...options, client: BetterSqliteKnexDialect }) },
    discovery: { disableDynamicFileAccess: true },
  };
}

async function over(db: HADatabase, options?: HAKnexOptions): Promise<MikroORM> {
  const orm = await MikroORM.init(optionsOf(db, options));
  onCleanup(() => orm.close());
  return orm;
}

/** Brings the schema up to date, also where another node does so at the same time. */
async function updateSchema(orm: MikroORM, db: HADatabase): Promise<void> {
  for (;;) {
    const script = await orm.schema.getUpdateSchemaSQL();
    if (script.trim() === '') return;
    try {
      await db.exec(script);
    } catch (error) {
      if (!/already exists/.test(String(error))) throw error;
    }
  }
}

async function both(options?: HAKnexOptions): Promise<{ cluster: Cluster; one: MikroORM; two: MikroORM }> {
  const cluster = await startCluster();
  const [one, two] = await Promise.all([over(cluster.a, options), over(cluster.b, options)]);
  await Promise.all([updateSchema(one, cluster.a), updateSchema(two, cluster.b)]);
  await cluster.settle();
  return { cluster, one, two };
}

describe('MikroORM over two nodes', () => {
  it('makes its tables on both at once, with entities and relations that both have', async () => {
    const { cluster, one, two } = await both();
    const files = readdirSync(dirname(cluster.node(0).path));
    const em = one.em.fork();
    const author = new Author('a');
    const book = new Book('M');
    book.tags.add(new Tag('x'), new Tag('y'));
    author.books.add(book, new Book('N'));
    await em.persist(author).flush();
    expect(author.id).toBe(1);
    await cluster.settle();
    const there = two.em.fork();
    const found = await there.findOneOrFail(Author, { name: 'a' }, { populate: ['books.tags'] as never });
    expect(found.books.getItems().map(({ title }) => title)).toEqual(['M', 'N']);
    expect(found.books[0]?.tags.getItems().map(({ label }) => label)).toEqual(['x', 'y']);
    found.balance = 4;
    found.books.remove(found.books[1] as Book);
    await there.flush();
    expect(found.version).toBe(2);
    await cluster.settle();
    expect(await one.em.fork().count(Book)).toBe(1);
    expect(await one.em.fork().nativeUpdate(Author, { name: 'a' }, { balance: 9 })).toBe(1);
    expect(await one.em.fork().createQueryBuilder(Author, 'a').select('a.balance').execute()).toEqual([{ balance: 9 }]);
    expect(await one.em.fork().nativeDelete(Author, {})).toBe(1);
    expect(await one.em.fork().count(Book)).toBe(0);
    expect(readdirSync(dirname(cluster.node(0).path))).toEqual(files);
    await cluster.expectEqual();
  });

  it('inserts 10,000 entities in one flush, and knows their ids', async () => {
    const { cluster, one } = await both();
    const em = one.em.fork();
    const authors = Array.from({ length: 10_000 }, (_, index) => new Author(`n${index}`));
    await em.persist(authors).flush();
    expect(authors.map(({ id }) => id)).toEqual(Array.from({ length: 10_000 }, (_, index) => index + 1));
    await cluster.expectEqual();
  });

  it('keeps BLOBs, integers beyond 2^53, dates, JSON and nothing', async () => {
    const { cluster, one } = await both({ safeIntegers: true });
    const em = one.em.fork();
    const author = new Author('a');
    const born = new Date('2024-02-29T12:34:56.789Z');
    const big = 9_007_199_254_740_993n;
    Object.assign(author, { born, big, picture: Buffer.from([0, 255]), doc: { a: [1] }, active: false });
    await em.persist(author).flush();
    const { rows } = await cluster.a.execute('SELECT * FROM author', [], { safeIntegers: true });
    expect(rows).toEqual([
      expect.objectContaining({ big, born: BigInt(born.valueOf()), picture: Buffer.from([0, 255]) }),
    ]);
    const found = await one.em.fork().findOneOrFail(Author, { name: 'a' });
    expect(found.big).toBe(big);
    expect(found.doc).toEqual({ a: [1] });
    expect(Buffer.from(found.picture as Buffer)).toEqual(Buffer.from([0, 255]));
    await cluster.expectEqual();
  });

  it('commits and rolls back, with savepoints', async () => {
    const { cluster, one } = await both();
    await one.em.fork().transactional(async (em) => {
      em.persist(new Author('kept'));
      await em.flush();
      const inner = em.transactional(async (nested) => {
        await nested.persist(new Author('lost')).flush();
        throw new Error('no');
      });
      await expect(inner).rejects.toThrow('no');
    });
    const failing = one.em.fork().transactional(async (em) => {
      await em.persist(new Author('lost')).flush();
      await em.persist(new Author('kept')).flush();
    });
    expect(await failureOf(failing)).toBeInstanceOf(UniqueConstraintViolationException);
    const em = one.em.fork();
    await em.begin();
    await em.persist(new Author('kept too')).flush();
    await em.commit();
    expect((await one.em.fork().findAll(Author, { orderBy: { id: 1 } })).map(({ name }) => name)).toEqual([
      'kept',
      'kept too',
    ]);
    await cluster.expectEqual();
  });

  it('counts exactly what 50 transactions at once read and write', async () => {
    const { cluster, one, two } = await both();
    await one.em.fork().persist(new Author('a')).flush();
    await cluster.settle();
    const add = (orm: MikroORM): Promise<void> =>
      orm.em.fork().transactional(
        async (em) => {
          const author = await em.findOneOrFail(Author, { name: 'a' }, { lockMode: LockMode.NONE });
          author.balance++;
        },
        { isolationLevel: 'serializable' as never },
      );
    await Promise.all(
      Array.from({ length: 50 }, (_, index) => retryTransaction(() => add(index % 2 === 0 ? one : two))),
    );
    await cluster.settle();
    expect((await two.em.fork().findOneOrFail(Author, { name: 'a' })).balance).toBe(50);
    await cluster.expectEqual();
  });

  it('finds that others have changed an entity by its version', async () => {
    const { cluster, one, two } = await both();
    await one.em.fork().persist(new Author('a')).flush();
    await cluster.settle();
    const [here, there] = [one.em.fork(), two.em.fork()];
    const stale = await here.findOneOrFail(Author, 1);
    (await there.findOneOrFail(Author, 1)).balance = 1;
    await there.flush();
    await cluster.settle();
    stale.balance = 2;
    expect(await failureOf(here.flush())).toBeInstanceOf(OptimisticLockError);
    await cluster.expectEqual();
  });

  it('drops and makes its schema anew, with foreign keys as they were', async () => {
    const { cluster, one } = await both();
    const em = one.em.fork();
    const author = new Author('a');
    author.books.add(new Book('M'));
    await em.persist(author).flush();
    await one.schema.clearDatabase();
    expect(await one.em.fork().count(Author)).toBe(0);
    await one.schema.dropSchema();
    await one.schema.createSchema();
    const knex = one.em.getKnex();
    expect(await knex.raw('PRAGMA foreign_keys')).toEqual([{ foreign_keys: 1 }]);
    expect(await failureOf(Promise.resolve(knex('book').insert({ title: 'x', author_id: 9 })))).toMatchObject({
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    });
    await cluster.expectEqual();
  });
});

describe('The schema generator of MikroORM', () => {
  it('sees no table of replication, and what is left over beside its own', async () => {
    const { cluster, one } = await both();
    const own = await cluster.a.all("SELECT name FROM sqlite_schema WHERE name LIKE 'ha!_%' ESCAPE '!'");
    expect(own.length).toBeGreaterThan(0);
    expect(await one.schema.getUpdateSchemaSQL()).toBe('');
    expect(await one.schema.getUpdateSchemaMigrationSQL()).toEqual({ up: '', down: '' });
    await cluster.a.exec('CREATE TABLE left_over(id INTEGER PRIMARY KEY)');
    expect((await one.schema.getUpdateSchemaSQL({ wrap: false })).trim()).toBe('drop table if exists `left_over`;');
    await one.schema.updateSchema();
    expect(await one.schema.getUpdateSchemaSQL()).toBe('');
    await one.em.fork().persist(new Author('a')).flush();
    expect(await one.schema.getDropSchemaSQL({ dropMigrationsTable: true })).not.toContain('ha_');
    await one.schema.dropSchema({ dropMigrationsTable: true });
    await one.schema.refreshDatabase();
    await one.em.fork().persist(new Author('b')).flush();
    await cluster.expectEqual();
    expect(await cluster.b.all("SELECT name FROM sqlite_schema WHERE name LIKE 'ha!_%' ESCAPE '!'")).toEqual(own);
    expect(await cluster.b.all('SELECT name FROM author')).toEqual([{ name: 'b' }]);
  });
});

describe('What goes wrong with MikroORM', () => {
  it('opens nothing where Knex is another copy, whose instances it does not know', async () => {
    const cluster = await startCluster();
    const foreign = createKnex({ client: haKnexClient(cluster.a), useNullAsDefault: true });
    onCleanup(() => foreign.destroy());
    const before = readdirSync('.');
    const orm = MikroORM.init({ ...optionsOf(cluster.a), driverOptions: foreign as never, connect: true });
    const failure = await orm.then(
      async (made) => {
        onCleanup(() => made.close());
        return failureOf(made.em.fork().getConnection().execute('CREATE TABLE past_it(a)'));
      },
      (error: Error) => error,
    );
    expect(failure.message).toContain('unable to open database file');
    expect(readdirSync('.')).toEqual(before);
  });

  it('ends a transaction in which somebody writes past it and waits', async () => {
    const { cluster, one } = await both({ idleTimeout: 1_000 });
    const failure = await failureOf(
      one.em.fork().transactional(async (em) => {
        await em.persist(new Author('a')).flush();
        await one.em.fork().persist(new Author('past it')).flush();
      }),
    );
    expect(failure).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    expect((await one.em.fork().findAll(Author)).map(({ name }) => name)).toEqual(['past it']);
    await cluster.expectEqual();
  });

  it('fails where the database is closed', async () => {
    const { cluster, one } = await both();
    await cluster.a.close();
    expect(await failureOf(one.em.fork().count(Author))).toMatchObject({ code: 'HA_UNAVAILABLE' });
  });
});

it('runs transactions at the leader where its node is a follower', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const { db } = cluster.follower;
  const orm = await over(db);
  await updateSchema(orm, db);
  await until(async () => (await orm.schema.getUpdateSchemaSQL()).trim() === '');
  await orm.em.fork().transactional(async (em) => {
    const author = new Author('a');
    author.books.add(new Book('M'));
    await em.persist(author).flush();
    const failing = em.transactional(async (nested) => {
      await nested.persist(new Author('taken back')).flush();
      await nested.persist(new Author('a')).flush();
    });
    expect(await failureOf(failing)).toBeInstanceOf(UniqueConstraintViolationException);
    author.balance = 7;
    await em.flush();
    // Its own rows, which no other node has yet.
    expect(await em.count(Author)).toBe(1);
    expect(await cluster.leader?.db.get('SELECT count(*) AS n FROM author')).toEqual({ n: 0 });
  });
  const failing = orm.em.fork().transactional(async (em) => {
    await em.persist(new Author('lost')).flush();
    throw new Error('no');
  });
  expect((await failureOf(failing)).message).toBe('no');
  await until(async () => (await orm.em.fork().count(Author)) > 0);
  const [found, ...others] = await orm.em.fork().findAll(Author, { populate: ['books'] });
  expect(found).toMatchObject({ name: 'a', balance: 7 });
  expect(found?.books.getItems()).toMatchObject([{ title: 'M' }]);
  expect(others).toEqual([]);
  await cluster.expectEqual();
  cluster.expectOneWriterAtATime();
});

@Injectable()
class Authors {
  constructor(readonly orm: MikroORM) {}

  async add(name: string): Promise<number> {
    const author = new Author(name);
    await this.orm.em.fork().persist(author).flush();
    return author.id;
  }

  onModuleDestroy(): Promise<void> {
    return this.orm.close();
  }
}

@Module({
  imports: [HATestingModule.forRoot()],
  providers: [
    Authors,
    {
      provide: MikroORM,
      inject: [getHAToken()],
      useFactory: (db: HADatabase) => MikroORM.init(optionsOf(db)),
    },
  ],
})
class AppModule {}

it('is a provider of a Nest application', async () => {
  const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
  await app.init();
  onCleanup(() => app.close());
  await app.get(MikroORM).schema.createSchema();
  expect(await app.get(Authors).add('a')).toBe(1);
  expect(await app.get<HADatabase>(getHAToken()).all('SELECT name FROM author')).toEqual([{ name: 'a' }]);
});

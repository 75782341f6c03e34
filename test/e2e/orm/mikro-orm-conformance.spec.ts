import { BetterSqliteKnexDialect, EntitySchema, MikroORM, raw } from '@mikro-orm/better-sqlite';
import type { EntityManager, SqlEntityManager, Options } from '@mikro-orm/better-sqlite';
import { Collection } from '@mikro-orm/core';
import { haKnexClient } from '../../../lib/orm/knex.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { expectInReadme, outcomes } from './conformance.js';
import type { Check } from './conformance.js';

class Author {
  id!: number;
  version!: number;
  age?: number | null;
  born?: Date | null;
  picture?: Buffer | null;
  big?: string | null;
  price?: number | null;
  active = true;
  doc?: unknown;
  kind?: string | null;
  books = new Collection<Book>(this);

  constructor(public name: string) {}
}

class Book {
  id!: number;
  author?: Author | null;
  tags = new Collection<Tag>(this);

  constructor(public title: string) {}
}

class Tag {
  constructor(public label: string) {}
}

const entities = [
  new EntitySchema<Author>({
    class: Author,
    properties: {
      id: { type: 'number', primary: true },
      version: { type: 'number', version: true },
      name: { type: 'string', unique: true },
      age: { type: 'number', nullable: true },
      born: { type: 'Date', nullable: true },
      picture: { type: 'blob', nullable: true },
      big: { type: 'bigint', nullable: true, runtimeType: 'string' },
      price: { type: 'double', nullable: true },
      active: { type: 'boolean', default: true },
      doc: { type: 'json', nullable: true },
      kind: { enum: true, items: ['x', 'y'], nullable: true },
      books: { kind: '1:m', entity: () => Book, mappedBy: 'author' },
    },
    indexes: [{ properties: ['age', 'kind'] }],
    checks: [{ expression: 'age >= 0', property: 'age' }],
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
  new EntitySchema<Tag>({ class: Tag, properties: { label: { type: 'string', primary: true } } }),
];

const COMMON: Options = {
  entities,
  discovery: { disableDynamicFileAccess: true },
};

async function fresh(orm: MikroORM): Promise<void> {
  await orm.schema.dropSchema();
  await orm.schema.createSchema();
  const em = orm.em.fork();
  const author = new Author('a');
  Object.assign(author, { age: 30, born: new Date(5), kind: 'x', doc: { a: 1 } });
  const book = new Book('M');
  book.tags.add(new Tag('t'), new Tag('u'));
  author.books.add(book, new Book('N'));
  await em.persist([author, new Author('b')]).flush();
}

type Work = (em: EntityManager) => Promise<unknown>;

const on = (name: string, work: Work): Check<MikroORM> => [name, (orm) => work(orm.em.fork())];
const rows = (em: SqlEntityManager, table: string): Promise<unknown> =>
  em
    .getKnex()(table)
    .orderBy(1 as never);

const CHECKS: readonly Check<MikroORM>[] = [
  on('persist gives ids and defaults', async (em) => {
    const author = new Author('n');
    await em.persist(author).flush();
    return [author.id, author.version, await rows(em, 'author')];
  }),
  on('persist of several', async (em) => {
    const list = ['n', 'o', 'p'].map((name) => new Author(name));
    await em.persist(list).flush();
    return list.map(({ id }) => id);
  }),
  on('types', async (em) => {
    const author = new Author('n');
    Object.assign(author, {
      born: new Date(1_700_000_000_123),
      big: '12',
      price: 1.25,
      active: false,
      picture: Buffer.from([0, 9]),
      doc: [1, { b: null }],
      kind: 'y',
      age: null,
    });
    await em.persist(author).flush();
    return [await rows(em, 'author'), JSON.stringify(await em.fork().findOne(Author, { name: 'n' }))];
  }),
  on('find', async (em) => JSON.stringify(await em.find(Author, { age: { $gt: 5 }, name: { $like: 'a%' } }))),
  on('find by relation', async (em) => JSON.stringify(await em.find(Author, { books: { title: 'M' } }))),
  on('find by document', async (em) => JSON.stringify(await em.find(Author, { doc: { a: 1 } }))),
  on('find by date', async (em) => JSON.stringify(await em.find(Author, { born: new Date(5) }))),
  on('populate', async (em) =>
    JSON.stringify(await em.findAll(Author, { populate: ['books', 'books.tags'] as never, orderBy: { id: 1 } })),
  ),
  on('populate by SELECT IN', async (em) =>
    JSON.stringify(
      await em.findAll(Author, { populate: ['books'] as never, strategy: 'select-in', orderBy: { id: 1 } }),
    ),
  ),
  on('order, limit, offset', async (em) =>
    JSON.stringify(await em.find(Author, {}, { orderBy: { name: 'desc' }, limit: 1, offset: 1 })),
  ),
  on('find and count', async (em) => (await em.findAndCount(Book, { author: { name: 'a' } }, { limit: 1 }))[1]),
  on('cursor', async (em) => {
    const page = await em.findByCursor(Book, {}, { first: 1, orderBy: { id: 'asc' } });
    return [page.totalCount, page.hasNextPage, page.endCursor];
  }),
  on('find or fail', (em) => em.findOneOrFail(Author, { name: 'none' })),
  on('change', async (em) => {
    const author = await em.findOneOrFail(Author, { name: 'a' });
    author.age = 31;
    author.doc = { z: 1 };
    await em.flush();
    return [author.version, await rows(em, 'author')];
  }),
  on('change of several', async (em) => {
    for (const author of await em.findAll(Author)) author.age = author.id;
    await em.flush();
    return rows(em, 'author');
  }),
  on('change of a collection', async (em) => {
    const author = await em.findOneOrFail(Author, { name: 'a' }, { populate: ['books'] as never });
    author.books.set([new Book('P')]);
    await em.flush();
    return [await rows(em, 'book')];
  }),
  on('change of a pivot table', async (em) => {
    const book = await em.findOneOrFail(Book, { title: 'M' }, { populate: ['tags'] as never });
    book.tags.remove(book.tags[0] as Tag);
    book.tags.add(new Tag('v'));
    await em.flush();
    return rows(em, 'book_tags');
  }),
  on('remove', async (em) => {
    await em.remove(await em.findOneOrFail(Author, { name: 'a' })).flush();
    return [await rows(em, 'author'), await rows(em, 'book')];
  }),
  on('native insert, update, delete', async (em) => [
    await em.insert(Author, { name: 'n' } as never),
    await em.nativeUpdate(Author, { name: 'n' }, { age: 4 }),
    await em.nativeDelete(Author, { name: 'n' }),
  ]),
  on('insert many', (em) => em.insertMany(Author, [{ name: 'n' }, { name: 'o' }] as never)),
  on('upsert', async (em) => {
    await em.upsert(Author, { name: 'a', age: 50 });
    await em.upsert(Author, { name: 'n', age: 51 });
    return rows(em, 'author');
  }),
  on('upsert many', async (em) => {
    await em.upsertMany(Author, [
      { name: 'a', age: 1 },
      { name: 'b', age: 2 },
      { name: 'n', age: 3 },
    ] as never);
    return rows(em, 'author');
  }),
  on('update by raw', async (em) => [
    await em.nativeUpdate(Author, { name: 'a' }, { age: raw('age + 1') }),
    await rows(em, 'author'),
  ]),
  on('query builder', (em) =>
    em
      .createQueryBuilder(Author, 'a')
      .select(['a.name', raw('count(b.id) as books')] as never)
      .leftJoin('a.books', 'b')
      .groupBy('a.id')
      .orderBy({ 'a.id': 'asc' })
      .execute(),
  ),
  on('query builder writes', async (em) => [
    await em
      .createQueryBuilder(Author)
      .insert({ name: 'n' } as never)
      .execute('run'),
    await em.createQueryBuilder(Author).update({ age: 8 }).where({ name: 'n' }).execute('run'),
    await em.createQueryBuilder(Author).delete({ name: 'n' }).execute('run'),
  ]),
  on('query builder counts', (em) => em.createQueryBuilder(Book).count().execute('get')),
  on('statements', async (em) => [
    await em.execute('select name from author where id = ?', [1]),
    await em.execute('update author set age = 9', [], 'run'),
    await em.execute('select age from author', [], 'get'),
  ]),
  on('transaction', (em) =>
    em.transactional(async (inside) => {
      await inside.persist(new Author('n')).flush();
      return inside.count(Author);
    }),
  ),
  on('transaction that fails', async (em) => [
    await em
      .transactional(async (inside) => {
        inside.persist(new Author('n'));
        await inside.flush();
        throw new Error('no');
      })
      .catch((error: Error) => error.message),
    await em.fork().count(Author),
  ]),
  on('savepoint', async (em) =>
    em.transactional(async (outer) => {
      await outer
        .transactional(async (inner) => {
          await inner.persist(new Author('n')).flush();
          throw new Error('no');
        })
        .catch(() => {});
      return outer.count(Author);
    }),
  ),
  on('begin and rollback', async (em) => {
    await em.begin();
    await em.nativeDelete(Book, {});
    await em.rollback();
    return em.count(Book);
  }),
  on('lock of a version', async (em) => {
    const author = await em.findOneOrFail(Author, { name: 'a' });
    await em.fork().nativeUpdate(Author, { name: 'a' }, { version: 9 });
    author.age = 3;
    return em.flush();
  }),
  on('indexes', (em) =>
    em.execute("select name from sqlite_master where type = 'index' and tbl_name = 'author' order by 1"),
  ),
  ['nothing to change in the schema', (orm) => orm.schema.getUpdateSchemaSQL()],
  [
    'a changed schema is brought up to date',
    async (orm) => {
      await orm.em.getConnection().execute('drop index `author_age_kind_index`');
      const sql = await orm.schema.getUpdateSchemaSQL();
      await orm.schema.updateSchema();
      return [sql, await orm.schema.getUpdateSchemaSQL()];
    },
  ],
  [
    'clear',
    async (orm) => {
      await orm.schema.clearDatabase();
      return [await orm.em.fork().count(Author), await orm.em.fork().count(Book)];
    },
  ],
  ['foreign keys behind all that', (orm) => orm.em.getConnection().execute('pragma foreign_keys')],
  on('unique', (em) => em.persist(new Author('a')).flush()),
  on('check', (em) => em.persist(Object.assign(new Author('n'), { age: -1 })).flush()),
  on('not null', (em) => em.insert(Author, { name: null } as never)),
  on('foreign key', (em) => em.insert(Book, { title: 'x', author: 99 })),
  on('no such table', (em) => em.execute('select * from missing')),
  on('no such column', (em) => em.execute('select missing from author')),
];

it('MikroORM does over two nodes what it does over better-sqlite3', async () => {
  const cluster = await startCluster();
  const stock = await MikroORM.init({ ...COMMON, dbName: ':memory:' });
  onCleanup(() => stock.close());
  const client = haKnexClient(cluster.a, { client: BetterSqliteKnexDialect });
  const ours = await MikroORM.init({ ...COMMON, dbName: '.', driverOptions: { client } });
  onCleanup(() => ours.close());
  const expected = await outcomes(CHECKS, stock, fresh);
  expect(await outcomes(CHECKS, ours, fresh)).toEqual(expected);
  await cluster.expectEqual();
  expectInReadme('MikroORM', CHECKS.length);
});

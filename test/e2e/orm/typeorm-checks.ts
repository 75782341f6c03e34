import { Brackets, In, IsNull, LessThan, Like, MoreThan, Not, Raw, Table, TableCheck, TableColumn } from 'typeorm';
import { TableForeignKey, TableIndex, TableUnique } from 'typeorm';
import type { DataSource, QueryRunner } from 'typeorm';
import * as e from './typeorm-conformance-entities.js';

/** What a check did: compared with what the same does over TypeORM's own driver. */
export type Check = (source: DataSource) => Promise<unknown>;

const user = (email: string, more: object = {}): object => ({ name: { first: 'A', last: null }, email, ...more });

async function people(source: DataSource): Promise<void> {
  const users = source
    .getRepository(e.User)
    .create([
      user('a@x', { age: 10, posts: [{ title: ' one ', labels: [{ name: 'red' }] }, { title: 'two' }] }),
      user('b@x', { age: 20, role: 'admin', profile: { text: 'p' } }),
      user('c@x', { age: 30, secret: 's' }),
    ]);
  await source.manager.save(users);
}

/** The error of a call, as far as it does not name the driver. */
async function failure(call: Promise<unknown>): Promise<unknown> {
  try {
    return { resolved: await call };
  } catch (error) {
    const { driverError } = error as { driverError?: { code?: string } };
    return { message: (error as Error).message, code: driverError?.code };
  }
}

async function inRunner<R>(source: DataSource, work: (runner: QueryRunner) => Promise<R>): Promise<R> {
  const runner = source.createQueryRunner();
  try {
    return await work(runner);
  } finally {
    await runner.release();
  }
}

/** What a schema looks like behind a change. */
async function changed(source: DataSource, work: (runner: QueryRunner) => Promise<unknown>): Promise<unknown> {
  return inRunner(source, async (runner) => {
    await runner.createTable(
      new Table({
        name: 'thing',
        columns: [
          { name: 'id', type: 'integer', isPrimary: true, isGenerated: true, generationStrategy: 'increment' },
          { name: 'name', type: 'varchar', default: "'x'" },
          { name: 'size', type: 'integer', isNullable: true },
        ],
      }),
      true,
    );
    await runner.query('INSERT INTO thing(name, size) VALUES(?, ?), (?, ?)', ['a', 1, 'b', 2]);
    const result: unknown = await work(runner);
    const schema: unknown = await runner.query(
      `SELECT name, sql FROM sqlite_master WHERE tbl_name IN ('thing', 'renamed') AND sql IS NOT NULL ORDER BY name`,
    );
    const names = (schema as { name: string }[]).map(({ name }) => name);
    const rows = names.includes('thing') ? ((await runner.query('SELECT * FROM thing')) as unknown) : undefined;
    return {
      result,
      schema,
      rows,
      tables: (await runner.getTables(['thing', 'renamed'])).map(({ columns }) => columns),
    };
  });
}

const TRANSACTIONS: Record<string, Check> = {
  'commits a callback': async (source) => {
    await source.transaction((m) => m.save(e.Label, { name: 'x' }));
    return source.getRepository(e.Label).find();
  },
  'rolls a callback back': async (source) => {
    const error = await failure(
      source.transaction(async (m) => {
        await m.save(e.Label, { name: 'x' });
        throw new Error('no');
      }),
    );
    return [error, await source.getRepository(e.Label).find()];
  },
  'nests with savepoints': async (source) => {
    await source.transaction(async (m) => {
      await m.save(e.Label, { name: 'x' });
      await failure(
        m.transaction(async (inner) => {
          await inner.save(e.Label, { name: 'y' });
          throw new Error('no');
        }),
      );
      await m.transaction((inner) => inner.transaction((deep) => deep.save(e.Label, { name: 'z' })));
    });
    return source.getRepository(e.Label).find({ order: { name: 'ASC' } });
  },
  'takes isolation levels': async (source) => {
    await source.transaction('SERIALIZABLE', (m) => m.save(e.Label, { name: 'x' }));
    await source.transaction('READ UNCOMMITTED', (m) => m.save(e.Label, { name: 'y' }));
    return source.getRepository(e.Label).find({ order: { name: 'ASC' } });
  },
  'refuses other isolation levels': async (source) => {
    const refused = (await failure(source.transaction('REPEATABLE READ', async () => 1))) as object;
    return 'resolved' in refused;
  },
  'goes on behind an error inside': async (source) => {
    await source.transaction(async (m) => {
      await m.insert(e.Label, { name: 'x' });
      await failure(m.insert(e.Label, { name: 'x' }));
      await m.insert(e.Label, { name: 'y' });
    });
    return source.getRepository(e.Label).find({ order: { name: 'ASC' } });
  },
  'is controlled by a query runner': (source) =>
    inRunner(source, async (runner) => {
      const states = [runner.isTransactionActive];
      await runner.startTransaction();
      states.push(runner.isTransactionActive);
      await runner.manager.insert(e.Label, { name: 'x' });
      await runner.rollbackTransaction();
      states.push(runner.isTransactionActive);
      return [states, await runner.manager.count(e.Label)];
    }),
  'refuses to commit what has not begun': (source) => inRunner(source, (r) => failure(r.commitTransaction())),
  'refuses to roll back what has not begun': (source) => inRunner(source, (r) => failure(r.rollbackTransaction())),
};

const BUILDER: Record<string, Check> = {
  'selects with where, order, limit': async (source) => {
    await people(source);
    const qb = source.getRepository(e.User).createQueryBuilder('u');
    return qb.where('u.age > :age', { age: 15 }).orderBy('u.age', 'DESC').skip(1).take(1).getMany();
  },
  'selects with brackets and lists': async (source) => {
    await people(source);
    const qb = source
      .getRepository(e.User)
      .createQueryBuilder('u')
      .where('u.email IN (:...list)', { list: ['a@x', 'b@x'] });
    return qb
      .andWhere(new Brackets((b) => b.where('u.age = 10').orWhere('u.role = :role', { role: 'guest' })))
      .getMany();
  },
  'joins and maps': async (source) => {
    await people(source);
    const qb = source.getRepository(e.User).createQueryBuilder('u');
    return qb
      .leftJoinAndSelect('u.posts', 'p')
      .leftJoinAndSelect('p.labels', 'l')
      .orderBy('u.id')
      .addOrderBy('p.id')
      .getMany();
  },
  'counts relations': async (source) => {
    await people(source);
    return source.getRepository(e.User).createQueryBuilder('u').innerJoin('u.posts', 'p').getManyAndCount();
  },
  'aggregates raw': async (source) => {
    await people(source);
    const qb = source
      .getRepository(e.User)
      .createQueryBuilder('u')
      .select('u.role', 'role')
      .addSelect('SUM(u.age)', 'sum');
    return qb.groupBy('u.role').having('SUM(u.age) > 0').orderBy('u.role').getRawMany();
  },
  'selects from subqueries': async (source) => {
    await people(source);
    const qb = source.getRepository(e.User).createQueryBuilder('u');
    const sub = qb.subQuery().select('MAX(x.age)').from(e.User, 'x').getQuery();
    return qb.where(`u.age = ${sub}`).getMany();
  },
  'selects with common table expressions': async (source) => {
    await people(source);
    const qb = source.createQueryBuilder().addCommonTableExpression('SELECT 1 AS n UNION SELECT 2', 'nums');
    return qb.select('n').from('nums', 'nums').getRawMany();
  },
  'adds hidden columns': async (source) => {
    await people(source);
    const qb = source.getRepository(e.User).createQueryBuilder('u').addSelect('u.secret');
    return [await qb.where({ email: 'c@x' }).getOne(), await source.getRepository(e.User).findOneBy({ email: 'c@x' })];
  },
  'binds dates and booleans': (source) =>
    source
      .createQueryBuilder()
      .select('1', 'one')
      .from((q) => q.select(':d', 'd').addSelect(':b', 'b').from('sqlite_master', 's').limit(1), 't')
      .addSelect('t.d', 'd')
      .addSelect('t.b', 'b')
      .setParameters({ d: new Date(0), b: true })
      .getRawOne(),
  'inserts many, and gives their ids': async (source) => {
    const { identifiers, generatedMaps } = await source
      .createQueryBuilder()
      .insert()
      .into(e.User)
      .values([user('a@x'), user('b@x'), user('c@x')] as never)
      .execute();
    return { identifiers, generatedMaps };
  },
  'inserts or ignores': async (source) => {
    await source.manager.insert(e.Stock, { shop: 's', item: 'i', count: 1 });
    const values = [
      { shop: 's', item: 'i', count: 2 },
      { shop: 's', item: 'j', count: 3 },
    ];
    await source.createQueryBuilder().insert().into(e.Stock).values(values).orIgnore().execute();
    return source.manager.find(e.Stock, { order: { item: 'ASC' } });
  },
  'inserts or updates': async (source) => {
    await source.manager.insert(e.Stock, { shop: 's', item: 'i', count: 1 });
    const insert = source.createQueryBuilder().insert().into(e.Stock).values({ shop: 's', item: 'i', count: 2 });
    await insert.orUpdate(['count'], ['shop', 'item']).execute();
    return source.manager.find(e.Stock);
  },
  updates: async (source) => {
    await people(source);
    const update = source
      .createQueryBuilder()
      .update(e.User)
      .set({ age: () => 'age + 1' })
      .where('age >= :age', { age: 20 });
    const { affected, raw } = await update.execute();
    return [affected, typeof raw, await source.manager.find(e.User, { select: { age: true }, order: { id: 'ASC' } })];
  },
  deletes: async (source) => {
    await people(source);
    const { affected } = await source.createQueryBuilder().delete().from(e.User).where('age > 15').execute();
    return [affected, await source.manager.count(e.User)];
  },
  'refuses RETURNING': (source) => {
    const insert = source.createQueryBuilder().insert().into(e.Label).values({ name: 'x' });
    return failure((async () => insert.returning('*').execute())());
  },
  'works on relations': async (source) => {
    await people(source);
    const relation = source.createQueryBuilder().relation(e.User, 'posts').of(2);
    await relation.add(1);
    return source.manager.find(e.User, { relations: { posts: true }, order: { id: 'ASC' } });
  },
  'locks optimistically': async (source) => {
    await people(source);
    const posts = source.getRepository(e.Post).createQueryBuilder('p').where('p.id = 1');
    return [
      await posts.setLock('optimistic', 1).getOne(),
      await failure(
        source.getRepository(e.Post).createQueryBuilder('p').where('p.id = 1').setLock('optimistic', 2).getOne(),
      ),
    ];
  },
  'refuses pessimistic locks': (source) =>
    failure(
      source.transaction((m) => m.getRepository(e.Post).createQueryBuilder('p').setLock('pessimistic_write').getMany()),
    ),
};

const REPOSITORY: Record<string, Check> = {
  'saves trees of relations': async (source) => {
    await people(source);
    return source.manager.find(e.User, { relations: { posts: { labels: true }, profile: true }, order: { id: 'ASC' } });
  },
  'updates only what changed, and its version': async (source) => {
    await people(source);
    const post = await source.manager.findOneByOrFail(e.Post, { title: 'one' });
    post.title = 'changed';
    await source.manager.save(post);
    await source.manager.save(post);
    return source.manager.findOneBy(e.Post, { id: post.id });
  },
  'finds by operators': async (source) => {
    await people(source);
    const repository = source.getRepository(e.User);
    const ids = async (where: object): Promise<number[]> => (await repository.find({ where })).map(({ id }) => id);
    return [
      await ids({ age: MoreThan(10) }),
      await ids({ age: LessThan(20) }),
      await ids({ email: Like('b%') }),
      await ids({ id: In([1, 3]) }),
      await ids({ name: { last: IsNull() }, role: Not('admin') }),
      await ids({ age: Raw((alias) => `${alias} % 20 = 10`) }),
    ];
  },
  'finds in relations': async (source) => {
    await people(source);
    return source.manager.find(e.User, { where: { posts: { labels: { name: 'red' } } } });
  },
  'counts, sums, exists': async (source) => {
    await people(source);
    const r = source.getRepository(e.User);
    return [
      await r.count(),
      await r.sum('age'),
      await r.average('age'),
      await r.minimum('age'),
      await r.existsBy({ age: 20 }),
    ];
  },
  'increments and decrements': async (source) => {
    await people(source);
    const r = source.getRepository(e.User);
    await r.increment({ id: 1 }, 'age', 5);
    await r.decrement({ id: 2 }, 'age', 5);
    return r.find({ select: { age: true }, order: { id: 'ASC' } });
  },
  'removes with what depends on it': async (source) => {
    await people(source);
    await source.manager.remove(await source.manager.findOneByOrFail(e.User, { id: 1 }));
    return [await source.manager.count(e.Post), await source.query('SELECT * FROM post_labels_label')];
  },
  'sets references to null': async (source) => {
    await people(source);
    await source.manager.delete(e.Profile, { id: 1 });
    return source.manager.find(e.User, { relations: { profile: true }, where: { id: 2 } });
  },
  'deletes softly and restores': async (source) => {
    await people(source);
    const r = source.getRepository(e.Post);
    await r.softDelete({ title: 'one' });
    const [left, all] = [await r.count(), await r.count({ withDeleted: true })];
    await r.restore({ title: 'one' });
    const post = await r.findOneByOrFail({ title: 'two' });
    await r.softRemove(post);
    await r.recover(post);
    return [left, all, await r.count()];
  },
  upserts: async (source) => {
    const r = source.getRepository(e.Stock);
    await r.upsert(
      [
        { shop: 's', item: 'i', count: 1 },
        { shop: 's', item: 'j', count: 2 },
      ],
      ['shop', 'item'],
    );
    await r.upsert(
      { shop: 's', item: 'i', count: 5 },
      { conflictPaths: ['shop', 'item'], skipUpdateIfNoValuesChanged: true },
    );
    return r.find({ order: { item: 'ASC' } });
  },
  'keeps every kind of column': async (source) => {
    const r = source.getRepository(e.Kinds);
    const { id } = await r.save({
      blob: Buffer.from([0, 255]),
      datetime: new Date('2026-01-02T03:04:05.678Z'),
      date: '2026-01-02',
      time: '03:04:05',
      boolean: true,
      double: 0.1,
      decimal: 1.25,
      bigint: Number.MAX_SAFE_INTEGER,
      json: { a: [1, { b: null }] },
      array: ['a', 'b'],
      transformed: 'in',
    });
    const [found] = await r.find();
    const [raw] = (await source.query('SELECT * FROM kinds')) as object[];
    return [Object.assign({}, found, { id: found?.id === id }), { ...raw, id: '' }];
  },
  'keeps NULL in every kind of column': async (source) => {
    await source.getRepository(e.Kinds).save({});
    const [found] = await source.getRepository(e.Kinds).find();
    return Object.assign({}, found, { id: '' });
  },
  'has one table for an inheritance': async (source) => {
    await source.manager.save(e.Photo, { title: 'p', size: 3 });
    await source.manager.save(e.Question, { title: 'q', answers: 4 });
    return [await source.manager.find(e.Content), await source.manager.find(e.Photo)];
  },
  'has closure tables': async (source) => {
    const trees = source.getTreeRepository(e.Category);
    await trees.save({ name: 'root', children: [{ name: 'a', children: [{ name: 'b' }] }] });
    const root = await source.manager.findOneByOrFail(e.Category, { name: 'root' });
    const leaf = await source.manager.findOneByOrFail(e.Category, { name: 'b' });
    return [await trees.findTrees(), await trees.countDescendants(root), await trees.findAncestors(leaf)];
  },
  'has materialized paths': async (source) => {
    const trees = source.getTreeRepository(e.Folder);
    const root = await trees.save(trees.create({ name: 'root' }));
    await trees.save(trees.create({ name: 'a', parent: root }));
    return [await trees.findTrees(), await trees.findDescendants(root), await source.query('SELECT * FROM folder')];
  },
  'reads views': async (source) => {
    await people(source);
    return source.manager.find(e.Adult, { order: { age: 'ASC' } });
  },
  'reads generated columns': async (source) => {
    await source.manager.insert(e.Stock, { shop: 's', item: 'i', count: 2 });
    return source.manager.find(e.Stock);
  },
  'empties a table': async (source) => {
    await source.manager.insert(e.Label, { name: 'x' });
    await source.getRepository(e.Label).clear();
    return source.manager.count(e.Label);
  },
};

const ERRORS: Record<string, Check> = {
  'of UNIQUE': async (source) => {
    await people(source);
    return failure(source.manager.insert(e.User, user('a@x')));
  },
  'of CHECK': (source) => failure(source.manager.insert(e.User, user('a@x', { age: -1 }))),
  'of an enumeration': (source) => failure(source.manager.insert(e.User, user('a@x', { role: 'nobody' }))),
  'of NOT NULL': (source) => failure(source.manager.insert(e.Profile, {})),
  'of foreign keys': (source) => failure(source.manager.insert(e.Post, { title: 'x', user: { id: 99 } })),
  'of values that cannot be bound': (source) => failure(source.query('SELECT ?', [Symbol('x')])),
  'of a wrong number of values': (source) => failure(source.query('SELECT ?, ?', [1])),
  'of what is not there': (source) => failure(source.manager.findOneByOrFail(e.Label, { name: 'x' })),
};

const SCHEMA: Record<string, Check> = {
  'finds nothing to do behind synchronize': async (source) =>
    (await source.driver.createSchemaBuilder().log()).upQueries.map(({ query }) => query),
  'creates and drops tables': (source) =>
    changed(source, async (r) => [await r.hasTable('thing'), await r.dropTable('thing'), await r.hasTable('thing')]),
  'renames tables': (source) => changed(source, (r) => r.renameTable('thing', 'renamed')),
  'adds columns': (source) =>
    changed(source, (r) => r.addColumn('thing', new TableColumn({ name: 'more', type: 'varchar', isNullable: true }))),
  'renames columns': (source) => changed(source, (r) => r.renameColumn('thing', 'size', 'length')),
  'changes columns': (source) =>
    changed(source, (r) =>
      r.changeColumn('thing', 'size', new TableColumn({ name: 'size', type: 'varchar', default: "'0'" })),
    ),
  'drops columns': (source) => changed(source, (r) => r.dropColumn('thing', 'size')),
  'creates and drops indices': (source) =>
    changed(source, async (r) => {
      await r.createIndex(
        'thing',
        new TableIndex({ name: 'ix', columnNames: ['name'], isUnique: true, where: 'size > 0' }),
      );
      const { indices } = (await r.getTable('thing')) ?? { indices: [] };
      await r.createIndex('thing', new TableIndex({ name: 'iy', columnNames: ['size'] }));
      await r.dropIndex('thing', 'iy');
      return indices.map(({ name, isUnique, where }) => ({ name, isUnique, where }));
    }),
  'creates and drops unique constraints': (source) =>
    changed(source, async (r) => {
      await r.createUniqueConstraint('thing', new TableUnique({ name: 'uq', columnNames: ['name'] }));
      await r.createUniqueConstraint('thing', new TableUnique({ name: 'ur', columnNames: ['size'] }));
      await r.dropUniqueConstraint('thing', 'ur');
    }),
  'creates and drops checks': (source) =>
    changed(source, (r) => r.createCheckConstraint('thing', new TableCheck({ name: 'ck', expression: '"size" > 0' }))),
  'creates and drops foreign keys': (source) =>
    changed(source, async (r) => {
      const key = new TableForeignKey({
        columnNames: ['size'],
        referencedTableName: 'label',
        referencedColumnNames: ['name'],
        onDelete: 'CASCADE',
      });
      await r.query('DELETE FROM thing');
      await r.createForeignKey('thing', key);
    }),
  'keeps rows that depend on a table it makes anew': async (source) => {
    await people(source);
    await inRunner(source, async (r) => {
      await r.beforeMigration();
      await r.addColumn('post', new TableColumn({ name: 'more', type: 'varchar', isNullable: true }));
      await r.afterMigration();
    });
    return [await source.query('SELECT * FROM post_labels_label'), await source.query('PRAGMA foreign_key_check')];
  },
  'loses what depends on a table that is made anew with foreign keys': async (source) => {
    await people(source);
    const column = new TableColumn({ name: 'more', type: 'varchar', isNullable: true });
    await inRunner(source, (r) => r.addColumn('post', column));
    return source.query('SELECT * FROM post_labels_label');
  },
  'logs SQL instead of running it': (source) =>
    inRunner(source, async (r) => {
      r.enableSqlMemory();
      await r.createTable(new Table({ name: 'never', columns: [{ name: 'id', type: 'integer', isPrimary: true }] }));
      const { upQueries, downQueries } = r.getMemorySql();
      r.disableSqlMemory();
      return [upQueries, downQueries, await r.hasTable('never')];
    }),
  'runs, shows and reverts migrations': async (source) => {
    const pending = await source.showMigrations();
    const ran = (await source.runMigrations()).map(({ name }) => name);
    const rows: unknown = await source.query('SELECT * FROM note');
    await source.undoLastMigration();
    return [pending, ran, rows, await source.query('SELECT * FROM note'), await source.showMigrations()];
  },
  'pretends to run migrations': async (source) => {
    await source.runMigrations({ fake: true });
    return [await source.showMigrations(), await inRunner(source, (r) => r.hasTable('note'))];
  },
  'runs migrations one by one': async (source) => {
    await source.runMigrations({ transaction: 'each' });
    return [await source.query('SELECT timestamp, name FROM migrations'), await source.query('SELECT * FROM note')];
  },
  'runs migrations without a transaction': async (source) => {
    await source.runMigrations({ transaction: 'none' });
    return [await source.query('SELECT timestamp, name FROM migrations'), await source.query('SELECT * FROM note')];
  },
};

/** Parts of TypeORM's functional tests for SQLite, by their subject: https://github.com/typeorm/typeorm/tree/master/test/functional */
export const CHECKS = { TRANSACTIONS, BUILDER, REPOSITORY, ERRORS, SCHEMA };

import BetterSqlite3 from 'better-sqlite3';
import {
  CamelCasePlugin,
  DeduplicateJoinsPlugin,
  Kysely,
  NoResultError,
  ParseJSONResultsPlugin,
  sql,
  SqliteDialect,
} from 'kysely';
import type { Generated, Migration } from 'kysely';
import { jsonArrayFrom, jsonBuildObject, jsonObjectFrom } from 'kysely/helpers/sqlite';
import { HAKyselyDialect } from '../../../lib/orm/kysely.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { Migrator, NO_MIGRATIONS } from '../../helper/kysely-migrator.js';
import { expectInReadme, failing, outcomes } from './conformance.js';
import type { Check } from './conformance.js';

interface Schema {
  person: {
    id: Generated<number>;
    first_name: string;
    last_name: string | null;
    age: number | null;
    doc: string | null;
  };
  pet: { id: Generated<number>; name: string; owner: number; species: string };
  toy: { id: Generated<number>; pet: number; price: number; photo: Uint8Array | null };
}
type Db = Kysely<Schema>;

/** The tables and rows of Kysely's own tests. */
async function fresh(db: Db): Promise<void> {
  for (const view of ['dogs', 'old']) await sql`DROP VIEW IF EXISTS ${sql.id(view)}`.execute(db);
  for (const table of ['toy', 'pet', 'person', 'made', 'renamed', 'kysely_migration', 'kysely_migration_lock']) {
    await db.schema.dropTable(table).ifExists().execute();
  }
  await db.schema
    .createTable('person')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('first_name', 'varchar(255)', (column) => column.notNull().unique())
    .addColumn('last_name', 'varchar(255)')
    .addColumn('age', 'integer', (column) => column.check(sql`age >= 0`))
    .addColumn('doc', 'text')
    .execute();
  await db.schema
    .createTable('pet')
    .addColumn('id', 'integer', (column) => column.primaryKey().autoIncrement())
    .addColumn('name', 'varchar(255)', (column) => column.notNull())
    .addColumn('owner', 'integer', (column) => column.notNull().references('person.id').onDelete('cascade'))
    .addColumn('species', 'varchar(50)', (column) => column.notNull().defaultTo('dog'))
    .addUniqueConstraint('owner_name', ['owner', 'name'])
    .execute();
  await db.schema
    .createTable('toy')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('pet', 'integer', (column) => column.notNull().references('pet.id').onDelete('cascade'))
    .addColumn('price', 'real', (column) => column.notNull())
    .addColumn('photo', 'blob')
    .execute();
  await db
    .insertInto('person')
    .values([
      { first_name: 'Jennifer', last_name: 'Aniston', age: 25, doc: '{"a":[1,2]}' },
      { first_name: 'Arnold', last_name: 'Schwarzenegger', age: 50 },
      { first_name: 'Sylvester', last_name: null, age: null },
    ])
    .execute();
  await db
    .insertInto('pet')
    .values([
      { name: 'Catto', owner: 1, species: 'cat' },
      { name: 'Doggo', owner: 2, species: 'dog' },
      { name: 'Hammo', owner: 3, species: 'hamster' },
    ])
    .execute();
  await db
    .insertInto('toy')
    .values({ pet: 1, price: 2.5, photo: Buffer.from([0, 255]) })
    .execute();
}

const migrations: Record<string, Migration> = {
  '1': {
    up: async (db: Kysely<unknown>) => db.schema.createTable('made').addColumn('id', 'integer').execute(),
    down: async (db: Kysely<unknown>) => db.schema.dropTable('made').execute(),
  },
  '2': {
    up: async (db: Kysely<unknown>) => db.schema.alterTable('made').renameTo('renamed').execute(),
    down: async (db: Kysely<unknown>) => db.schema.alterTable('renamed').renameTo('made').execute(),
  },
};

function migratorOf(db: Db, list = migrations): Migrator {
  return new Migrator({ db, provider: { getMigrations: async () => list } });
}

const people = (db: Db): Promise<unknown> => db.selectFrom('person').selectAll().orderBy('id').execute();
const pets = (db: Db): Promise<unknown> => db.selectFrom('pet').selectAll().orderBy('id').execute();

/** bigint as text, which can be compared and shown. */
function shown(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (_key, part: unknown) => (typeof part === 'bigint' ? `${part}n` : part)),
  );
}

const CHECKS: readonly Check<Db>[] = [
  // Inserts
  ['insert', (db) => db.insertInto('person').values({ first_name: 'a' }).executeTakeFirst()],
  [
    'insert of several',
    (db) =>
      db
        .insertInto('pet')
        .values([
          { name: 'a', owner: 1 },
          { name: 'b', owner: 1 },
        ] as never)
        .execute(),
  ],
  [
    'insert default values',
    async (db) => [await sql`INSERT INTO pet(owner, name) VALUES(1, 'x')`.execute(db), await pets(db)],
  ],
  [
    'insert returning',
    (db) => db.insertInto('pet').values({ name: 'a', owner: 1, species: 'x' }).returningAll().execute(),
  ],
  [
    'insert returning an expression',
    (db) =>
      db
        .insertInto('pet')
        .values({ name: 'a', owner: 1, species: 'x' })
        .returning(sql<string>`upper(name)`.as('n'))
        .executeTakeFirst(),
  ],
  [
    'insert from a select',
    async (db) => [
      await db
        .insertInto('pet')
        .columns(['name', 'owner'])
        .expression((eb) => eb.selectFrom('person').select(['first_name', 'id']))
        .execute(),
      await pets(db),
    ],
  ],
  [
    'insert or ignore',
    async (db) => [
      await db.insertInto('person').orIgnore().values({ first_name: 'Arnold' }).executeTakeFirst(),
      await people(db),
    ],
  ],
  [
    'insert or replace',
    async (db) => [
      await db.insertInto('pet').orReplace().values({ id: 1, name: 'New', owner: 1, species: 'x' }).executeTakeFirst(),
      await pets(db),
    ],
  ],
  [
    'on conflict do nothing',
    (db) =>
      db
        .insertInto('person')
        .values({ first_name: 'Arnold' })
        .onConflict((oc) => oc.column('first_name').doNothing())
        .execute(),
  ],
  [
    'on conflict do update',
    async (db) => [
      await db
        .insertInto('person')
        .values({ first_name: 'Arnold' })
        .onConflict((oc) => oc.column('first_name').doUpdateSet({ age: 51 }))
        .executeTakeFirst(),
      await people(db),
    ],
  ],
  [
    'on conflict do update returning',
    (db) =>
      db
        .insertInto('person')
        .values({ first_name: 'Arnold' })
        .onConflict((oc) =>
          oc
            .column('first_name')
            .doUpdateSet((eb) => ({ age: eb('person.age', '+', 1) }))
            .where('person.age', '=', 50),
        )
        .returning('age')
        .execute(),
  ],
  [
    'insert of undefined',
    async (db) => [
      await db
        .insertInto('person')
        .values({ first_name: 'u', last_name: undefined as never })
        .execute(),
      await people(db),
    ],
  ],
  ['unique violation', (db) => db.insertInto('person').values({ first_name: 'Arnold' }).execute()],
  [
    'not null violation',
    (db) =>
      db
        .insertInto('person')
        .values({ first_name: null as never })
        .execute(),
  ],
  ['check violation', (db) => db.insertInto('person').values({ first_name: 'x', age: -1 }).execute()],
  ['foreign key violation', (db) => db.insertInto('pet').values({ name: 'x', owner: 77, species: 'x' }).execute()],
  [
    'a boolean is refused',
    (db) =>
      db
        .insertInto('person')
        .values({ first_name: 'x', age: true as never })
        .execute(),
  ],
  [
    'a date is refused',
    (db) =>
      db
        .insertInto('person')
        .values({ first_name: new Date(0) as never })
        .execute(),
  ],
  // Reads
  ['select all', people],
  ['executeTakeFirst of nothing', (db) => db.selectFrom('person').selectAll().where('id', '=', 99).executeTakeFirst()],
  [
    'executeTakeFirstOrThrow',
    (db) =>
      db
        .selectFrom('person')
        .selectAll()
        .where('id', '=', 99)
        .executeTakeFirstOrThrow()
        .catch((error: unknown) => error instanceof NoResultError),
  ],
  [
    'joins',
    (db) =>
      db
        .selectFrom('person')
        .leftJoin('pet', 'pet.owner', 'person.id')
        .leftJoin('toy', 'toy.pet', 'pet.id')
        .select(['first_name', 'pet.name', 'toy.price'])
        .orderBy('first_name')
        .execute(),
  ],
  [
    'columns of one name: the last wins',
    (db) => db.selectFrom('person').innerJoin('pet', 'pet.owner', 'person.id').selectAll().orderBy('pet.id').execute(),
  ],
  [
    'group by and having',
    (db) =>
      db
        .selectFrom('pet')
        .select((eb) => ['owner', eb.fn.countAll().as('n'), eb.fn.max('name').as('last')])
        .groupBy('owner')
        .having((eb) => eb.fn.countAll(), '>', 0)
        .orderBy('owner')
        .execute(),
  ],
  [
    'aggregates',
    (db) =>
      db
        .selectFrom('person')
        .select((eb) => [eb.fn.sum('age').as('s'), eb.fn.avg('age').as('a'), eb.fn.count('age').distinct().as('c')])
        .executeTakeFirst(),
  ],
  [
    'with recursive',
    (db) =>
      db
        .withRecursive('n(i)', (qc) =>
          qc.selectNoFrom(sql<number>`1`.as('i')).unionAll(
            qc
              .selectFrom('n')
              .select(sql<number>`i + 1`.as('i'))
              .where(sql`i`, '<', 4),
          ),
        )
        .selectFrom('n')
        .selectAll()
        .execute(),
  ],
  [
    'union, intersect, except',
    (db) =>
      db
        .selectFrom('person')
        .select('id')
        .union(db.selectFrom('pet').select('owner as id'))
        .except(db.selectFrom('toy').select('pet as id'))
        .orderBy('id')
        .execute(),
  ],
  [
    'window functions',
    (db) =>
      db
        .selectFrom('person')
        .select((eb) => [
          'id',
          eb.fn
            .agg<number>('row_number')
            .over((over) => over.orderBy('first_name'))
            .as('n'),
        ])
        .orderBy('id')
        .execute(),
  ],
  [
    'case, coalesce, exists',
    (db) =>
      db
        .selectFrom('person')
        .select((eb) => [
          eb.case().when('age', 'is', null).then('?').else('!').end().as('c'),
          eb.fn.coalesce('last_name', sql<string>`'-'`).as('l'),
          eb.exists(eb.selectFrom('pet').select('id').whereRef('owner', '=', 'person.id')).as('e'),
        ])
        .orderBy('person.id')
        .execute(),
  ],
  [
    'jsonArrayFrom and jsonObjectFrom',
    (db) =>
      db
        .withPlugin(new ParseJSONResultsPlugin())
        .selectFrom('person')
        .select((eb) => [
          'first_name',
          jsonArrayFrom(eb.selectFrom('pet').select(['name', 'species']).whereRef('owner', '=', 'person.id')).as(
            'pets',
          ),
          jsonObjectFrom(eb.selectFrom('pet').select('pet.id').whereRef('owner', '=', 'person.id').limit(1)).as('pet'),
          jsonBuildObject({ a: eb.ref('age') }).as('o'),
        ])
        .orderBy('id')
        .execute(),
  ],
  [
    'json operators',
    (db) =>
      db
        .selectFrom('person')
        .select(sql<number>`doc ->> '$.a[1]'`.as('v'))
        .where('id', '=', 1)
        .execute(),
  ],
  ['blob and real', (db) => db.selectFrom('toy').selectAll().execute()],
  ['limit and offset', (db) => db.selectFrom('person').select('id').orderBy('id', 'desc').limit(1).offset(1).execute()],
  [
    'in and between',
    (db) =>
      db
        .selectFrom('person')
        .select('id')
        .where('id', 'in', [1, 3])
        .where((eb) => eb.between('id', 2, 9))
        .execute(),
  ],
  [
    'stream',
    async (db) => {
      const rows = [];
      for await (const row of db.selectFrom('pet').selectAll().orderBy('id').stream()) rows.push(row);
      return rows;
    },
  ],
  [
    'stream that is left',
    async (db) => {
      let first: unknown;
      for await (const row of db.selectFrom('pet').selectAll().orderBy('id').stream()) {
        first = row;
        break;
      }
      return [first, await pets(db)];
    },
  ],
  ['explain', async (db) => (await db.selectFrom('person').selectAll().explain()).length],
  ['no such column', (db) => sql`SELECT missing FROM person`.execute(db)],
  ['syntax error', (db) => sql`SELEC 1`.execute(db)],
  [
    'too many parameters',
    (db) => db.executeQuery({ sql: 'SELECT 1', parameters: [1], query: {} as never, queryId: {} as never }),
  ],
  // Raw
  ['raw select', async (db) => (await sql`SELECT ${1} AS one, ${'x'} AS x, ${null} AS n, ${2n} AS b`.execute(db)).rows],
  [
    'raw write',
    async (db) => {
      const { rows, numAffectedRows, insertId } = await sql`UPDATE person SET age = 1`.execute(db);
      return [rows, numAffectedRows, typeof insertId];
    },
  ],
  ['raw write with returning', async (db) => (await sql`DELETE FROM toy RETURNING id`.execute(db)).rows],
  ['pragma', async (db) => (await sql`PRAGMA table_info(pet)`.execute(db)).rows],
  // Updates and deletes
  [
    'update',
    async (db) => [
      await db.updateTable('person').set({ age: 1 }).where('id', '<', 3).executeTakeFirst(),
      await people(db),
    ],
  ],
  ['update of nothing', (db) => db.updateTable('person').set({ age: 1 }).where('id', '=', 99).execute()],
  [
    'update from',
    async (db) => [
      await db
        .updateTable('pet')
        .from('person')
        .set((eb) => ({ name: eb.ref('person.first_name') }))
        .whereRef('person.id', '=', 'pet.owner')
        .execute(),
      await pets(db),
    ],
  ],
  [
    'update returning',
    (db) => db.updateTable('person').set({ last_name: 'x' }).returning(['id', 'last_name']).execute(),
  ],
  ['delete', async (db) => [await db.deleteFrom('person').where('id', '=', 1).executeTakeFirst(), await pets(db)]],
  ['delete returning', (db) => db.deleteFrom('pet').where('id', '>', 1).returningAll().execute()],
  // Transactions
  [
    'transaction',
    async (db) => [
      await db.transaction().execute(async (trx) => {
        await trx.deleteFrom('toy').execute();
        return trx.isTransaction;
      }),
      await db.selectFrom('toy').selectAll().execute(),
    ],
  ],
  [
    'transaction that fails',
    async (db) => [
      await db
        .transaction()
        .execute(async (trx) => {
          await trx.deleteFrom('person').execute();
          throw new Error('no');
        })
        .catch((error: Error) => error.message),
      await people(db),
    ],
  ],
  [
    'statement that fails in a transaction',
    async (db) => [
      await db.transaction().execute(async (trx) => {
        await trx
          .insertInto('person')
          .values({ first_name: 'Arnold' })
          .execute()
          .catch(() => undefined);
        await trx.insertInto('person').values({ first_name: 'other' }).execute();
      }),
      await people(db),
    ],
  ],
  [
    'transaction in a transaction',
    (db) => db.transaction().execute(async (trx) => trx.transaction().execute(async () => undefined)),
  ],
  [
    'controlled transaction with savepoints',
    async (db) => {
      const trx = await db.startTransaction().execute();
      await trx.deleteFrom('toy').execute();
      const sp = await trx.savepoint('sp').execute();
      await sp.deleteFrom('pet').execute();
      await sp.rollbackToSavepoint('sp').execute();
      await trx.commit().execute();
      return [await pets(db), await db.selectFrom('toy').selectAll().execute()];
    },
  ],
  [
    'savepoint that is not there',
    async (db) => {
      const trx = await db.startTransaction().execute();
      const error = await trx
        .rollbackToSavepoint('nope' as never)
        .execute()
        .then(
          () => 'none',
          (reason: Error) => typeof reason.message,
        );
      await trx.rollback().execute();
      return error;
    },
  ],
  [
    'after commit',
    async (db) => {
      const trx = await db.startTransaction().execute();
      await trx.commit().execute();
      return trx.selectFrom('pet').selectAll().execute();
    },
  ],
  [
    'one connection',
    (db) =>
      db
        .connection()
        .execute(async (one) => [
          await sql`BEGIN`.execute(one).then(() => 1),
          await one.deleteFrom('toy').executeTakeFirst(),
          await sql`ROLLBACK`.execute(one).then(() => 1),
          await one.selectFrom('toy').select('id').execute(),
        ]),
  ],
  // Schema
  [
    'create table as',
    async (db) => {
      await db.schema
        .createTable('made')
        .as(db.selectFrom('person').select(['id', 'first_name']))
        .execute();
      return sql`SELECT * FROM made`.execute(db).then(({ rows }) => rows);
    },
  ],
  [
    'create table twice',
    async (db) => {
      await db.schema.createTable('made').addColumn('id', 'integer').execute();
      return db.schema.createTable('made').addColumn('id', 'integer').execute();
    },
  ],
  [
    'add, rename and drop a column',
    async (db) => {
      await db.schema
        .alterTable('pet')
        .addColumn('weight', 'real', (column) => column.defaultTo(1.5))
        .execute();
      await db.schema.alterTable('pet').renameColumn('weight', 'mass').execute();
      const rows = await pets(db);
      await db.schema.alterTable('pet').dropColumn('mass').execute();
      return [rows, await pets(db)];
    },
  ],
  [
    'views and indexes',
    async (db) => {
      await db.schema
        .createView('dogs')
        .as(db.selectFrom('pet').selectAll().where('species', '=', 'dog'))
        .execute();
      await db.schema
        .createIndex('pet_species')
        .on('pet')
        .columns(['species', 'name desc'])
        .where('species', '!=', 'x')
        .execute();
      return [
        await sql`SELECT * FROM dogs`.execute(db).then(({ rows }) => rows),
        await db.schema.dropIndex('pet_species').execute(),
        await db.schema.dropView('dogs').execute(),
      ];
    },
  ],
  ['introspection', (db) => db.introspection.getTables({ withInternalKyselyTables: true })],
  [
    'migrate to the latest, down, and to none',
    async (db) => {
      const migrator = migratorOf(db);
      const list = [
        await migrator.migrateToLatest(),
        await migrator.migrateToLatest(),
        await migrator.migrateDown(),
        await migrator.migrateTo('2'),
        await migrator.migrateTo(NO_MIGRATIONS),
      ];
      return [list, (await db.introspection.getTables()).map(({ name }) => name)];
    },
  ],
  [
    'a migration that is missing',
    async (db) => {
      await migratorOf(db).migrateToLatest();
      const { error } = await migratorOf(db, { '2': migrations['2'] as Migration }).migrateToLatest();
      return String(error);
    },
  ],
  // Plugins
  ['camel case', (db) => db.withPlugin(new CamelCasePlugin()).selectFrom('person').selectAll().orderBy('id').execute()],
  [
    'deduplicated joins',
    (db) =>
      db
        .withPlugin(new DeduplicateJoinsPlugin())
        .selectFrom('person')
        .innerJoin('pet', 'pet.owner', 'person.id')
        .innerJoin('pet', 'pet.owner', 'person.id')
        .select('pet.name')
        .orderBy('pet.name')
        .execute(),
  ],
];

it('does what it does over better-sqlite3, check by check', async () => {
  const cluster = await startCluster({ query: '_foreign_keys=on' });
  const ours: Db = new Kysely({ dialect: new HAKyselyDialect(cluster.a) });
  const database = new BetterSqlite3(':memory:');
  const theirs: Db = new Kysely({ dialect: new SqliteDialect({ database }) });
  onCleanup(() => theirs.destroy());
  const [expected, found] = [await outcomes(CHECKS, theirs, fresh), await outcomes(CHECKS, ours, fresh)];
  expect(shown(found)).toEqual(shown(expected));
  expect(failing(found)).toEqual([
    'unique violation',
    'not null violation',
    'check violation',
    'foreign key violation',
    'a boolean is refused',
    'a date is refused',
    'no such column',
    'syntax error',
    'too many parameters',
    'transaction in a transaction',
    'after commit',
    'create table twice',
  ]);
  await cluster.expectEqual();
  expectInReadme('Kysely', CHECKS.length);
});

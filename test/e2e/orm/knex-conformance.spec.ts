import createKnex from 'knex';
import type { Knex } from 'knex';
import { haKnexClient } from '../../../lib/orm/knex.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { expectInReadme, outcomes } from './conformance.js';
import type { Check } from './conformance.js';

/** What both clients are configured with. */
const CONFIG: Knex.Config = { useNullAsDefault: true, log: { warn: () => {}, error: () => {} } };
const TABLES = ['a_rest', 'pet', 'person', 'made', 'renamed', 'knex_migrations', 'knex_migrations_lock'];

async function fresh(knex: Knex): Promise<void> {
  await knex.schema.dropViewIfExists('adult');
  for (const table of TABLES) await knex.schema.dropTableIfExists(table);
  await knex.schema.createTable('person', (table) => {
    table.increments();
    table.string('name').unique();
    table.integer('age').checkPositive();
    table.json('doc');
  });
  await knex.schema.createTable('pet', (table) => {
    table.increments();
    table.string('name').notNullable();
    table.integer('owner').references('person.id').onDelete('CASCADE');
  });
  await knex('person').insert([
    { name: 'a', age: 30, doc: JSON.stringify({ x: 1 }) },
    { name: 'b', age: 20 },
    { name: 'c', age: null },
  ]);
  await knex('pet').insert([
    { name: 'Rex', owner: 1 },
    { name: 'Tom', owner: 1 },
    { name: 'Max', owner: 2 },
  ]);
}

const source: Knex.MigrationSource<string> = {
  getMigrations: () => Promise.resolve(['1', '2']),
  getMigrationName: (name) => `m${name}`,
  getMigration: (name) =>
    Promise.resolve({
      up: (knex) => knex.schema.createTable(name === '1' ? 'made' : 'renamed', (table) => void table.increments()),
      down: (knex) => knex.schema.dropTable(name === '1' ? 'made' : 'renamed'),
    }),
};

/** What Knex's types do not know. */
const BIG = 9_007_199_254_740_993n as unknown as Knex.Value;
const columns = (knex: Knex, table = 'person'): Promise<unknown> => knex(table).columnInfo();
const sorted = (knex: Knex): Promise<unknown> => knex('person').orderBy('id');

const CHECKS: readonly Check<Knex>[] = [
  // Inserts
  ['insert gives the id', (knex) => knex('person').insert({ name: 'n' })],
  ['insert of several gives the last id', (knex) => knex('person').insert([{ name: 'n' }, { name: 'o' }])],
  ['insert of nothing', (knex) => knex('person').insert([])],
  ['insert of default values', async (knex) => [await knex('person').insert({}), await sorted(knex)]],
  [
    'insert leaves out undefined',
    async (knex) => [await knex('person').insert({ name: undefined }), await sorted(knex)],
  ],
  ['insert returning', (knex) => knex('person').insert({ name: 'n' }).returning(['id', 'name'])],
  [
    'insert of several returning all',
    (knex) =>
      knex('person')
        .insert([{ name: 'n' }, { age: 3 }])
        .returning('*'),
  ],
  [
    'insert of columns that differ',
    async (knex) => [await knex('person').insert([{ name: 'n' }, { age: 3 }]), await sorted(knex)],
  ],
  [
    'insert ignores a conflict',
    async (knex) => [await knex('person').insert({ name: 'a' }).onConflict('name').ignore(), await sorted(knex)],
  ],
  [
    'insert merges a conflict',
    async (knex) => [await knex('person').insert({ name: 'a', age: 1 }).onConflict('name').merge(), await sorted(knex)],
  ],
  [
    'insert merges where',
    async (knex) => [
      await knex('person').insert({ name: 'a', age: 1 }).onConflict('name').merge(['age']).where('person.age', '>', 99),
      await sorted(knex),
    ],
  ],
  [
    'insert from a select',
    async (knex) => [
      await knex('pet').insert(knex('person').select(knex.raw('null'), 'name', 'id')),
      await knex('pet').orderBy('id'),
    ],
  ],
  [
    'insert of a document',
    async (knex) => [await knex('person').insert({ doc: { y: [1] } }), await knex('person').pluck('doc')],
  ],
  [
    'batch insert with returning',
    (knex) => knex.batchInsert('person', [{ name: 'x' }, { name: 'y' }, { name: 'z' }], 2).returning('id' as never),
  ],
  // Selects
  ['first', (knex) => knex('person').where('age', '<', 25).first()],
  ['first of nothing', async (knex) => [await knex('person').where('age', '>', 99).first()]],
  ['pluck', (knex) => knex('person').orderBy('name', 'desc').pluck('name')],
  [
    'where in, null, between, like',
    (knex) =>
      knex('person')
        .whereIn('id', [1, 2, 3])
        .andWhere((b) => void b.whereNull('age').orWhereBetween('age', [10, 25]).orWhereLike('name', 'z%'))
        .orderBy('id'),
  ],
  [
    'where of several columns',
    (knex) =>
      knex('person').whereIn(
        ['id', 'name'],
        [
          [1, 'a'],
          [2, 'x'],
        ],
      ),
  ],
  ['where a document', (knex) => knex('person').whereJsonPath('doc', '$.x', '=', 1)],
  ['limit and offset', (knex) => knex('person').orderBy('id').limit(1).offset(1)],
  ['distinct', (knex) => knex('pet').distinct('owner').orderBy('owner')],
  [
    'aggregates',
    (knex) =>
      knex('person').count({ n: '*' }).min({ min: 'age' }).max({ max: 'age' }).sum({ sum: 'age' }).avg({ avg: 'age' }),
  ],
  ['group and having', (knex) => knex('pet').select('owner').count({ n: '*' }).groupBy('owner').having('n', '>', 1)],
  [
    'joins',
    (knex) =>
      knex('person')
        .leftJoin('pet', 'pet.owner', 'person.id')
        .select('person.name as who', 'pet.name as pet')
        .orderBy(['who', 'pet']),
  ],
  ['columns of one name', (knex) => knex('person').join('pet', 'pet.owner', 'person.id').orderBy('pet.id')],
  [
    'subquery',
    (knex) =>
      knex('person')
        .whereIn('id', knex('pet').select('owner'))
        .select('name', knex('pet').count('*').whereRaw('owner = person.id').as('pets'))
        .orderBy('name'),
  ],
  ['exists', (knex) => knex('person').whereNotExists(knex('pet').whereRaw('owner = person.id')).pluck('name')],
  [
    'with',
    (knex) =>
      knex
        .with('young', knex('person').where('age', '<', 25))
        .select('name')
        .from('young'),
  ],
  [
    'with recursive',
    (knex) =>
      knex
        .withRecursive('n', ['v'], knex.raw('select 1 union all select v + 1 from n where v < 4'))
        .select('v')
        .from('n'),
  ],
  [
    'unions',
    (knex) =>
      knex('person')
        .select('name')
        .union([knex('pet').select('name')])
        .orderBy('name'),
  ],
  ['window', (knex) => knex('pet').select('name').rowNumber('n', 'id', 'owner').orderBy('id')],
  ['raw with names', (knex) => knex.raw('SELECT :a AS a, :b AS b', { a: 1, b: 'x' })],
  ['raw with ?', (knex) => knex.raw('SELECT ? AS a, ?? FROM person WHERE id = ?', [true, 'name', 1])],
  ['raw write', (knex) => knex.raw("INSERT INTO person(name) VALUES('n')")],
  [
    'dates and booleans are numbers',
    (knex) => knex.raw('SELECT ? AS at, ? AS yes, typeof(?) AS t', [new Date(5), false, new Date(5)]),
  ],
  ['BLOB', (knex) => knex.raw('SELECT ? AS b', [Buffer.from([0, 1])])],
  ['bigint', (knex) => knex.raw('SELECT ? AS b', [BIG]).options({ safeIntegers: true })],
  ['bigint as number', (knex) => knex.raw('SELECT ? AS b', [BIG])],
  ['stream', async (knex) => knex('person').orderBy('id').stream().toArray()],
  ['stream of what fails', (knex) => knex('missing').stream((stream) => void stream.resume())],
  ['as a map', async (knex) => (await knex('person').select('id', 'name')).map(({ id }: { id: number }) => id)],
  // Updates
  ['update gives how many', (knex) => knex('person').where('id', '<', 3).update({ age: 1 })],
  ['update returning', (knex) => knex('person').where('id', '<', 3).update({ age: 1 }, ['id', 'age'])],
  ['update of nothing', (knex) => knex('person').where('id', 99).update({ age: 1 })],
  [
    'update by raw',
    async (knex) => [await knex('person').update({ age: knex.raw('coalesce(age, 0) + 1') }), await sorted(knex)],
  ],
  [
    'increment and decrement',
    async (knex) => [
      await knex('person').where({ id: 1 }).increment('age', 2),
      await knex('person').where({ id: 2 }).decrement({ age: 3 }),
      await sorted(knex),
    ],
  ],
  ['delete gives how many', (knex) => knex('person').where('id', '>', 1).del()],
  ['delete returning', (knex) => knex('pet').where('id', '>', 1).del('id')],
  ['delete cascades', async (knex) => [await knex('person').where({ id: 1 }).del(), await knex('pet').pluck('name')]],
  ['truncate', async (knex) => [await knex('pet').truncate(), await knex('pet').insert({ name: 'n' })]],
  // Transactions
  [
    'transaction gives its value',
    (knex) => knex.transaction(async (trx) => (await trx('person').insert({ name: 'n' }))[0]),
  ],
  [
    'transaction rolls back',
    async (knex) => [
      await knex
        .transaction(async (trx) => {
          await trx('person').del();
          throw new Error('no');
        })
        .catch((error: Error) => error.message),
      await sorted(knex),
    ],
  ],
  [
    'transaction that is rolled back by hand',
    async (knex) => {
      const trx = await knex.transaction();
      await trx('person').del();
      await trx.rollback();
      return [trx.isCompleted(), await sorted(knex)];
    },
  ],
  [
    'transaction that is committed by hand',
    async (knex) => {
      const trx = await knex.transaction();
      await trx('pet').del();
      await trx.commit();
      return [trx.isCompleted(), await knex('pet')];
    },
  ],
  [
    'transaction that has ended',
    async (knex) => {
      const trx = await knex.transaction();
      await trx.commit();
      return trx('pet');
    },
  ],
  [
    'transaction provider',
    async (knex) => {
      const provide = knex.transactionProvider();
      const trx = await provide();
      const same = (await provide()) === trx;
      await trx('pet').del();
      await trx.rollback();
      return [same, await knex('pet').pluck('id')];
    },
  ],
  [
    'savepoint rolls back',
    (knex) =>
      knex.transaction(async (trx) => {
        await trx('person').insert({ name: 'n' });
        await trx
          .transaction(async (inner) => {
            await inner('person').del();
            throw new Error('no');
          })
          .catch(() => {});
        return trx('person').orderBy('id').pluck('name');
      }),
  ],
  [
    'savepoints one after another',
    (knex) =>
      knex.transaction(async (trx) => {
        await trx.savepoint(async (one) => {
          await one('person').insert({ name: 'n' });
          await one.savepoint((two) => two('person').insert({ name: 'o' }));
        });
        return trx('person').pluck('name');
      }),
  ],
  [
    'a statement that fails leaves the transaction open',
    (knex) =>
      knex.transaction(async (trx) => {
        await trx('person')
          .insert({ name: 'a' })
          .catch(() => {});
        await trx('person').insert({ name: 'n' });
        return trx('person').pluck('name');
      }),
  ],
  [
    'foreign keys that are checked at COMMIT',
    (knex) =>
      knex.transaction(async (trx) => {
        await trx.raw('PRAGMA defer_foreign_keys = ON');
        await trx('pet').insert({ name: 'x', owner: 9 });
        await trx('person').insert({ id: 9, name: 'late' });
        return trx('pet').where({ owner: 9 }).pluck('name');
      }),
  ],
  [
    'events',
    async (knex) => {
      const seen: string[] = [];
      const on = ({ sql }: { sql: string }): void => void seen.push(sql);
      knex.on('query', on);
      await knex.transaction((trx) => trx('person').first());
      knex.off('query', on);
      return seen;
    },
  ],
  [
    'event of an error',
    async (knex) => {
      const seen: unknown[] = [];
      const on = (error: Error, { sql }: { sql: string }): void => void seen.push(error.message, sql);
      knex.on('query-error', on);
      await Promise.resolve(knex('missing')).catch(() => {});
      knex.off('query-error', on);
      return seen;
    },
  ],
  // Schema
  [
    'types of columns',
    async (knex) => {
      await knex.schema.createTable('made', (t) => {
        t.bigIncrements();
        t.text('a');
        t.boolean('b');
        t.dateTime('c');
        t.decimal('d', 8, 2);
        t.float('e');
        t.binary('f');
        t.uuid('g');
        t.enum('h', ['x', 'y']);
        t.timestamps(true, true);
      });
      return columns(knex, 'made');
    },
  ],
  [
    'has table and column',
    (knex) =>
      Promise.all([
        knex.schema.hasTable('person'),
        knex.schema.hasTable('no'),
        knex.schema.hasColumn('person', 'age'),
        knex.schema.hasColumn('person', 'no'),
      ]),
  ],
  [
    'add a column',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.string('more').defaultTo('x'));
      return [await columns(knex), await sorted(knex)];
    },
  ],
  [
    'drop a column',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.dropColumn('age'));
      return [await columns(knex), await sorted(knex)];
    },
  ],
  [
    'drop several columns',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.dropColumns('age', 'doc'));
      return columns(knex);
    },
  ],
  [
    'rename a column',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.renameColumn('age', 'years'));
      return [await columns(knex), await sorted(knex)];
    },
  ],
  [
    'alter a column',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.text('age').defaultTo('7').alter());
      return columns(knex);
    },
  ],
  [
    'alter a column of a table that others refer to',
    async (knex) => {
      await knex.schema.alterTable('person', (t) => void t.string('name', 9).alter());
      return [await knex('pet'), await knex.raw('PRAGMA foreign_keys')];
    },
  ],
  [
    'set and drop nullable',
    async (knex) => {
      await knex.schema.alterTable('pet', (t) => void t.setNullable('name'));
      const one = await columns(knex, 'pet');
      await knex.schema.alterTable('pet', (t) => void t.dropNullable('owner'));
      return [one, await columns(knex, 'pet')];
    },
  ],
  [
    'index and unique',
    async (knex) => {
      await knex.schema.alterTable('pet', (t) => {
        t.index(['owner'], 'by_owner');
        t.unique(['name', 'owner']);
      });
      const one = await knex.raw('PRAGMA index_list(pet)');
      await knex.schema.alterTable('pet', (t) => {
        t.dropIndex([], 'by_owner');
        t.dropUnique(['name', 'owner']);
      });
      return [one, await knex.raw('PRAGMA index_list(pet)')];
    },
  ],
  [
    'drop and add a foreign key',
    async (knex) => {
      await knex.schema.alterTable('pet', (t) => void t.dropForeign('owner'));
      await knex('pet').insert({ name: 'x', owner: 9 });
      await knex('pet').where({ owner: 9 }).del();
      await knex.schema.alterTable('pet', (t) => void t.foreign('owner').references('person.id'));
      return [await knex.raw('PRAGMA foreign_key_list(pet)'), await knex('pet')];
    },
  ],
  [
    'a rebuild that breaks a foreign key',
    async (knex) => {
      await knex.schema.alterTable('pet', (t) => void t.dropForeign('owner'));
      await knex('pet').insert({ name: 'x', owner: 9 });
      return knex.schema.alterTable('pet', (t) => void t.foreign('owner').references('person.id'));
    },
  ],
  [
    'foreign keys behind a rebuild that failed',
    async (knex) => {
      await Promise.resolve(knex.schema.alterTable('person', (t) => void t.integer('age').notNullable().alter())).catch(
        () => {},
      );
      return [await knex.raw('PRAGMA foreign_keys'), await columns(knex), await sorted(knex)];
    },
  ],
  [
    'drop and add a primary key',
    async (knex) => {
      await knex.schema.createTable('made', (t) => {
        t.integer('a');
        t.integer('b');
        t.primary(['a', 'b']);
      });
      await knex.schema.alterTable('made', (t) => void t.dropPrimary());
      await knex.schema.alterTable('made', (t) => void t.primary(['b']));
      return knex.raw('PRAGMA table_info(made)');
    },
  ],
  [
    'rename a table',
    async (knex) => {
      await knex.schema.renameTable('pet', 'renamed');
      return knex('renamed').pluck('name');
    },
  ],
  [
    'create a table like another',
    async (knex) => {
      await knex.schema.createTableLike('made', 'person', (t) => void t.string('more'));
      return columns(knex, 'made');
    },
  ],
  [
    'views',
    async (knex) => {
      await knex.schema.createView('adult', (v) => {
        v.columns(['who']);
        v.as(knex('person').where('age', '>', 25).select('name'));
      });
      return knex('adult');
    },
  ],
  ['a table that is there', (knex) => knex.schema.createTable('person', (t) => void t.increments())],
  [
    'a rebuild in a transaction',
    (knex) =>
      knex.transaction(async (trx) => {
        await trx.schema.alterTable('pet', (t) => void t.dropColumn('owner'));
        return trx('pet').orderBy('id');
      }),
  ],
  // Migrations
  [
    'migrations up, listed, and down',
    async (knex) => {
      const config = { migrationSource: source };
      const list = async (): Promise<unknown> =>
        ((await knex.migrate.list(config)) as unknown[][]).map((names) =>
          names.map((entry) => (typeof entry === 'string' ? entry : (entry as { name: string }).name)),
        );
      const up = await knex.migrate.up(config);
      const some = await list();
      const latest = await knex.migrate.latest(config);
      const version = await knex.migrate.currentVersion(config);
      return [up, some, latest, version, await knex.migrate.rollback(config), await list()];
    },
  ],
  [
    'a migration that fails',
    async (knex) => {
      const bad: Knex.MigrationSource<string> = {
        ...source,
        getMigration: () =>
          Promise.resolve({
            up: async (trx) => {
              await trx('person').del();
              await trx.raw('nonsense');
            },
            down: async () => {},
          }),
      };
      const failed = await knex.migrate.latest({ migrationSource: bad }).catch((error: Error) => error.message);
      return [failed, await knex('person').pluck('id'), await knex('knex_migrations_lock').pluck('is_locked')];
    },
  ],
  [
    'seeds',
    async (knex) => {
      await knex.seed.run({
        seedSource: {
          getSeeds: () => Promise.resolve(['s']),
          getSeed: () =>
            Promise.resolve({
              seed: async (k) => {
                await k('pet').del();
                await k('pet').insert({ name: 'seeded' });
              },
            }),
        },
      });
      return knex('pet').pluck('name');
    },
  ],
  // Errors
  ['no such table', (knex) => knex('missing')],
  ['no such column', (knex) => knex('person').select('missing')],
  ['syntax', (knex) => knex.raw('SELEC 1')],
  ['unique', (knex) => knex('person').insert({ name: 'a' })],
  ['not null', (knex) => knex('pet').insert({ name: null })],
  ['check', (knex) => knex('person').insert({ age: -1 })],
  ['foreign key', (knex) => knex('pet').insert({ name: 'x', owner: 9 })],
  ['too few values', (knex) => knex.raw('SELECT ?1, ?2', [1])],
  ['an empty query', (knex) => knex.raw('')],
];

it('Knex does over two nodes what it does over better-sqlite3', async () => {
  const cluster = await startCluster();
  const stock = createKnex({ ...CONFIG, client: 'better-sqlite3', connection: { filename: ':memory:' } });
  onCleanup(() => stock.destroy());
  const ours = createKnex({ ...CONFIG, client: haKnexClient(cluster.a) });
  onCleanup(() => ours.destroy());
  const expected = await outcomes(CHECKS, stock, fresh);
  expect(await outcomes(CHECKS, ours, fresh)).toEqual(expected);
  await cluster.expectEqual();
  expectInReadme('Knex', CHECKS.length);
});

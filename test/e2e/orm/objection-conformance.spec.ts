import createKnex from 'knex';
import type { Knex } from 'knex';
import objection from 'objection';
import { haKnexClient } from '../../../lib/orm/knex.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { expectInReadme, outcomes } from './conformance.js';
import type { Check } from './conformance.js';

const { Model, raw, ref, fn } = objection;

class Person extends Model {
  static override readonly tableName = 'person';
  declare id: number;
  declare name: string;
  declare age: number;
  declare address: unknown;
  declare pets: Pet[];
  declare friends: Person[];

  static override get jsonSchema(): objection.JSONSchema {
    return {
      type: 'object',
      required: ['name'],
      properties: { name: { type: 'string', minLength: 1 }, age: { type: 'integer' }, address: { type: 'object' } },
    };
  }

  static override get relationMappings(): objection.RelationMappings {
    return {
      parent: {
        relation: Model.BelongsToOneRelation,
        modelClass: Person,
        join: { from: 'person.parentId', to: 'person.id' },
      },
      pets: { relation: Model.HasManyRelation, modelClass: Pet, join: { from: 'person.id', to: 'pet.ownerId' } },
      friends: {
        relation: Model.ManyToManyRelation,
        modelClass: Person,
        join: {
          from: 'person.id',
          through: { from: 'friend.one', to: 'friend.two', extra: ['since'] },
          to: 'person.id',
        },
      },
    };
  }

  static override get modifiers(): objection.Modifiers {
    return { adults: (query) => void query.where('age', '>', 18) };
  }
}

class Pet extends Model {
  static override readonly tableName = 'pet';
  declare id: number;
  declare name: string;
  declare ownerId: number;
}

async function fresh(knex: Knex): Promise<void> {
  for (const table of ['friend', 'pet', 'person']) await knex.schema.dropTableIfExists(table);
  await knex.schema.createTable('person', (table) => {
    table.increments();
    table.string('name').unique();
    table.integer('age');
    table.json('address');
    table.integer('parentId').references('person.id');
  });
  await knex.schema.createTable('pet', (table) => {
    table.increments();
    table.string('name');
    table.integer('ownerId').references('person.id').onDelete('CASCADE');
  });
  await knex.schema.createTable('friend', (table) => {
    table.integer('one').references('person.id').onDelete('CASCADE');
    table.integer('two').references('person.id').onDelete('CASCADE');
    table.string('since');
  });
  await Person.query(knex).insertGraph([
    { name: 'a', age: 30, address: { city: 'Rome' }, pets: [{ name: 'Rex' }, { name: 'Tom' }] },
    { name: 'b', age: 10, pets: [{ name: 'Max' }] },
  ] as never);
}

const CHECKS: readonly Check<Knex>[] = [
  ['insert', (knex) => Person.query(knex).insert({ name: 'n', address: { city: 'x' } })],
  ['insert and fetch', (knex) => Person.query(knex).insertAndFetch({ name: 'n' })],
  ['insert with returning', (knex) => Person.query(knex).insert({ name: 'n' }).returning('*')],
  ['insert that is not valid', (knex) => Person.query(knex).insert({ name: '' }).execute()],
  ['patch', (knex) => Person.query(knex).patch({ age: 1 }).where('age', '>', 20)],
  ['patch and fetch by id', (knex) => Person.query(knex).patchAndFetchById(1, { age: 2 })],
  [
    'patch by expression',
    async (knex) => [
      await Person.query(knex)
        .findById(1)
        .patch({ age: raw('age + ?', 1) }),
      await Person.query(knex).findById(1),
    ],
  ],
  ['update', (knex) => Person.query(knex).updateAndFetchById(1, { name: 'z' })],
  ['delete by id', (knex) => Person.query(knex).deleteById(1)],
  ['delete that others refer to', async (knex) => [await Person.query(knex).deleteById(1), await Pet.query(knex)]],
  ['not found', (knex) => Person.query(knex).findById(9).throwIfNotFound().execute()],
  [
    'find',
    (knex) =>
      Person.query(knex)
        .where('age', '>', 5)
        .orderBy('id', 'desc')
        .select('name', fn.upper(ref('name')).as('up')),
  ],
  [
    'find in a document',
    (knex) => Person.query(knex).whereRaw("json_extract(address, '$.city') = ?", 'Rome').select('name'),
  ],
  [
    'result size and range',
    async (knex) => [
      await Person.query(knex).resultSize(),
      await Person.query(knex).orderBy('id').range(1, 1),
      await Person.query(knex).orderBy('id').page(0, 1),
    ],
  ],
  ['modifiers', (knex) => Person.query(knex).modify('adults').select('name')],
  [
    'graph fetched',
    (knex) =>
      Person.query(knex)
        .orderBy('id')
        .withGraphFetched('pets')
        .modifyGraph('pets', (pets) => void pets.orderBy('name')),
  ],
  ['graph joined', (knex) => Person.query(knex).withGraphJoined('pets').orderBy(['person.id', 'pets.id'])],
  [
    'subquery of a relation',
    (knex) => Person.query(knex).orderBy('id').select('name', Person.relatedQuery('pets').count().as('pets')),
  ],
  [
    'where a relation exists',
    (knex) => Person.query(knex).whereExists(Person.relatedQuery('pets').where('pets.name', 'Max')).select('name'),
  ],
  [
    'joinRelated',
    (knex) => Person.query(knex).joinRelated('pets').select('person.name', 'pets.name as pet').orderBy('pets.id'),
  ],
  ['related insert', (knex) => Person.relatedQuery<Pet>('pets', knex).for(2).insert({ name: 'New' })],
  [
    'relate and unrelate',
    async (knex) => {
      await Person.relatedQuery('friends', knex)
        .for(1)
        .relate({ id: 2, since: '2020' } as never);
      const related = await Person.relatedQuery('friends', knex).for(1);
      return [related, await Person.relatedQuery('friends', knex).for(1).unrelate(), await knex('friend')];
    },
  ],
  [
    'related patch and delete',
    async (knex) => [
      await Person.relatedQuery('pets', knex)
        .for(1)
        .patch({ name: 'P' } as never),
      await Person.relatedQuery('pets', knex).for(2).delete(),
      await Pet.query(knex).orderBy('id'),
    ],
  ],
  [
    'insert graph with references',
    (knex) =>
      Person.query(knex).insertGraph(
        [
          { '#id': 'x', name: 'x' },
          { name: 'y', friends: [{ '#ref': 'x', since: 'now' }] },
        ] as never,
        { allowRefs: true },
      ),
  ],
  [
    'upsert graph',
    async (knex) => {
      await Person.query(knex).upsertGraph({ id: 1, age: 31, pets: [{ id: 1, name: 'R' }, { name: 'S' }] } as never);
      return Person.query(knex).findById(1).withGraphFetched('pets');
    },
  ],
  [
    'upsert graph that relates',
    async (knex) => {
      await Person.query(knex).upsertGraph({ id: 1, friends: [{ id: 2 }] } as never, { relate: true, unrelate: true });
      return Person.query(knex).findById(1).withGraphFetched('friends');
    },
  ],
  [
    'on conflict merge',
    async (knex) => {
      await Person.query(knex).insert({ name: 'a', age: 77 }).onConflict('name').merge(['age']);
      return Person.query(knex).where({ age: 77 });
    },
  ],
  [
    'transaction',
    (knex) =>
      Person.transaction(knex, async (trx) => {
        await Person.query(trx).insert({ name: 'n' });
        return Person.query(trx).resultSize();
      }),
  ],
  [
    'transaction that fails',
    async (knex) => [
      await Person.transaction(knex, async (trx) => {
        await Person.query(trx).insert({ name: 'n' });
        await Person.query(trx).insert({ name: 'a' });
      }).catch((error: Error) => error.message),
      await Person.query(knex).resultSize(),
    ],
  ],
  [
    'graph that fails is not there',
    async (knex) => [
      await Person.query(knex)
        .insertGraph({ name: 'n', pets: [{ ownerId: 99, id: 1 }] } as never)
        .catch((error: Error) => error.message),
      await Pet.query(knex).resultSize(),
    ],
  ],
  [
    'bound models',
    async (knex) => {
      const Bound = Person.bindKnex(knex);
      return Bound.query().findById(1);
    },
  ],
  ['unique', (knex) => Person.query(knex).insert({ name: 'a' }).execute()],
  ['foreign key', (knex) => Pet.query(knex).insert({ ownerId: 99 }).execute()],
];

it('Objection does over two nodes what it does over better-sqlite3', async () => {
  const cluster = await startCluster();
  const stock = createKnex({ useNullAsDefault: true, client: 'better-sqlite3', connection: { filename: ':memory:' } });
  onCleanup(() => stock.destroy());
  const ours = createKnex({ useNullAsDefault: true, client: haKnexClient(cluster.a) });
  onCleanup(() => ours.destroy());
  const expected = await outcomes(CHECKS, stock, fresh);
  expect(await outcomes(CHECKS, ours, fresh)).toEqual(expected);
  await cluster.expectEqual();
  expectInReadme('Objection', CHECKS.length);
});

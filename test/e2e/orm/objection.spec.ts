import createKnex from 'knex';
import type { Knex } from 'knex';
import objection from 'objection';
import type { ModelOptions, QueryContext } from 'objection';
import { isRetryable } from '../../../lib/common/retryable.js';
import { haKnexClient, orderedTransaction } from '../../../lib/orm/knex.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const { Model } = objection;

class Person extends Model {
  static override readonly tableName = 'person';
  declare id: number;
  declare name: string;
  declare age: number | null;
  declare address: { city: string } | null;
  declare parentId: number | null;
  declare children?: Person[];
  declare pets?: Pet[];
  declare movies?: Movie[];

  static override get jsonAttributes(): string[] {
    return ['address'];
  }

  static override get relationMappings(): objection.RelationMappings {
    const { HasManyRelation, ManyToManyRelation } = Model;
    return {
      children: {
        relation: HasManyRelation,
        modelClass: Person,
        join: { from: 'person.id', to: 'person.parentId' },
      },
      pets: { relation: HasManyRelation, modelClass: Pet, join: { from: 'person.id', to: 'pet.ownerId' } },
      movies: {
        relation: ManyToManyRelation,
        modelClass: Movie,
        join: {
          from: 'person.id',
          through: { from: 'person_movie.personId', to: 'person_movie.movieId' },
          to: 'movie.id',
        },
      },
    };
  }
}

class Pet extends Model {
  static override readonly tableName = 'pet';
  declare id: number;
  declare name: string;
  declare ownerId: number;
  changes = 0;

  override $beforeUpdate(_options: ModelOptions, _context: QueryContext): void {
    this.changes++;
  }
}

class Movie extends Model {
  static override readonly tableName = 'movie';
  declare id: number;
  declare title: string;
}

async function schema(knex: Knex): Promise<void> {
  await knex.schema.createTable('person', (table) => {
    table.increments();
    table.string('name').notNullable().unique();
    table.integer('age');
    table.json('address');
    table.integer('parentId').references('person.id');
  });
  await knex.schema.createTable('pet', (table) => {
    table.increments();
    table.string('name');
    table.integer('changes');
    table.integer('ownerId').references('person.id').onDelete('CASCADE');
  });
  await knex.schema.createTable('movie', (table) => {
    table.increments();
    table.string('title');
  });
  await knex.schema.createTable('person_movie', (table) => {
    table.integer('personId').references('person.id').onDelete('CASCADE');
    table.integer('movieId').references('movie.id').onDelete('CASCADE');
    table.primary(['personId', 'movieId']);
  });
}

function over(db: HADatabase): Knex {
  const made = createKnex({ client: haKnexClient(db), useNullAsDefault: true });
  onCleanup(() => made.destroy());
  return made;
}

async function nodes(): Promise<{ cluster: Cluster; knex: Knex; other: Knex }> {
  const cluster = await startCluster();
  const [knex, other] = [over(cluster.a), over(cluster.b)];
  await schema(knex);
  await cluster.settle();
  return { cluster, knex, other };
}

const GRAPH = {
  name: 'a',
  age: 40,
  address: { city: 'Rome' },
  children: [{ name: 'b', pets: [{ name: 'Rex' }, { name: 'Tom' }] }],
  movies: [{ title: 'M' }, { title: 'N' }],
};

describe('Objection over two nodes', () => {
  it('inserts, reads and changes graphs', async () => {
    const { cluster, knex, other } = await nodes();
    await Person.query(knex).insertGraph(GRAPH);
    await cluster.settle();
    const graph = '[children.pets, movies]';
    const found = await Person.query(other).findOne({ name: 'a' }).withGraphFetched(graph).throwIfNotFound();
    expect(found.toJSON()).toMatchObject(GRAPH);
    expect(await Person.query(other).withGraphJoined(graph).findOne('person.name', 'a')).toMatchObject({
      children: [{ pets: [{ name: 'Rex' }, { name: 'Tom' }] }],
    });
    await Person.query(other).upsertGraph({
      id: found.id,
      name: 'A',
      children: [{ id: 2, name: 'b', pets: [{ id: 1, name: 'Max' }, { name: 'New' }] }],
    });
    await cluster.settle();
    expect(await Pet.query(knex).orderBy('id').select('name', 'changes')).toMatchObject([
      { name: 'Max', changes: 1 },
      { name: 'New' },
    ]);
    const person = await Person.query(knex).findById(1).throwIfNotFound();
    await person.$relatedQuery<Movie>('movies', knex).unrelate().where('title', 'M');
    expect(await person.$relatedQuery<Movie>('movies', knex).resultSize()).toBe(1);
    expect(await Person.query(knex).deleteById(2)).toBe(1);
    expect(await Pet.query(knex).resultSize()).toBe(0);
    await cluster.expectEqual();
  });

  it('rolls back, and counts exactly what both nodes read and write at once', async () => {
    const { cluster, knex, other } = await nodes();
    await Person.query(knex).insert({ name: 'a', age: 0 });
    const failing = Person.transaction(knex, async (trx) => {
      await Person.query(trx).insert({ name: 'lost' });
      await Person.query(trx).insert({ name: 'a' });
    });
    expect(await failureOf(failing)).toMatchObject({ code: 'SQLITE_CONSTRAINT_UNIQUE' });
    await cluster.settle();
    const add = (on: Knex): Promise<number> =>
      orderedTransaction(
        on,
        async (trx) => {
          const { age } = await Person.query(trx).findById(1).throwIfNotFound();
          return Person.query(trx)
            .findById(1)
            .patch({ age: (age as number) + 1 });
        },
        { attempts: 200 },
      );
    await Promise.all(Array.from({ length: 30 }, (_, index) => add(index % 2 === 0 ? knex : other)));
    await cluster.settle();
    expect(await Person.query(other).select('name', 'age')).toMatchObject([{ name: 'a', age: 30 }]);
    await cluster.expectEqual();
  });

  it('knows what was violated, and what can be run again', async () => {
    const { cluster, knex, other } = await nodes();
    await Person.query(knex).insert({ name: 'a' });
    const violations = await Promise.all([
      failureOf(Person.query(knex).insert({ name: 'a' }).execute()),
      failureOf(Person.query(knex).insert({ age: 1 }).execute()),
      failureOf(Pet.query(knex).insert({ ownerId: 9 }).execute()),
    ]);
    expect(violations.map(({ code }) => code)).toEqual([
      'SQLITE_CONSTRAINT_UNIQUE',
      'SQLITE_CONSTRAINT_NOTNULL',
      'SQLITE_CONSTRAINT_FOREIGNKEY',
    ]);
    await cluster.settle();
    const conflict = knex.transaction(
      async (trx) => {
        await Person.query(trx).findById(1).patch({ age: 1 });
        await Person.query(other).findById(1).patch({ age: 2 });
      },
      { isolationLevel: 'serializable' },
    );
    expect(isRetryable(await failureOf(conflict))).toBe(true);
    await cluster.settle();
    expect(await Person.query(knex).select('age')).toMatchObject([{ age: 2 }]);
    await cluster.expectEqual();
  });

  it('inserts 10,000 models at once', async () => {
    const { cluster, knex } = await nodes();
    await knex.transaction(async (trx) => {
      for (let start = 0; start < 10_000; start += 500) {
        await trx.batchInsert(
          'person',
          Array.from({ length: 500 }, (_, index) => Person.fromJson({ name: `n${start + index}` }).$toDatabaseJson()),
          100,
        );
      }
    });
    expect(await Person.query(knex).resultSize()).toBe(10_000);
    await cluster.expectEqual();
  });
});

it('runs transactions at the leader where its node is a follower', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const knex = over(cluster.follower.db);
  await schema(knex);
  await Person.transaction(knex, async (trx) => {
    await Person.query(trx).insertGraph(GRAPH);
    const failing = Person.transaction(trx, async (nested) => {
      await Pet.query(nested).insert({ name: 'taken back', ownerId: 2 });
      await Pet.query(nested).insert({ ownerId: 9 });
    });
    expect(await failureOf(failing)).toMatchObject({ code: 'SQLITE_CONSTRAINT_FOREIGNKEY' });
    await Pet.query(trx).findById(1).patch({ name: 'Max' });
    // Its own rows, which no other node has yet.
    expect(await Pet.query(trx).orderBy('id').select('name')).toMatchObject([{ name: 'Max' }, { name: 'Tom' }]);
    expect(await cluster.leader?.db.get('SELECT count(*) AS n FROM person')).toEqual({ n: 0 });
  });
  const failing = Person.transaction(knex, async (trx) => {
    await Person.query(trx).insert({ name: 'lost' });
    throw new Error('no');
  });
  expect((await failureOf(failing)).message).toBe('no');
  await until(async () => (await Person.query(knex).resultSize()) > 0);
  const found = await Person.query(knex).findOne({ name: 'a' }).withGraphFetched('[children.pets, movies]');
  expect(found).toMatchObject({ children: [{ pets: [{ name: 'Max' }, { name: 'Tom' }] }], movies: GRAPH.movies });
  expect(await Person.query(knex).resultSize()).toBe(2);
  await cluster.expectEqual();
  cluster.expectOneWriterAtATime();
});

import BetterSqlite3 from 'better-sqlite3';
import { drizzle as drizzleOnSqlite } from 'drizzle-orm/better-sqlite3';
import { eq } from 'drizzle-orm';
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core';
import Knex from 'knex';
import { Kysely, SqliteDialect } from 'kysely';
import type { HADatabase } from 'nestjs-ha';
import { drizzle } from 'nestjs-ha/drizzle';
import { haKnexClient } from 'nestjs-ha/knex';
import { HAKyselyDialect } from 'nestjs-ha/kysely';
import { haSqlite3 } from 'nestjs-ha/sqlite3';
import { haDataSource, haDataSourceOptions } from 'nestjs-ha/typeorm';
import { DataTypes, Model, Sequelize } from 'sequelize';
import { DataSource, EntitySchema } from 'typeorm';

export interface Person {
  readonly id: number;
  readonly name: string;
  readonly email: string;
  readonly age: number;
}

/** One ORM on one database, as an application would use it. */
export interface Subject {
  insert(person: Person): Promise<unknown>;
  read(id: number): Promise<unknown>;
  /** All of them as one transaction. */
  insertAll(people: readonly Person[]): Promise<unknown>;
  /** Reads a row and writes it, as one transaction. */
  birthday(id: number): Promise<unknown>;
  close(): Promise<unknown>;
}

/** How an ORM is set up: over a replicated database, and over better-sqlite3 where it has a driver for that. */
export interface Orm {
  readonly name: string;
  over(db: HADatabase): Promise<Subject>;
  plain?(path: string): Promise<Subject>;
}

/** Rows of one statement: SQLite takes 32,766 parameters. */
const CHUNK = 500;

export const ORMS: readonly Orm[] = [
  {
    name: 'Kysely',
    over: async (db) => kysely(new Kysely({ dialect: new HAKyselyDialect(db) })),
    plain: async (path) => kysely(new Kysely({ dialect: new SqliteDialect({ database: sqlite(path) }) })),
  },
  { name: 'Drizzle', over: async (db) => drizzleOver(db), plain: async (path) => drizzleOn(sqlite(path)) },
  {
    name: 'TypeORM',
    over: async (db) => typeorm(haDataSource(new DataSource(haDataSourceOptions(db, { entities: [PERSON] })))),
    plain: async (path) =>
      typeorm(new DataSource({ type: 'better-sqlite3', database: path, enableWAL: true, entities: [PERSON] })),
  },
  {
    name: 'Knex',
    over: async (db) => knex(Knex({ client: haKnexClient(db), useNullAsDefault: true })),
    plain: async (path) =>
      knex(Knex({ client: 'better-sqlite3', connection: { filename: path }, useNullAsDefault: true })),
  },
  { name: 'Sequelize', over: async (db) => sequelize(db) },
];

function sqlite(path: string): BetterSqlite3.Database {
  const db = new BetterSqlite3(path);
  db.pragma('journal_mode = WAL');
  return db;
}

function* chunks(people: readonly Person[]): Generator<Person[]> {
  for (let at = 0; at < people.length; at += CHUNK) yield people.slice(at, at + CHUNK);
}

function kysely(db: Kysely<{ people: Person }>): Subject {
  return {
    insert: (person) => db.insertInto('people').values(person).execute(),
    read: (id) => db.selectFrom('people').selectAll().where('id', '=', id).executeTakeFirst(),
    insertAll: (people) =>
      db.transaction().execute(async (trx) => {
        for (const chunk of chunks(people)) await trx.insertInto('people').values(chunk).execute();
      }),
    birthday: (id) =>
      db.transaction().execute(async (trx) => {
        const { age } = await trx.selectFrom('people').select('age').where('id', '=', id).executeTakeFirstOrThrow();
        await trx
          .updateTable('people')
          .set({ age: age + 1 })
          .where('id', '=', id)
          .execute();
      }),
    close: () => db.destroy(),
  };
}

const people = sqliteTable('people', {
  id: integer('id').primaryKey(),
  name: text('name').notNull(),
  email: text('email').notNull(),
  age: integer('age').notNull(),
});

function drizzleOver(db: HADatabase): Subject {
  const orm = drizzle(db);
  return {
    insert: async (person) => orm.insert(people).values(person),
    read: async (id) => orm.select().from(people).where(eq(people.id, id)).get(),
    insertAll: (rows) =>
      orm.transaction(
        async (tx) => {
          for (const chunk of chunks(rows)) await tx.insert(people).values(chunk);
        },
        { timeout: 60_000 },
      ),
    birthday: (id) =>
      orm.transaction(async (tx) => {
        const row = await tx.select({ age: people.age }).from(people).where(eq(people.id, id)).get();
        await tx
          .update(people)
          .set({ age: (row?.age ?? 0) + 1 })
          .where(eq(people.id, id));
      }),
    close: async () => undefined,
  };
}

/** The driver for better-sqlite3 is synchronous in its transactions; its queries can be awaited like all others. */
function drizzleOn(db: BetterSqlite3.Database): Subject {
  const orm = drizzleOnSqlite(db);
  return {
    insert: async (person) => orm.insert(people).values(person),
    read: async (id) => orm.select().from(people).where(eq(people.id, id)).get(),
    insertAll: async (rows) =>
      orm.transaction((tx) => {
        for (const chunk of chunks(rows)) tx.insert(people).values(chunk).run();
      }),
    birthday: async (id) =>
      orm.transaction((tx) => {
        const row = tx.select({ age: people.age }).from(people).where(eq(people.id, id)).get();
        tx.update(people)
          .set({ age: (row?.age ?? 0) + 1 })
          .where(eq(people.id, id))
          .run();
      }),
    close: async () => db.close(),
  };
}

const PERSON = new EntitySchema<Person>({
  name: 'Person',
  tableName: 'people',
  columns: {
    id: { type: 'integer', primary: true },
    name: { type: 'text' },
    email: { type: 'text' },
    age: { type: 'integer' },
  },
});

async function typeorm(source: DataSource): Promise<Subject> {
  await source.initialize();
  const repository = source.getRepository(PERSON);
  return {
    insert: (person) => repository.insert(person),
    read: (id) => repository.findOneBy({ id }),
    insertAll: (rows) =>
      source.transaction(async (manager) => {
        for (const chunk of chunks(rows)) await manager.insert(PERSON, chunk);
      }),
    birthday: (id) =>
      source.transaction(async (manager) => {
        const { age } = await manager.findOneByOrFail(PERSON, { id });
        await manager.update(PERSON, { id }, { age: age + 1 });
      }),
    close: () => source.destroy(),
  };
}

function knex(db: Knex.Knex): Subject {
  return {
    insert: async (person) => db('people').insert(person),
    read: async (id) => db('people').where({ id }).first(),
    insertAll: (rows) =>
      db.transaction(async (trx) => {
        for (const chunk of chunks(rows)) await trx('people').insert(chunk);
      }),
    birthday: (id) =>
      db.transaction(async (trx) => {
        const row = await trx<Person>('people').where({ id }).first('age');
        await trx('people')
          .where({ id })
          .update({ age: (row?.age ?? 0) + 1 });
      }),
    close: () => db.destroy(),
  };
}

/** Its own driver is node-sqlite3, a package that is compiled or fetched when it is installed. */
async function sequelize(db: HADatabase): Promise<Subject> {
  const orm = new Sequelize({
    dialect: 'sqlite',
    storage: '.',
    dialectModule: haSqlite3(db, { serialize: false }),
    logging: false,
  });
  class People extends Model {}
  const column = { type: DataTypes.TEXT, allowNull: false };
  const id = { type: DataTypes.INTEGER, primaryKey: true };
  People.init(
    { id, name: column, email: column, age: { type: DataTypes.INTEGER } },
    { sequelize: orm, tableName: 'people', timestamps: false },
  );
  return {
    insert: (person) => People.create({ ...person }),
    read: (key) => People.findByPk(key, { raw: true }),
    insertAll: (rows) =>
      orm.transaction(async (transaction) => {
        for (const chunk of chunks(rows))
          await People.bulkCreate(
            chunk.map((row) => ({ ...row })),
            { transaction },
          );
      }),
    birthday: (key) =>
      orm.transaction(async (transaction) => {
        const row = await People.findByPk(key, { transaction, rejectOnEmpty: true });
        await row.update({ age: (row.get('age') as number) + 1 }, { transaction });
      }),
    close: () => orm.close(),
  };
}

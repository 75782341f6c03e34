// Each ORM over the packed library in the folder where this file lies: `node packed-orms.js import`, or `require`.
import { NestFactory } from '@nestjs/core';
import { deepEqual } from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import 'reflect-metadata';

const require = createRequire(import.meta.url);
const kind = process.argv[2];
const load =
  kind === 'require' ? async (name) => withDefault(require(name)) : async (name) => withDefault(await import(name));
const { HAModule, getHAToken } = await load('nestjs-ha');

/** What a CommonJS package exports lies in `default`, where it is imported and not all of it is recognised. */
function withDefault(module) {
  return typeof module === 'object' && 'default' in module ? { ...module.default, ...module } : module;
}

/** Gives a database to work with, and looks that no other file was made. */
async function withDatabase(work, ...imports) {
  const dir = mkdtempSync(join(tmpdir(), 'packed-'));
  class App {}
  const root = { module: App, imports: [HAModule.forRoot(`file:${join(dir, 'my.db')}`), ...imports] };
  const app = await NestFactory.createApplicationContext(root, { logger: ['error', 'warn'] });
  try {
    await work(app.get(getHAToken()), app);
    deepEqual(
      readdirSync(dir).filter((file) => !file.startsWith('my.db')),
      [],
    );
  } finally {
    await app.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function failing(work) {
  await work();
  throw new Error('taken back');
}

async function takenBack(promise) {
  const message = await promise.then(
    () => 'nothing failed',
    (error) => error.message,
  );
  deepEqual(message, 'taken back');
}

const ROWS = [{ id: 1, v: 'kept' }];

async function kysely() {
  const { Kysely } = await load('kysely');
  const { HAKyselyDialect } = await load('nestjs-ha/kysely');
  await withDatabase(async (db) => {
    const orm = new Kysely({ dialect: new HAKyselyDialect(db) });
    const { schema } = orm;
    await schema
      .createTable('t')
      .addColumn('id', 'integer', (id) => id.primaryKey())
      .addColumn('v', 'text')
      .execute();
    const insert = (v) => (tx) => tx.insertInto('t').values({ v }).execute();
    await orm.transaction().execute(insert('kept'));
    await takenBack(orm.transaction().execute((tx) => failing(() => insert('lost')(tx))));
    deepEqual(await orm.selectFrom('t').selectAll().execute(), ROWS);
    await orm.destroy();
  });
}

async function typeorm(name) {
  const { DataSource, EntitySchema } = await load(name);
  const { haDataSource, haDataSourceOptions } = await load('nestjs-ha/typeorm');
  const columns = { id: { type: Number, primary: true, generated: true }, v: { type: String } };
  const entities = [new EntitySchema({ name: 't', columns })];
  await withDatabase(async (db) => {
    const orm = haDataSource(new DataSource(haDataSourceOptions(db, { entities, synchronize: true })));
    await orm.initialize();
    const save = (v) => (manager) => manager.getRepository('t').save({ v });
    await orm.transaction(save('kept'));
    await takenBack(orm.transaction((manager) => failing(() => save('lost')(manager))));
    deepEqual(await orm.getRepository('t').find(), ROWS);
    await orm.destroy();
  });
}

async function knex() {
  const { knex: createKnex } = await load('knex');
  const { haKnexClient } = await load('nestjs-ha/knex');
  await withDatabase(async (db) => {
    const orm = createKnex({ client: haKnexClient(db), useNullAsDefault: true });
    await orm.schema.createTable('t', (table) => void (table.increments(), table.text('v')));
    await orm.transaction((trx) => trx('t').insert({ v: 'kept' }));
    await takenBack(orm.transaction((trx) => failing(() => trx('t').insert({ v: 'lost' }))));
    deepEqual(await orm('t'), ROWS);
    await orm.destroy();
  });
}

async function drizzle() {
  const { integer, sqliteTable, text } = await load('drizzle-orm/sqlite-core');
  const { drizzle } = await load('nestjs-ha/drizzle');
  const t = sqliteTable('t', { id: integer('id').primaryKey(), v: text('v') });
  await withDatabase(async (db) => {
    const orm = drizzle(db, { schema: { t } });
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
    await orm.transaction((tx) => tx.insert(t).values({ v: 'kept' }));
    await takenBack(orm.transaction((tx) => failing(() => tx.insert(t).values({ v: 'lost' }))));
    deepEqual(await orm.query.t.findMany(), ROWS);
  });
}

async function cls() {
  const { ClsModule } = await load('nestjs-cls');
  const { ClsPluginTransactional, TransactionHost } = await load('@nestjs-cls/transactional');
  const { HATransactionalAdapter } = await load('nestjs-ha/cls');
  const plugins = [new ClsPluginTransactional({ adapter: new HATransactionalAdapter() })];
  const work = async (db, app) => {
    const host = app.get(TransactionHost, { strict: false });
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)');
    const insert = (v) => host.tx.run('INSERT INTO t(v) VALUES(?)', [v]);
    await host.withTransaction(() => insert('kept'));
    await takenBack(host.withTransaction(() => failing(() => insert('lost'))));
    deepEqual(await db.all('SELECT * FROM t'), ROWS);
  };
  await withDatabase(work, ClsModule.forRoot({ global: true, plugins }));
}

async function sqlite3() {
  const { DataTypes, Sequelize } = await load('sequelize');
  const { haSqlite3 } = await load('nestjs-ha/sqlite3');
  await withDatabase(async (db) => {
    const dialectModule = haSqlite3(db, { serialize: false });
    const orm = new Sequelize({ dialect: 'sqlite', storage: '.', dialectModule, logging: false });
    const T = orm.define('t', { v: DataTypes.STRING }, { timestamps: false, freezeTableName: true });
    await orm.sync();
    await orm.transaction((transaction) => T.create({ v: 'kept' }, { transaction }));
    await takenBack(orm.transaction((transaction) => failing(() => T.create({ v: 'lost' }, { transaction }))));
    deepEqual(await T.findAll({ raw: true }), ROWS);
    await orm.close();
  });
}

const all = {
  kysely,
  typeorm: () => typeorm('typeorm'),
  'typeorm 0.3': () => typeorm('typeorm-0.3'),
  knex,
  drizzle,
  cls,
  sqlite3,
};
for (const [name, run] of Object.entries(all)) {
  await run();
  console.log(name);
}

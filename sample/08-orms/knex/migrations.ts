import type { Knex } from 'knex';

const MIGRATIONS: Record<string, Knex.Migration> = {
  '20260101_library': {
    up: async (knex) => {
      await knex.schema.createTable('knex_author', (table) => {
        table.increments();
        table.string('name').notNullable();
      });
      await knex.schema.createTable('knex_book', (table) => {
        table.increments();
        table.integer('author_id').notNullable().references('knex_author.id').index();
        table.string('title').notNullable();
        table.integer('copies').notNullable();
      });
    },
    down: async (knex) => {
      await knex.schema.dropTable('knex_book').dropTable('knex_author');
    },
  },
};

/** Here they are in a file; a folder of them (`directory`) works as well. */
export const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () => Object.keys(MIGRATIONS),
  getMigrationName: (name) => name,
  getMigration: async (name) => MIGRATIONS[name] as Knex.Migration,
};

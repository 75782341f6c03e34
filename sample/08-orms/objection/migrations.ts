import type { Knex } from 'knex';

const MIGRATIONS: Record<string, Knex.Migration> = {
  '20260101_library': {
    up: async (knex) => {
      await knex.schema.createTable('objection_author', (table) => {
        table.increments();
        table.string('name').notNullable();
      });
      await knex.schema.createTable('objection_book', (table) => {
        table.increments();
        table.integer('authorId').notNullable().references('objection_author.id').index();
        table.string('title').notNullable();
        table.integer('copies').notNullable();
      });
    },
    down: async (knex) => {
      await knex.schema.dropTable('objection_book').dropTable('objection_author');
    },
  },
};

export const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () => Object.keys(MIGRATIONS),
  getMigrationName: (name) => name,
  getMigration: async (name) => MIGRATIONS[name] as Knex.Migration,
};

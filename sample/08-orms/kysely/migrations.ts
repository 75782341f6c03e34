import type { Kysely, Migration } from 'kysely';

export const migrations: Record<string, Migration> = {
  '2026-01-01-authors': {
    up: (db: Kysely<unknown>) =>
      db.schema
        .createTable('kysely_author')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('name', 'text', (column) => column.notNull())
        .execute(),
  },
  '2026-01-02-books': {
    up: async (db: Kysely<unknown>) => {
      await db.schema
        .createTable('kysely_book')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('author_id', 'integer', (column) => column.notNull().references('kysely_author.id'))
        .addColumn('title', 'text', (column) => column.notNull())
        .addColumn('copies', 'integer', (column) => column.notNull())
        .execute();
      await db.schema.createIndex('kysely_book_author').on('kysely_book').column('author_id').execute();
    },
  },
};

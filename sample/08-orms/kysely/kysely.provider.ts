import type { FactoryProvider } from '@nestjs/common';
import { Kysely, Migrator } from 'kysely';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { HAKyselyDialect, retryMigration } from 'nestjs-ha/kysely';
import { migrations } from './migrations.js';
import type { Schema } from './schema.js';

/** Kysely, behind its migrations. Nodes that start at once run each of them once. */
export const kyselyProvider: FactoryProvider<Kysely<Schema>> = {
  provide: Kysely,
  inject: [getHAToken()],
  useFactory: async (db: HADatabase) => {
    const kysely = new Kysely<Schema>({ dialect: new HAKyselyDialect(db) });
    const migrator = new Migrator({ db: kysely, provider: { getMigrations: async () => migrations } });
    const { error } = await retryMigration(() => migrator.migrateToLatest());
    if (error !== undefined) throw error as Error;
    return kysely;
  },
};

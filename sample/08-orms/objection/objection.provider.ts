import type { FactoryProvider } from '@nestjs/common';
import createKnex from 'knex';
import type { Knex } from 'knex';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { haKnexClient, orderedTransaction } from 'nestjs-ha/knex';
import { migrationSource } from './migrations.js';
import { AuthorModel, BookModel } from './models.js';

/** Injects the Knex instance that the models are bound to. */
export const OBJECTION_KNEX = Symbol('Knex of Objection');

/** Knex for the models, behind its migrations, which it lists in a table of its own: KnexLibrary has others. */
export const objectionProvider: FactoryProvider<Knex> = {
  provide: OBJECTION_KNEX,
  inject: [getHAToken()],
  useFactory: async (db: HADatabase) => {
    const knex = createKnex({ client: haKnexClient(db), useNullAsDefault: true });
    const migrations: Knex.MigratorConfig = { migrationSource, tableName: 'objection_migrations' };
    await orderedTransaction(knex, (trx) => trx.migrate.latest(migrations));
    for (const model of [AuthorModel, BookModel]) model.knex(knex);
    return knex;
  },
};

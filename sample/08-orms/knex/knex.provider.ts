import type { FactoryProvider } from '@nestjs/common';
import createKnex from 'knex';
import type { Knex } from 'knex';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { haKnexClient, orderedTransaction } from 'nestjs-ha/knex';
import { KNEX } from './knex.token.js';
import { migrationSource } from './migrations.js';

/** Knex, behind its migrations. Nodes that start at once run each of them once. */
export const knexProvider: FactoryProvider<Knex> = {
  provide: KNEX,
  inject: [getHAToken()],
  useFactory: async (db: HADatabase) => {
    const knex = createKnex({ client: haKnexClient(db), useNullAsDefault: true });
    await orderedTransaction(knex, (trx) => trx.migrate.latest({ migrationSource }));
    return knex;
  },
};

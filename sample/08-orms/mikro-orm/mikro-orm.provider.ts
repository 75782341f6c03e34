import { BetterSqliteKnexDialect, MikroORM } from '@mikro-orm/better-sqlite';
import type { FactoryProvider } from '@nestjs/common';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { haKnexClient } from 'nestjs-ha/knex';
import { AuthorEntity, BookEntity } from './entities.js';
import { updateSchema } from './update-schema.js';

/** MikroORM, behind the update of its tables. It brings its own copy of Knex along, and the client is derived from that. */
export const mikroOrmProvider: FactoryProvider<MikroORM> = {
  provide: MikroORM,
  inject: [getHAToken()],
  useFactory: async (db: HADatabase) => {
    const orm = await MikroORM.init({
      // No file can be opened by this name.
      dbName: '.',
      entities: [AuthorEntity, BookEntity],
      driverOptions: { client: haKnexClient(db, { client: BetterSqliteKnexDialect }) },
      // The tables of the others.
      schemaGenerator: { skipTables: [/^(?!mikro_)/] },
    });
    await updateSchema(orm, db);
    return orm;
  },
};

import type { FactoryProvider } from '@nestjs/common';
import { getHAToken } from 'nestjs-ha';
import type { HADatabase } from 'nestjs-ha';
import { drizzle, migrate } from 'nestjs-ha/drizzle';
import type { HADrizzleDatabase } from 'nestjs-ha/drizzle';
import * as schema from './schema.js';

/** Injects Drizzle with its schema. */
export const DRIZZLE = Symbol('Drizzle');

export type Drizzle = HADrizzleDatabase<typeof schema>;

/** What drizzle-kit has made, from where the application is started. */
const MIGRATIONS = 'sample/08-orms/drizzle/migrations';

/** Drizzle, behind its migrations. Nodes that start at once run each of them once. */
export const drizzleProvider: FactoryProvider<Drizzle> = {
  provide: DRIZZLE,
  inject: [getHAToken()],
  useFactory: async (db: HADatabase) => {
    const orm = drizzle(db, { schema });
    await migrate(orm, { migrationsFolder: MIGRATIONS });
    return orm;
  },
};

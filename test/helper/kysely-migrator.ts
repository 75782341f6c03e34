import * as kysely from 'kysely';

type Migrations = Pick<typeof kysely, 'Migrator' | 'NO_MIGRATIONS'>;

/** Where Kysely 0.29 has what 0.28 has with all the rest. */
const MOVED: string = 'kysely/migration';

export const { Migrator, NO_MIGRATIONS }: Migrations =
  'Migrator' in kysely ? kysely : ((await import(MOVED)) as Migrations);
export type Migrator = kysely.Migrator;

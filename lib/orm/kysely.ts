export { HAKyselyDialect } from './kysely/dialect.js';
export { retryMigration } from './kysely/retry-migration.js';
export type { HAKyselyOptions } from './kysely/connection.js';

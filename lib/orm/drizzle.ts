export { drizzle, HADrizzleDatabase } from './drizzle/database.js';
export type { HADrizzleConfig } from './drizzle/database.js';
export { migrate } from './drizzle/migrate.js';
export type { HAMigrateConfig } from './drizzle/migrate.js';
export type { HADrizzleTransactionConfig } from './drizzle/session.js';

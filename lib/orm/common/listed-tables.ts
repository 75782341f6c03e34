import { isOwnName } from '../../sql/own-names.js';

/**
 * How MikroORM and Sequelize ask which tables there are, to compare all of them with their entities, or to drop them:
 * https://github.com/mikro-orm/mikro-orm/blob/v6.6.16/packages/knex/src/dialects/sqlite/BaseSqliteSchemaHelper.ts,
 * https://github.com/sequelize/sequelize/blob/v6.37.8/src/dialects/sqlite/query-generator.js
 */
const LISTS_TABLES =
  /^select name(?: as table_name)? from (?:sqlite_master|`sqlite_master`) where type ?= ?'table' and name ?!= ?'sqlite_sequence'/i;

/** Leaves the tables of replication out of a list of all tables: no statement may change them, so a schema tool has no use for them. */
export function withoutOwnTables<R>(sql: string, rows: R[]): R[] {
  if (!LISTS_TABLES.test(sql)) return rows;
  return rows.filter((row) => !Object.values(row as Readonly<Record<string, unknown>>).some(isOwnTable));
}

function isOwnTable(value: unknown): boolean {
  return typeof value === 'string' && isOwnName(value);
}

/** Replication keeps them; no statement may change them: see sql/own-names.ts. */
const OWN_TABLE = /^ha_/i;
const DROPS_OWN_TABLE = /^DROP TABLE "ha_/i;

interface SchemaRow {
  readonly name?: unknown;
  readonly query?: unknown;
}

/** Hides the tables of replication where TypeORM lists all tables, as `dropSchema` does to drop them. */
export function withoutOwnTables<R extends SchemaRow>(sql: string, rows: R[]): R[] {
  if (!sql.includes('FROM "sqlite_master"')) return rows;
  return rows.filter(({ name, query }) => !OWN_TABLE.test(text(name)) && !DROPS_OWN_TABLE.test(text(query)));
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/**
 * Every kind of row identity takes part: `place` has ids that the application gives, `note` ids that SQLite gives, and
 * `edit` no key at all.
 */
export const SCHEMA = `
  CREATE TABLE IF NOT EXISTS place (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    admin1 TEXT NOT NULL,
    admin2 TEXT NOT NULL,
    lat REAL NOT NULL,
    lng REAL NOT NULL,
    edits INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX IF NOT EXISTS place_by_name ON place (country, name);
  CREATE TABLE IF NOT EXISTS edit (place_id INTEGER NOT NULL, node TEXT NOT NULL, what TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, text TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS probe (node TEXT PRIMARY KEY, beats INTEGER NOT NULL) WITHOUT ROWID;
`;

/** A table, its columns in order, and what its rows are ordered by. */
export interface DemoTable {
  readonly name: string;
  readonly columns: readonly string[];
  readonly order: string;
}

export const TABLES: readonly DemoTable[] = [
  {
    name: 'place',
    columns: ['rowid', 'id', 'name', 'country', 'admin1', 'admin2', 'lat', 'lng', 'edits'],
    order: 'rowid',
  },
  { name: 'edit', columns: ['rowid', 'place_id', 'node', 'what'], order: 'rowid' },
  { name: 'note', columns: ['rowid', 'id', 'node', 'text'], order: 'rowid' },
  { name: 'probe', columns: ['node', 'beats'], order: 'node' },
  { name: 'sqlite_sequence', columns: ['name', 'seq'], order: 'name' },
];

/** All rows in order, each column followed by its type: equal results mean equal databases. */
export function selectAll({ name, columns, order }: DemoTable): string {
  return `SELECT ${columns.map((column) => `${column}, typeof(${column})`).join(', ')} FROM ${name} ORDER BY ${order}`;
}

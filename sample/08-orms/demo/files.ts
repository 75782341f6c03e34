import { createHash } from 'node:crypto';
import BetterSqlite3 from 'better-sqlite3';

/** What a database file holds. */
export interface Contents {
  readonly tables: number;
  readonly rows: number;
  /** SHA-256 over the schema and every row, with its types. */
  readonly checksum: string;
}

/** Reads all tables of a file, also those in which ORMs keep what they have migrated; not the library's own. */
export function contentsOf(file: string): Contents {
  const db = new BetterSqlite3(file, { readonly: true });
  try {
    const hash = createHash('sha256');
    let rows = 0;
    const tables = db
      .prepare<[], { name: string; sql: string }>(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'ha_*' AND name NOT GLOB 'sqlite_*' ORDER BY name",
      )
      .all();
    for (const { name, sql } of tables) {
      hash.update(`${sql}\n`);
      const all = db.prepare<[], unknown[]>(`SELECT * FROM "${name}" ORDER BY rowid`).raw().safeIntegers();
      for (const row of all.iterate()) {
        rows++;
        hash.update(`${JSON.stringify(row, typed)}\n`);
      }
    }
    return { tables: tables.length, rows, checksum: hash.digest('hex') };
  } finally {
    db.close();
  }
}

/** An INTEGER is a `bigint` here, and shows as 1n: REAL 1 is another value. */
function typed(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}n` : value;
}

import { createHash } from 'node:crypto';
import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';

/** What a database file holds: a checksum by table, and what SQLite says of the file. */
export interface FileState {
  readonly schema: string;
  readonly tables: Readonly<Record<string, { readonly rows: number; readonly sha256: string }>>;
  readonly skipped: string;
  readonly integrity: string;
}

const SHOWN = 4;

const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;

export function stateOfFile(path: string): FileState {
  return withFile(path, (db) => {
    const tables = Object.fromEntries(
      tableNames(db).map((table) => {
        const hash = createHash('sha256');
        let rows = 0;
        for (const line of lines(db, table)) {
          hash.update(`${line}\n`);
          rows++;
        }
        return [table, { rows, sha256: hash.digest('hex') }];
      }),
    );
    return {
      schema: schemaOf(db).join('\n'),
      tables,
      skipped: JSON.stringify(
        db.prepare('SELECT sequence, change, node, target, operation, error FROM ha_skipped ORDER BY 1, 2').raw().all(),
      ),
      integrity: (db.pragma('integrity_check', { simple: true }) as string) ?? '',
    };
  });
}

/** Lines that one file has and the other has not, a few of each. */
export function differingLines(one: string, other: string, table: string): string[] {
  const [a, b] = [one, other].map((path) =>
    withFile(path, (db) => new Set(table === '' ? schemaOf(db) : lines(db, table))),
  );
  const missing = [...(b ?? [])].filter((line) => !a?.has(line));
  const extra = [...(a ?? [])].filter((line) => !b?.has(line));
  return [
    `${extra.length} only here, ${missing.length} only in the fold`,
    ...extra.slice(0, SHOWN).map((line) => `  + ${line.slice(0, 300)}`),
    ...missing.slice(0, SHOWN).map((line) => `  - ${line.slice(0, 300)}`),
  ];
}

/** Runs a query on a file. */
export function query(path: string, sql: string): unknown[][] {
  return withFile(path, (db) => db.prepare(sql).raw().all() as unknown[][]);
}

function withFile<T>(path: string, work: (db: Database) => T): T {
  const db = new BetterSqlite3(path, { readonly: true });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

function schemaOf(db: Database): string[] {
  const rows = db
    .prepare(
      `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'ha\\_%' ESCAPE '\\' ORDER BY 1, 2`,
    )
    .raw()
    .all() as unknown[][];
  return rows.map((row) => JSON.stringify(row));
}

function tableNames(db: Database): string[] {
  return db
    .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'ha\\_%' ESCAPE '\\' ORDER BY 1`)
    .pluck()
    .all() as string[];
}

/** Every row with its rowid, and every value with its storage class. */
function* lines(db: Database, table: string): Generator<string> {
  const columns = db.prepare(`SELECT name FROM pragma_table_info(?) ORDER BY cid`).pluck().all(table) as string[];
  const hasRowid =
    table !== 'sqlite_sequence' &&
    db.prepare(`SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?`).pluck().get(table) === 0;
  const values = columns.flatMap((name) => [
    `typeof(${q(name)})`,
    `CASE typeof(${q(name)}) WHEN 'blob' THEN hex(${q(name)}) ELSE ${q(name)} END`,
  ]);
  const select = `SELECT ${[...(hasRowid ? ['rowid'] : []), ...values].join(', ')} FROM ${q(table)} ORDER BY 1, 2`;
  for (const row of db.prepare(select).raw().safeIntegers().iterate()) {
    yield JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}i` : value));
  }
}

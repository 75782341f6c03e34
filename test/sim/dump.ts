import type { Database } from 'better-sqlite3';

const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;

const OWN = /^ha_/i;

interface TableRow {
  readonly name: string;
  readonly type: string;
  readonly wr: number;
}

/**
 * All that a database says, as text: the schema, the AUTOINCREMENT counters, and of every row its rowid, and each value
 * with its storage class.
 */
export function dump(db: Database): string {
  const lines: string[] = [];
  const objects = db
    .prepare(`SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name`)
    .raw()
    .all() as [string, string, string, string | null][];
  for (const [type, name, table, sql] of objects) {
    // SQLite's own, and removed by VACUUM where no table uses it any more.
    if (name === 'sqlite_sequence' || OWN.test(table)) continue;
    lines.push(`${type} ${name} on ${table}: ${sql ?? ''}`);
  }
  const tables = db.prepare(`SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name`).all();
  for (const table of tables as TableRow[]) {
    if (table.name === 'sqlite_sequence') lines.push(...sequences(db));
    // Ours, but it decides what later messages mean.
    else if (table.name === 'ha_renames') lines.push(...rows(db, table));
    else if (table.type === 'table' && !/^(ha_|sqlite_)/i.test(table.name)) lines.push(...rows(db, table));
  }
  lines.push(`user_version ${String(db.pragma('user_version', { simple: true }))}`);
  return lines.join('\n');
}

function sequences(db: Database): string[] {
  const select = `SELECT 'counter ' || name || ': ' || quote(seq) FROM main.sqlite_sequence ORDER BY 1`;
  return db.prepare(select).pluck().all() as string[];
}

function rows(db: Database, { name, wr }: TableRow): string[] {
  const columns = db.prepare(`SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden <> 1`).pluck().all(name);
  const values = (columns as string[]).map((column) => `quote(${q(column)}) || ' ' || typeof(${q(column)})`);
  const rowid = wr === 1 ? `''` : `rowid`;
  const order = wr === 1 ? '1' : 'rowid';
  const select = `SELECT ${rowid} || ': ' || ${values.join(` || ', ' || `)} FROM main.${q(name)} ORDER BY ${order}`;
  return (db.prepare(select).pluck().all() as string[]).map((line) => `${name} ${line}`);
}

/** Says where two dumps differ, in a few lines. */
export function difference(actual: string, expected: string): string {
  const a = new Set(actual.split('\n'));
  const b = new Set(expected.split('\n'));
  const extra = [...a].filter((line) => !b.has(line)).map((line) => `  node has   ${line}`);
  const missing = [...b].filter((line) => !a.has(line)).map((line) => `  fold has   ${line}`);
  const lines = [...extra, ...missing];
  return lines.length > 0 ? lines.slice(0, 20).join('\n') : '  the same lines in another order';
}

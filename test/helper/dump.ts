import { createHash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';
import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';

/** What a database holds: its schema, its AUTOINCREMENT counters, and for each table its rows as text. */
export interface Dump {
  readonly schema: readonly string[];
  readonly sequences: readonly string[];
  readonly tables: Readonly<Record<string, readonly string[]>>;
  readonly pragmas: Readonly<Record<string, unknown>>;
}

/** SQLite returns at most 2,000 columns; each value takes two. */
const COLUMNS_PER_READ = 400;

const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Dumps a file, also while others have it open. */
export function dumpFile(path: string, configure?: (db: Database) => void): Dump {
  const db = new BetterSqlite3(path, { readonly: true });
  try {
    configure?.(db);
    db.exec('BEGIN');
    return dump(db);
  } finally {
    db.close();
  }
}

export function dump(db: Database): Dump {
  const objects = db
    .prepare(
      `SELECT type, name, tbl_name, sql FROM main.sqlite_schema
       WHERE substr(lower(tbl_name), 1, 3) <> 'ha_' ORDER BY type, name`,
    )
    .raw()
    .all() as (string | null)[][];
  const list = db.prepare(`SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name`).all() as {
    name: string;
    type: string;
    wr: number;
  }[];
  const shadows = new Set(list.filter((t) => t.type === 'shadow').map((t) => t.name));
  const tables: Record<string, string[]> = {};
  for (const { name, type, wr } of list) {
    if (type !== 'table' && type !== 'virtual') continue;
    if (/^(ha_|sqlite_)/i.test(name) && !name.startsWith('sqlite_stat')) continue;
    tables[name] = name.startsWith('sqlite_stat') ? statistics(rows(db, name, wr === 1)) : rows(db, name, wr === 1);
  }
  const hasSequence = objects.length > 0 && list.some((t) => t.name === 'sqlite_sequence');
  return {
    schema: objects.filter(([, name]) => !shadows.has(name ?? '')).map((row) => row.join(' | ')),
    sequences: hasSequence
      ? (db.prepare(`SELECT name || '=' || quote(seq) FROM main.sqlite_sequence ORDER BY 1`).pluck().all() as string[])
      : [],
    tables,
    pragmas: {
      user_version: db.pragma('user_version', { simple: true }),
      application_id: db.pragma('application_id', { simple: true }),
    },
  };
}

function rows(db: Database, table: string, withoutRowid: boolean): string[] {
  const columns = db.prepare(`SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden <> 1`).pluck().all(table);
  const names = columns as string[];
  const used = new Set(names.map((name) => name.toLowerCase()));
  const rowid = withoutRowid ? undefined : ['rowid', '_rowid_', 'oid'].find((name) => !used.has(name));
  const lines: string[] = [];
  for (let at = 0; at < names.length; at += COLUMNS_PER_READ) {
    const part = names.slice(at, at + COLUMNS_PER_READ);
    const values = part.map(
      (name) =>
        `CASE typeof(${q(name)}) WHEN 'text' THEN CAST(${q(name)} AS BLOB) ELSE ${q(name)} END, typeof(${q(name)})`,
    );
    const select = [rowid ?? 'NULL', ...values].join(', ');
    const read = db.prepare(`SELECT ${select} FROM main.${q(table)}${rowid === undefined ? '' : ` ORDER BY ${rowid}`}`);
    (read.safeIntegers(true).raw().all() as unknown[][]).forEach(([id, ...pairs], index) => {
      const texts = part.map((_name, i) => literal(pairs[2 * i], pairs[2 * i + 1] as string));
      lines[index] =
        lines[index] === undefined ? `${String(id)}: ${texts.join(', ')}` : `${lines[index]}, ${texts.join(', ')}`;
    });
  }
  return rowid === undefined ? lines.sort() : lines;
}

/** What ANALYZE found out, without the library's own tables. */
function statistics(lines: readonly string[]): string[] {
  return lines
    .map((line) => line.slice(line.indexOf(':') + 2))
    .filter((line) => !line.startsWith('"ha_'))
    .sort();
}

/** A value so that values which differ in a bit or in their storage class differ in text. */
function literal(value: unknown, type: string): string {
  if (type === 'text') {
    const bytes = value as Buffer;
    return isUtf8(bytes) ? JSON.stringify(short(bytes, bytes.toString('utf8'))) : `text:${hex(bytes)}`;
  }
  if (type === 'blob') return `x'${hex(value as Buffer)}'`;
  if (type === 'real') return Object.is(value, -0) ? '-0.0r' : `${String(value)}r`;
  return String(value);
}

function hex(bytes: Buffer): string {
  return short(bytes, bytes.toString('hex'));
}

function short(bytes: Buffer, text: string): string {
  return bytes.length <= 300
    ? text
    : `${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}`;
}

import { createHash } from 'node:crypto';
import type Database from 'better-sqlite3';
import { selectAll, TABLES } from './schema.js';
import type { DemoTable } from './schema.js';

/** Rows shown of a table that differs. */
const SHOWN = 5;

type Row = readonly unknown[];

/** SHA-256 over every row of every table in order: values, types and rowids. */
export function checksum(db: Database.Database): string {
  const hash = createHash('sha256');
  for (const table of TABLES) {
    hash.update(`${table.name}\n`);
    for (const row of rows(db, table)) hash.update(`${text(row)}\n`);
  }
  return hash.digest('hex');
}

/** Number of rows by table. */
export function countRows(db: Database.Database): Record<string, number> {
  const count = (name: string): number => db.prepare(`SELECT count(*) FROM ${name}`).pluck().get() as number;
  return Object.fromEntries(TABLES.map(({ name }) => [name, count(name)]));
}

/** The first rows in which two databases differ, as lines. */
export function differences(left: Database.Database, right: Database.Database): string[] {
  return TABLES.flatMap((table) => differencesOf(table, left, right));
}

function differencesOf(table: DemoTable, left: Database.Database, right: Database.Database): string[] {
  const lines: string[] = [];
  const a = rows(left, table);
  const b = rows(right, table);
  let one = a.next();
  let other = b.next();
  while (lines.length < SHOWN * 2 && !(one.done && other.done)) {
    const order = compare(one, other);
    if (order === 0 && text(one.value) === text(other.value)) {
      one = a.next();
      other = b.next();
      continue;
    }
    if (order <= 0) lines.push(`- ${table.name} ${text(one.value)}`);
    if (order >= 0) lines.push(`+ ${table.name} ${text(other.value)}`);
    if (order <= 0) one = a.next();
    if (order >= 0) other = b.next();
  }
  a.return?.();
  b.return?.();
  return lines;
}

/** Which of two rows comes first by the column they are ordered by; one that is missing comes last. */
function compare(one: IteratorResult<Row>, other: IteratorResult<Row>): number {
  if (one.done || other.done) return Number(one.done ?? false) - Number(other.done ?? false);
  const [a, b] = [one.value[0] as bigint | string, other.value[0] as bigint | string];
  return a < b ? -1 : a > b ? 1 : 0;
}

function rows(db: Database.Database, table: DemoTable): IterableIterator<Row> {
  return db.prepare(selectAll(table)).raw().safeIntegers().iterate() as IterableIterator<Row>;
}

function text(row: Row): string {
  return JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}` : value));
}

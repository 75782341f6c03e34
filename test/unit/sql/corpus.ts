import { readFileSync } from 'node:fs';

import Database from 'better-sqlite3';

/** A statement of the corpus with the facts about it that SQLite itself confirmed. */
export interface CorpusEntry {
  sql: string;
  kind: string;
  ddl: boolean;
  temp: boolean;
  modifies: boolean;
  returning: boolean;
  params?: string[];
  hint?: string | null;
  /** The idempotent form of CREATE and DROP, null for ALTER. */
  idempotent?: string | null;
}

function read(name: string): string {
  return readFileSync(new URL(`../../data/${name}`, import.meta.url), 'utf8');
}

export const corpus = JSON.parse(read('sql-corpus.json')) as CorpusEntry[];

/** A database in memory with the schema that the corpus speaks about, including its temporary and attached tables. */
export function corpusDatabase(): Database.Database {
  const db = new Database(':memory:');
  db.exec(read('sql-corpus.sql'));
  return db;
}

/** All stored definitions of the main, temporary and attached schema. */
export function definitions(db: Database.Database): unknown[] {
  return ['main', 'temp', 'aux1'].flatMap((schema) =>
    db
      .prepare(`SELECT '${schema}', type, name, tbl_name, sql FROM "${schema}".sqlite_schema ORDER BY type, name`)
      .raw()
      .all(),
  );
}

/** A small seeded generator (mulberry32), so that a failure can be run again. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

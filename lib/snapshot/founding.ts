import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import type { Connection } from '../sqlite/connection.js';

/** What an attempt to found a cluster belongs to: in another place its id means nothing. */
export interface FoundingPlace {
  /** The file: a copy of it is another one, and may hold other rows by now. */
  readonly path: string;
  readonly subject: string;
  /** When the stream was made. */
  readonly created: string;
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS main.ha_founding(base TEXT PRIMARY KEY, subject TEXT NOT NULL, stream_created TEXT NOT NULL,
  file TEXT NOT NULL) WITHOUT ROWID;`;

/**
 * Notes an attempt under an id of its own, before anything is published: a start that comes behind a crash recognises its
 * message by it.
 */
export function beginFounding(db: Connection, place: FoundingPlace): string {
  const base = newBase();
  db.exec(SCHEMA);
  db.prepare('INSERT INTO main.ha_founding VALUES(?, ?, ?, ?)').run(base, ...valuesOf(place));
  return base;
}

/** Ids of the attempts of this file in this place that did not come to their end. */
export function pendingFoundings(db: Connection, place: FoundingPlace): string[] {
  if (!isKnown(db)) return [];
  const sql = 'SELECT base FROM main.ha_founding WHERE subject = ? AND stream_created = ? AND file = ?';
  return db
    .prepare(sql)
    .pluck()
    .all(...valuesOf(place)) as string[];
}

/** Forgets all attempts. */
export function endFounding(db: Connection): void {
  if (isKnown(db)) db.exec('DROP TABLE main.ha_founding');
}

export function newBase(): string {
  return randomBytes(12).toString('hex');
}

function isKnown(db: Connection): boolean {
  const sql = `SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ha_founding'`;
  return db.prepare(sql).get() !== undefined;
}

function valuesOf({ path, subject, created }: FoundingPlace): string[] {
  return [subject, created, String(statSync(path, { bigint: true }).ino)];
}

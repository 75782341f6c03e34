import type { Connection } from './connection.js';

/** The messages: in the database, or in a file of their own. */
export const OUTBOX_TABLE = `
CREATE TABLE IF NOT EXISTS main.ha_outbox(n INTEGER PRIMARY KEY, first INTEGER NOT NULL, id TEXT NOT NULL, chunk TEXT,
  data BLOB NOT NULL, tables TEXT NOT NULL, changes INTEGER NOT NULL, counters TEXT, stored_at INTEGER NOT NULL);`;

/** All tables of asynchronous publishing: they speak of one node alone. */
export const NODE_OUTBOX_TABLES = ['ha_outbox', 'ha_undo', 'ha_outbox_file', 'ha_outbox_limit'] as const;

const SCHEMA = `${OUTBOX_TABLE}
CREATE TABLE IF NOT EXISTS main.ha_undo(first INTEGER PRIMARY KEY, effects BLOB NOT NULL, tables TEXT NOT NULL,
  counters TEXT, refused INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS main.ha_outbox_file(one INTEGER PRIMARY KEY CHECK(one = 1), key TEXT NOT NULL,
  path TEXT NOT NULL, high INTEGER NOT NULL, pending INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS main.ha_outbox_limit(one INTEGER PRIMARY KEY CHECK(one = 1), payload INTEGER NOT NULL);`;

/** Creates the tables of asynchronous publishing where they are missing. */
export function createOutboxTables(db: Connection): void {
  db.exec(SCHEMA);
}

/** Remembers the largest message that the stream takes, bytes: a start without the stream has to know. */
export function rememberPayload(db: Connection, bytes: number): void {
  if (knownPayload(db) === bytes) return;
  db.prepare('INSERT OR REPLACE INTO main.ha_outbox_limit VALUES(1, ?)').run(BigInt(bytes));
}

/** That size, undefined where this database never met the stream. */
export function knownPayload(db: Connection): number | undefined {
  createOutboxTables(db);
  return db.prepare('SELECT payload FROM main.ha_outbox_limit').pluck().get() as number | undefined;
}

/** Number of messages that wait in the outbox of a database, in it or in a file of its own; and where that is. */
export function pendingMessages(db: Connection): { readonly count: number; readonly path: string | undefined } {
  const known = new Set(
    db.prepare(`SELECT name FROM main.sqlite_schema WHERE name IN ('ha_outbox', 'ha_outbox_file')`).pluck().all(),
  );
  const inside = known.has('ha_outbox')
    ? (db.prepare('SELECT count(*) FROM main.ha_outbox').pluck().get() as number)
    : 0;
  const file = known.has('ha_outbox_file')
    ? (db.prepare('SELECT path, pending FROM main.ha_outbox_file').get() as
        { path: string; pending: number } | undefined)
    : undefined;
  return { count: inside + (file?.pending ?? 0), path: file !== undefined && file.pending > 0 ? file.path : undefined };
}

import { dirname, join } from 'node:path';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { normalizeIdentifier } from '../config/normalize.js';
import type { Connection } from '../sqlite/connection.js';
import { CursorWriter, createControlTables, hasUserTables, readCursor, readSeen } from '../sqlite/control-tables.js';
import { LocalStream } from '../stream/local/local-stream.js';

/** The subject under which a standalone database keeps its position in its own history; no stream has such a one. */
export function localSubject(options: ResolvedHAOptions): string {
  return `local.${normalizeIdentifier(options.replicationID)}`;
}

/** The history of a standalone database with `streamMaxAge`: a file beside it. Undefined where it keeps none. */
export function localHistory(options: ResolvedHAOptions): LocalStream | undefined {
  const { mode, streamMaxAge, disablePublisher, disableSubscriber, memory, filename, replicationID } = options;
  if (mode !== 'standalone' || streamMaxAge === undefined || disablePublisher || disableSubscriber) return undefined;
  const name = `${replicationID.replaceAll(/[\\/]/g, '_')}_history.db`;
  return new LocalStream({ path: memory ? ':memory:' : join(dirname(filename), name), maxAge: streamMaxAge });
}

/** Brings database and history in line, before the database takes its place in it. */
export function alignHistory(db: Connection, subject: string, stream: LocalStream): void {
  const cursor = readCursor(db, subject);
  const { received, created } = stream.align(cursor, hasUserTables(db));
  if (cursor?.received === received && cursor.streamCreated === created) return;
  db.exec('BEGIN IMMEDIATE');
  createControlTables(db);
  new CursorWriter(db, subject).write(
    { received, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: created },
    readSeen(db),
  );
  db.exec('COMMIT');
}

/** The database goes on without its own history: what that tells is not how the rows came to be any more. */
export function endLocalHistory(db: Connection, subject: string): void {
  if (db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = 'ha_stats'`).get() === undefined) return;
  if (readCursor(db, subject) === undefined) return;
  db.exec('BEGIN IMMEDIATE');
  for (const table of ['ha_stats', 'ha_cursor']) db.prepare(`DELETE FROM main.${table} WHERE subject = ?`).run(subject);
  db.exec('COMMIT');
}

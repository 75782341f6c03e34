import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import { closeWhole, copyFailed } from './database-copy.js';
import { CursorWriter, createControlTables, readSeen } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { writeBase } from '../subscribe/base.js';
import type { BaseChange } from '../subscribe/base.js';

/** Makes the file of a base stand right behind the message that brought it. Returns its position. */
export async function moveToBase(
  path: string,
  change: BaseChange,
  { stream, subject }: { readonly stream: ReplicationStream; readonly subject: string },
): Promise<StreamCursor> {
  const cursor = await cursorAt(stream, change.sequence);
  const db = new BetterSqlite3(path);
  try {
    db.exec('BEGIN IMMEDIATE');
    createControlTables(db);
    db.exec('DELETE FROM main.ha_chunks');
    new CursorWriter(db, subject).write(cursor, readSeen(db));
    writeBase(db, change.base);
    db.exec('COMMIT');
    closeWhole(db);
    return cursor;
  } catch (error) {
    throw copyFailed(change.base, path, error);
  } finally {
    db.close();
  }
}

/** The position right behind a message that brought a base. */
export async function cursorAt(stream: ReplicationStream, sequence: number): Promise<StreamCursor> {
  const { created } = await stream.state();
  const message = await stream.messageAt(sequence);
  if (message === undefined) {
    throw new HAError(
      'HA_STREAM_GAP',
      `The message at sequence ${sequence} that brings the rows of the whole cluster is gone from the stream. Call db.snapshot() on a node that runs, and start this one again.`,
      { details: { sequence } },
    );
  }
  return {
    received: sequence,
    subjectSequence: sequence,
    messageTime: message.time,
    messageId: message.id ?? null,
    streamCreated: created,
  };
}

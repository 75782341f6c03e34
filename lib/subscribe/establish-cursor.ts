import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import { CursorWriter, createControlTables, hasUserTables, readCursor } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { SeenIds } from '../sqlite/seen-ids.js';
import type { ReplicationStream, StartPoint, StreamState } from '../stream/replication-stream.js';

/** Server times may differ by rounding between two ways of asking. */
const TIME_TOLERANCE_MS = 2;

/**
 * Finds out where a database stands in the stream, before anything is applied or written.
 *
 * @throws HAError `HA_FOREIGN_DATABASE` where it has rows but no position, `HA_STREAM_RESET` where the stream is not the
 * one that it followed, `HA_STREAM_GAP` where the stream has forgotten messages that it has not applied.
 */
export async function establishCursor(
  db: Connection,
  path: string,
  subject: string,
  stream: ReplicationStream,
  start: StartPoint,
): Promise<StreamCursor> {
  const state = await stream.state();
  const stored = readCursor(db, subject);
  if (stored !== undefined) {
    await checkStream(stored, state, stream, subject);
    return { ...stored, streamCreated: state.created };
  }
  if (hasUserTables(db)) throw foreign(path, subject);
  const received = await stream.startPosition(start);
  const cursor: StreamCursor = {
    received,
    subjectSequence: received === 0 ? 0 : await stream.lastSubjectSequence(),
    messageTime: '',
    messageId: null,
    streamCreated: state.created,
  };
  if (received === 0) await refuseGap(cursor, state, stream, subject);
  writeFirst(db, subject, cursor);
  return cursor;
}

function writeFirst(db: Connection, subject: string, cursor: StreamCursor): void {
  db.exec('BEGIN IMMEDIATE');
  createControlTables(db);
  new CursorWriter(db, subject).write(cursor, new SeenIds());
  db.exec('COMMIT');
}

/**
 * Where a database stands as far as its file tells, for a start without the stream; what the file says is verified when the
 * stream can be reached. A file that was never connected stands in front of the first message. Undefined where only the stream
 * can tell: `deliverPolicy` asks for another place.
 *
 * @throws HAError `HA_FOREIGN_DATABASE`.
 */
export function cursorWithoutStream(
  db: Connection,
  path: string,
  subject: string,
  start: StartPoint,
): StreamCursor | undefined {
  const stored = readCursor(db, subject);
  if (stored !== undefined) return stored;
  if (hasUserTables(db)) throw foreign(path, subject);
  if (start.kind !== 'all') return undefined;
  const cursor = { received: 0, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: '' };
  writeFirst(db, subject, cursor);
  return cursor;
}

/**
 * Makes sure that a new database could be built from the stream.
 *
 * @throws HAError `HA_STREAM_GAP` where its beginning is gone.
 */
export async function refuseTrimmed(stream: ReplicationStream, subject: string): Promise<void> {
  const state = await stream.state();
  const nothing = { received: 0, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: state.created };
  await refuseGap(nothing, state, stream, subject);
}

/**
 * Compares a position with the stream as it is now.
 *
 * @throws HAError `HA_STREAM_RESET` or `HA_STREAM_GAP`.
 */
export async function verifyCursor(
  cursor: StreamCursor,
  stream: ReplicationStream,
  subject: string,
): Promise<StreamState> {
  const state = await stream.state();
  await checkStream(cursor, state, stream, subject);
  return state;
}

async function checkStream(
  cursor: StreamCursor,
  state: StreamState,
  stream: ReplicationStream,
  subject: string,
): Promise<void> {
  if (cursor.streamCreated !== '' && cursor.streamCreated !== state.created) {
    throw reset(subject, `it was made anew at ${state.created}`, cursor, state);
  }
  if (state.lastSequence < cursor.received) {
    throw reset(subject, `it ends at ${state.lastSequence}`, cursor, state);
  }
  const message = cursor.received === 0 ? undefined : await stream.messageAt(cursor.received);
  if (message !== undefined && !isSame(cursor, message.id ?? null, message.time)) {
    throw reset(subject, `another message stands at ${cursor.received}`, cursor, state);
  }
  await refuseGap(cursor, state, stream, subject);
}

function isSame(cursor: StreamCursor, id: string | null, time: string): boolean {
  if (cursor.messageId !== null && cursor.messageId !== id) return false;
  if (cursor.messageTime === '' || cursor.messageId !== null) return true;
  return Math.abs(Number(cursor.messageTime) - Number(time)) <= TIME_TOLERANCE_MS;
}

/**
 * What the stream dropped in front of its first message may have been on our subject. It was not where our last applied
 * message is still the last on the subject; otherwise nobody can tell, and a hole in the database must not stay unseen.
 */
async function refuseGap(
  cursor: StreamCursor,
  state: StreamState,
  stream: ReplicationStream,
  subject: string,
): Promise<void> {
  if (state.firstSequence <= cursor.received + 1) return;
  if ((await stream.lastSubjectSequence()) === cursor.subjectSequence) return;
  throw new HAError(
    'HA_STREAM_GAP',
    `The stream of '${subject}' begins at sequence ${state.firstSequence}, but this database has applied only up to ${cursor.received}: messages in between are gone. Copy the database file of another node here while that node is stopped, or raise streamMaxAge before nodes stay away for so long.`,
    { details: { subject, first: state.firstSequence, received: cursor.received } },
  );
}

function foreign(path: string, subject: string): HAError {
  return new HAError(
    'HA_FOREIGN_DATABASE',
    `'${path}' holds tables, but no position in the stream of '${subject}': its rows would be on this node only. Start with a new file and load the rows through the database, or copy the file of a node of the cluster that is stopped.`,
    { details: { path, subject } },
  );
}

function reset(subject: string, what: string, cursor: StreamCursor, state: StreamState): HAError {
  return new HAError(
    'HA_STREAM_RESET',
    `The stream of '${subject}' is not the one that this database followed up to ${cursor.received}: ${what}. Restore the stream, or start with a new file to take over what it holds now.`,
    { details: { subject, received: cursor.received, last: state.lastSequence, created: state.created } },
  );
}

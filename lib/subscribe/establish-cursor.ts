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
 * @param isUnwritten Whether nobody knows of anything that was ever written to the database: asked where it is new, and the
 * stream holds none of it, but not its own beginning either.
 * @throws HAError `HA_FOREIGN_DATABASE` where it has rows but no position, `HA_STREAM_RESET` where the stream is not the
 * one that it followed, `HA_STREAM_GAP` where the stream has forgotten messages that it has not applied.
 */
export async function establishCursor(
  db: Connection,
  path: string,
  subject: string,
  stream: ReplicationStream,
  start: StartPoint,
  isUnwritten: () => Promise<boolean>,
): Promise<StreamCursor> {
  const state = await stream.state();
  const stored = readCursor(db, subject);
  if (stored !== undefined) {
    const proven = await checkStream(stored, state, stream, subject);
    return { ...stored, received: Math.max(stored.received, proven), streamCreated: state.created };
  }
  if (hasUserTables(db)) throw foreign(path, subject);
  const position = await stream.startPosition(start);
  // What another policy than `all` passes over counts as applied, and so does what is gone.
  const received = start.kind === 'all' ? position : Math.max(position, state.firstSequence - 1);
  const cursor: StreamCursor = {
    received,
    subjectSequence: received === 0 ? 0 : await stream.lastSubjectSequence(),
    messageTime: '',
    messageId: null,
    streamCreated: state.created,
  };
  const proven = received === 0 ? await refuseGap(cursor, state, stream, subject, isUnwritten) : 0;
  const first = { ...cursor, received: Math.max(received, proven) };
  writeFirst(db, subject, first);
  return first;
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
 * can tell: `deliverPolicy` asks for another place, or there are rows, which may found the cluster.
 */
export function cursorWithoutStream(db: Connection, subject: string, start: StartPoint): StreamCursor | undefined {
  const stored = readCursor(db, subject);
  if (stored !== undefined) return stored;
  if (hasUserTables(db) || start.kind !== 'all') return undefined;
  const cursor = { received: 0, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: '' };
  writeFirst(db, subject, cursor);
  return cursor;
}

/**
 * Makes sure that the database could be built anew from the stream.
 *
 * @param applied Sequence of the last message of it that was applied here; 0 where there was none.
 * @throws HAError `HA_STREAM_GAP` where its beginning is gone.
 */
export async function refuseTrimmed(stream: ReplicationStream, subject: string, applied: number): Promise<void> {
  const state = await stream.state();
  const nothing = { received: 0, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: state.created };
  await refuseGap(nothing, state, stream, subject, () => Promise.resolve(applied === 0));
}

/** The stream, and up to where it is sure that nothing is missing, although the position is lower; 0 where it is not. */
export interface VerifiedState extends StreamState {
  readonly proven: number;
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
): Promise<VerifiedState> {
  const state = await stream.state();
  return { ...state, proven: await checkStream(cursor, state, stream, subject) };
}

async function checkStream(
  cursor: StreamCursor,
  state: StreamState,
  stream: ReplicationStream,
  subject: string,
): Promise<number> {
  if (cursor.streamCreated !== '' && cursor.streamCreated !== state.created) {
    throw reset(subject, `it was made anew at ${state.created}`, cursor, state);
  }
  if (state.lastSequence < cursor.received) {
    throw reset(subject, `it ends at ${state.lastSequence}`, cursor, state);
  }
  // Messages of other subjects move `received` too: what is known by id and time is the last on ours.
  const place = cursor.subjectSequence;
  const message = place === 0 ? undefined : await stream.messageAt(place);
  if (message !== undefined && !isSame(cursor, message.id ?? null, message.time)) {
    throw reset(subject, `another message stands at ${place}`, cursor, state);
  }
  if (message === undefined && wasMet(cursor)) await refuseRemoved(cursor, stream, subject);
  return refuseGap(cursor, state, stream, subject);
}

/** True where a message is known to have stood at the place on our subject. */
function wasMet({ subjectSequence, messageId, messageTime }: StreamCursor): boolean {
  return subjectSequence > 0 && (messageId !== null || messageTime !== '');
}

/**
 * A limit takes messages from the front of the stream. One that is gone behind its front was removed by hand, as a purge of
 * one subject does, and what else went with it nobody can tell.
 */
async function refuseRemoved(cursor: StreamCursor, stream: ReplicationStream, subject: string): Promise<void> {
  // Asked behind the message: else a limit may have taken it in between.
  const { firstSequence } = await stream.state();
  if (firstSequence > cursor.subjectSequence) return;
  throw gap(
    subject,
    cursor.received,
    firstSequence,
    `The message at sequence ${cursor.subjectSequence} that this database applied last was removed from the stream of '${subject}': others may have gone with it, and no snapshot from which the stream can be followed was found or may be used (bootstrap).`,
  );
}

function isSame(cursor: StreamCursor, id: string | null, time: string): boolean {
  if (cursor.messageId !== null && cursor.messageId !== id) return false;
  if (cursor.messageTime === '' || cursor.messageId !== null) return true;
  return Math.abs(Number(cursor.messageTime) - Number(time)) <= TIME_TOLERANCE_MS;
}

/**
 * What the stream dropped in front of its first message may have been on our subject. It was not where our last applied
 * message is still the last on the subject; otherwise nobody can tell, and a hole in the database must not stay unseen.
 * Where the subject is empty all of it may have gone, also for a database that has applied nothing.
 *
 * @returns The end of the stream where that was so: up to there nothing is missing. 0 where nothing was dropped.
 */
async function refuseGap(
  cursor: StreamCursor,
  state: StreamState,
  stream: ReplicationStream,
  subject: string,
  isUnwritten: () => Promise<boolean> = () => Promise.resolve(false),
): Promise<number> {
  if (state.firstSequence <= cursor.received + 1) return 0;
  // Asked behind the state of the stream: what comes in between lies behind its end.
  const last = await stream.lastSubjectSequence();
  if (last === cursor.subjectSequence && (last > 0 || (await isUnwritten()))) return state.lastSequence;
  throw streamGap(subject, cursor.received, state.firstSequence);
}

/** Messages that this database needs are gone from the stream. */
export function streamGap(subject: string, received: number, first: number): HAError {
  return gap(
    subject,
    received,
    first,
    `The stream of '${subject}' begins at sequence ${first}, but this database has applied only up to ${received}: messages in between are gone, and no snapshot that covers them was found or may be used (bootstrap).`,
  );
}

function gap(subject: string, received: number, first: number, what: string): HAError {
  return new HAError(
    'HA_STREAM_GAP',
    `${what} Call db.snapshot() on a node that runs, and start this one again; or copy the database file of another node here while that node is stopped; or, where the rows of this node are right, call db.resync({ from: 'this-node' }). Keep streamMaxAge well above snapshotInterval.`,
    { details: { subject, first, received } },
  );
}

function foreign(path: string, subject: string): HAError {
  return new HAError(
    'HA_FOREIGN_DATABASE',
    `'${path}' holds tables, but no position in the stream of '${subject}': its rows would be on this node only. Move the file away: the node then takes over what the cluster has. Or make these rows the cluster's: start with another replicationID, which has no history yet.`,
    { details: { path, subject } },
  );
}

function reset(subject: string, what: string, cursor: StreamCursor, state: StreamState): HAError {
  return new HAError(
    'HA_STREAM_RESET',
    `The stream of '${subject}' is not the one that this database followed up to ${cursor.received}: ${what}. Restore the stream, or start with a new file to take over what it holds now, or call db.resync({ from: 'this-node' }) on the node whose rows all nodes shall have.`,
    { details: { subject, received: cursor.received, last: state.lastSequence, created: state.created } },
  );
}

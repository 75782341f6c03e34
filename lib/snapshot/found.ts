import { statSync } from 'node:fs';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import { retry } from '../common/timing.js';
import type { Connection } from '../sqlite/connection.js';
import { isBusy } from '../sqlite/connections.js';
import { readCursor } from '../sqlite/control-tables.js';
import { StreamRefusal } from '../stream/replication-stream.js';
import type { IncomingMessage, OutgoingMessage, ReplicationStream } from '../stream/replication-stream.js';
import { verifyCursor } from '../subscribe/establish-cursor.js';
import { becomeBase, makeBase } from './base-file.js';
import { copyAll, removeDatabase } from './database-copy.js';
import type { CopySource } from './database-copy.js';
import { beginFounding, newBase, pendingFoundings } from './founding.js';
import type { FoundingPlace } from './founding.js';
import { cursorAt } from './move-to-base.js';
import { Progress } from './progress.js';
import type { SnapshotFacts, SnapshotStore } from './snapshot-store.js';

export interface FoundPorts {
  readonly db: Connection;
  readonly source: CopySource & { readonly subject: string };
  /** Where the copy goes: beside the database. */
  readonly staging: string;
  readonly stream: ReplicationStream;
  readonly store: SnapshotStore;
  /** The message that brings a base. */
  readonly message: (base: string) => OutgoingMessage;
  /** How long to wait for the stream, ms. */
  readonly timeoutMs: number;
  /** How long to wait for other programs that write to the file, ms. */
  readonly busyTimeout: number;
  readonly emit: EventSink;
  /** Ends the work. */
  readonly signal?: AbortSignal | undefined;
}

/** How often somebody may write in between before this is given up. */
const ATTEMPTS = 20;
const FIRST_MESSAGE_MS = 10_000;
const BUSY_PAUSE_MS = 20;

/**
 * Makes the rows of this node those of the cluster: stores a copy under an id of its own, and then publishes the message
 * that brings it. That message is the one step that counts: before it nobody sees anything, behind it everybody follows.
 *
 * The file stays where it is, and is locked for writing from before the copy until its position is behind the message: what
 * another program writes is in the copy, or is refused by SQLite as busy.
 *
 * @param isEmpty The subject has to be empty: the rows found the cluster.
 * @returns How many messages waited in the outbox, which are in the rows now; undefined where the subject turned out not to
 * be empty.
 */
export async function found(ports: FoundPorts, isEmpty: boolean): Promise<number | undefined> {
  const { db, stream, store, source } = ports;
  const place = { path: source.path, subject: source.subject, created: (await stream.state()).created };
  const earlier = isEmpty ? pendingFoundings(db, place) : [];
  const follows = await followsStream(ports);
  const base = await lock(ports, isEmpty ? place : undefined);
  let waiting = 0;
  try {
    const { ids, size, facts } = await copyFor(ports, base, follows);
    const { count } = new Progress('store', size, ports.emit);
    await store.putBase(ports.staging, facts, (bytes) => {
      ports.signal?.throwIfAborted();
      count(bytes);
    });
    ports.signal?.throwIfAborted();
    const sequence = await publish(ports, base, isEmpty);
    if (sequence === undefined) await store.deleteBase(base);
    else {
      const cursor = await cursorAt(stream, sequence);
      becomeBase(db, { subject: source.subject, base, waiting: ids, cursor, follows });
    }
    if (sequence === undefined) return undefined;
    waiting = ids.length;
  } finally {
    if (db.inTransaction) db.exec('ROLLBACK');
    removeDatabase(ports.staging);
  }
  // Their messages can come no more: the subject is not empty.
  for (const old of earlier) await store.deleteBase(old).catch(() => undefined);
  return waiting;
}

/** Where the founding message of an earlier start stands that did not come to its end; undefined where there is none. */
export async function foundedAt(
  db: Connection,
  place: Omit<FoundingPlace, 'created'>,
  stream: ReplicationStream,
): Promise<{ readonly sequence: number; readonly base: string } | undefined> {
  const pending = pendingFoundings(db, { ...place, created: (await stream.state()).created });
  if (pending.length === 0) return undefined;
  const first = await firstMessage(stream);
  const base = pending.find((id) => first?.id === messageIdOf(id));
  return first === undefined || base === undefined ? undefined : { sequence: first.sequence, base };
}

export function messageIdOf(base: string): string {
  return `${base}.1`;
}

/** Nobody else writes to the file from here on. Returns the id of the base. */
async function lock({ db, source, busyTimeout }: FoundPorts, place: FoundingPlace | undefined): Promise<string> {
  const deadline = performance.now() + busyTimeout;
  const begin = (): Promise<void> =>
    retry(
      async () => void db.exec('BEGIN IMMEDIATE'),
      (error) => isBusy(error) && performance.now() < deadline,
      BUSY_PAUSE_MS,
    );
  const synchronous = db.pragma('synchronous', { simple: true }) as number;
  try {
    // The note has to outlive a power cut: the message that it speaks of does.
    if (place !== undefined) db.pragma('synchronous = FULL');
    await begin();
    if (place === undefined) return newBase();
    const base = beginFounding(db, place);
    db.exec('COMMIT');
    db.pragma(`synchronous = ${synchronous}`);
    await begin();
    return base;
  } catch (error) {
    if (db.inTransaction) db.exec('ROLLBACK');
    if (!isBusy(error)) throw error;
    throw new HAError(
      'HA_DATABASE_LOCKED',
      `Another program is writing to '${source.path}' all the time, so its rows cannot be made those of the cluster. End that program, or its transaction, and start again.`,
      { cause: error, retryable: true, details: { path: source.path } },
    );
  }
}

interface BaseCopy {
  readonly facts: SnapshotFacts;
  /** Bytes. */
  readonly size: number;
  /** What waits in the outbox: it is in the copy. */
  readonly ids: readonly string[];
}

/** Makes the copy that the others start from. */
async function copyFor(
  { staging, source, stream, signal }: FoundPorts,
  base: string,
  follows: boolean,
): Promise<BaseCopy> {
  await copyAll(source, staging, signal);
  const { lastSequence: sequence, created } = await stream.state();
  const ids = makeBase(source.path, staging, { subject: source.subject, base, received: sequence, created, follows });
  return { facts: { sequence, created, base }, ids, size: statSync(staging).size };
}

/** True where this node has followed the stream as it is now: what it knows of places in it goes on to count. */
async function followsStream({ db, stream, source }: FoundPorts): Promise<boolean> {
  const cursor = readCursor(db, source.subject);
  if (cursor === undefined) return false;
  try {
    await verifyCursor(cursor, stream, source.subject);
    return true;
  } catch (error) {
    if (error instanceof HAError && error.code === 'HA_STREAM_RESET') return false;
    if (error instanceof HAError && error.code === 'HA_STREAM_GAP') return true;
    throw error;
  }
}

/** Publishes the message. Undefined where it may only be the first, and is not. */
async function publish(ports: FoundPorts, base: string, isEmpty: boolean): Promise<number | undefined> {
  const { stream, timeoutMs } = ports;
  const message = ports.message(base);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const last = isEmpty ? 0 : await stream.lastSubjectSequence();
    try {
      return (await stream.publish({ ...message, expect: { lastSubjectSequence: last } }, timeoutMs)).sequence;
    } catch (error) {
      if (!(error instanceof StreamRefusal)) throw unanswered(error);
      // An earlier attempt whose answer was lost may be what stands there.
      if (isEmpty) {
        const first = await firstMessage(stream);
        return first?.id === message.id ? first.sequence : undefined;
      }
      const stored = error.lastSequence === undefined ? undefined : await stream.messageAt(error.lastSequence);
      if (stored?.id === message.id) return stored.sequence;
    }
  }
  throw new HAError(
    'HA_CONFLICT',
    `Other nodes wrote ${ATTEMPTS} times while this one was to publish its rows. Stop their writes, and call db.resync({ from: 'this-node' }) again.`,
    { retryable: true },
  );
}

/**
 * The first message that the stream holds of the subject.
 *
 * @throws HAError `HA_STREAM_CONNECT` where there is one, but it does not come.
 */
async function firstMessage(stream: ReplicationStream): Promise<IncomingMessage | undefined> {
  if ((await stream.lastSubjectSequence()) === 0) return undefined;
  let met: (message: IncomingMessage | undefined) => void = () => undefined;
  const first = new Promise<IncomingMessage | undefined>((resolve) => (met = resolve));
  const { firstSequence } = await stream.state();
  const subscription = await stream.consume(firstSequence - 1, (message) => met(message));
  const timer = setTimeout(() => met(undefined), FIRST_MESSAGE_MS);
  try {
    const message = await first;
    if (message !== undefined || (await stream.lastSubjectSequence()) === 0) return message;
    throw new HAError('HA_STREAM_CONNECT', 'The first message of this database did not come. Try again.', {
      retryable: true,
    });
  } finally {
    clearTimeout(timer);
    await subscription.stop();
  }
}

function unanswered(error: unknown): unknown {
  if (error instanceof HAError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new HAError('HA_STREAM_CONNECT', `The rows of this node could not be published: ${reason}. Try again.`, {
    cause: error,
    retryable: true,
  });
}

import { statSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { parseMessageId } from '../changeset/message-id.js';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import { retry } from '../common/timing.js';
import type { Connection } from '../sqlite/connection.js';
import { isBusy } from '../sqlite/connections.js';
import {
  CursorWriter,
  NODE_CDC_TABLES,
  NODE_TABLES,
  WHOLE_MESSAGE,
  createControlTables,
  readSeen,
} from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { NODE_OUTBOX_TABLES } from '../sqlite/outbox-tables.js';
import type { SeenIds } from '../sqlite/seen-ids.js';
import { StreamRefusal } from '../stream/replication-stream.js';
import type { IncomingMessage, OutgoingMessage, ReplicationStream } from '../stream/replication-stream.js';
import { writeBase } from '../subscribe/base.js';
import { copyAll, removeDatabase } from './database-copy.js';
import type { CopySource } from './database-copy.js';
import { beginFounding, endFounding, newBase, pendingFoundings } from './founding.js';
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
const FIRST_MESSAGE_MS = 2_000;
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
  const base = await lock(ports, isEmpty ? place : undefined);
  let waiting = 0;
  try {
    const { ids, size, facts } = await copyFor(ports, base);
    await store.putBase(ports.staging, facts, new Progress('store', size, ports.emit).count);
    ports.signal?.throwIfAborted();
    const sequence = await publish(ports, base, isEmpty);
    if (sequence === undefined) await store.deleteBase(base);
    else moveOn(db, source.subject, base, ids, await cursorAt(stream, sequence));
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
  try {
    await begin();
    if (place === undefined) return newBase();
    const base = beginFounding(db, place);
    db.exec('COMMIT');
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
async function copyFor({ staging, source, stream, signal }: FoundPorts, base: string): Promise<BaseCopy> {
  await copyAll(source, staging, signal);
  const { lastSequence: sequence, created } = await stream.state();
  const ids = prepare(staging, source.subject, sequence, created, base);
  return { facts: { sequence, created, base }, ids, size: statSync(staging).size };
}

/** The file itself is the base from here on, as the others have it; what it knows of itself stays. */
function moveOn(db: Connection, subject: string, base: string, waiting: readonly string[], cursor: StreamCursor): void {
  createControlTables(db);
  const tables = tablesOf(db);
  const seen = readSeen(db);
  count(seen, base, waiting);
  // Targets of change data capture go on: what they were not told yet lies in front of the message.
  for (const table of ['ha_foreign_writes', 'ha_chunks', ...NODE_OUTBOX_TABLES, 'ha_stats', 'ha_cursor']) {
    if (tables.has(table)) db.exec(`DELETE FROM main.${table}`);
  }
  db.prepare('DELETE FROM main.ha_skipped WHERE change = ?').run(BigInt(WHOLE_MESSAGE));
  new CursorWriter(db, subject).write(cursor, seen);
  writeBase(db, base);
  endFounding(db);
  db.exec('COMMIT');
}

function tablesOf(db: Connection): Set<unknown> {
  return new Set(db.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).pluck().all());
}

/** Their rows are in the base: where they are in the stream too, they must not count once more. */
function count(seen: SeenIds, base: string, waiting: readonly string[]): void {
  seen.add(base, 1);
  for (const id of waiting) {
    const parsed = parseMessageId(id);
    if (parsed !== undefined) seen.add(parsed.origin, parsed.n);
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
      if (isEmpty) return (await firstMessage(stream))?.id === message.id ? error.lastSequence : undefined;
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

/** The first message that the stream holds of the subject. */
async function firstMessage(stream: ReplicationStream): Promise<IncomingMessage | undefined> {
  if ((await stream.lastSubjectSequence()) === 0) return undefined;
  let met: (message: IncomingMessage | undefined) => void = () => undefined;
  const first = new Promise<IncomingMessage | undefined>((resolve) => (met = resolve));
  const { firstSequence } = await stream.state();
  const subscription = await stream.consume(firstSequence - 1, (message) => met(message));
  const timer = setTimeout(() => met(undefined), FIRST_MESSAGE_MS);
  try {
    return await first;
  } finally {
    clearTimeout(timer);
    await subscription.stop();
  }
}

/** Makes the copy what all others are to start from: nothing of this node, and nothing that is still under way. */
function prepare(path: string, subject: string, received: number, created: string, base: string): readonly string[] {
  const db = new BetterSqlite3(path);
  try {
    db.exec('BEGIN IMMEDIATE');
    createControlTables(db);
    const tables = tablesOf(db);
    const waiting = tables.has('ha_outbox') ? db.prepare('SELECT id FROM main.ha_outbox').pluck().all() : [];
    const seen = readSeen(db);
    count(seen, base, waiting as string[]);
    for (const table of [...NODE_TABLES, ...NODE_OUTBOX_TABLES, ...NODE_CDC_TABLES, 'ha_stats', 'ha_cursor']) {
      if (tables.has(table)) db.exec(`DELETE FROM main.${table}`);
    }
    db.prepare('DELETE FROM main.ha_skipped WHERE change = ?').run(BigInt(WHOLE_MESSAGE));
    const cursor = { received, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: created };
    new CursorWriter(db, subject).write(cursor, seen);
    writeBase(db, base);
    endFounding(db);
    db.exec('COMMIT');
    return waiting as string[];
  } finally {
    db.close();
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

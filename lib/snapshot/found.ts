import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import BetterSqlite3 from 'better-sqlite3';
import { parseMessageId } from '../changeset/message-id.js';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import {
  CursorWriter,
  NODE_CDC_TABLES,
  NODE_TABLES,
  WHOLE_MESSAGE,
  createControlTables,
  readSeen,
} from '../sqlite/control-tables.js';
import { NODE_OUTBOX_TABLES } from '../sqlite/outbox-tables.js';
import { StreamRefusal } from '../stream/replication-stream.js';
import type { IncomingMessage, OutgoingMessage, ReplicationStream } from '../stream/replication-stream.js';
import { readBase, writeBase } from '../subscribe/base.js';
import { copyAll, removeDatabase } from './database-copy.js';
import type { CopySource } from './database-copy.js';
import { moveToBase } from './move-to-base.js';
import { Progress } from './progress.js';
import { StagedSnapshot } from './staged-snapshot.js';
import type { SnapshotStore } from './snapshot-store.js';

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
  readonly emit: EventSink;
}

/** How often somebody may write in between before this is given up. */
const ATTEMPTS = 20;
const FIRST_MESSAGE_MS = 2_000;

/**
 * Makes the rows of this node those of the cluster: stores a copy under an id of its own, and then publishes the message
 * that brings it. That message is the one step that counts: before it nobody sees anything, behind it everybody follows.
 * At last this node goes on from its own copy as all others do.
 *
 * @param isEmpty The subject has to be empty: the rows found the cluster.
 * @returns The copy, which has to take the place of the file; undefined where the subject turned out not to be empty.
 */
export async function found(ports: FoundPorts, isEmpty: boolean): Promise<StagedSnapshot | undefined> {
  const { db, store, stream, staging, source } = ports;
  const started = performance.now();
  const base = isEmpty ? pendingBase(db) : newBase();
  await copyAll(source, staging);
  try {
    const state = await stream.state();
    prepare(staging, source.subject, state.lastSequence, state.created, base);
    const { size } = statSync(staging);
    await store.deleteBase(base);
    const { count } = new Progress('store', size, ports.emit);
    await store.putBase(staging, { sequence: state.lastSequence, created: state.created, base }, count);
    const sequence = await publish(ports, base, isEmpty);
    if (sequence === undefined) {
      await store.deleteBase(base);
      removeDatabase(staging);
      return undefined;
    }
    await moveToBase(staging, { sequence, base }, { stream, subject: source.subject });
    return new StagedSnapshot(staging, { sequence, size, ms: performance.now() - started });
  } catch (error) {
    removeDatabase(staging);
    throw error;
  }
}

/** Where the founding message of an earlier start stands that did not come to its end; undefined where there is none. */
export async function foundedAt(db: Connection, stream: ReplicationStream): Promise<number | undefined> {
  const base = readBase(db);
  if (base === '') return undefined;
  const first = await firstMessage(stream);
  return first?.id === messageIdOf(base) ? first.sequence : undefined;
}

export function messageIdOf(base: string): string {
  return `${base}.1`;
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

/** Noted in the file before anything is published: a start that comes behind a crash recognises its message by it. */
function pendingBase(db: Connection): string {
  const known = readBase(db);
  if (known !== '') return known;
  const base = newBase();
  db.exec('BEGIN IMMEDIATE');
  createControlTables(db);
  writeBase(db, base);
  db.exec('COMMIT');
  return base;
}

function newBase(): string {
  return randomBytes(12).toString('hex');
}

/** Makes the copy what all others are to start from: nothing of this node, and nothing that is still under way. */
function prepare(path: string, subject: string, received: number, created: string, base: string): void {
  const db = new BetterSqlite3(path);
  try {
    db.exec('BEGIN IMMEDIATE');
    createControlTables(db);
    const tables = new Set(db.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).pluck().all());
    const seen = readSeen(db);
    seen.add(base, 1);
    if (tables.has('ha_outbox')) {
      // Their rows are in the copy: where they are in the stream too, they must not count once more.
      for (const id of db.prepare('SELECT id FROM main.ha_outbox').pluck().all() as string[]) {
        const parsed = parseMessageId(id);
        if (parsed !== undefined) seen.add(parsed.origin, parsed.n);
      }
    }
    for (const table of [...NODE_TABLES, ...NODE_OUTBOX_TABLES, ...NODE_CDC_TABLES, 'ha_stats', 'ha_cursor']) {
      if (tables.has(table)) db.exec(`DELETE FROM main.${table}`);
    }
    db.prepare('DELETE FROM main.ha_skipped WHERE change = ?').run(BigInt(WHOLE_MESSAGE));
    const cursor = { received, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: created };
    new CursorWriter(db, subject).write(cursor, seen);
    writeBase(db, base);
    db.exec('COMMIT');
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

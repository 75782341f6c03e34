import { randomBytes } from 'node:crypto';
import type { Connection } from './connection.js';
import type { RecordedOutcome } from './outcomes.js';
import { SeenIds } from './seen-ids.js';
import { StatementCache } from './statement-cache.js';

/**
 * Our own tables in the user's database. All start with `ha_`, are created on first use and never replicated.
 *
 * | table | what |
 * | --- | --- |
 * | `ha_stats` | the stream position of each subject; shared with go-ha, which reads and writes the same table |
 * | `ha_cursor` | identity of the message at that position and of the stream, so that a rewritten stream is noticed |
 * | `ha_seen` | ids of the messages that were applied, as ranges for each origin |
 * | `ha_origins` | origins of the ids that this database gave out, one for each start |
 * | `ha_outcomes` | how transactions ended, where `ha_seen` does not tell: those in several messages, and void ids |
 * | `ha_foreign_writes` | the alarm that somebody else wrote to the file, until somebody acts |
 * | `ha_chunks` | parts of large transactions whose last part has not come yet |
 * | `ha_renames` | tables and columns that the stream renamed, for transactions that were written with the old names |
 * | `ha_base` | the state that the cluster was founded with, or had to take over last |
 * | `ha_founding` | attempts to found a cluster that have not come to their end; made and dropped by snapshot/founding.ts |
 * | `ha_skipped` | changes that could not be applied for a reason that every node shares; with `change` -1 messages that an operator had this node leave out |
 * | `ha_outbox` | with `asyncPublisher`: messages of transactions that were committed here and not yet met in the stream |
 * | `ha_undo` | with `asyncPublisher`: how to take such a transaction back, where that is not the plain inverse of its messages |
 * | `ha_outbox_file` | with `asyncPublisherOutboxDir`: which file holds `ha_outbox`, and what has to be in it |
 * | `ha_outbox_limit` | with `asyncPublisher`: the largest message that the stream took when it was last met |
 * | `ha_cdc` | with `cdc`: how far each target has come |
 * | `ha_cdc_log` | with `cdc`: what transactions did to rows, until every target has it |
 *
 * The last six are made by outbox-tables.ts and cdc/effect-log.ts, and only where that option is set.
 *
 * Every write here happens in the SQLite transaction of the rows that it speaks of: that is what makes delivery exactly
 * once.
 */
export const CONTROL_TABLES = [
  'ha_stats',
  'ha_cursor',
  'ha_seen',
  'ha_origins',
  'ha_outcomes',
  'ha_foreign_writes',
  'ha_chunks',
  'ha_renames',
  'ha_skipped',
  'ha_base',
] as const;

/** Those of them that speak of this node alone: a snapshot does not have their rows. */
export const NODE_TABLES = ['ha_origins', 'ha_foreign_writes'] as const;

/** The same of change data capture, which are there only where a target is or was. */
export const NODE_CDC_TABLES = ['ha_cdc', 'ha_cdc_log'] as const;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS ha_stats(subject TEXT UNIQUE, received_seq INTEGER, updated_at DATETIME);
CREATE TABLE IF NOT EXISTS ha_cursor(
  subject TEXT PRIMARY KEY, subject_seq INTEGER NOT NULL, message_time TEXT NOT NULL, message_id TEXT,
  stream_created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_seen(origin TEXT NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL,
  PRIMARY KEY(origin, lo)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_origins(origin TEXT PRIMARY KEY, started_at TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_outcomes(transaction_id TEXT PRIMARY KEY, outcome TEXT NOT NULL,
  sequence INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_foreign_writes(found_at TEXT NOT NULL, received INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ha_chunks(transaction_id TEXT NOT NULL, part INTEGER NOT NULL, sequence INTEGER NOT NULL,
  data TEXT NOT NULL, PRIMARY KEY(transaction_id, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_renames(sequence INTEGER NOT NULL, old_name TEXT NOT NULL, new_name TEXT NOT NULL,
  columns TEXT NOT NULL, PRIMARY KEY(sequence, old_name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_skipped(sequence INTEGER NOT NULL, change INTEGER NOT NULL, node TEXT NOT NULL,
  target TEXT NOT NULL, operation TEXT NOT NULL, detail TEXT NOT NULL, error TEXT NOT NULL, skipped_at TEXT NOT NULL,
  PRIMARY KEY(sequence, change)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ha_base(one INTEGER PRIMARY KEY CHECK(one = 1), id TEXT NOT NULL);`;

/** Where a node stands in the stream. */
export interface StreamCursor {
  /** Sequence up to which everything on our subject is applied. */
  readonly received: number;
  /** Sequence of the last applied message on our subject; what an ordered publish expects. */
  readonly subjectSequence: number;
  /** Server time of that message, RFC 3339; empty where none was applied yet. */
  readonly messageTime: string;
  readonly messageId: string | null;
  /** Creation time of the stream, which tells it from one made anew under the same name. */
  readonly streamCreated: string;
}

/** In place of the number of a change: the whole message was left out by an operator. */
export const WHOLE_MESSAGE = -1;

/** A change that no node could apply. */
export interface SkippedChange {
  readonly sequence: number;
  readonly change: number;
  readonly node: string;
  readonly target: string;
  readonly operation: string;
  readonly detail: string;
  readonly error: string;
}

/** Creates the control tables where they are missing. */
export function createControlTables(db: Connection): void {
  db.exec(SCHEMA);
}

/** True where the database has tables of its user. */
export function hasUserTables(db: Connection): boolean {
  const found = db
    .prepare(
      `SELECT 1 FROM main.sqlite_schema
       WHERE type IN ('table', 'view') AND substr(lower(name), 1, 3) <> 'ha_' AND substr(name, 1, 7) <> 'sqlite_' LIMIT 1`,
    )
    .get();
  return found !== undefined;
}

/** Reads the stored cursor of a subject, undefined where the database has never followed it. */
export function readCursor(db: Connection, subject: string): StreamCursor | undefined {
  const known = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ha_stats'`).get();
  if (known === undefined) return undefined;
  const stats = db.prepare('SELECT received_seq FROM main.ha_stats WHERE subject = ?').pluck().get(subject);
  if (typeof stats !== 'number') return undefined;
  if (!db.readonly) createControlTables(db);
  const row = cursorRow(db, subject);
  return {
    received: stats,
    subjectSequence: row?.subject_seq ?? stats,
    messageTime: row?.message_time ?? '',
    messageId: row?.message_id ?? null,
    streamCreated: row?.stream_created ?? '',
  };
}

interface CursorRow {
  readonly subject_seq: number;
  readonly message_time: string;
  readonly message_id: string | null;
  readonly stream_created: string;
}

/** Files of go-ha have the position alone. */
function cursorRow(db: Connection, subject: string): CursorRow | undefined {
  const known = db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ha_cursor'`).get();
  if (known === undefined) return undefined;
  return db.prepare('SELECT * FROM main.ha_cursor WHERE subject = ?').get(subject) as CursorRow | undefined;
}

/** Reads the ids of all applied messages. */
export function readSeen(db: Connection): SeenIds {
  return new SeenIds(
    db.prepare('SELECT origin, lo, hi FROM main.ha_seen').all() as { origin: string; lo: number; hi: number }[],
  );
}

/** Sequences of the messages that an operator had this node leave out. */
export function readSkips(db: Connection): Set<number> {
  return new Set(
    db.prepare('SELECT sequence FROM main.ha_skipped WHERE change = ?').pluck().all(WHOLE_MESSAGE) as number[],
  );
}

/** What a file that is built anew from the stream takes over of the old one. */
export interface CarriedRows {
  readonly origins: readonly unknown[][];
  readonly skipped: readonly unknown[][];
}

export function readCarried(db: Connection): CarriedRows {
  return {
    origins: db.prepare('SELECT * FROM main.ha_origins').raw().all() as unknown[][],
    skipped: db
      .prepare('SELECT * FROM main.ha_skipped WHERE change = ?')
      .safeIntegers()
      .raw()
      .all(WHOLE_MESSAGE) as unknown[][],
  };
}

export function writeCarried(db: Connection, { origins, skipped }: CarriedRows): void {
  for (const row of origins) db.prepare('INSERT OR IGNORE INTO main.ha_origins VALUES(?, ?)').run(...row);
  for (const row of skipped) {
    db.prepare('INSERT OR IGNORE INTO main.ha_skipped VALUES(?, ?, ?, ?, ?, ?, ?, ?)').run(...row);
  }
}

/** Adds the origin of this start to those of earlier ones, and returns all of them. */
export function recordOrigin(db: Connection, origin: string): Set<string> {
  db.prepare('INSERT INTO main.ha_origins VALUES(?, ?)').run(origin, timestamp());
  return new Set(db.prepare('SELECT origin FROM main.ha_origins').pluck().all() as string[]);
}

/** Writes cursor and ids through one connection. Call inside its transaction only. */
export class CursorWriter {
  private readonly statements: StatementCache;

  constructor(
    db: Connection,
    private readonly subject: string,
  ) {
    this.statements = new StatementCache(db);
  }

  write(cursor: StreamCursor, seen: SeenIds): void {
    this.statements
      .get(
        `INSERT INTO main.ha_stats(subject, received_seq, updated_at) VALUES(?, ?, ?)
         ON CONFLICT(subject) DO UPDATE SET received_seq = excluded.received_seq, updated_at = excluded.updated_at`,
      )
      .run(this.subject, BigInt(cursor.received), timestamp());
    this.statements
      .get(`INSERT OR REPLACE INTO main.ha_cursor VALUES(?, ?, ?, ?, ?)`)
      .run(this.subject, BigInt(cursor.subjectSequence), cursor.messageTime, cursor.messageId, cursor.streamCreated);
    for (const { origin, lo, hi } of seen.takeChanges()) {
      if (hi === undefined) {
        this.statements.get('DELETE FROM main.ha_seen WHERE origin = ? AND lo = ?').run(origin, BigInt(lo));
      } else {
        this.statements.get('INSERT OR REPLACE INTO main.ha_seen VALUES(?, ?, ?)').run(origin, BigInt(lo), BigInt(hi));
      }
    }
  }

  addChunk(transactionId: string, part: number, sequence: number, data: string): void {
    this.statements
      .get('INSERT OR REPLACE INTO main.ha_chunks VALUES(?, ?, ?, ?)')
      .run(transactionId, BigInt(part), BigInt(sequence), data);
  }

  /** The stored parts of a transaction, in order. */
  readChunks(transactionId: string): { part: number; data: string }[] {
    return this.statements
      .get('SELECT part, data FROM main.ha_chunks WHERE transaction_id = ? ORDER BY part')
      .all(transactionId) as { part: number; data: string }[];
  }

  /** Notes how a transaction ended; what was noted first counts. Its stored parts are dropped. */
  endTransaction(transactionId: string, outcome: RecordedOutcome, sequence: number): void {
    this.statements.get('DELETE FROM main.ha_chunks WHERE transaction_id = ?').run(transactionId);
    this.statements
      .get('INSERT OR IGNORE INTO main.ha_outcomes VALUES(?, ?, ?)')
      .run(transactionId, outcome, BigInt(sequence));
  }

  /** True where it is decided how a transaction ended. */
  hasEnded(transactionId: string): boolean {
    return (
      this.statements.get('SELECT 1 FROM main.ha_outcomes WHERE transaction_id = ?').get(transactionId) !== undefined
    );
  }

  addSkipped(skipped: SkippedChange): void {
    this.statements
      .get('INSERT OR REPLACE INTO main.ha_skipped VALUES(?, ?, ?, ?, ?, ?, ?, ?)')
      .run(
        BigInt(skipped.sequence),
        BigInt(skipped.change),
        skipped.node,
        skipped.target,
        skipped.operation,
        skipped.detail,
        skipped.error,
        timestamp(),
      );
  }
}

/** A new origin: random, never a clock, so that two starts of one node are never taken for each other. */
export function newOrigin(): string {
  return randomBytes(9).toString('base64url');
}

/** Now, in RFC 3339 with nanoseconds, as go-ha writes it. */
function timestamp(): string {
  return new Date().toISOString().replace('Z', '000000Z');
}

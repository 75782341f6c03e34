import BetterSqlite3 from 'better-sqlite3';
import { parseMessageId } from '../changeset/message-id.js';
import type { Connection } from '../sqlite/connection.js';
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
import { writeBase } from '../subscribe/base.js';
import { closeWhole, copyFailed } from './database-copy.js';
import { endFounding } from './founding.js';

interface BaseFacts {
  readonly subject: string;
  /** The id of the base. */
  readonly base: string;
  /** True where the file has followed this very stream: its control tables speak of places in it. */
  readonly follows: boolean;
}

export interface BaseCopyFacts extends BaseFacts {
  /** End of the stream: all in front of it is in the base, or overruled by it. */
  readonly received: number;
  /** When the stream was made. */
  readonly created: string;
}

export interface OwnBaseFacts extends BaseFacts {
  /** Ids that waited in the outbox: they are in the base. */
  readonly waiting: readonly string[];
  /** Right behind the message that brought the base. */
  readonly cursor: StreamCursor;
}

/**
 * Makes a copy what all others are to start from: nothing of this node, and nothing that is still under way.
 *
 * @param source What it is a copy of.
 * @returns The ids of what waits in its outbox.
 * @throws HAError `HA_SNAPSHOT_FAILED`.
 */
export function makeBase(source: string, path: string, facts: BaseCopyFacts): readonly string[] {
  const { subject, base, received, created } = facts;
  const db = new BetterSqlite3(path);
  try {
    db.exec('BEGIN IMMEDIATE');
    createControlTables(db);
    const tables = tablesOf(db);
    const waiting = tables.has('ha_outbox') ? db.prepare('SELECT id FROM main.ha_outbox').pluck().all() : [];
    const seen = readSeen(db);
    count(seen, base, waiting as string[]);
    clear(db, tables, [...NODE_TABLES, ...NODE_OUTBOX_TABLES, ...NODE_CDC_TABLES, 'ha_stats', 'ha_cursor']);
    forgetPlaces(db, facts);
    const cursor = { received, subjectSequence: 0, messageTime: '', messageId: null, streamCreated: created };
    new CursorWriter(db, subject).write(cursor, seen);
    writeBase(db, base);
    endFounding(db);
    db.exec('COMMIT');
    closeWhole(db);
    return waiting as string[];
  } catch (error) {
    throw copyFailed(source, path, error);
  } finally {
    db.close();
  }
}

/** The file itself is the base from here on, as the others have it; what it knows of itself stays. Ends its transaction. */
export function becomeBase(db: Connection, facts: OwnBaseFacts): void {
  const { subject, base, waiting, cursor } = facts;
  createControlTables(db);
  const seen = readSeen(db);
  count(seen, base, waiting);
  // Targets of change data capture go on: what they were not told yet lies in front of the message.
  const gone = ['ha_foreign_writes', 'ha_chunks', ...NODE_OUTBOX_TABLES, 'ha_stats', 'ha_cursor'];
  clear(db, tablesOf(db), gone);
  forgetPlaces(db, facts);
  new CursorWriter(db, subject).write(cursor, seen);
  writeBase(db, base);
  endFounding(db);
  db.exec('COMMIT');
}

/**
 * What an operator had this node leave out is in the rows now. And places in another stream mean nothing in this one: a
 * rename that was met there would give a new table of the old name's rows to the renamed one, on other nodes only.
 */
function forgetPlaces(db: Connection, { follows }: BaseFacts): void {
  if (follows) db.prepare('DELETE FROM main.ha_skipped WHERE change = ?').run(BigInt(WHOLE_MESSAGE));
  else for (const table of ['ha_skipped', 'ha_renames']) db.exec(`DELETE FROM main.${table}`);
}

function clear(db: Connection, tables: ReadonlySet<unknown>, names: readonly string[]): void {
  for (const table of names) if (tables.has(table)) db.exec(`DELETE FROM main.${table}`);
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

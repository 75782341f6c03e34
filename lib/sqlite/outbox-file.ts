import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import type { Connection } from './connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import { isBusy } from './connections.js';
import { OUTBOX_TABLE } from './outbox-tables.js';
import type { SeenIds } from './seen-ids.js';
import { StatementCache } from './statement-cache.js';

interface Range {
  readonly from: number;
  readonly to: number;
}

interface FileRow {
  readonly key: string;
  readonly path: string;
  readonly high: number;
  readonly pending: number;
}

/**
 * The outbox in an SQLite file of its own: `asyncPublisherOutboxDir`.
 *
 * Two files cannot be committed at once. So rows are committed here first, and then the database with the number of the last
 * one (`high`); what lies above that number at start is a ghost of a transaction that never was. Taken out they are in the
 * other order: the database passes their place in the stream, and then they are removed here. The database also counts what
 * has to be here (`pending`), so a lost or exchanged file is noticed.
 */
export class OutboxFile {
  readonly db: Connection;
  /** Number of the last message whose transaction is committed. */
  high = 0;
  private raised = 0;
  private hasGhosts = false;
  private passed: Range[] = [];
  private retained = 0;
  private readonly statements: StatementCache;

  private constructor(
    readonly path: string,
    main: Connection,
  ) {
    this.db = open(path, main);
    this.statements = new StatementCache(this.db);
  }

  /**
   * Opens the file of a database, and makes it where it is missing.
   *
   * @throws HAError `HA_DATABASE_OPEN` where the folder or file cannot be written, `HA_OVERLAY_BROKEN` where messages that
   * the database counts on are missing.
   */
  static open(dir: string, main: Connection, seen: SeenIds): OutboxFile {
    const row = (main.prepare('SELECT key, path, high, pending FROM main.ha_outbox_file').get() as
      FileRow | undefined) ?? {
      key: randomBytes(6).toString('hex'),
      path: '',
      high: 0,
      pending: 0,
    };
    // Not the name of the database, which may be moved.
    const path = resolve(join(dir, `ha-${row.key}.outbox`));
    makeFolder(dir);
    const file = new OutboxFile(path, main);
    try {
      file.reconcile(main, row, seen);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }

  begin(): void {
    this.db.exec('BEGIN IMMEDIATE');
    if (!this.hasGhosts) return;
    this.statements.get('DELETE FROM main.ha_outbox WHERE n > ?').run(BigInt(this.high));
    this.hasGhosts = false;
  }

  commit(): void {
    this.db.exec('COMMIT');
    this.hasGhosts = true;
  }

  /** Writes the number of the last message into the database, inside its transaction. */
  raise(main: Connection, high: number, messages: number): void {
    main.prepare('UPDATE main.ha_outbox_file SET high = ?, pending = pending + ?').run(BigInt(high), BigInt(messages));
    this.raised = high;
  }

  /** Counts messages out, inside the database's transaction. */
  lower(main: Connection, messages: number): void {
    main.prepare('UPDATE main.ha_outbox_file SET pending = pending - ?').run(BigInt(messages));
  }

  confirm(): void {
    this.high = this.raised;
    this.hasGhosts = false;
  }

  discard(): void {
    if (this.db.inTransaction) this.db.exec('ROLLBACK');
    this.raised = this.high;
  }

  /** The database was rolled back: what it says counts. */
  reset(main: Connection): void {
    const row = main.prepare('SELECT high FROM main.ha_outbox_file').get() as { high: number };
    this.high = row.high;
    this.raised = row.high;
  }

  /** Removes what the database has passed. What fails now is left for the next time, at the latest for the next start. */
  remove(ranges: readonly Range[]): void {
    this.passed.push(...ranges);
    if (this.retained > 0) return;
    try {
      for (const range of this.passed) this.removeRange(range);
      this.passed = [];
    } catch (error) {
      if (!isSqliteError(error)) throw error;
    }
  }

  /** Nothing is removed until the returned function is called: somebody reads what a copy of the database speaks of. */
  retain(): () => void {
    this.retained++;
    return () => {
      this.retained--;
      if (this.db.open) this.remove([]);
    };
  }

  close(): void {
    this.db.close();
  }

  private removeRange({ from, to }: Range): void {
    this.statements.get('DELETE FROM main.ha_outbox WHERE n BETWEEN ? AND ?').run(BigInt(from), BigInt(to));
  }

  private reconcile(main: Connection, row: FileRow, seen: SeenIds): void {
    this.db.exec('BEGIN IMMEDIATE');
    // Where nothing is pending, rows can only be what a take-over left that did not come to its end.
    const high = row.pending === 0 ? 0 : row.high;
    this.statements.get('DELETE FROM main.ha_outbox WHERE n > ?').run(BigInt(high));
    this.removeReached(seen);
    const count = this.db.prepare('SELECT count(*) FROM main.ha_outbox').pluck().get() as number;
    if (count !== row.pending) {
      this.db.exec('ROLLBACK');
      throw missing(row, this.path, count);
    }
    this.db.exec('COMMIT');
    const moved = this.takeOver(main);
    this.high = Math.max(row.high, moved.high);
    this.raised = this.high;
    main
      .prepare('INSERT OR REPLACE INTO main.ha_outbox_file(one, key, path, high, pending) VALUES(1, ?, ?, ?, ?)')
      .run(row.key, this.path, BigInt(this.high), BigInt(row.pending + moved.count));
    main.exec('DELETE FROM main.ha_outbox');
    main.exec('COMMIT');
  }

  /** The database had passed their place in the stream, but the process ended before they were removed here. */
  private removeReached(seen: SeenIds): void {
    const rows = this.db.prepare('SELECT n, first, id, chunk FROM main.ha_outbox ORDER BY n').all() as {
      n: number;
      first: number;
      id: string;
      chunk: string | null;
    }[];
    const last = new Map(rows.map((each) => [each.first, each]));
    for (const [first, { n, id }] of last) {
      const dot = id.lastIndexOf('.');
      if (seen.has(id.slice(0, dot), Number(id.slice(dot + 1)))) this.removeRange({ from: first, to: n });
    }
  }

  /**
   * Messages that still lie in the database, from a time without this option. Opens the transaction that takes them out
   * there. A crash in between leaves them in both places; above `high` they are ghosts here.
   */
  private takeOver(main: Connection): { high: number; count: number } {
    main.exec('BEGIN IMMEDIATE');
    const rows = main
      .prepare('SELECT n, first, id, chunk, data, tables, changes, counters, stored_at FROM main.ha_outbox ORDER BY n')
      .raw()
      .safeIntegers()
      .all() as unknown[][];
    if (rows.length === 0) return { high: 0, count: 0 };
    const taken = this.db.prepare('SELECT count(*) FROM main.ha_outbox').pluck().get() as number;
    if (taken > 0) throw missing({ key: '', path: this.path, high: 0, pending: 0 }, this.path, taken);
    this.db.exec('BEGIN IMMEDIATE');
    const insert = this.db.prepare('INSERT INTO main.ha_outbox VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)');
    for (const row of rows) insert.run(...row);
    this.db.exec('COMMIT');
    return { high: Number(rows.at(-1)?.[0] ?? 0), count: rows.length };
  }
}

function makeFolder(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true });
  } catch (error) {
    throw openFailed(dir, error);
  }
}

function open(path: string, main: Connection): Connection {
  let db: Connection | undefined;
  try {
    db = new BetterSqlite3(path, { timeout: 0 });
    // Nobody else may publish these messages; and in this mode WAL needs no shared memory.
    db.pragma('locking_mode = EXCLUSIVE');
    db.pragma('journal_mode = WAL');
    db.pragma(`synchronous = ${main.pragma('synchronous', { simple: true }) as number}`);
    db.exec(OUTBOX_TABLE);
    db.exec('BEGIN EXCLUSIVE; COMMIT');
    return db;
  } catch (error) {
    db?.close();
    throw openFailed(path, error);
  }
}

function openFailed(path: string, cause: unknown): HAError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  if (isBusy(cause)) {
    return new HAError(
      'HA_DATABASE_LOCKED',
      `The outbox '${path}' is in use, in this or another process. Give every node an asyncPublisherOutboxDir of its own, or stop the other one first.`,
      { cause, details: { path } },
    );
  }
  return new HAError(
    'HA_DATABASE_OPEN',
    `The outbox '${path}' cannot be opened: ${reason}. Check that asyncPublisherOutboxDir names a folder that this process may write to.`,
    { cause, details: { path } },
  );
}

function missing(row: FileRow, path: string, found: number): HAError {
  return new HAError(
    'HA_OVERLAY_BROKEN',
    `The outbox '${path}' holds ${found} messages, but the database counts on ${row.pending}${row.path === '' || row.path === path ? '' : ` in '${row.path}'`}: transactions that were answered as written would never be published. Bring the outbox file back, or start with a new database file to take over what the stream holds.`,
    { details: { path, expected: row.path, found, pending: row.pending } },
  );
}

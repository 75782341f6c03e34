import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import { isSqliteError } from '../common/sqlite-error.js';
import type { ConfigureConnection, Connection, ConnectionRole } from './connection.js';
import { registerFunctions } from './functions.js';
import type { IdGenerator } from './id-generator.js';
import { realFile } from './real-file.js';

/** How to open a database file. */
export interface ConnectionSettings {
  /** Path of the file, or `:memory:`: a private temporary file, removed on close. */
  readonly filename: string;
  readonly memory: boolean;
  /** Pragmas of the DSN, run on every connection in order. */
  readonly pragmas: readonly { readonly name: string; readonly value: string }[];
  readonly configure?: ConfigureConnection | undefined;
  /** What `ha_id()` takes its values from, on every connection. */
  readonly ids: IdGenerator;
  /** True where the database is replicated: then a second process must not open it for replication too. */
  readonly exclusive: boolean;
  /** Called with the path of the file once the lock is held, before it is opened. */
  readonly beforeOpen?: ((path: string) => void) | undefined;
}

/** At most this many idle readers of `iterate` are kept open. */
const IDLE_READERS = 4;

/**
 * The connections on one WAL file. Their roles keep three worlds apart: the *writer* runs the user's SQL with capture
 * triggers; the *applier* runs what the stream brings, with foreign keys off and user triggers hidden; *readers* are
 * read-only and never wait for a write (https://www.sqlite.org/wal.html#concurrency).
 */
export class Connections {
  readonly path: string;
  readonly writer: Connection;
  readonly applier: Connection;
  /** Serves `get` and `all`. */
  readonly reader: Connection;
  private outside: Connection | undefined;
  private readonly idle: Connection[] = [];
  private readonly leased = new Set<Connection>();
  private readonly temporary: string | undefined;
  private readonly lock: Connection | undefined;
  private closed = false;

  constructor(private readonly settings: ConnectionSettings) {
    this.temporary = settings.memory ? mkdtempSync(join(tmpdir(), 'nestjs-ha-')) : undefined;
    this.path = this.temporary === undefined ? realFile(settings.filename) : join(this.temporary, 'memory.db');
    const opened: Connection[] = [];
    const open = (role: ConnectionRole): Connection => {
      const db = this.open(role);
      opened.push(db);
      return db;
    };
    try {
      this.lock = settings.exclusive && !settings.memory ? lockFile(`${this.path}-ha-lock`, this.path) : undefined;
      if (this.lock !== undefined) opened.push(this.lock);
      settings.beforeOpen?.(this.path);
      this.writer = open('writer');
      this.applier = open('applier');
      this.reader = open('reader');
    } catch (error) {
      for (const db of opened) db.close();
      this.removeTemporary();
      throw openError(error, this.path);
    }
  }

  /** The connection that users read from synchronously: their open iterators must not block ours. */
  get outsideReader(): Connection {
    return (this.outside ??= this.open('reader'));
  }

  /** Whether somebody is in the middle of rows. */
  get isLeased(): boolean {
    return this.leased.size > 0;
  }

  /** A reader for one long iteration; give it back with {@link releaseReader}. */
  leaseReader(): Connection {
    const db = this.idle.pop() ?? this.open('reader');
    this.leased.add(db);
    return db;
  }

  releaseReader(db: Connection): void {
    if (!this.leased.delete(db)) return;
    if (this.closed || this.idle.length >= IDLE_READERS) db.close();
    else this.idle.push(db);
  }

  /** Opens a copy of the database as the applier's connection is opened. The caller closes it. */
  openCopy(path: string): Connection {
    return this.open('applier', path);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    // Leased readers are in the middle of rows; each is closed when it is given back.
    for (const db of this.idle) db.close();
    closeUnlessReading(this.outside);
    this.reader.close();
    this.applier.close();
    this.writer.close();
    this.lock?.close();
    this.removeTemporary();
  }

  private open(role: ConnectionRole, path: string = this.path): Connection {
    const { settings } = this;
    const db = new BetterSqlite3(path, { readonly: role === 'reader', timeout: 0 });
    try {
      if (role !== 'reader') db.pragma('journal_mode = WAL');
      for (const { name, value } of settings.pragmas) {
        if (appliesTo(name, role)) db.pragma(`${name} = ${value}`);
      }
      db.pragma('temp_store = MEMORY');
      // A checkpoint inside COMMIT would block the event loop (checkpointer.ts).
      db.pragma('wal_autocheckpoint = 0');
      if (role === 'applier') {
        db.pragma('foreign_keys = OFF');
        // Only triggers that keep virtual tables are active here, and REPLACE has to tell them of the rows that it removes.
        db.pragma('recursive_triggers = ON');
      }
      settings.configure?.(db, role);
      // Last, so that nothing can take the place of ids that never collide.
      registerFunctions(db, settings.ids);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  }

  private removeTemporary(): void {
    if (this.temporary !== undefined) rmSync(this.temporary, { recursive: true, force: true });
  }
}

/** The user's own iterators keep a connection busy; it is then closed with the last of them, by the garbage collector. */
function closeUnlessReading(db: Connection | undefined): void {
  try {
    db?.close();
  } catch (error) {
    if (!/busy/.test(String(error))) throw error;
  }
}

/** Pragmas that change the file belong to connections that may write; waiting is ours, never SQLite's. */
function appliesTo(name: string, role: ConnectionRole): boolean {
  if (name === 'busy_timeout' || name === 'journal_mode') return false;
  return role !== 'reader' || !['auto_vacuum', 'page_size', 'user_version', 'application_id'].includes(name);
}

/** Holds an exclusive lock of the operating system for as long as the process lives, however it ends. */
/**
 * Locks a database for replication, by a file beside it, until the returned connection is closed.
 *
 * @throws HAError `HA_DATABASE_LOCKED`.
 */
export function lockFile(path: string, database: string): Connection {
  const db = new BetterSqlite3(path, { timeout: 0 });
  try {
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return db;
  } catch (error) {
    db.close();
    if (!isBusy(error)) throw error;
    throw new HAError(
      'HA_DATABASE_LOCKED',
      `The database '${database}' is already open for replication, in this or another process. Give every node a file of its own, or stop the other one first.`,
      { cause: error, details: { path: database } },
    );
  }
}

/** True for SQLite's "database is locked", which passes by itself. */
export function isBusy(error: unknown): boolean {
  return isSqliteError(error) && error.code.startsWith('SQLITE_BUSY');
}

function openError(error: unknown, path: string): unknown {
  if (error instanceof HAError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new HAError('HA_DATABASE_OPEN', `The database '${path}' cannot be opened: ${reason}. ${adviceFor(error)}`, {
    cause: error,
    details: { path },
  });
}

function adviceFor(error: unknown): string {
  const code = isSqliteError(error) ? error.code : '';
  if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT'))
    return 'It is no SQLite database, or damaged: name another file.';
  return 'Check that its folder exists and that this process may write there.';
}

import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import { subjectOf } from '../config/normalize.js';
import { resolveOptions } from '../config/resolve.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { OWN_TABLES, closeWhole, copyAll, partOf, refuseFolder, removeDatabase } from '../snapshot/database-copy.js';
import { download } from '../snapshot/download.js';
import type { DownloadedSnapshot } from '../snapshot/download.js';
import { Progress } from '../snapshot/progress.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { checkInWorker } from '../snapshot/snapshot-worker.js';
import type { Connection } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import { lockFile } from '../sqlite/connections.js';
import { readCursor } from '../sqlite/control-tables.js';
import { permitAsNew } from '../sqlite/file-access.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { pendingMessages } from '../sqlite/outbox-tables.js';
import { realFile } from '../sqlite/real-file.js';
import { replaceDatabase } from '../sqlite/set-aside.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { StreamSource } from '../stream/stream-source.js';
import { readBase } from '../subscribe/base.js';
import { verifyCursor } from '../subscribe/establish-cursor.js';
import { megabytes, progressBar } from './progress-bar.js';

/** Stores a snapshot of a file. */
export async function snapshotCommand(args: string[]): Promise<number> {
  const options = optionsOf(parseArgs({ args, allowPositionals: true }).positionals);
  const { filename: path } = options;
  const subject = subjectIn(options);
  // Also where the file does not exist: it must not be made.
  refuseForeign(options, path);
  return withStore(options, async (store, stream) => {
    const target = partOf(`${path}-ha-snapshot`);
    try {
      await copyAll({ path, subject }, target);
      const cursor = refuseForeign(options, target);
      const base = cleanCopy(target, path);
      await verifyCursor(cursor, stream, subject);
      const { size } = statSync(target);
      const { count } = new Progress('store', size, progressBar(process.stderr));
      const { received: sequence, streamCreated: created } = cursor;
      const { snapshot, isNew } = await store.put(target, { sequence, created, base }, count);
      say(
        isNew
          ? `Stored a snapshot of ${megabytes(size)} at sequence ${sequence}.`
          : `The store has one at sequence ${snapshot.sequence}, which is as new.`,
      );
      return 0;
    } finally {
      removeDatabase(target);
    }
  });
}

/** Downloads the snapshot to a file. */
export async function restoreCommand(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { to: { type: 'string' }, force: { type: 'boolean' } },
  });
  const options = optionsOf(positionals);
  const target = realFile(values.to ?? options.filename);
  refuseFolder(target);
  if (existsSync(target) && values.force !== true) {
    throw new HAError(
      'HA_SNAPSHOT_FAILED',
      `'${target}' exists. Name another file with --to, or replace it with --force.`,
    );
  }
  return withStore(options, async (store) => {
    const part = partOf(target);
    const { snapshot } = await fetchSnapshot(store, options, part);
    try {
      putInPlace(part, target);
    } catch (error) {
      removeDatabase(part);
      throw error;
    }
    say(`'${target}' is the snapshot of sequence ${snapshot.sequence}, ${megabytes(snapshot.size)}.`);
    return 0;
  });
}

/** Replaces a file that nobody uses, and that holds nothing of its own. Where the process dies, one of the two is in place. */
function putInPlace(part: string, target: string): void {
  if (!existsSync(target)) {
    // What a file that was removed has left would be taken for a part of the new one.
    removeDatabase(target);
    permitAsNew(part);
    renameSync(part, target);
    return;
  }
  const lock = lockFile(`${target}-ha-lock`, target);
  try {
    const count = pendingIn(target);
    if (count > 0) throw pendingError(target, 'they would be lost. Start the application: it publishes them');
    const old = replaceDatabase(target, part, false);
    if (old !== undefined) removeDatabase(old);
  } finally {
    lock.close();
  }
}

/** Verifies the snapshot in the store, and the file. Returns 1 where one of them is not sound. */
export async function verifyCommand(args: string[]): Promise<number> {
  const options = optionsOf(parseArgs({ args, allowPositionals: true }).positionals);
  const isSound = await verifyFile(options);
  return withStore(options, async (store) => {
    const folder = mkdtempSync(join(tmpdir(), 'nestjs-ha-verify-'));
    try {
      const { snapshot } = await fetchSnapshot(store, options, join(folder, 'snapshot.db'));
      const { sequence, size, digest, stored } = snapshot;
      say(
        `snapshot: ok, sequence ${sequence}, ${megabytes(size)}, ${digest}, stored ${new Date(stored).toISOString()}`,
      );
      return isSound ? 0 : 1;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

async function verifyFile(options: ResolvedHAOptions): Promise<boolean> {
  const { filename } = options;
  if (!existsSync(filename)) {
    say(`${filename}: no file`);
    return true;
  }
  const answer = await checkInWorker(filename);
  const cursor = withDatabase(filename, (db) => readCursor(db, subjectIn(options)));
  say(`${filename}: ${answer}, ${cursor === undefined ? 'no position' : `sequence ${cursor.received}`}`);
  return answer === 'ok';
}

async function fetchSnapshot(
  store: SnapshotStore,
  options: ResolvedHAOptions,
  path: string,
): Promise<DownloadedSnapshot> {
  const emit = progressBar(process.stderr);
  const found = await download(store, () => store.latest(), path, subjectIn(options), emit);
  if (found !== undefined) return found;
  throw new HAError(
    'HA_SNAPSHOT_FAILED',
    `There is no snapshot of '${options.replicationID}' in the store of '${options.replicationStream}'. Call db.snapshot() in the application, or run 'nestjs-ha snapshot'.`,
  );
}

function optionsOf([dsn, ...others]: string[]): ResolvedHAOptions {
  if (dsn === undefined || others.length > 0) {
    throw Object.assign(new Error('Name one DSN.'), { code: 'ERR_PARSE_ARGS_DSN' });
  }
  const options = resolveOptions(dsn, {}, process.env);
  if (options.mode !== 'external') {
    throw new HAError('HA_OPTIONS_INVALID', 'Name the NATS server: replicationURL in the DSN, or HA_REPLICATION_URL.');
  }
  return options;
}

/** @throws HAError where a file has no position: its rows are not those of the cluster. */
function refuseForeign(options: ResolvedHAOptions, path: string): StreamCursor {
  const cursor = withDatabase(path, (db) => readCursor(db, subjectIn(options)));
  if (cursor !== undefined && cursor.streamCreated !== '') return cursor;
  throw new HAError(
    'HA_FOREIGN_DATABASE',
    `'${options.filename}' has no position in the stream of '${subjectIn(options)}'. Start the application once: it founds the cluster.`,
  );
}

/** Takes out of a copy what only its node knows. Returns the base that it stands on. */
function cleanCopy(copy: string, path: string): string {
  const db = new BetterSqlite3(copy);
  try {
    // Looked for in the copy: the application may have written a moment ago.
    if (pendingMessages(db).count > 0) {
      throw pendingError(path, 'a snapshot must not have them. Call db.snapshot() in the application');
    }
    const tables = db.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).pluck().all();
    for (const table of OWN_TABLES) if (tables.includes(table)) db.exec(`DELETE FROM main.${table}`);
    const base = readBase(db);
    closeWhole(db);
    return base;
  } finally {
    db.close();
  }
}

function pendingError(path: string, consequence: string): HAError {
  return new HAError('HA_SNAPSHOT_FAILED', `Transactions wait in the outbox of '${path}': ${consequence}.`);
}

/** A damaged file holds nothing that could be kept. */
function pendingIn(path: string): number {
  try {
    return withDatabase(path, pendingMessages).count;
  } catch (error) {
    if (!isSqliteError(error)) throw error;
    // A process has died in the middle of a transaction: who reads alone cannot take that back.
    if (error.code === 'SQLITE_READONLY_ROLLBACK') return withDatabase(path, pendingMessages, false).count;
    if (/^SQLITE_(NOTADB|CORRUPT)/.test(error.code)) return 0;
    throw error;
  }
}

function withDatabase<R>(path: string, work: (db: Connection) => R, readonly = true): R {
  const db = new BetterSqlite3(path, { readonly, fileMustExist: true });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

async function withStore(
  options: ResolvedHAOptions,
  work: (store: SnapshotStore, stream: ReplicationStream) => Promise<number>,
): Promise<number> {
  const source = new StreamSource(options, (line) => process.stderr.write(`${line}\n`), undefined);
  try {
    const stream = await source.open(subjectIn(options));
    const store = await SnapshotStore.open(stream, options.replicationStream, options.replicationID);
    if (store === undefined) throw new HAError('HA_UNAVAILABLE', 'This stream has no snapshots.');
    return await work(store, stream);
  } finally {
    await source.close();
  }
}

function subjectIn({ replicationStream, replicationID }: ResolvedHAOptions): string {
  return subjectOf(replicationStream, replicationID);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import { subjectOf } from '../config/normalize.js';
import { resolveOptions } from '../config/resolve.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { copyFold, removeDatabase } from '../snapshot/database-copy.js';
import { download } from '../snapshot/download.js';
import type { DownloadedSnapshot } from '../snapshot/download.js';
import { Progress } from '../snapshot/progress.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import { checkInWorker } from '../snapshot/snapshot-worker.js';
import { readCursor } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { pendingMessages } from '../sqlite/outbox-tables.js';
import { StreamSource } from '../stream/stream-source.js';
import { readBase } from '../subscribe/base.js';
import { megabytes, progressBar } from './progress-bar.js';

const COMMON = `
DSN is that of the application, as in 'file:my.db?replicationURL=nats://127.0.0.1:4222'; what it leaves out is taken from
the environment (HA_REPLICATION_URL and so on, see the options). The server has to be named: an embedded one belongs to its
application.
`;

export const SNAPSHOT_USAGE = `Usage: nestjs-ha snapshot <DSN>

Stores a snapshot of the database file, from which new nodes start, unless the store has one that is as new. The application
may run meanwhile.
${COMMON}`;

export const RESTORE_USAGE = `Usage: nestjs-ha restore <DSN> [--to FILE] [--force]

Downloads the snapshot of the cluster to a file, and verifies it.

  --to FILE   which file; default: that of the DSN
  --force     replaces a file that exists: only while no application has it open
${COMMON}`;

export const VERIFY_USAGE = `Usage: nestjs-ha verify <DSN>

Downloads the snapshot of the cluster to a temporary file and verifies it: digest, quick_check, position. Verifies the
database file too, where there is one.
${COMMON}`;

/** Stores a snapshot of a file. */
export async function snapshotCommand(args: string[]): Promise<number> {
  const options = optionsOf(parseArgs({ args, allowPositionals: true }).positionals);
  const { filename: path } = options;
  const { created, base } = factsOf(options);
  return withStore(options, async (store) => {
    const target = `${path}-ha-snapshot-cli`;
    try {
      const copy = await copyFold({ path, subject: subjectIn(options) }, target);
      const { count } = new Progress('store', copy.size, progressBar(process.stderr));
      const { sequence } = copy;
      const { snapshot, isNew } = await store.put(target, { sequence, created, base }, count);
      say(
        isNew
          ? `Stored a snapshot of ${megabytes(copy.size)} at sequence ${sequence}.`
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
  const target = values.to ?? options.filename;
  if (existsSync(target) && values.force !== true) {
    throw new HAError(
      'HA_SNAPSHOT_FAILED',
      `'${target}' exists. Name another file with --to, or replace it with --force.`,
    );
  }
  return withStore(options, async (store) => {
    const part = `${target}-part`;
    const { snapshot } = await fetchSnapshot(store, options, part);
    removeDatabase(target);
    renameSync(part, target);
    say(`'${target}' is the snapshot of sequence ${snapshot.sequence}, ${megabytes(snapshot.size)}.`);
    return 0;
  });
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
  const cursor = cursorOf(options);
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

/** What a snapshot of the file has to say of itself. */
function factsOf(options: ResolvedHAOptions): { readonly created: string; readonly base: string } {
  const { filename } = options;
  const db = new BetterSqlite3(filename, { readonly: true, fileMustExist: true });
  try {
    const cursor = cursorOf(options);
    if (cursor === undefined || cursor.streamCreated === '') {
      throw new HAError(
        'HA_FOREIGN_DATABASE',
        `'${filename}' has no position in the stream of '${subjectIn(options)}'. Start the application once: it founds the cluster.`,
      );
    }
    if (pendingMessages(db).count > 0) {
      throw new HAError(
        'HA_SNAPSHOT_FAILED',
        `Transactions wait in the outbox of '${filename}': a snapshot must not have them. Call db.snapshot() in the application.`,
      );
    }
    return { created: cursor.streamCreated, base: readBase(db) };
  } finally {
    db.close();
  }
}

function cursorOf(options: ResolvedHAOptions): StreamCursor | undefined {
  const db = new BetterSqlite3(options.filename, { readonly: true });
  try {
    return readCursor(db, subjectIn(options));
  } finally {
    db.close();
  }
}

async function withStore(options: ResolvedHAOptions, work: (store: SnapshotStore) => Promise<number>): Promise<number> {
  const source = new StreamSource(options, (line) => process.stderr.write(`${line}\n`), undefined);
  try {
    const stream = await source.open(subjectIn(options));
    const store = await SnapshotStore.open(stream, options.replicationStream, options.replicationID);
    if (store === undefined) throw new HAError('HA_UNAVAILABLE', 'This stream has no snapshots.');
    return await work(store);
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

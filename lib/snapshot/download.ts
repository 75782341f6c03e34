import { open } from 'node:fs/promises';
import BetterSqlite3 from 'better-sqlite3';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { readCursor, readSeen } from '../sqlite/control-tables.js';
import { PRIVATE } from '../sqlite/file-access.js';
import type { SeenIds } from '../sqlite/seen-ids.js';
import { ObjectDamaged, ObjectGone } from '../stream/object-store.js';
import { closeWhole, removeDatabase } from './database-copy.js';
import { Progress } from './progress.js';
import type { SnapshotStore, StoredSnapshot } from './snapshot-store.js';
import { checkInWorker } from './snapshot-worker.js';

/** A snapshot as a file beside the database, verified. */
export interface DownloadedSnapshot {
  readonly path: string;
  readonly snapshot: StoredSnapshot;
  /** Where it stands in the stream, as the file itself says. */
  readonly cursor: StreamCursor;
  readonly seen: SeenIds;
  /** How long it took. */
  readonly ms: number;
}

/** It was replaced so often while it was read. */
const ATTEMPTS = 5;

/**
 * Downloads a snapshot to a file, and verifies it: digest, `quick_check`, and that the position in it is the one that the
 * store tells. Nothing else is touched.
 *
 * @param choose Which snapshot; asked again where it was replaced while it was read.
 * @returns Undefined where there is none.
 * @throws HAError `HA_SNAPSHOT_INVALID` where it is damaged, `HA_SNAPSHOT_FAILED` where the disk refuses,
 * `HA_STREAM_CONNECT`. Then there is no file.
 */
export async function download(
  store: SnapshotStore,
  choose: () => Promise<StoredSnapshot | undefined>,
  path: string,
  subject: string,
  emit: EventSink,
  signal?: AbortSignal,
): Promise<DownloadedSnapshot | undefined> {
  let gone: ObjectGone | undefined;
  for (let attempt = 1, last = -1; ; attempt++) {
    const snapshot = await choose();
    if (snapshot === undefined) return undefined;
    // It was not replaced: its pieces are missing.
    if (gone !== undefined && snapshot.object.revision === last)
      throw downloadFailed(new ObjectDamaged('pieces of it are missing', { cause: gone }), snapshot, path);
    last = snapshot.object.revision;
    try {
      const progress = new Progress('restore', snapshot.size, emit);
      await write(store.read(snapshot), path, progress, signal);
      return { path, snapshot, ...(await verify(path, snapshot, subject)), ms: progress.ms };
    } catch (error) {
      removeDatabase(path);
      if (error instanceof ObjectGone && attempt < ATTEMPTS) {
        gone = error;
        continue;
      }
      throw downloadFailed(error, snapshot, path);
    }
  }
}

/** The file as it will be opened: cursor and ids, and whether it is sound. */
export async function verify(
  path: string,
  snapshot: Pick<StoredSnapshot, 'sequence'>,
  subject: string,
): Promise<{ readonly cursor: StreamCursor; readonly seen: SeenIds }> {
  const answer = await checkInWorker(path);
  if (answer !== 'ok') throw new ObjectDamaged(`quick_check says: ${answer}`);
  const db = new BetterSqlite3(path);
  try {
    const cursor = readCursor(db, subject);
    if (cursor?.received !== snapshot.sequence) {
      const there = cursor === undefined ? 'no position' : `position ${cursor.received}`;
      throw new ObjectDamaged(`it says that it stands at ${snapshot.sequence}, but holds ${there} of '${subject}'`);
    }
    const seen = readSeen(db);
    closeWhole(db);
    return { cursor, seen };
  } finally {
    db.close();
  }
}

async function write(
  pieces: AsyncIterable<Buffer>,
  path: string,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<void> {
  removeDatabase(path);
  const file = await open(path, 'wx', PRIVATE);
  try {
    for await (const piece of unlessAborted(pieces, signal)) {
      await file.writeFile(piece);
      progress.count(piece.length);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Ends at once where it is aborted, also while a piece is waited for. */
async function* unlessAborted(pieces: AsyncIterable<Buffer>, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  if (signal === undefined) return yield* pieces;
  const iterator = pieces[Symbol.asyncIterator]();
  let abort: () => void = () => undefined;
  const aborted = new Promise<undefined>((resolve) => {
    abort = () => resolve(undefined);
    signal.addEventListener('abort', abort);
  });
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await Promise.race([iterator.next(), aborted]);
      if (next === undefined) continue;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', abort);
    // It may be waiting for a piece itself.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

function downloadFailed(error: unknown, { sequence, object }: StoredSnapshot, path: string): unknown {
  if (error instanceof HAError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const details = { sequence, name: object.name };
  if (error instanceof ObjectDamaged || isNoDatabase(error)) {
    return new HAError(
      'HA_SNAPSHOT_INVALID',
      `The snapshot '${object.name}' of sequence ${sequence} cannot be used: ${reason}. Call db.snapshot({ replace: true }) on a node that runs; the file of this node is as it was.`,
      { cause: error, details },
    );
  }
  return new HAError(
    'HA_SNAPSHOT_FAILED',
    `The snapshot '${object.name}' of sequence ${sequence} cannot be brought to '${path}': ${reason}. There has to be room for one more copy of the database; the file of this node is as it was.`,
    { cause: error, retryable: true, details },
  );
}

function isNoDatabase(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^SQLITE_(NOTADB|CORRUPT)/.test(code);
}

import { randomBytes } from 'node:crypto';
import { rmSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import { NODE_CDC_TABLES, NODE_TABLES } from '../sqlite/control-tables.js';
import { createLike } from '../sqlite/file-access.js';
import { NODE_OUTBOX_TABLES } from '../sqlite/outbox-tables.js';
import { copyInWorker } from './snapshot-worker.js';

/** What lies over the fold of the stream in this database. */
export interface OverlaySource {
  /** Whatever a copy that is taken now needs stays where it is, until the returned function is called. */
  retain(): () => void;
  /** Takes out of a copy what lies over the fold there. */
  strip(path: string): Promise<void>;
  /** Makes a copy complete where a part of what lies over the fold is kept elsewhere. */
  complete(path: string): Promise<void>;
}

export interface CopySource {
  /** The database file. */
  readonly path: string;
  /** Undefined without a stream. */
  readonly subject: string | undefined;
  /** Absent where nothing lies over the fold. */
  readonly overlay?: OverlaySource | undefined;
  /** Copies a third of the time only, and leaves the rest to those who write. */
  readonly gently?: boolean | undefined;
}

export interface DatabaseCopy {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** The stream is applied up to here; 0 without a stream. */
  readonly sequence: number;
}

/** Their rows say who a node is: a copy that another node starts from must not have them. */
export const OWN_TABLES = [...NODE_TABLES, ...NODE_OUTBOX_TABLES, ...NODE_CDC_TABLES] as const;

const CLEAN: readonly (readonly [string, string])[] = OWN_TABLES.map(
  (table) => [table, `DELETE FROM main.${table}`] as const,
);

/**
 * A copy that is exactly the fold of the stream up to its sequence, without what only this node knows: what a snapshot has
 * to be.
 *
 * @throws HAError `HA_SNAPSHOT_FAILED`; then there is no file.
 */
export function copyFold(source: CopySource, target: string, signal?: AbortSignal): Promise<DatabaseCopy> {
  const { overlay } = source;
  return copy(source, target, overlay === undefined ? CLEAN : [], signal, () => overlay?.strip(target));
}

/**
 * A copy of everything that is committed here, what waits in the outbox included: a backup.
 *
 * @throws HAError `HA_SNAPSHOT_FAILED`; then there is no file.
 */
export function copyAll(source: CopySource, target: string, signal?: AbortSignal): Promise<DatabaseCopy> {
  return copy(source, target, [], signal, () => source.overlay?.complete(target));
}

async function copy(
  { path: source, subject, overlay, gently = false }: CopySource,
  target: string,
  statements: readonly (readonly [string, string])[],
  signal: AbortSignal | undefined,
  finish: () => Promise<void> | undefined,
): Promise<DatabaseCopy> {
  removeDatabase(target);
  const release = overlay?.retain();
  try {
    createLike(target, source);
    const sequence = await copyInWorker({ source, target, subject, statements, gently }, signal);
    await finish();
    return { path: target, size: statSync(target).size, sequence: sequence ?? 0 };
  } catch (error) {
    removeDatabase(target);
    throw copyFailed(source, target, error);
  } finally {
    release?.();
  }
}

/** A name beside a file that nobody else uses, for what is to take its place. */
export function partOf(path: string): string {
  return `${path}-part-${randomBytes(6).toString('hex')}`;
}

/** @throws HAError `HA_SNAPSHOT_FAILED` where a file is to be written to a folder. */
export function refuseFolder(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  throw new HAError('HA_SNAPSHOT_FAILED', `'${path}' is a folder. Name a file in it.`, { details: { path } });
}

/**
 * Closes a database that has to be one whole file from then on: closing alone says nothing where the WAL could not be
 * written back.
 */
export function closeWhole(db: Connection): void {
  const [answer] = db.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
  if (answer?.busy === 1) throw new Error('somebody else has it open');
  db.close();
}

const SUFFIXES = ['', '-wal', '-shm', '-journal'] as const;

/** Removes a database with what SQLite keeps beside it. */
export function removeDatabase(path: string): void {
  for (const suffix of SUFFIXES) rmSync(path + suffix, { force: true });
}

/** The same for one that may be large: that takes the system a while. */
export async function removeLarge(path: string): Promise<void> {
  for (const suffix of SUFFIXES) await rm(path + suffix, { force: true });
}

/** What a copy that could not be made is told as. */
export function copyFailed(source: string, target: string, cause: unknown): HAError {
  if (cause instanceof HAError) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new HAError(
    'HA_SNAPSHOT_FAILED',
    `'${source}' cannot be copied to '${target}': ${reason}. There has to be room for one more copy of the database, in a folder that this process may write to.`,
    { cause, retryable: true, details: { source, target } },
  );
}

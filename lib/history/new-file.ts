import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, renameSync, rmSync } from 'node:fs';
import { invalidHistory } from './history-errors.js';

/**
 * Writes a file that is there whole or not at all: beside it, under a name that nobody else has, until it is done. So neither
 * another call for the same path nor a file that came meanwhile is overwritten.
 *
 * @param write Writes to the path it is given; where it leaves no file there, or returns false, there is none in the end.
 * @throws HAError `HA_HISTORY_INVALID` where there is a file by now.
 */
export async function writeNewFile(path: string, write: (part: string) => Promise<boolean>): Promise<boolean> {
  const part = `${path}.${randomBytes(6).toString('hex')}.part`;
  try {
    if (!(await write(part))) return false;
    if (existsSync(part)) moveNew(part, path);
    return true;
  } finally {
    removeFiles(part);
  }
}

/** Removes a database and what SQLite keeps beside it. */
export function removeFiles(path: string): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${path}${suffix}`, { force: true });
}

export function fileExists(path: string): Error {
  return invalidHistory(`'${path}' exists already. Name a file that does not.`, { path });
}

/** A second name fails where the path is taken; renaming would overwrite it. */
function moveNew(part: string, path: string): void {
  try {
    linkSync(part, path);
  } catch {
    if (existsSync(path)) throw fileExists(path);
    // Not every file system gives a file two names.
    renameSync(part, path);
  }
}

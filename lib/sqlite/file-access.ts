import { chmodSync, chownSync, closeSync, openSync, statSync } from 'node:fs';

/** Readable and writable for its owner alone: what a file holds whose place is not decided yet. */
export const PRIVATE = 0o600;
const PERMISSIONS = 0o777;

/** Creates an empty file that nobody may read or write who may not do so with another one. SQLite takes it for a new database. */
export function createLike(path: string, model: string): void {
  if (statSync(model, { throwIfNoEntry: false }) === undefined) return;
  closeSync(openSync(path, 'wx', PRIVATE));
  permitLike(path, model);
}

/** Gives a file the permissions of another one, and its owner where this process may. Nothing where there is none. */
export function permitLike(path: string, model: string): void {
  const like = statSync(model, { throwIfNoEntry: false });
  if (like === undefined) return;
  const { uid, gid } = statSync(path);
  if (uid !== like.uid || gid !== like.gid) tryTo(() => chownSync(path, like.uid, like.gid));
  chmodSync(path, like.mode & PERMISSIONS);
}

/** Gives a file the permissions that new files have. */
export function permitAsNew(path: string): void {
  chmodSync(path, 0o666 & ~process.umask());
}

/** Files can be given to others by the superuser alone. */
function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // It belongs to who runs this process.
  }
}

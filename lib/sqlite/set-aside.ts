import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { createLike, permitLike } from './file-access.js';

/** A database is up to four files: https://www.sqlite.org/tempfiles.html. What is left of an old one would be taken for a part of the new one. */
const SUFFIXES = ['', '-wal', '-shm', '-journal'] as const;

/**
 * Moves a database out of the way while another one is built in its place, and back. Call only while nothing of ours has it
 * open.
 *
 * A marker, `<path>-ha-resync`, exists from before the move until the new database is complete. As long as it exists the
 * database that was moved is the one that counts, so that the process may die at any point.
 */
export class SetAside {
  private moved = false;

  private constructor(
    private readonly path: string,
    /** Where it is moved to. */
    readonly target: string,
  ) {}

  static begin(path: string, now: Date): SetAside {
    return new SetAside(path, free(`${path}.before-resync-${now.toISOString().replaceAll(/[-:]/g, '')}`));
  }

  /** What a process that died has moved, or begun to move; undefined where there is nothing. */
  static unfinished(path: string): SetAside | undefined {
    if (!existsSync(marker(path))) return undefined;
    const found = new SetAside(path, join(dirname(path), readFileSync(marker(path), 'utf8')));
    found.moved = true;
    return found;
  }

  /** Moves it; does nothing when called again. */
  move(): void {
    if (this.moved) return;
    this.moved = true;
    writeDurably(marker(this.path), basename(this.target));
    // The database itself last: where it is tells whether the move was complete.
    for (const suffix of SUFFIXES.toReversed()) rename(this.path + suffix, this.target + suffix);
    createLike(this.path, this.target);
  }

  /** The new database is complete: it counts from now on. */
  finish(): void {
    rmSync(marker(this.path), { force: true });
    this.moved = false;
  }

  /** Moves it back over what was made in its place; may be done again where the process died in between. */
  restore(): void {
    if (!this.moved) return;
    this.moved = false;
    // Where it is still, or again, in its place, nothing was made there.
    if (existsSync(this.target)) for (const suffix of SUFFIXES) rmSync(this.path + suffix, { force: true });
    for (const suffix of SUFFIXES) rename(this.target + suffix, this.path + suffix);
    rmSync(marker(this.path), { force: true });
  }
}

/**
 * Puts a complete database file in the place of one that nobody has open. At every moment one of the two is in place, also
 * where the process dies: the old one is moved away first, and counts until the new one is there.
 *
 * @param isAside The old one was moved away already, and what is in its place does not count.
 * @returns Where the old one is.
 */
export function replaceDatabase(path: string, by: string, isAside: boolean): string | undefined {
  permitLike(by, path);
  const aside = isAside ? undefined : SetAside.begin(path, new Date());
  aside?.move();
  for (const suffix of SUFFIXES) rmSync(path + suffix, { force: true });
  renameSync(by, path);
  syncFolder(path);
  aside?.finish();
  return aside?.target;
}

/** Else a power cut could take back what was renamed in it. Not all systems let a folder be opened. */
function syncFolder(path: string): void {
  try {
    const folder = openSync(dirname(path), 'r');
    fsyncSync(folder);
    closeSync(folder);
  } catch {
    // Windows.
  }
}

function marker(path: string): string {
  return `${path}-ha-resync`;
}

/** Through a second name: a marker is there as a whole or not at all. */
function writeDurably(path: string, text: string): void {
  const draft = `${path}-draft`;
  const file = openSync(draft, 'w');
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(draft, path);
}

function rename(from: string, to: string): void {
  if (existsSync(from)) renameSync(from, to);
}

function free(path: string): string {
  let name = path;
  for (let n = 2; existsSync(name); n++) name = `${path}-${n}`;
  return name;
}

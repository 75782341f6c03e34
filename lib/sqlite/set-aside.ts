import { existsSync, renameSync, rmSync } from 'node:fs';

/** A database in WAL mode is up to three files: https://www.sqlite.org/walformat.html */
const SUFFIXES = ['', '-wal', '-shm'] as const;

/** Moves a database out of the way, and back. Call only while nothing of ours has it open. */
export class SetAside {
  /** Where it is moved to. */
  readonly target: string;
  private moved = false;

  constructor(
    private readonly path: string,
    now: Date,
  ) {
    this.target = free(`${path}.before-resync-${now.toISOString().replaceAll(/[-:]/g, '')}`);
  }

  /** Moves it; does nothing when called again. */
  move(): void {
    if (this.moved) return;
    this.moved = true;
    // The WAL first: should the process die in between, the rest of the database is still found.
    for (const suffix of SUFFIXES.toReversed()) rename(this.path + suffix, this.target + suffix);
  }

  /** Moves it back over what was made in its place. */
  restore(): void {
    if (!this.moved) return;
    this.moved = false;
    for (const suffix of SUFFIXES) rmSync(this.path + suffix, { force: true });
    for (const suffix of SUFFIXES) rename(this.target + suffix, this.path + suffix);
  }
}

function rename(from: string, to: string): void {
  if (existsSync(from)) renameSync(from, to);
}

function free(path: string): string {
  let name = path;
  for (let n = 2; existsSync(name); n++) name = `${path}-${n}`;
  return name;
}

import { readlinkSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

/** More than that is a circle. */
const MOST_LINKS = 40;

/**
 * The file that a name stands for, which need not exist. What belongs to a database lies beside that, as SQLite does it too:
 * a file that is put in its place must not take that of a symbolic link.
 */
export function realFile(path: string): string {
  let name = path;
  for (let links = 0; links < MOST_LINKS; links++) {
    try {
      name = resolve(dirname(name), readlinkSync(name));
    } catch {
      return name;
    }
  }
  return path;
}

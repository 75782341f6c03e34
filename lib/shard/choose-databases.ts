import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Script, createContext } from 'node:vm';
import { realFile } from '../sqlite/real-file.js';
import { refused } from './refused.js';

/** What a database is found by. */
export interface NamedDatabase {
  /** Its connection name. */
  readonly connection: string;
  readonly filename: string;
  /** It has no file of its own name. */
  readonly memory: boolean;
}

/**
 * The databases whose connection name, file name (with its extension or without) or path a pattern matches as a whole; of
 * several with one file, the first.
 *
 * @throws HAError `HA_CROSS_DATABASE_REFUSED` where there is none.
 */
export function chooseDatabases<T extends NamedDatabase>(databases: readonly T[], pattern: RegExp): T[] {
  const whole = new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gmy]/g, ''));
  const names = databases.map(({ connection, filename }) => {
    const file = basename(filename);
    return [connection, filename, file, file.replace(/[.][^.]*$/, '')];
  });
  const matches = matchAny(whole, names);
  const chosen = databases.filter((_, i) => matches[i] === true);
  if (chosen.length === 0) {
    throw refused(
      `no database matches '${pattern.source}'. There are: ${databases.map(({ connection }) => connection).join(', ')}.`,
    );
  }
  const files = new Set<string>();
  return chosen.filter(({ filename, memory }) => {
    if (memory || chosen.length === 1) return true;
    const file = fileIdentity(filename);
    return !files.has(file) && files.add(file);
  });
}

/** The same for all names of one file: other paths to it, and links. */
function fileIdentity(filename: string): string {
  const file = realFile(resolve(filename));
  try {
    const { dev, ino } = statSync(file, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    // It is made when it is opened.
  }
  try {
    return join(realpathSync(dirname(file)), basename(file));
  } catch {
    return file;
  }
}

const LONGEST_MATCH_MS = 1_000;
/** Patterns that may take for ever: repeated groups, back references, many repetitions. */
const COSTLY = /[)][*+{]|\\[1-9k]|([*+{].*){3}/s;

interface Matching {
  whole: RegExp | undefined;
  names: readonly (readonly string[])[];
}

let interruptible: { readonly script: Script; readonly matching: Matching } | undefined;

/** Which lists have a name that matches. A statement may come from afar, so its pattern must not hold up the event loop. */
function matchAny(whole: RegExp, names: readonly (readonly string[])[]): boolean[] {
  if (!COSTLY.test(whole.source)) return names.map((list) => list.some((name) => whole.test(name)));
  interruptible ??= {
    script: new Script('names.map((list) => list.some((name) => whole.test(name)))'),
    matching: createContext({ whole: undefined, names: [] }) as Matching,
  };
  const { script, matching } = interruptible;
  Object.assign(matching, { whole, names });
  try {
    return script.runInContext(matching, { timeout: LONGEST_MATCH_MS }) as boolean[];
  } catch {
    throw refused(`the pattern '${whole.source}' takes too long to match. Write it without repeated groups.`);
  } finally {
    Object.assign(matching, { whole: undefined, names: [] });
  }
}

/**
 * The pattern of a hint.
 *
 * @throws HAError `HA_CROSS_DATABASE_REFUSED` where it is none.
 */
export function readPattern(source: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw refused(`'${source}' is no regular expression (${(error as Error).message}).`);
  }
}

import { basename } from 'node:path';
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
  const whole = new RegExp(`^(?:${pattern.source})$`, pattern.flags.replace(/[gy]/g, ''));
  const chosen = databases.filter(({ connection, filename }) => {
    const file = basename(filename);
    return [connection, filename, file, file.replace(/[.][^.]*$/, '')].some((name) => whole.test(name));
  });
  if (chosen.length === 0) {
    throw refused(
      `no database matches '${pattern.source}'. There are: ${databases.map(({ connection }) => connection).join(', ')}.`,
    );
  }
  const files = new Set<string>();
  return chosen.filter(({ filename, memory }) => memory || (!files.has(filename) && files.add(filename)));
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

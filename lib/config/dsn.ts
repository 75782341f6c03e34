import { readQuery } from './dsn-query.js';
import type { RawOptions } from './environment.js';
import { Problems } from './problems.js';
import type { SqlitePragma } from './resolved.js';

/** The parts of a DSN. */
export interface ParsedDsn {
  /** Path of the database file; `:memory:`, or the name given with `mode=memory`, where `memory` is true. */
  filename: string;
  memory: boolean;
  /** `mode=rw`: a missing file is an error instead of created. */
  mustExist: boolean;
  /** Options as text, by option name. */
  options: RawOptions;
  /** PRAGMAs in the order given. */
  pragmas: SqlitePragma[];
}

const MEMORY = ':memory:';

/** Cuts at the first `?`, but not at that of a Windows path such as `\\?\C:\my.db`. */
function cut(dsn: string): [path: string, query: string] {
  const start = dsn.indexOf('?', dsn.startsWith('\\\\?\\') ? 4 : 0);
  return start < 0 ? [dsn, ''] : [dsn.slice(0, start), dsn.slice(start + 1)];
}

/** The path of a `file:` URI, by the rules of https://www.sqlite.org/uri.html */
function uriPath(uri: string): string {
  let path = uri.slice('file:'.length);
  if (path.includes('#')) throw new Error('write %23 for # in a file: URI');
  if (path.startsWith('//')) {
    const slash = path.indexOf('/', 2);
    const authority = slash < 0 ? path.slice(2) : path.slice(2, slash);
    if (slash < 0 || (authority !== '' && authority !== 'localhost')) {
      throw new Error(`the host ${JSON.stringify(authority)} is not allowed: write file:my.db or file:///path/my.db`);
    }
    path = path.slice(slash);
  }
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    throw new Error('the path has malformed percent-encoding: write %25 for %');
  }
  // file:///C:/my.db, as SQLite reads it on Windows.
  return process.platform === 'win32' ? decoded.replace(/^\/([A-Za-z]:)/, '$1') : decoded;
}

function checkScheme(path: string): void {
  const [scheme] = /^(?:file:|[a-z][a-z0-9+.-]+:\/\/)/i.exec(path) ?? [];
  if (scheme !== undefined && scheme !== 'file:') {
    throw new Error(`it starts with ${scheme}; allowed: file:my.db?option=value, a path, or :memory:`);
  }
}

function readPath(path: string): string {
  checkScheme(path);
  const filename = path.startsWith('file:') ? uriPath(path) : path;
  if (filename === '') throw new Error('the file name is empty; use :memory: for a database in memory');
  if (filename.includes('\0')) throw new Error('the file name contains a NUL character');
  if (/(^|[/\\])\.{0,2}$/.test(filename)) throw new Error(`${JSON.stringify(filename)} is a folder, not a file`);
  return filename;
}

/** Reads a DSN and notes everything that is wrong with it in `problems`. */
export function collectDsn(dsn: string, problems: Problems): ParsedDsn {
  const [path, query] = cut(dsn);
  const parameters = readQuery(query, problems);
  // With mode=memory SQLite needs no name: file:?mode=memory.
  const target = parameters.memory && (path === 'file:' || path === '') ? MEMORY : path;
  const filename = problems.attempt('DSN', () => readPath(target)) ?? '';
  return { ...parameters, filename, memory: parameters.memory || filename === MEMORY };
}

/**
 * Parses a DSN: `file:my.db?name=n1`, `file:///path/my.db`, `file::memory:`, a plain path (also with `?` and options), or
 * `:memory:`. Percent-encoding is decoded in the path of a `file:` URI and in every value; `+` stays a plus.
 *
 * @throws HAError `HA_OPTIONS_INVALID` that lists everything wrong with it
 */
export function parseDsn(dsn: string): ParsedDsn {
  const problems = new Problems();
  const parsed = collectDsn(dsn, problems);
  problems.throwIfAny();
  return parsed;
}

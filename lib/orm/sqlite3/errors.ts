import { isSqliteError } from '../../common/sqlite-error.js';

/** Primary result codes: https://www.sqlite.org/rescode.html */
export const RESULT_CODES = {
  OK: 0,
  ERROR: 1,
  INTERNAL: 2,
  PERM: 3,
  ABORT: 4,
  BUSY: 5,
  LOCKED: 6,
  NOMEM: 7,
  READONLY: 8,
  INTERRUPT: 9,
  IOERR: 10,
  CORRUPT: 11,
  NOTFOUND: 12,
  FULL: 13,
  CANTOPEN: 14,
  PROTOCOL: 15,
  EMPTY: 16,
  SCHEMA: 17,
  TOOBIG: 18,
  CONSTRAINT: 19,
  MISMATCH: 20,
  MISUSE: 21,
  NOLFS: 22,
  AUTH: 23,
  FORMAT: 24,
  RANGE: 25,
  NOTADB: 26,
} as const;

type ResultCode = keyof typeof RESULT_CODES;

/** An error of node-sqlite3: `code` is a primary result code. */
export interface Sqlite3Error extends Error {
  readonly code: string;
  readonly errno: number;
  /** Whether running the same again, all of its transaction, may succeed. */
  readonly retryable?: boolean;
}

/** An error as node-sqlite3 gives it. What is not SQLite's stays as it is, for its code says what to do, and what has this form already. */
export function sqlite3Error(error: unknown): unknown {
  if ((error as Error | undefined)?.name === 'RangeError')
    return coded('RANGE', (error as Error).message, error as Error);
  if (!isSqliteError(error) || 'errno' in error) return error;
  const name = /^SQLITE_([A-Z]+)/.exec(error.code)?.[1] ?? '';
  return coded(name in RESULT_CODES ? (name as ResultCode) : 'ERROR', error.message, error);
}

/** The caller did what node-sqlite3 does not take. */
export function misuse(message: string): Sqlite3Error {
  return coded('MISUSE', message);
}

export function outOfRange(message: string): Sqlite3Error {
  return coded('RANGE', message);
}

export function readOnly(): Sqlite3Error {
  return coded('READONLY', 'attempt to write a readonly database');
}

function coded(name: ResultCode, message: string, cause?: Error & { retryable?: boolean }): Sqlite3Error {
  const code = `SQLITE_${name}`;
  const error = new Error(`${code}: ${message}`, cause === undefined ? undefined : { cause });
  const { retryable } = cause ?? {};
  return Object.assign(error, { code, errno: RESULT_CODES[name], ...(retryable !== undefined && { retryable }) });
}

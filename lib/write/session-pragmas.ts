import { HAError } from '../common/ha-error.js';
import { quoteIdentifier } from '../sql/identifiers.js';
import type { PragmaInfo, StatementInfo } from '../sql/statement-info.js';
import { StatementReader } from '../sql/statement-reader.js';
import type { Connection } from '../sqlite/connection.js';
import type { OpenDatabase } from './open-database.js';
import type { ExactResult } from './result.js';

/** What a PRAGMA of the session gave. */
export type PragmaAnswer = Pick<ExactResult, 'reader' | 'columns' | 'rows'>;

/**
 * PRAGMAs that say how a connection works, and nothing about rows. There are several connections, which all callers share: what
 * is in force is answered, and stays.
 */
const KEPT = new Set([
  'journal_mode',
  'synchronous',
  'cache_size',
  'temp_store',
  'mmap_size',
  'wal_autocheckpoint',
  'locking_mode',
]);

/** Those of them that give no row where they have a value: https://www.sqlite.org/pragma.html */
const SILENT = new Set(['synchronous', 'cache_size', 'temp_store']);

/** PRAGMAs that a session has a value of its own for. */
const STATE = new Set(['foreign_keys', 'busy_timeout']);

const ON = /^(1|on|yes|true)$/i;
const OFF = /^(0|off|no|false)$/i;
/** SQLite keeps it in 32 bits. */
const MOST_MS = 2 ** 31 - 1;
/** A word or a number, quoted or not. */
const VALUE = /^(?:[-+]?[\w.]+|'[^']*'|"[^"]*")$/;

/** True for a PRAGMA that a session answers itself. */
export function isSessionPragma({ kind, pragma }: StatementInfo): boolean {
  if (kind !== 'pragma' || pragma === undefined) return false;
  return STATE.has(pragma.name) || (KEPT.has(pragma.name) && pragma.hasArgument);
}

/** The PRAGMAs of one session: what it has set, and what it is told of the rest. */
export class SessionPragmas {
  /** Whether the session wants foreign keys to be enforced; undefined where it has not said so. */
  foreignKeys: boolean | undefined;
  /** What it was told to wait for locks, ms; undefined where it has not said so. */
  private busyTimeout: bigint | undefined;

  /**
   * Answers a PRAGMA that {@link isSessionPragma} knows.
   *
   * @param isOpen Whether a transaction is open: SQLite switches foreign keys only outside of one.
   * @throws HAError `HA_STATEMENT_REFUSED` where its value is none, or something stands behind it.
   */
  answer(open: OpenDatabase, sql: string, pragma: PragmaInfo, isOpen: boolean): PragmaAnswer {
    const value = pragma.hasArgument ? valueOf(sql, pragma) : undefined;
    if (pragma.name === 'busy_timeout') return this.busyTimeoutOf(open, sql, value);
    if (pragma.name !== 'foreign_keys') return keptValue(open.connections.reader, pragma);
    if (value === undefined) {
      refuseUnfinished(sql);
      return one('foreign_keys', (this.foreignKeys ?? open.runner.enforcement.usual) ? 1n : 0n);
    }
    const wanted = ON.test(value);
    if (!wanted && !OFF.test(value)) throw refused(sql, 'is neither ON nor OFF (1, 0, TRUE, FALSE, YES, NO)');
    if (!isOpen) this.foreignKeys = wanted;
    return NO_ROWS;
  }

  /** SQLite answers with the value that it has then. What it takes for 0 because it is no number is refused here: it may be a slip. */
  private busyTimeoutOf(open: OpenDatabase, sql: string, value: string | undefined): PragmaAnswer {
    if (value === undefined) refuseUnfinished(sql);
    else {
      const ms = /^[-+]?\d{1,10}$/.test(value) ? Number(value) : Infinity;
      if (ms > MOST_MS) throw refused(sql, 'does not give a number of milliseconds');
      this.busyTimeout = BigInt(Math.max(0, ms));
    }
    return one('timeout', this.busyTimeout ?? BigInt(open.busyTimeout));
  }
}

/** A part of a script: statements of one transaction, or one PRAGMA that the session answers. */
export type ScriptPart = { readonly pragma: string } | { readonly statements: readonly string[] };

/** Cuts a script at the PRAGMAs of its session: what stands between them is one transaction each. */
export function cutAtPragmas(statements: readonly string[], infoOf: (sql: string) => StatementInfo): ScriptPart[] {
  const parts: ScriptPart[] = [];
  let current: string[] = [];
  for (const sql of statements) {
    if (!isSessionPragma(infoOf(sql))) {
      if (current.push(sql) === 1) parts.push({ statements: current });
      continue;
    }
    parts.push({ pragma: sql });
    current = [];
  }
  return parts;
}

const NO_ROWS: PragmaAnswer = { reader: false, columns: [], rows: [] };

function one(column: string, value: unknown): PragmaAnswer {
  return { reader: true, columns: [column], rows: [[value]] };
}

/** The value stays out of what SQLite compiles: many PRAGMAs take effect while they are compiled. */
function keptValue(reader: Connection, { schema, name }: PragmaInfo): PragmaAnswer {
  if (SILENT.has(name)) return NO_ROWS;
  const from = schema === undefined ? '' : `${quoteIdentifier(schema)}.`;
  const statement = reader.prepare(`PRAGMA ${from}${name}`).safeIntegers(true).raw(true);
  return {
    reader: true,
    columns: statement.columns().map((column) => column.name),
    rows: statement.all() as unknown[][],
  };
}

/** The value without its quotes. What SQLite takes for OFF because it knows it not is refused here: it may be a slip. */
function valueOf(sql: string, { argument = '' }: PragmaInfo): string {
  const reader = new StatementReader(sql);
  const name = reader.name(1);
  const isCall = reader.sql.slice(reader.tokens[name?.next ?? 0]?.start).startsWith('(');
  if (isCall && reader.skipParentheses(name?.next ?? 0) !== reader.length) throw severalOrMalformed(sql);
  if (!VALUE.test(argument)) throw severalOrMalformed(sql);
  return argument.replace(/^(['"])(.*)\1$/, '$2');
}

function refuseUnfinished(sql: string): void {
  const reader = new StatementReader(sql);
  if (reader.name(1)?.next !== reader.length) throw severalOrMalformed(sql);
}

function severalOrMalformed(sql: string): HAError {
  return refused(sql, 'is not one PRAGMA with one value');
}

function refused(sql: string, why: string): HAError {
  return new HAError(
    'HA_STATEMENT_REFUSED',
    `'${sql.trim().slice(0, 80)}' ${why}, and nothing of it was done. Send PRAGMA foreign_keys = ON, say, as a statement of its own.`,
  );
}

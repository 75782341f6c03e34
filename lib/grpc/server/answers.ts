import { HAError } from '../../common/ha-error.js';
import { isSqliteError } from '../../common/sqlite-error.js';
import { AnswerWriter } from '../codec/messages.js';
import type { ErrorFields } from '../codec/messages.js';
import { WireError } from '../codec/wire.js';

/**
 * An error as an answer.
 *
 * @param extended The caller knows the fields of codes; for all others the code is put into the text.
 */
export function errorAnswer(error: unknown, extended: boolean): Buffer {
  const { code, message, retryable, details } = described(error);
  if (!extended) return new AnswerWriter(undefined).finish({ error: withCode(code, message) });
  const errorFields: ErrorFields = { code, retryable, details: JSON.stringify(details, exact) };
  return new AnswerWriter(undefined).finish({ error: message, errorFields });
}

/** What better-sqlite3 says of values that it cannot bind. */
const BINDING = /^(Too (few|many) parameter values|Missing named parameter|SQLite3 can only bind)/;

interface Described {
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;
}

function described(error: unknown): Described {
  if (error instanceof HAError) return error;
  // Not by instanceof: errors of the driver may come from another realm.
  const { message: text } = (error ?? {}) as { message?: unknown };
  const message = (typeof text === 'string' ? text : String(error)) || 'unknown error';
  if (error instanceof WireError) {
    return {
      code: 'HA_PARAMETER_INVALID',
      message: `The request cannot be read: ${message}.`,
      retryable: false,
      details: {},
    };
  }
  const code = isSqliteError(error) ? error.code : BINDING.test(message) ? 'HA_PARAMETER_INVALID' : 'HA_REMOTE';
  return { code, message, retryable: code.startsWith('SQLITE_BUSY'), details: {} };
}

function withCode(code: string, message: string): string {
  if (code === 'HA_REMOTE') return message;
  return code.startsWith('HA_') ? `${code}: ${message}` : `${message} (${code})`;
}

/** JSON knows no large integers. */
function exact(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

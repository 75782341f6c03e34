import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../../common/ha-error.js';
import type { HAErrorCode } from '../../common/ha-error.js';
import { NO_ROWS } from '../../write/result.js';
import type { QueryResponse } from '../codec/messages.js';

/** The error of an answer: what the same statement would have failed with on a local database. */
export function answeredError({ error, errorFields }: QueryResponse): Error {
  if (errorFields === undefined) return new HAError('HA_REMOTE', error);
  const { code, retryable } = errorFields;
  if (error === NO_ROWS) return new TypeError(error);
  if (code.startsWith('SQLITE_')) return new BetterSqlite3.SqliteError(error, code);
  return new HAError(code as HAErrorCode, error, { retryable, details: parsed(errorFields.details) });
}

function parsed(details: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(details);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** What a call ended with, where that was no answer. */
export function statusError(error: Partial<ServiceError>, address: string): HAError {
  const reason = error.details ?? error.message ?? 'no reason';
  const options = { cause: error, details: { address, status: error.code } };
  switch (error.code) {
    case status.UNAUTHENTICATED:
      return new HAError(
        'HA_UNAUTHENTICATED',
        `The server at ${address} does not take the token (${reason}). Give the one of its option grpcToken.`,
        options,
      );
    case status.NOT_FOUND:
      return new HAError('HA_UNKNOWN_DATABASE', reason, options);
    case status.UNIMPLEMENTED:
      return new HAError('HA_UNIMPLEMENTED', reason, options);
    case status.UNAVAILABLE:
    case status.CANCELLED:
      return unavailable(address, reason, error);
    default:
      return new HAError('HA_REMOTE', `The server at ${address} ended the call: ${reason}`, options);
  }
}

export function unavailable(address: string, reason: string, cause?: unknown): HAError {
  return new HAError('HA_UNAVAILABLE', `The server at ${address} cannot be reached: ${reason}. Run this again.`, {
    cause,
    retryable: true,
    details: { address },
  });
}

/** No answer in time, to something that wrote nothing. */
export function timedOut(address: string, ms: number): HAError {
  return new HAError(
    'HA_REMOTE_TIMEOUT',
    `The server at ${address} did not answer within ${ms} ms; nothing was written. Run this again, or raise the timeout.`,
    { retryable: true, details: { address, timeout: ms } },
  );
}

/** A write was sent, and no answer came. */
export function unknownOutcome(address: string, cause: Error): HAError {
  return new HAError(
    'HA_REMOTE_UNKNOWN',
    `The write was sent to ${address}, but no answer came (${cause.message}) It may have been committed, or may still be: look before you run it again.`,
    { cause, details: { address } },
  );
}

export function closedClient(): HAError {
  return new HAError('HA_DATABASE_CLOSED', 'The remote database was closed. Make another one.');
}

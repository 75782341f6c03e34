import { HAError } from '../common/ha-error.js';
import { StreamUnavailable } from '../stream/replication-stream.js';

/** The history no longer reaches back so far. */
export function gone(what: string, first: number): HAError {
  return new HAError(
    'HA_HISTORY_GONE',
    `${what} is not in the history any more: what is kept begins at sequence ${first}. Begin there or later, or raise streamMaxAge so that more is kept.`,
    { details: { first } },
  );
}

/** The call makes no sense, whatever the history holds. */
export function invalidHistory(message: string, details: Readonly<Record<string, unknown>> = {}): HAError {
  return new HAError('HA_HISTORY_INVALID', message, { details });
}

/** The selection of an undo is wrong. */
export function invalidUndo(message: string, details: Readonly<Record<string, unknown>> = {}): HAError {
  return new HAError('HA_UNDO_INVALID', message, { details });
}

/** What is selected cannot be taken back by anybody. */
export function refusedUndo(message: string, details: Readonly<Record<string, unknown>> = {}): HAError {
  return new HAError('HA_UNDO_REFUSED', message, { details });
}

/** A failure as callers know it: the stream says what it thinks to its own kind only. */
export function legibleError(error: unknown): unknown {
  if (!(error instanceof StreamUnavailable)) return error;
  return new HAError(
    'HA_UNAVAILABLE',
    `The history cannot be read: ${error.message}. Try again when the stream answers.`,
    {
      cause: error,
      retryable: true,
    },
  );
}

/** The stream does not deliver what it has. */
export function silent(after: number, last: number): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    `The stream did not deliver its messages behind sequence ${after}, although it holds some up to ${last}. Try again when it answers.`,
    { retryable: true, details: { after, last } },
  );
}

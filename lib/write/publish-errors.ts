import { HAError } from '../common/ha-error.js';
import type { MessageId } from '../changeset/message-id.js';

/** Surely not stored. */
export function publishFailed(cause: Error): HAError {
  if (cause instanceof HAError && cause.code === 'HA_NOT_LEADER') return cause;
  return new HAError(
    'HA_PUBLISH_FAILED',
    `The transaction was rolled back: the stream did not take it (${cause.message}). Nothing was written; run it again when the stream is back.`,
    { cause, retryable: true },
  );
}

/** The stream has the transaction, or a part of it, but every node leaves it out. */
export function leftOut(id: string): HAError {
  return publishFailed(new Error(`the transaction ${id} was declared void, or aborted, before it was complete`));
}

/** Nobody knows yet whether the transaction is in the stream; `details.id` names it. */
export function publishUnknown(cause: Error, ids: readonly MessageId[]): HAError {
  const id = ids.map(({ origin, n }) => `${origin}.${n}`)[0];
  return new HAError(
    'HA_PUBLISH_UNKNOWN',
    `The stream did not say whether it stored the transaction ${id} (${cause.message}). It was rolled back here; if it was stored, it appears by itself when the stream is back. Do not run it again before you know: db.outcome(id) tells.`,
    { cause, details: { id } },
  );
}

/** Refused too often, or not to be run again. */
export function conflict(attempts: number): HAError {
  return new HAError(
    'HA_CONFLICT',
    `Other nodes wrote in between, ${attempts} time(s) in a row; nothing was written. Run the transaction again.`,
    { retryable: true, details: { attempts } },
  );
}

/** Stored, but this node applies nothing any more. */
export function unapplied(sequence: number, cause: HAError): HAError {
  return new HAError(
    cause.code,
    `The transaction is stored in the stream, at sequence ${sequence}, but not applied on this node: ${cause.message} Do not run it again.`,
    { cause, details: { sequence } },
  );
}

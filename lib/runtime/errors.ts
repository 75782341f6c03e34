import { HAError } from '../common/ha-error.js';

/** The call came while the database was stopped. */
export function stoppedError(): HAError {
  return new HAError('HA_UNAVAILABLE', 'The database is stopped. Await db.start() to go on.');
}

/** The write waited while the database was started anew. */
export function relaunchError(): HAError {
  return new HAError('HA_UNAVAILABLE', 'The database is being started anew. Run this again: it then waits for that.', {
    retryable: true,
  });
}

/** There is no stream that the file could be built from. */
export function notFollowing(): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    'The database cannot be built anew: it has no stream, does not follow it (disableSubscriber), or is not started.',
  );
}

/** Applying has not halted at the message that was named. */
export function skipInvalid(sequence: bigint, haltedAt: number | undefined): HAError {
  const state =
    haltedAt === undefined ? 'Applying has not halted at a message' : `Applying has halted at message ${haltedAt}`;
  return new HAError(
    'HA_SKIP_INVALID',
    `Message ${sequence} cannot be skipped. ${state}: only the message named by HA_APPLY_HALTED (details.sequence) can.`,
    { details: { sequence: Number(sequence), haltedAt } },
  );
}

/** Applying has halted for a reason that lies in this node, not in the message. */
export function skipRefused(sequence: bigint, reason: string): HAError {
  return new HAError(
    'HA_SKIP_INVALID',
    `Message ${sequence} cannot be skipped: it can be read, and other nodes apply it, so this one would hold other rows for ever. Mend what keeps this node from applying it, and start it again. ${reason}`,
    { details: { sequence: Number(sequence), haltedAt: Number(sequence) } },
  );
}

/** The database was closed for good. */
export function closedError(): HAError {
  return new HAError(
    'HA_DATABASE_CLOSED',
    'The database is closed for good. Open it anew with another module instance.',
  );
}

/** A file that is built anew from the stream would not have what is not in the stream yet. */
export function outboxWaits(size: number): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    `The database cannot be built anew: ${size} transaction(s) of this node are committed here and wait in the outbox, and would be lost. Call db.resync() again when status().outbox.size is 0.`,
    { retryable: true, details: { size } },
  );
}

/** Nobody would ever be elected. */
export function leaderWithoutStream(): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    'leaderProvider needs a stream: set replicationURL or embedded NATS (natsPort), or leave it out for a database of one node.',
    { details: { problems: ['leaderProvider'] } },
  );
}

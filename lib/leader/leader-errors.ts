import { HAError } from '../common/ha-error.js';

/** Nobody leads, as far as this node knows. */
export function leaderUnknown(timeout: number, reason: string, cause?: unknown): HAError {
  return new HAError(
    'HA_LEADER_UNKNOWN',
    `No leader was found within ${Math.round(timeout)} ms: ${reason}. Nothing was written. Run this again.`,
    { cause, retryable: true, details: { timeout } },
  );
}

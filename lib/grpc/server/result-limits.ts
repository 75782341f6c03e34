import { HAError } from '../../common/ha-error.js';

/** A result for a caller that takes one message only may be this large, bytes. */
const LARGEST_ANSWER = 64 * 1024 * 1024;
/** A result for others is cut into messages of about this size. */
const PART_BYTES = 128 * 1024;

/** How many bytes of rows one message takes. */
export function answerLimit(extended: boolean): number {
  return extended ? PART_BYTES : LARGEST_ANSWER;
}

export function tooLarge(): HAError {
  return new HAError(
    'HA_RESULT_TOO_LARGE',
    `The result is larger than ${LARGEST_ANSWER / 1024 / 1024} MiB, and has to be one message. Ask for less with LIMIT, or send 'ha-version: 1' in the metadata and take it in parts ('more').`,
    { details: { limit: LARGEST_ANSWER } },
  );
}

export function tooSlow(timeout: number): HAError {
  return new HAError(
    'HA_REMOTE_TIMEOUT',
    `Reading the rows took longer than ${timeout} ms (option grpcTimeout). Ask for less, or raise the option.`,
    { details: { timeout } },
  );
}

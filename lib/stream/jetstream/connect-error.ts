import { HAError } from '../../common/ha-error.js';

/** The server does not answer: the caller may ask again. */
export function connectError(error: unknown, servers: string): HAError {
  const reason = error instanceof Error ? error.message : String(error);
  return new HAError(
    'HA_STREAM_CONNECT',
    `NATS at ${servers} cannot be reached: ${reason}. Check replicationURL, credentials and that the server runs with JetStream (-js).`,
    { cause: error, retryable: true, details: { servers } },
  );
}

import { HAError } from '../../common/ha-error.js';

/**
 * An error about the embedded nats-server.
 *
 * @param message What failed and what to do next.
 * @param details Facts for programs: paths, ports, hashes. Never a password.
 * @param cause The failure underneath, if there is one.
 */
export function natsServerError(
  message: string,
  details?: Readonly<Record<string, unknown>>,
  cause?: unknown,
): HAError {
  return new HAError('HA_NATS_SERVER', message, { details, cause });
}

/** The message of anything that was thrown, on one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, ' ').trim();
}

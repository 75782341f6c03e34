import { HAError } from '../common/ha-error.js';

/** The error for a statement whose answer across databases could not be that of a single one. */
export function refused(reason: string, details: Readonly<Record<string, unknown>> = {}): HAError {
  return new HAError('HA_CROSS_DATABASE_REFUSED', `This statement cannot be answered across databases: ${reason}`, {
    details: { reason, ...details },
  });
}

/** The error for a database that could not be read, where all of them are needed. */
export function failedDatabase(connection: string, cause: unknown): HAError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new HAError(
    'HA_CROSS_DATABASE_FAILED',
    `The database '${connection}' could not be read, so the answer would lack its rows: ${message}. Mend it, or call db.acrossDatabases(sql, params, { partial: true }), which answers without it and says so.`,
    { cause, retryable: cause instanceof HAError && cause.retryable, details: { connection } },
  );
}

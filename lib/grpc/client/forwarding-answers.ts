import { HAError } from '../../common/ha-error.js';
import type { ExactResult } from '../../write/result.js';
import type { QueryResponse } from '../codec/messages.js';

/** What an answer that never came leaves open; errors of the server itself name no address. */
export const NO_ANSWER: ReadonlySet<string> = new Set(['HA_UNAVAILABLE', 'HA_REMOTE_TIMEOUT', 'HA_REMOTE']);

/** All that a statement did. */
export function resultOf(answers: readonly QueryResponse[]): ExactResult {
  const last = answers.at(-1);
  const { rowsAffected = 0n, lastInsertId = 0n, txseq = 0n } = last ?? {};
  return {
    reader: last?.resultSet !== undefined,
    columns: last?.resultSet?.columns ?? [],
    rows: answers.flatMap(({ resultSet }) => resultSet?.rows ?? []),
    changes: Number(rowsAffected),
    lastInsertRowid: lastInsertId,
    ...(txseq === 0n ? {} : { txseq }),
  };
}

/** True where nobody answered: it may have been done or not. */
export function isUnanswered(error: unknown): boolean {
  return error instanceof HAError && NO_ANSWER.has(error.code) && error.details['address'] !== undefined;
}

/**
 * Why a leader has not done what it was asked, where its database is stopped, or being stopped: another node will lead. What it
 * says of that itself is for those who have it at hand. Undefined where it is something else.
 */
export function stopOf(error: unknown): Error | undefined {
  const isStop = error instanceof HAError && /^HA_(UNAVAILABLE|DATABASE_CLOSED)$/.test(error.code);
  return isStop && !isUnanswered(error) ? new Error('its database is stopped', { cause: error }) : undefined;
}

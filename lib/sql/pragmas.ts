import type { PragmaInfo } from './statement-info.js';

/** PRAGMAs that are part of the database and so go to every node. */
const REPLICATED = new Set(['user_version', 'application_id']);

/** True for a PRAGMA that sets what every node has to have alike; it goes through the stream as a statement. */
export function isReplicatedPragma(pragma: PragmaInfo): boolean {
  return REPLICATED.has(pragma.name) && pragma.hasArgument;
}

import { HAError } from '../common/ha-error.js';
import { hints } from '../sql/hints.js';
import type { StatementInfo } from '../sql/statement-info.js';

/** Key of the hint that names databases. */
export const DATABASES_HINT = 'db';

/** The error for a SELECT over several databases that has to see more than what this node has applied of each. */
export function consistencyRefused(consistency: string): HAError {
  return new HAError(
    'HA_CROSS_DATABASE_REFUSED',
    `This statement cannot be answered across databases: consistency '${consistency}' is a promise about one database. Leave it out: each is read as this node has it.`,
    { details: { reason: `consistency '${consistency}' is a promise about one database` } },
  );
}

/**
 * Refuses to run a statement in one database that names others by a hint: it would do something else than it says.
 *
 * @param where Where it was about to run.
 */
export function refuseHinted(sql: string, info: StatementInfo, where: string): void {
  if (info.hinted !== true || !hints(sql).has(DATABASES_HINT)) return;
  throw new HAError(
    'HA_CROSS_DATABASE_REFUSED',
    `The hint db=${hints(sql).get(DATABASES_HINT) ?? ''} names databases, and ${where}. Leave the hint out, or run a SELECT by itself on a database with allowCrossDatabase.`,
    { details: { reason: where } },
  );
}

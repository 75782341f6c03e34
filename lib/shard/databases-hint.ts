import { hintsOf } from '../sql/hints.js';
import { DATABASES_HINT } from '../write/hinted.js';
import { refused } from './refused.js';

/** Behind these an asterisk is likely: `.`, a group, a set, `\d` and the like. */
const REPEATABLE = /(^|[^\\])(\\\\)*([.)\]]|\\[dDwWsS])$/;

/**
 * What the hint `db=…` of a statement says; undefined where there is none.
 *
 * @throws HAError `HA_CROSS_DATABASE_REFUSED` where it may mean other databases than it says: two hints that differ, and an
 * asterisk at its end, which the end of the comment takes.
 */
export function databasesHint(sql: string): string | undefined {
  const found = hintsOf(sql, DATABASES_HINT);
  const [first] = found;
  if (first === undefined) return undefined;
  const other = found.find(({ value }) => value !== first.value);
  if (other !== undefined) {
    throw refused(
      `it has two hints, db=${first.value} and db=${other.value}. Write one: db=(${first.value})|(${other.value}).`,
    );
  }
  const cut = found.find(({ value, abutsEnd }) => abutsEnd && REPEATABLE.test(value));
  if (cut !== undefined) {
    throw refused(
      `its hint reads db=${cut.value}, for the asterisk behind that belongs to the end of the comment. Put a space in front of the end: /*+ db=${cut.value}* */ or /*+ db=${cut.value} */.`,
    );
  }
  return first.value;
}

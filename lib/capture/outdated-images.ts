import { HAError } from '../common/ha-error.js';
import type { TableInfo } from '../sqlite/schema.js';
import { splitValues } from './recode.js';
import { isGuarded } from './triggers.js';
import type { LogKind } from './triggers.js';

/** What the log holds of a change, or as kind `-k` of the mark in front of it. */
export type LoggedImages = readonly [k: number, before: Buffer | null, after: Buffer | null];

interface Mark {
  /** Behind it a row was changed that it may mean. */
  isOutdated: boolean;
}

/**
 * A table of which a change was logged whose old image may be outdated, and nothing tells what the row was instead: between the
 * mark in front of the change and the change, another one met a row that was just like it. Undefined where there is none.
 *
 * Where a key tells rows apart, an old image only has to have the right key, but for who needs it `exact`.
 */
export function findOutdated(
  entries: Iterable<LoggedImages>,
  kindOf: (k: number) => LogKind | undefined,
  exact: boolean,
): TableInfo | undefined {
  const marks = new Map<string, Mark[]>();
  for (const [k, before, after] of entries) {
    const kind = kindOf(Math.abs(k));
    if (kind === undefined || before === null || !isGuarded(kind.table)) continue;
    const { table } = kind;
    const row = nameOf(table, before);
    const own = `${table.name}\0${kind.operation}\0${row}`;
    if (k < 0) {
      const open = marks.get(own);
      if (open === undefined) marks.set(own, [{ isOutdated: false }]);
      else open.push({ isOutdated: false });
      continue;
    }
    const open = marks.get(own) ?? [];
    // The first of them too may be the one of this change: those behind it may belong to rows that were left alone.
    if (open[0]?.isOutdated === true) return table;
    open.pop();
    if (!exact && !table.bag && after !== null && nameOf(table, after) === row) continue;
    for (const operation of ['UPDATE', 'DELETE']) {
      for (const mark of marks.get(`${table.name}\0${operation}\0${row}`) ?? []) mark.isOutdated = true;
    }
  }
  return undefined;
}

/** What tells the rows of a table apart whose rowid has no name: the key, else all values. */
function nameOf({ bag, pkIndexes }: TableInfo, image: Buffer): string {
  if (bag) return image.toString('latin1');
  const values = splitValues(image);
  return pkIndexes.map((index) => values[index]).join(',');
}

/** @param table its name */
export function outdatedImage(table: string): HAError {
  return new HAError(
    'HA_STATEMENT_REFUSED',
    `A BEFORE trigger on '${table}' may have changed the very row that was about to be changed, and nothing tells so: the columns of the table hide every name of its rowid. Nothing was written. Make the trigger an AFTER trigger, or rename one of the columns rowid, oid and _rowid_.`,
    { details: { table } },
  );
}

import type { StatementInfo } from './statement-info.js';
import { StatementReader } from './statement-reader.js';
import { targetAt } from './trigger-part.js';

/** Names that this library keeps for itself. SQLite compares names without regard to ASCII case. */
const OWN = /^ha_/i;

/** Whether a table of this name is the library's own. */
export function isOwnName(name: string): boolean {
  return OWN.test(name);
}

/**
 * The first name of this library's own tables that a statement would write to, change or build upon: as its target, as a
 * new name, as the table of an index or a trigger, in a trigger's body, or behind REFERENCES. Undefined where there is
 * none; reading them does no harm, and neither do temporary objects of such names.
 */
export function ownName(sql: string, info: StatementInfo): string | undefined {
  const { ddl } = info;
  const direct = info.temp ? [] : [info.target?.name, ddl?.name.name, ddl?.newName];
  const names = ddl === undefined ? direct : [...direct, ...ownerOf(info), ...namesWithin(sql, info)];
  return names.find((name) => name !== undefined && isOwnName(name));
}

/** A temporary trigger may belong to a table of `main`; the table of an index is where the index is. */
function ownerOf({ temp, ddl }: StatementInfo): (string | undefined)[] {
  if (temp && (ddl?.object !== 'trigger' || ddl.on?.schema?.toLowerCase() === 'temp')) return [];
  return [ddl?.on?.name];
}

/** INTO, UPDATE, DELETE and REFERENCES are reserved words: wherever they stand, a table follows. */
function namesWithin(sql: string, { temp, ddl }: StatementInfo): (string | undefined)[] {
  const isTrigger = ddl?.object === 'trigger' && ddl.action === 'create';
  const mayRefer = ddl?.object === 'table' && ddl.action !== 'drop' && !temp;
  if (!isTrigger && !mayRefer) return [];
  const reader = new StatementReader(sql);
  const names: (string | undefined)[] = [];
  for (let i = 0; i < reader.length; i++) {
    const at = isTrigger ? targetAt(reader, i) : reader.is(i, 'REFERENCES') ? i + 1 : undefined;
    if (at !== undefined) names.push(reader.name(at)?.name.name);
  }
  return names;
}

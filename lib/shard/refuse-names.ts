import type { PlanSource } from './plan.js';
import { refused } from './refused.js';
import { nameTokens } from './select-text.js';
import type { NameToken } from './select-text.js';

const ROWIDS = new Set(['rowid', '_rowid_', 'oid']);
const CONNECTION = new Set(['changes', 'total_changes', 'last_insert_rowid']);
const OWN_IDS = new Set(['ha_id', 'ha_uuid']);
/** Operators that call functions. */
const OPERATORS = new Set(['like', 'glob', 'regexp', 'match']);

/**
 * Refuses what has no meaning across databases, or another one in each. Looks at names alone, wherever they stand: too much
 * is refused rather than too little.
 *
 * @param inTable The text is that of a table, whose own columns may have such names.
 */
export function checkNames(sql: string, sources: readonly PlanSource[], inTable = false): void {
  for (const token of nameTokens(sql)) {
    const reason = functionReason(token, sources) ?? (inTable ? undefined : nameReason(token, sources));
    if (reason !== undefined) throw refused(reason);
  }
}

function functionReason({ name, kind, next }: NameToken, sources: readonly PlanSource[]): string | undefined {
  const isCall = next === '(' && kind !== 'string';
  if (!isCall && !(kind === 'word' && OPERATORS.has(name))) return undefined;
  const owner = sources.find(({ schema }) => schema.functions.has(name));
  if (OWN_IDS.has(name) && isCall) return `${name}() makes ids, which belong in rows.`;
  if (owner === undefined) return undefined;
  return `the application registers the function ${name}, and other threads, where such statements run, do not have it.`;
}

function nameReason(token: NameToken, sources: readonly PlanSource[]): string | undefined {
  const { name, next } = token;
  if (CONNECTION.has(name) && next === '(') return `${name}() tells about one connection.`;
  if (next === '.' && (name === 'main' || name === 'temp'))
    return `'${name}.' names a schema of one database. Leave it out.`;
  if (next !== '(' && name.startsWith('sqlite_')) return `${name} tells about one database.`;
  if (name.startsWith('pragma_') || name === 'dbstat') return `${name} tells about one database.`;
  if (name.startsWith('ha_') && sources.some(({ schema }) => schema.objects.has(name))) {
    return `${name} holds what replication knows about one database.`;
  }
  if (sources.some(({ schema }) => schema.temporary.has(name)))
    return `'${name}' is a temporary table of this application's connections.`;
  return undefined;
}

/**
 * Refuses names of the rowid: it is another in each database. Where every table has a column of that name, it is the column.
 *
 * @param isColumn Whether all tables have a column of a name.
 */
export function checkRowids(sql: string, isColumn: (name: string) => boolean): void {
  for (const { name, kind, behindDot } of nameTokens(sql)) {
    if (!ROWIDS.has(name) || (kind === 'string' && !behindDot) || isColumn(name)) continue;
    throw refused(`${name} is another in each database. Name the column that is the INTEGER PRIMARY KEY.`);
  }
}

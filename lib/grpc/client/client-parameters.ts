import { parameters } from '../../sql/params.js';
import type { Parameter } from '../../sql/params.js';
import { bindArguments } from '../../write/executor.js';
import type { HAParameters } from '../../write/executor.js';
import type { SqlValue } from '../codec/any.js';
import type { NamedValue } from '../codec/messages.js';

const LIMIT = 1_000;
const LONGEST = 10_000;
const known = new Map<string, Parameter[]>();

function parametersOf(sql: string): Parameter[] {
  let found = known.get(sql);
  if (found === undefined) {
    found = parameters(sql);
    if (known.size >= LIMIT) known.clear();
    if (sql.length < LONGEST) known.set(sql, found);
  }
  return found;
}

/**
 * Parameters as better-sqlite3 would bind them: values in order for `?`, an object for those with a name or number, of which
 * only the wanted ones count.
 *
 * @throws RangeError, TypeError as better-sqlite3 does.
 */
export function toNamedValues(sql: string, params: HAParameters | undefined): NamedValue[] {
  const given = bindArguments(params);
  const wanted = parametersOf(sql);
  if (given.length === 0 && wanted.length === 0) return [];
  const values = given.filter((value) => !isNamed(value));
  const named: Record<string, unknown> = {};
  for (const each of given) if (isNamed(each)) Object.assign(named, each);
  const bound = wanted.map(({ ordinal, key }) => {
    if (key === undefined) {
      if (values.length === 0) throw new RangeError('Too few parameter values were provided');
      return { name: '', ordinal, value: bindable(values.shift()) };
    }
    if (!Object.hasOwn(named, key)) throw new RangeError(`Missing named parameter "${key}"`);
    return { name: '', ordinal, value: bindable(named[key]) };
  });
  if (values.length > 0) throw new RangeError('Too many parameter values were provided');
  return bound;
}

function isNamed(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !(value instanceof Date);
}

function bindable(value: unknown): SqlValue {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint' || typeof value === 'number') return value;
  if (typeof value === 'string') {
    if (value.isWellFormed()) return value;
    throw new TypeError('A text with half a surrogate pair cannot be sent: it is no Unicode.');
  }
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError('SQLite3 can only bind numbers, strings, bigints, buffers, and null');
}

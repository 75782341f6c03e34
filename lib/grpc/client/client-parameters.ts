import { parameters } from '../../sql/params.js';
import type { Parameter } from '../../sql/params.js';
import { bindArguments } from '../../write/executor.js';
import type { HAParameters } from '../../write/executor.js';
import type { SqlValue } from '../codec/any.js';
import type { NamedValue } from '../codec/messages.js';

type Named = Readonly<Record<string, unknown>>;

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
  const args = bindArguments(params, sql);
  const wanted = parametersOf(sql);
  if (args.length === 0 && wanted.length === 0) return [];
  const { values, named } = sorted(args, wanted);
  let next = 0;
  return wanted.map(({ ordinal, key }) => {
    if (key === undefined) {
      if (next === values.length) throw new RangeError('Too few parameter values were provided');
      return { name: '', ordinal, value: values[next++] as SqlValue };
    }
    if (named === undefined) throw new TypeError('Missing named parameters');
    if (!Object.hasOwn(named, key)) throw new RangeError(`Missing named parameter "${key}"`);
    return { name: '', ordinal, value: bindable(named[key]) };
  });
}

/** The values in order, and the object with the others. */
function sorted(args: readonly unknown[], wanted: readonly Parameter[]): { values: SqlValue[]; named?: Named } {
  const values: SqlValue[] = [];
  let named: Named | undefined;
  const room = wanted.filter(({ key }) => key === undefined).length;
  const add = (given: unknown): void => {
    const value = bindable(given);
    if (values.length === room) throw new RangeError('Too many parameter values were provided');
    values.push(value);
  };
  for (const arg of args) {
    if (Array.isArray(arg)) for (const each of arg) add(each);
    else if (isPlainObject(arg)) {
      if (named !== undefined) throw new TypeError('You cannot specify named parameters in two different objects');
      named = arg;
    } else if (typeof arg === 'object' && arg !== null && !ArrayBuffer.isView(arg) && room < wanted.length) {
      throw new TypeError('Named parameters can only be passed within plain objects');
    } else add(arg);
  }
  return { values, ...(named !== undefined && { named }) };
}

function isPlainObject(value: unknown): value is Named {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

function bindable(value: unknown): SqlValue {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint' || typeof value === 'number') return value;
  if (typeof value === 'string') {
    if (value.isWellFormed()) return value;
    throw new TypeError('A text with half a surrogate pair cannot be sent: it is no Unicode.');
  }
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError('SQLite3 can only bind numbers, strings, bigints, buffers, and null');
}

import { parameters } from '../../sql/params.js';
import type { HAParameters } from '../../write/executor.js';
import { misuse, outOfRange } from './errors.js';

/** How integers beyond 2^53 are returned, which a number cannot hold. */
export type UnsafeIntegers = 'bigint' | 'string' | 'number';

/** Parameters as callers of node-sqlite3 give them: values, one array of them, or one object by name or number. */
export function bound(sql: string, args: readonly unknown[]): HAParameters {
  const [first, ...rest] = args;
  if (!isCollection(first) || rest.some((value) => value !== undefined)) return inOrder(sql, args);
  return Array.isArray(first) ? inOrder(sql, first) : byName(sql, first as Record<string, unknown>);
}

/** better-sqlite3 takes values in order for a plain `?` only; those of `?1`, `$a`, `:a` and `@a` it wants by name. */
function inOrder(sql: string, given: readonly unknown[]): HAParameters {
  const values = withoutSurplus(sql, given);
  if (!/\?\d|[$:@]\w/.test(sql)) return values.map(boundValue);
  const list = parameters(sql);
  const [highest = 0, named] = [list.at(-1)?.ordinal, list.filter(({ key }) => key !== undefined)];
  if (named.length === 0) return values.map(boundValue);
  if (highest !== values.length) throw outOfRange(`There are ${highest} parameters, and ${values.length} values.`);
  const byKey = new Map(named.map(({ key = '', ordinal }) => [key, boundValue(values[ordinal - 1])]));
  if (byKey.size !== named.length) throw twice();
  const plain = list.filter(({ key }) => key === undefined).map(({ ordinal }) => boundValue(values[ordinal - 1]));
  return [...plain, Object.fromEntries(byKey)];
}

/** node-sqlite3 does not bind undefined: where a parameter is left for it, that is NULL, and where none is, it does no harm. */
function withoutSurplus(sql: string, values: readonly unknown[]): readonly unknown[] {
  if (values.length === 0 || values.at(-1) !== undefined) return values;
  const count = parameters(sql).at(-1)?.ordinal ?? 0;
  return values.slice(0, Math.max(count, values.findLastIndex((value) => value !== undefined) + 1));
}

function isCollection(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return !(value instanceof Uint8Array || value instanceof Date || value instanceof RegExp);
}

/** better-sqlite3 takes names without their prefix, and numbers in order. */
function byName(sql: string, values: Readonly<Record<string, unknown>>): HAParameters {
  const names = Object.keys(values);
  if (names.length > 0 && names.every((name) => /^[1-9]\d*$/.test(name)))
    return byNumber(sql, values, names.map(Number));
  const params: Record<string, unknown> = {};
  for (const name of names) {
    const key = name.replace(/^[$:@]/, '');
    if (Object.hasOwn(params, key)) throw twice();
    params[key] = boundValue(values[name]);
  }
  return params;
}

function byNumber(sql: string, values: Readonly<Record<string, unknown>>, numbers: readonly number[]): HAParameters {
  const count = Math.max(...numbers);
  if (count !== numbers.length) throw outOfRange(`Parameters are numbered from 1 to ${count}, and some are missing.`);
  return inOrder(
    sql,
    Array.from({ length: count }, (_, index) => values[index + 1]),
  );
}

function twice(): Error {
  return misuse('Two parameters have the same name, but for its prefix. Give them different names.');
}

/** https://github.com/TryGhost/node-sqlite3/blob/master/src/statement.cc, `BindParameter`. */
function boundValue(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (value instanceof Date) return value.valueOf();
  if (value instanceof Uint8Array) return Buffer.isBuffer(value) ? value : Buffer.from(value);
  return typeof value === 'object' ? textOf(value) : value;
}

/** What has a text of its own is that text. */
function textOf(value: object): string {
  if (value.toString !== Object.prototype.toString) return (value as { toString(): string }).toString();
  throw misuse('An object without a text of its own cannot be bound. Give JSON.stringify(value), or a Buffer.');
}

/** A row with integers as numbers, but for those that a number cannot hold. */
export function row(values: Readonly<Record<string, unknown>>, unsafe: UnsafeIntegers): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const name of Object.keys(values)) {
    const value = values[name];
    plain[name] = typeof value === 'bigint' ? integer(value, unsafe) : value;
  }
  return plain;
}

/** An integer of SQLite as it is returned. */
export function integer(value: bigint | number, unsafe: UnsafeIntegers): number | bigint | string {
  const number = Number(value);
  if (typeof value === 'number' || Number.isSafeInteger(number) || unsafe === 'number') return number;
  return unsafe === 'string' ? String(value) : value;
}

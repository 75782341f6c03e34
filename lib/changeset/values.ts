import { InvalidText } from './changeset.js';
import type { SqlValue } from './changeset.js';
import type { ExactJson } from './exact-json.js';

/**
 * Values on the wire. JSON carries NULL, INTEGER, REAL and TEXT by itself. Where it would lose something (BLOB, TEXT
 * that is not UTF-8, infinities) the change also carries one letter for each column:
 *
 * | letter | storage class | JSON |
 * | --- | --- | --- |
 * | n i r t | NULL, INTEGER, REAL, TEXT | as it is |
 * | b | BLOB | base64 text |
 * | u | TEXT, not valid UTF-8 | base64 text of its bytes |
 * | p m | plus, minus infinity | null |
 */
export interface WireValues {
  /** A JSON array. */
  readonly json: string;
  /** The letters, absent where JSON alone says it all. */
  readonly types?: string;
}

/** Writes a REAL so that every JSON reader sees a REAL again: `2.0`, `-0.0`, `1e+300`. */
export function realLiteral(value: number): string {
  if (Object.is(value, -0)) return '-0.0';
  const text = String(value);
  return Number.isInteger(value) && !text.includes('e') ? `${text}.0` : text;
}

/** The letter of a value. */
export function letterOf(value: SqlValue): string {
  if (value === null) return 'n';
  if (typeof value === 'bigint') return 'i';
  if (typeof value === 'string') return 't';
  if (typeof value === 'number') return value === Infinity ? 'p' : value === -Infinity ? 'm' : 'r';
  return value instanceof InvalidText ? 'u' : 'b';
}

/** The JSON of a value; {@link letterOf} tells what it stands for. */
export function valueLiteral(value: SqlValue): string {
  if (value === null) return 'null';
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') return Number.isFinite(value) ? realLiteral(value) : 'null';
  const bytes = value instanceof InvalidText ? value.bytes : value;
  return `"${bytes.toString('base64')}"`;
}

/** Encodes the values of a row or of a statement. */
export function encodeValues(values: readonly SqlValue[]): WireValues {
  const json = `[${values.map(valueLiteral).join(',')}]`;
  const types = values.map(letterOf).join('');
  return /[bupm]/.test(types) ? { json, types } : { json };
}

/**
 * Decodes values. Without letters they are taken as JSON has them.
 *
 * @throws SyntaxError where letters and values do not fit each other.
 */
export function decodeValues(values: readonly ExactJson[], types: string | undefined): SqlValue[] {
  if (types === undefined) return values.map(plainValue);
  if (types.length !== values.length) throw new SyntaxError(`${types.length} type letters for ${values.length} values`);
  return values.map((value, index) => typedValue(value, types.charAt(index)));
}

function plainValue(value: ExactJson): SqlValue {
  if (value === true) return 1n;
  if (value === false) return 0n;
  if (value !== null && typeof value === 'object') throw new SyntaxError('a value is neither NULL, number nor text');
  return value;
}

function typedValue(value: ExactJson, letter: string): SqlValue {
  switch (letter) {
    case 'b':
      return base64(value);
    case 'u':
      return new InvalidText(base64(value));
    case 'p':
      return Infinity;
    case 'm':
      return -Infinity;
    case 'n':
    case 'i':
    case 'r':
    case 't':
      return plainValue(value);
    default:
      throw new SyntaxError(`unknown type letter '${letter}'`);
  }
}

function base64(value: ExactJson): Buffer {
  if (typeof value !== 'string') throw new SyntaxError('base64 text was expected');
  return Buffer.from(value, 'base64');
}

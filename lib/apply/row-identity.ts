import { InvalidText } from '../changeset/changeset.js';
import type { SqlValue } from '../changeset/changeset.js';

/** True where two values are the same as far as JavaScript can tell; `loose` where one went through go-ha's numbers. */
export function isSameValue(a: SqlValue, b: SqlValue, loose: boolean): boolean {
  const [x, y] = [legible(a), legible(b)];
  if (x === y) return true;
  if (Buffer.isBuffer(x) && Buffer.isBuffer(y)) return x.equals(y);
  return loose && isNumeric(x) && isNumeric(y) && Number(x) === Number(y);
}

/** Text that is not UTF-8 as better-sqlite3 returns it; every other value as it is. */
export function legible(value: SqlValue): Exclude<SqlValue, InvalidText> {
  return value instanceof InvalidText ? value.bytes.toString('utf8') : value;
}

/** A text that is equal for equal keys. `collations` say what SQLite takes for equal. */
export function keyText(values: readonly SqlValue[], collations: readonly string[]): string {
  return values.map((value, index) => keyPart(legible(value), collations[index] ?? 'BINARY')).join('\0');
}

/** A text that is equal for rows that are equal in every value and storage class. */
export function imageText(values: readonly SqlValue[]): string {
  return values.map((value) => typed(legible(value))).join('\0');
}

/** Numbers are equal by value, whatever their storage class. */
function keyPart(value: Exclude<SqlValue, InvalidText>, collation: string): string {
  if (typeof value === 'number' && Number.isInteger(value)) return typed(BigInt(value));
  return typed(typeof value === 'string' ? folded(value, collation) : value);
}

/** As SQLite's own collations compare: https://www.sqlite.org/datatype3.html#collating_sequences */
function folded(text: string, collation: string): string {
  if (collation === 'NOCASE') return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  return collation === 'RTRIM' ? text.replace(/ +$/, '') : text;
}

function typed(value: Exclude<SqlValue, InvalidText>): string {
  if (value === null) return 'n';
  if (typeof value === 'string') return `t${value.replaceAll('\0', '\0\0')}`;
  return Buffer.isBuffer(value) ? `b${value.toString('base64')}` : `${typeof value === 'bigint' ? 'i' : 'r'}${value}`;
}

function isNumeric(value: unknown): boolean {
  return typeof value === 'bigint' || typeof value === 'number';
}

import { InvalidText } from '../changeset/changeset.js';
import type { SqlValue } from '../changeset/changeset.js';
import { foldCase } from '../sql/identifiers.js';
import type { KeyCollations } from '../sqlite/key-collations.js';

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
export function keyText(values: readonly SqlValue[], collations: KeyCollations): string {
  return values.map((value, index) => keyPart(legible(value), collations[index] ?? [])).join('\0');
}

/** A text that is equal for rows that are equal in every value and storage class. */
export function imageText(values: readonly SqlValue[]): string {
  return values.map((value) => typed(legible(value))).join('\0');
}

/** Numbers are equal by value, whatever their storage class. */
function keyPart(value: Exclude<SqlValue, InvalidText>, collations: readonly string[]): string {
  if (typeof value === 'number' && Number.isInteger(value)) return typed(BigInt(value));
  return typeof value === 'string' ? collations.map((name) => typed(folded(value, name))).join('\0') : typed(value);
}

/** As SQLite's own collations compare: https://www.sqlite.org/datatype3.html#collating_sequences */
function folded(text: string, collation: string): string {
  if (collation === 'NOCASE') {
    // It looks no further than to a NUL character, and then at how long they are.
    const end = text.indexOf('\0');
    return end < 0 ? foldCase(text) : `${foldCase(text.slice(0, end))}\0${Buffer.byteLength(text)}`;
  }
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

import { Char } from './characters.js';
import { StatementReader } from './statement-reader.js';

/** What a part of a statement takes its value from. */
export type VolatileKind = 'clock' | 'random' | 'bytes' | 'id' | 'uuid' | 'connection';

/** A part of a statement that has another value where, or when, the statement runs again. */
export interface VolatilePart {
  readonly kind: VolatileKind;
  /** As people write it, such as `random()`. */
  readonly name: string;
  /** Where it stands, with the parentheses of a function that takes no argument. */
  readonly start: number;
  readonly end: number;
}

const WORDS = ['CURRENT_DATE', 'CURRENT_TIME', 'CURRENT_TIMESTAMP'];
const FUNCTIONS: ReadonlyMap<string, VolatileKind> = new Map([
  ['random', 'random'],
  ['randomblob', 'bytes'],
  ['last_insert_rowid', 'connection'],
  ['changes', 'connection'],
  ['total_changes', 'connection'],
  ['ha_id', 'id'],
  ['ha_uuid', 'uuid'],
]);
/** Without arguments these read the clock: https://www.sqlite.org/lang_datefunc.html */
const CLOCKS = ['date', 'time', 'datetime', 'julianday', 'unixepoch'];

/** The first part of a statement whose value differs where the statement runs again elsewhere; undefined if there is none. */
export function volatilePart(sql: string): string | undefined {
  return volatileParts(sql)[0]?.name;
}

/** All such parts, in order. */
export function volatileParts(sql: string): VolatilePart[] {
  const reader = new StatementReader(sql);
  const parts: VolatilePart[] = [];
  for (let i = 0; i < reader.length; i++) {
    const part = partAt(reader, i);
    if (part !== undefined) parts.push(part);
  }
  return parts;
}

function partAt(reader: StatementReader, i: number): VolatilePart | undefined {
  const text = reader.text(i, i);
  const start = reader.tokens[i]?.start ?? 0;
  const upTo = (last: number): number => reader.tokens[last]?.end ?? reader.sql.length;
  if (text.toLowerCase() === "'now'" || reader.isAny(i, WORDS))
    return { kind: 'clock', name: text, start, end: upTo(i) };
  if (!reader.isOperator(i + 1, Char.LEFT_PAREN)) return undefined;
  const name = (reader.name(i)?.name.name ?? '').toLowerCase();
  const kind = FUNCTIONS.get(name);
  const behind = reader.skipParentheses(i + 1);
  if (kind !== undefined) return { kind, name: `${name}()`, start, end: upTo(behind - 1) };
  const isClock = CLOCKS.includes(name) ? behind === i + 3 : name === 'strftime' && !hasComma(reader, i + 2, behind);
  return isClock ? { kind: 'clock', name: `${name}()`, start, end: upTo(behind - 1) } : undefined;
}

function hasComma(reader: StatementReader, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (reader.text(i, i) === ',') return true;
  return false;
}

import { createHash } from 'node:crypto';
import { v7 } from 'uuid';
import { quoteString } from '../sql/identifiers.js';
import { volatileParts } from '../sql/volatile.js';
import type { VolatilePart } from '../sql/volatile.js';

/** Where in the stream a change stands: the same on every node. */
export interface ChangePlace {
  readonly sequence: number;
  /** Place of the change in its transaction, from 0. */
  readonly index: number;
  /** When the transaction was run, milliseconds since 1970. */
  readonly time: number;
}

/** Most changes of one message, and so how far apart the ids of two sequences are. */
const IDS_PER_SEQUENCE = 65_536;
/** `randomblob(n)` gives at most this many bytes here. */
const BYTES = 1_024;

/**
 * The default of a column that a message does not know, because its writer had not seen the column yet. Its clock, random
 * numbers and ids would differ from node to node; here they follow from the place of the change, so that all nodes store the
 * same.
 *
 * @param expression The default as it was declared.
 */
export function settledDefault(expression: string, column: string, place: ChangePlace): string {
  let text = '';
  let from = 0;
  volatileParts(expression).forEach((part, count) => {
    text +=
      expression.slice(from, part.start) +
      settled(part, expression.slice(part.start, part.end), place, `${column}/${count}`);
    from = part.end;
  });
  return `(${text}${expression.slice(from)})`;
}

function settled({ kind }: VolatilePart, text: string, place: ChangePlace, salt: string): string {
  switch (kind) {
    case 'clock':
      return clock(text, quoteString(new Date(place.time).toISOString().replace('T', ' ').replace('Z', '')));
    case 'random':
      return String(bytes(place, salt, 8).readBigUInt64BE() >> 1n);
    case 'bytes':
      return `substr(x'${bytes(place, salt, BYTES).toString('hex')}', 1, max(1, ${text.slice(text.indexOf('(') + 1, -1)}))`;
    case 'id':
      // Far below the ids that are made of the time, so none of them is given twice.
      return String(place.sequence * IDS_PER_SEQUENCE - place.index);
    case 'uuid':
      return quoteString(v7({ msecs: place.time, random: bytes(place, salt, 16) }));
    case 'connection':
      return '0';
  }
}

function clock(text: string, time: string): string {
  if (text.startsWith("'")) return time;
  const word = /^current_(date|time|timestamp)$/i.exec(text)?.[1]?.toLowerCase();
  if (word !== undefined) return `${word === 'timestamp' ? 'datetime' : word}(${time})`;
  const open = text.slice(0, -1);
  return /\(\s*$/.test(open) ? `${open}${time})` : `${open}, ${time})`;
}

/** Bytes that look random, and are the same for the same place. */
function bytes({ sequence, index }: ChangePlace, salt: string, length: number): Buffer {
  return createHash('shake256', { outputLength: length }).update(`${sequence}/${index}/${salt}`).digest();
}

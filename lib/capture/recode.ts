import { isUtf8 } from 'node:buffer';

/**
 * SQLite writes the captured values as JSON. Three kinds cannot travel like that: BLOBs (captured as `{"$b":"<hex>"}`),
 * infinities (`9.0e+999`, which many JSON readers refuse) and TEXT that is not valid UTF-8 (copied byte by byte). They
 * are rare, so they are looked for in whole pieces, and only a piece that holds one is rewritten value by value.
 *
 * All texts here are "binary strings": one character for each byte.
 */
const BLOB_MARK = '{"$b"';
const INFINITY = '9.0e+999';
const BLOB_BYTES = Buffer.from(BLOB_MARK);
const INFINITY_BYTES = Buffer.from(INFINITY);

/** True where a captured piece holds something that JSON alone would lose. */
export function needsRecoding(piece: Buffer): boolean {
  return piece.includes(BLOB_BYTES) || piece.includes(INFINITY_BYTES) || !isUtf8(piece);
}

/** The same for a piece that became a string: bytes that are not UTF-8 show as the replacement character. */
export function textNeedsRecoding(piece: string): boolean {
  return piece.includes('\uFFFD') || piece.includes(BLOB_MARK) || piece.includes(INFINITY);
}

/** Values as a JSON array in a binary string, and their type letters where those are needed. */
export interface Recoded {
  readonly json: string;
  readonly types: string | undefined;
}

/** Rewrites one captured array of values. */
export function recodeValues(captured: Buffer): Recoded {
  if (!needsRecoding(captured)) return { json: captured.toString('latin1'), types: undefined };
  const recoded = splitValues(captured).map(recodeValue);
  return {
    json: `[${recoded.map(([json]) => json).join(',')}]`,
    types: recoded.map(([, letter]) => letter).join(''),
  };
}

/** The values of one captured array, each as it is written there. */
export function splitValues(captured: Buffer): string[] {
  const text = captured.toString('latin1');
  const values: string[] = [];
  let at = 1;
  while (text.charAt(at) !== ']' && at < text.length) {
    const end = valueEnd(text, at);
    values.push(text.slice(at, end));
    at = text.charAt(end) === ',' ? end + 1 : end;
  }
  return values;
}

function valueEnd(text: string, start: number): number {
  const first = text.charAt(start);
  if (first === '{') return text.indexOf('}', start) + 1;
  if (first === '"') return stringEnd(text, start);
  let end = start;
  while (end < text.length && text.charAt(end) !== ',' && text.charAt(end) !== ']') end++;
  return end;
}

function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const char = text.charAt(at);
    if (char === '\\') at++;
    else if (char === '"') return at + 1;
  }
  return text.length;
}

function recodeValue(value: string): [json: string, letter: string] {
  if (value.startsWith(BLOB_MARK)) {
    const hex = value.slice(value.indexOf(':') + 2, -2);
    return [`"${Buffer.from(hex, 'hex').toString('base64')}"`, 'b'];
  }
  if (value.startsWith('"')) return recodeText(value);
  if (value === 'null') return [value, 'n'];
  if (value === INFINITY) return ['null', 'p'];
  if (value === `-${INFINITY}`) return ['null', 'm'];
  return [value, /[.e]/i.test(value) ? 'r' : 'i'];
}

function recodeText(literal: string): [json: string, letter: string] {
  if (isUtf8(Buffer.from(literal, 'latin1'))) return [literal, 't'];
  return [`"${Buffer.from(unescape(literal.slice(1, -1)), 'latin1').toString('base64')}"`, 'u'];
}

const ESCAPES: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

/** SQLite escapes quotes, backslashes and control characters only, so every escape is one byte. */
function unescape(text: string): string {
  return text.replaceAll(
    /\\(?:u([0-9a-fA-F]{4})|(.))/gs,
    (_match, hex: string | undefined, char: string | undefined) =>
      hex === undefined ? (ESCAPES[char ?? ''] ?? char ?? '') : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

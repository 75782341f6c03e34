/**
 * A JSON reader that keeps apart what `JSON.parse` merges: an integer literal becomes a `bigint`, a literal with a
 * fraction or an exponent becomes a `number`. So int64 keys survive, and 2 and 2.0 stay two different values.
 *
 * Strings are cut out of the text by `indexOf`; only those with an escape go through `JSON.parse`. Nesting is bounded,
 * so that a hostile message cannot exhaust the stack.
 */

/** What {@link parseExactJson} returns. */
export type ExactJson = null | boolean | bigint | number | string | ExactJson[] | ExactObject;
export interface ExactObject {
  [key: string]: ExactJson;
}

const MAX_DEPTH = 64;
const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;
const BACKSLASH = '\\';
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
/** Must be escaped in strings: https://www.rfc-editor.org/rfc/rfc8259#section-7 */
const CONTROL = /[^\u0020-\uffff]/;

/**
 * Parses a JSON text.
 *
 * @throws SyntaxError where the text is not JSON, with the offset.
 */
export function parseExactJson(text: string): ExactJson {
  return new Reader(text).document();
}

/** An integer literal as SQLite would hold it: beyond int64 it can only be a REAL. */
function integer(literal: string): bigint | number {
  // Nothing of that length fits, and huge literals would take long to convert.
  if (literal.length > MIN_INT64.toString().length) return Number(literal);
  const value = BigInt(literal);
  return value < MIN_INT64 || value > MAX_INT64 ? Number(literal) : value;
}

/** Assigning `__proto__` would set the prototype instead. */
function define(members: ExactObject, name: string, value: ExactJson): void {
  Object.defineProperty(members, name, { value, enumerable: true, configurable: true, writable: true });
}

class Reader {
  private at = 0;
  private depth = 0;

  /** Whether strings have to be looked through: messages of ours and of go-ha hold no control character at all. */
  private readonly hasControl: boolean;

  constructor(private readonly text: string) {
    this.hasControl = CONTROL.test(text);
  }

  document(): ExactJson {
    this.skipSpace();
    const value = this.value();
    this.skipSpace();
    if (this.at !== this.text.length) this.fail('unexpected text behind the value');
    return value;
  }

  private value(): ExactJson {
    const code = this.text.charCodeAt(this.at);
    if (code === 0x22) return this.string();
    if (code === 0x7b) return this.object();
    if (code === 0x5b) return this.array();
    if (code === 0x2d || (code >= 0x30 && code <= 0x39)) return this.number();
    if (code === 0x6e) return this.word('null', null);
    if (code === 0x74) return this.word('true', true);
    if (code === 0x66) return this.word('false', false);
    return this.fail('a value was expected');
  }

  private word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) this.fail(`'${word}' was expected`);
    this.at += word.length;
    return value;
  }

  private string(): string {
    const { text } = this;
    const start = this.at + 1;
    let end = text.indexOf('"', start);
    if (end < 0) this.fail('a string has no end');
    const slice = text.slice(start, end);
    if (!slice.includes(BACKSLASH)) {
      if (this.hasControl && CONTROL.test(slice)) this.fail('a control character is not escaped');
      this.at = end + 1;
      return slice;
    }
    while (this.isEscaped(end)) {
      end = text.indexOf('"', end + 1);
      if (end < 0) this.fail('a string has no end');
    }
    this.at = end + 1;
    return JSON.parse(text.slice(start - 1, end + 1)) as string;
  }

  private isEscaped(at: number): boolean {
    let slashes = 0;
    while (this.text.charCodeAt(at - 1 - slashes) === 0x5c) slashes++;
    return slashes % 2 === 1;
  }

  private number(): bigint | number {
    const { text } = this;
    const start = this.at;
    let real = false;
    let at = start + 1;
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code >= 0x30 && code <= 0x39) continue;
      if (code === 0x2e || code === 0x65 || code === 0x45) real = true;
      else if (code !== 0x2b && code !== 0x2d) break;
    }
    this.at = at;
    const literal = text.slice(start, at);
    if (!NUMBER.test(literal)) this.fail('a number is malformed');
    return real ? Number(literal) : integer(literal);
  }

  private array(): ExactJson[] {
    const values: ExactJson[] = [];
    this.enter();
    if (this.take(0x5d)) return this.leave(values);
    for (;;) {
      values.push(this.value());
      if (this.take(0x5d)) return this.leave(values);
      if (!this.take(0x2c)) this.fail("',' or ']' was expected");
    }
  }

  private object(): ExactObject {
    const members: ExactObject = {};
    this.enter();
    if (this.take(0x7d)) return this.leave(members);
    for (;;) {
      if (this.text.charCodeAt(this.at) !== 0x22) this.fail('a member name was expected');
      const name = this.string();
      if (!this.take(0x3a)) this.fail("':' was expected");
      const value = this.value();
      if (name === '__proto__') define(members, name, value);
      else members[name] = value;
      if (this.take(0x7d)) return this.leave(members);
      if (!this.take(0x2c)) this.fail("',' or '}' was expected");
    }
  }

  private enter(): void {
    if (++this.depth > MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH}`);
    this.at++;
    this.skipSpace();
  }

  private leave<T>(value: T): T {
    this.depth--;
    return value;
  }

  /** Takes one punctuation mark, with the space around it. */
  private take(code: number): boolean {
    this.skipSpace();
    if (this.text.charCodeAt(this.at) !== code) return false;
    this.at++;
    this.skipSpace();
    return true;
  }

  private skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.at++;
    }
  }

  private fail(reason: string): never {
    throw new SyntaxError(`Malformed JSON at offset ${this.at}: ${reason}`);
  }
}

import { Char, isDigit, isHexDigit, isIdentifierChar, isLetter, isSpace } from './characters.js';

/**
 * What a token is. A `word` is an unquoted identifier or keyword, `quoted` is an identifier in `""`, `[]` or ` `` `.
 * `illegal` is text that SQLite refuses as "unrecognized token", such as a string without its closing quote.
 */
export type TokenKind =
  'space' | 'comment' | 'word' | 'quoted' | 'string' | 'blob' | 'number' | 'parameter' | 'operator' | 'illegal';

/** A token by its place: `sql.slice(start, end)` is its text. */
export interface Token {
  readonly kind: TokenKind;
  readonly start: number;
  readonly end: number;
}

/**
 * SQLite's lexer (`sqlite3GetToken` of https://sqlite.org/src/file/src/tokenize.c) as a cursor. The tokens cover the
 * text without gaps, white space and comments included; it never throws.
 */
export class Lexer implements Token {
  kind: TokenKind = 'space';
  start = 0;
  end = 0;

  constructor(readonly sql: string) {}

  /** Moves to the next token; false at the end of the text. */
  next(): boolean {
    if (this.end >= this.sql.length) return false;
    this.start = this.end;
    this.scan(this.sql.charCodeAt(this.start));
    return true;
  }

  /** Whether the current token is white space or a comment. */
  get trivia(): boolean {
    return this.kind === 'space' || this.kind === 'comment';
  }

  private scan(code: number): void {
    if (isDigit(code)) return this.number();
    if (code === Char.BOM) return this.take('space', 1);
    if (code !== Char.DOLLAR && isIdentifierChar(code)) return this.word(code);
    switch (code) {
      case Char.SPACE:
      case Char.TAB:
      case Char.LF:
      case Char.FF:
      case Char.CR:
        return this.space();
      case Char.QUOTE:
        return this.delimited('string', "'");
      case Char.DOUBLE_QUOTE:
        return this.delimited('quoted', '"');
      case Char.BACKTICK:
        return this.delimited('quoted', '`');
      case Char.LEFT_BRACKET:
        return this.until('quoted', ']');
      case Char.QUESTION:
        this.take('parameter', 1);
        return this.digits();
      case Char.COLON:
      case Char.AT:
      case Char.DOLLAR:
      case Char.HASH:
        return this.parameter(code);
      default:
        return this.symbol(code);
    }
  }

  private peek(offset: number): number {
    return this.sql.charCodeAt(this.start + offset);
  }

  private take(kind: TokenKind, length: number): void {
    this.kind = kind;
    this.end = this.start + length;
  }

  private space(): void {
    let i = this.start + 1;
    while (isSpace(this.sql.charCodeAt(i))) i++;
    this.kind = 'space';
    this.end = i;
  }

  private word(code: number): void {
    if (isLetter(code, Char.X) && this.peek(1) === Char.QUOTE) return this.blob();
    let i = this.start + 1;
    while (isIdentifierChar(this.sql.charCodeAt(i))) i++;
    this.kind = 'word';
    this.end = i;
  }

  private blob(): void {
    const first = this.start + 2;
    let i = first;
    while (isHexDigit(this.sql.charCodeAt(i))) i++;
    if (this.sql.charCodeAt(i) === Char.QUOTE && (i - first) % 2 === 0) return this.take('blob', i + 1 - this.start);
    const close = this.sql.indexOf("'", i);
    this.kind = 'illegal';
    this.end = close < 0 ? this.sql.length : close + 1;
  }

  /** Text in quotes that doubles its quote to hold one. */
  private delimited(kind: TokenKind, quote: string): void {
    let close = this.sql.indexOf(quote, this.start + 1);
    while (close >= 0 && this.sql[close + 1] === quote) close = this.sql.indexOf(quote, close + 2);
    this.close(kind, close, 1);
  }

  private until(kind: TokenKind, bracket: string): void {
    this.close(kind, this.sql.indexOf(bracket, this.start + 1), 1);
  }

  private close(kind: TokenKind, at: number, length: number): void {
    this.kind = at < 0 ? 'illegal' : kind;
    this.end = at < 0 ? this.sql.length : at + length;
  }

  private number(): void {
    this.take('number', 0);
    if (this.peek(0) === Char.ZERO && isLetter(this.peek(1), Char.X) && isHexDigit(this.peek(2))) {
      this.end += 3;
      while (isHexDigit(this.ahead()) || this.ahead() === Char.UNDERSCORE) this.end++;
    } else {
      this.separatedDigits();
      if (this.ahead() === Char.DOT) {
        this.end++;
        this.separatedDigits();
      }
      this.exponent();
    }
    // "12abc" is one refused token, not a number and a name.
    while (isIdentifierChar(this.ahead())) {
      this.kind = 'illegal';
      this.end++;
    }
  }

  private ahead(): number {
    return this.sql.charCodeAt(this.end);
  }

  private digits(): void {
    while (isDigit(this.ahead())) this.end++;
  }

  private separatedDigits(): void {
    while (isDigit(this.ahead()) || this.ahead() === Char.UNDERSCORE) this.end++;
  }

  private exponent(): void {
    if (!isLetter(this.ahead(), Char.E)) return;
    const next = this.sql.charCodeAt(this.end + 1);
    const signed = next === Char.PLUS || next === Char.MINUS;
    if (!isDigit(signed ? this.sql.charCodeAt(this.end + 2) : next)) return;
    this.end += 2;
    this.separatedDigits();
  }

  /**
   * `:a`, `@a`, `$a` and TCL's `$a::b(c)`, which SQLite may be compiled without; it refuses those then. SQLite keeps
   * `#1` for itself and refuses it in statements.
   */
  private parameter(prefix: number): void {
    this.take(prefix === Char.HASH ? 'illegal' : 'parameter', 1);
    let named = false;
    for (;;) {
      const code = this.ahead();
      if (isIdentifierChar(code)) named = true;
      else if (code === Char.LEFT_PAREN && named) return this.parameterSuffix();
      else if (code === Char.COLON && this.sql.charCodeAt(this.end + 1) === Char.COLON) this.end++;
      else break;
      this.end++;
    }
    if (!named) this.kind = 'illegal';
  }

  private parameterSuffix(): void {
    let i = this.end + 1;
    while (i < this.sql.length && !isSpace(this.sql.charCodeAt(i)) && this.sql.charCodeAt(i) !== Char.RIGHT_PAREN) i++;
    const closed = this.sql.charCodeAt(i) === Char.RIGHT_PAREN;
    if (!closed) this.kind = 'illegal';
    this.end = closed ? i + 1 : i;
  }

  private symbol(code: number): void {
    const next = this.peek(1);
    switch (code) {
      case Char.MINUS:
        if (next === Char.MINUS) return this.lineComment();
        if (next === Char.GREATER) return this.take('operator', this.peek(2) === Char.GREATER ? 3 : 2);
        return this.take('operator', 1);
      case Char.SLASH:
        // SQLite reads a "/*" that ends the text as two operators.
        if (next === Char.STAR && this.start + 2 < this.sql.length) return this.blockComment();
        return this.take('operator', 1);
      case Char.DOT:
        return isDigit(next) ? this.number() : this.take('operator', 1);
      case Char.EQUAL:
        return this.take('operator', next === Char.EQUAL ? 2 : 1);
      case Char.LESS:
        return this.take('operator', next === Char.EQUAL || next === Char.GREATER || next === Char.LESS ? 2 : 1);
      case Char.GREATER:
        return this.take('operator', next === Char.EQUAL || next === Char.GREATER ? 2 : 1);
      case Char.BANG:
        return next === Char.EQUAL ? this.take('operator', 2) : this.take('illegal', 1);
      case Char.PIPE:
        return this.take('operator', next === Char.PIPE ? 2 : 1);
      default:
        return this.take(SINGLE_OPERATORS.has(code) ? 'operator' : 'illegal', 1);
    }
  }

  private lineComment(): void {
    const newline = this.sql.indexOf('\n', this.start);
    this.kind = 'comment';
    this.end = newline < 0 ? this.sql.length : newline;
  }

  private blockComment(): void {
    const close = this.sql.indexOf('*/', this.start + 2);
    this.kind = 'comment';
    this.end = close < 0 ? this.sql.length : close + 2;
  }
}

const SINGLE_OPERATORS = new Set(Array.from('()*+,;%&~', (char) => char.charCodeAt(0)));

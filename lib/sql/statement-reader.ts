import { Char } from './characters.js';
import { foldCase, unquoteIdentifier } from './identifiers.js';
import type { ObjectName } from './statement-info.js';
import { Lexer } from './lexer.js';
import type { Token } from './lexer.js';
import { isKeyword, isOperator, nextToken } from './tokenizer.js';

/** A name and where it stands. */
export interface NameAt {
  readonly name: ObjectName;
  /** The offset in the text. */
  readonly offset: number;
  /** The index of the token behind. */
  readonly next: number;
}

/**
 * One statement as SQLite's parser sees it: indexed tokens without white space, comments and outer `;`. The text is read as far
 * as it is asked for: of a long INSERT mostly its first words.
 */
export class StatementReader {
  private readonly lexer: Lexer;
  private readonly found: Token[] = [];
  private isComplete = false;

  constructor(readonly sql: string) {
    this.lexer = new Lexer(sql);
  }

  get isEmpty(): boolean {
    return this.at(0) === undefined;
  }

  /** Number of all tokens. */
  get length(): number {
    return this.tokens.length;
  }

  get tokens(): readonly Token[] {
    while (!this.isComplete) this.readOn();
    return this.found;
  }

  /** The token at `index`, undefined behind the last. */
  at(index: number): Token | undefined {
    while (index >= this.found.length && !this.isComplete) this.readOn();
    return this.found[index];
  }

  /** Finds one more token, and the `;` in front of it. */
  private readOn(): void {
    const semicolons: Token[] = [];
    for (let token = nextToken(this.lexer); token !== undefined; token = nextToken(this.lexer)) {
      if (!isOperator(this.sql, token, Char.SEMICOLON)) {
        this.found.push(...semicolons, token);
        return;
      }
      if (this.found.length > 0) semicolons.push(token);
    }
    this.isComplete = true;
  }

  /** Whether the token at `index`, and those behind it, are these keywords, unquoted. */
  is(index: number, keyword: string, second?: string, third?: string): boolean {
    if (!isKeyword(this.sql, this.at(index), keyword)) return false;
    return (
      second === undefined || (third === undefined ? this.is(index + 1, second) : this.is(index + 1, second, third))
    );
  }

  /** Whether the token at `index` is one of these keywords, unquoted. */
  isAny(index: number, keywords: readonly string[]): boolean {
    return keywords.some((keyword) => isKeyword(this.sql, this.at(index), keyword));
  }

  isOperator(index: number, code: number): boolean {
    return isOperator(this.sql, this.at(index), code);
  }

  /** The unquoted word in upper case, or an empty string. Letters beyond ASCII make no keyword and do not fold. */
  keyword(index: number): string {
    const token = this.at(index);
    const text = token?.kind === 'word' ? this.sql.slice(token.start, token.end) : '';
    return /^[A-Za-z]+$/.test(text) ? text.toUpperCase() : text;
  }

  /** The text from the start of one token to the end of another, both included. */
  text(first: number, last: number): string {
    return this.sql.slice(this.at(first)?.start ?? this.sql.length, this.at(last)?.end ?? 0);
  }

  /** A name, with or without a schema, at `index`. */
  name(index: number): NameAt | undefined {
    const token = this.at(index);
    const first = this.part(index);
    if (!token || first === undefined) return undefined;
    const second = this.isOperator(index + 1, Char.DOT) ? this.part(index + 2) : undefined;
    if (second === undefined) return { name: { name: first }, offset: token.start, next: index + 1 };
    return { name: { schema: first, name: second }, offset: token.start, next: index + 3 };
  }

  private part(index: number): string | undefined {
    const token = this.at(index);
    if (token?.kind !== 'word' && token?.kind !== 'quoted' && token?.kind !== 'string') return undefined;
    return unquoteIdentifier(this.sql.slice(token.start, token.end));
  }

  /** The index behind the `)` that closes the `(` at `index`; `index` itself when there is no `(`. */
  skipParentheses(index: number): number {
    if (!this.isOperator(index, Char.LEFT_PAREN)) return index;
    let depth = 0;
    for (let i = index; this.at(i) !== undefined; i++) {
      if (this.isOperator(i, Char.LEFT_PAREN)) depth++;
      else if (this.isOperator(i, Char.RIGHT_PAREN) && --depth === 0) return i + 1;
    }
    return this.length;
  }
}

/** Whether a schema name is SQLite's schema of temporary objects. */
export function isTemp(schema: string | undefined): boolean {
  return schema !== undefined && foldCase(schema) === 'temp';
}

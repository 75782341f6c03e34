import { isLetter } from './characters.js';
import type { Token } from './lexer.js';
import { Lexer } from './lexer.js';

/** All tokens of a text, white space and comments included, without gaps. */
export function tokenize(sql: string): Token[] {
  const lexer = new Lexer(sql);
  const tokens: Token[] = [];
  while (lexer.next()) tokens.push({ kind: lexer.kind, start: lexer.start, end: lexer.end });
  return tokens;
}

/** The next token that SQLite's parser sees: white space and comments are passed over. Undefined at the end of the text. */
export function nextToken(lexer: Lexer): Token | undefined {
  while (lexer.next()) {
    if (!lexer.trivia) return { kind: lexer.kind, start: lexer.start, end: lexer.end };
  }
  return undefined;
}

/** Whether a token is the given keyword (in upper case). Only ASCII letters fold: SQLite folds no others. */
export function isKeyword(sql: string, token: Token | undefined, upper: string): boolean {
  if (token?.kind !== 'word' || token.end - token.start !== upper.length) return false;
  for (let i = 0; i < upper.length; i++) {
    if (!isLetter(sql.charCodeAt(token.start + i), upper.charCodeAt(i))) return false;
  }
  return true;
}

/** Whether a token is the given operator of one character. */
export function isOperator(sql: string, token: Token | undefined, code: number): boolean {
  return token?.kind === 'operator' && token.end - token.start === 1 && sql.charCodeAt(token.start) === code;
}

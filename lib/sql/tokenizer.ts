import { isLetter } from './characters.js';
import type { Token } from './lexer.js';
import { Lexer } from './lexer.js';

/** All tokens of a text, white space and comments included, without gaps. */
export function tokenize(sql: string): Token[] {
  return collect(sql, true);
}

/** The tokens of a text that SQLite's parser sees: without white space and comments. */
export function significantTokens(sql: string): Token[] {
  return collect(sql, false);
}

function collect(sql: string, trivia: boolean): Token[] {
  const lexer = new Lexer(sql);
  const tokens: Token[] = [];
  while (lexer.next()) {
    if (trivia || !lexer.trivia) tokens.push({ kind: lexer.kind, start: lexer.start, end: lexer.end });
  }
  return tokens;
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

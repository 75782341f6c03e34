import type { Token } from './lexer.js';
import { Lexer } from './lexer.js';

const OPEN = '/*+';

/** Whether a token is a hint comment: a block comment that starts with `/*+`. */
export function isHint(sql: string, token: Token): boolean {
  return token.kind === 'comment' && sql.startsWith(OPEN, token.start);
}

/**
 * The `key=value` pairs of all hint comments (a block comment that opens with `/*+`); pairs are separated by white
 * space, the last one of a key wins, words without `=` are ignored. Only real comments count, not text in strings,
 * identifiers or `--` comments. A comment ends at the first asterisk with a slash behind it, hence a value that ends
 * in `*` needs a space before the comment's end, or it loses its asterisk.
 */
export function hints(sql: string): Map<string, string> {
  const found = new Map<string, string>();
  if (!sql.includes(OPEN)) return found;
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (isHint(sql, lexer)) addPairs(found, body(sql.slice(lexer.start, lexer.end)));
  }
  return found;
}

/** One hint of a key. */
export interface Hint {
  readonly value: string;
  /** The end of the comment follows at once: an asterisk that was meant for the value may be part of it. */
  readonly abutsEnd: boolean;
}

/** All hints of a key, in order. */
export function hintsOf(sql: string, key: string): Hint[] {
  const found: Hint[] = [];
  if (!sql.includes(OPEN)) return found;
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (!isHint(sql, lexer)) continue;
    const comment = sql.slice(lexer.start, lexer.end);
    const words = body(comment).split(/\s+/);
    for (const [i, word] of words.entries()) {
      if (!word.startsWith(`${key}=`)) continue;
      const abutsEnd = i === words.length - 1 && comment.endsWith('*/');
      found.push({ value: word.slice(key.length + 1), abutsEnd });
    }
  }
  return found;
}

/** The end may be missing: SQLite closes a comment at the end of the text. */
function body(comment: string): string {
  return comment.slice(OPEN.length, comment.endsWith('*/') ? -2 : undefined);
}

function addPairs(found: Map<string, string>, text: string): void {
  for (const pair of text.split(/\s+/)) {
    const equal = pair.indexOf('=');
    if (equal > 0) found.set(pair.slice(0, equal), pair.slice(equal + 1));
  }
}

import { Char } from './characters.js';
import type { StatementReader } from './statement-reader.js';

/** Keywords that matter wherever they stand in a statement. */
export interface KeywordScan {
  /** RETURNING outside of parentheses; it is a reserved word, never a name. */
  readonly returning: boolean;
  readonly replace: boolean;
  readonly mentionsReplace: boolean;
  readonly mentionsRollback: boolean;
}

/** What a scan of no tokens finds. */
export const NO_KEYWORDS: KeywordScan = {
  returning: false,
  replace: false,
  mentionsReplace: false,
  mentionsRollback: false,
};

/** Most texts have none of the words in them, and then nothing has to be read. */
const WORDS = /RETURNING|ROLLBACK|REPLACE/i;

/** Looks at every token from `first` on once. */
export function scanKeywords(reader: StatementReader, first: number): KeywordScan {
  if (!WORDS.test(reader.sql)) return NO_KEYWORDS;
  const found = { ...NO_KEYWORDS };
  let depth = 0;
  for (let i = first; i < reader.length; i++) {
    if (reader.isOperator(i, Char.LEFT_PAREN)) depth++;
    else if (reader.isOperator(i, Char.RIGHT_PAREN)) depth--;
    else if (reader.is(i, 'RETURNING')) found.returning ||= depth === 0;
    else if (reader.is(i, 'ROLLBACK')) found.mentionsRollback ||= isAction(reader, i);
    else if (reader.is(i, 'REPLACE')) {
      found.mentionsReplace ||= !reader.isOperator(i + 1, Char.LEFT_PAREN);
      found.replace ||= isReplace(reader, i);
    }
  }
  return found;
}

function isAction(reader: StatementReader, index: number): boolean {
  if (reader.isAny(index - 1, ['OR', 'CONFLICT'])) return true;
  return reader.isOperator(index - 1, Char.LEFT_PAREN) && reader.is(index - 2, 'RAISE');
}

function isReplace(reader: StatementReader, index: number): boolean {
  if (reader.is(index + 1, 'INTO')) return true;
  return reader.is(index - 1, 'OR') && reader.isAny(index - 2, ['INSERT', 'UPDATE']);
}

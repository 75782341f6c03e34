import { classify } from '../../sql/classify.js';
import { Lexer } from '../../sql/lexer.js';
import type { Start } from './schedule.js';

/** Statements that belong to the session: they begin or end a transaction. */
const CONTROL = new Set(['BEGIN', 'COMMIT', 'END', 'ROLLBACK', 'SAVEPOINT', 'RELEASE']);

/**
 * When a statement starts outside of `serialize()`. What starts at once may run in any session: only that of the database
 * has transactions, and knows what `PRAGMA foreign_keys` was set to. Setting it waits for nobody: a write that has yet to get
 * its turn may wait for the very transaction whose owner sets it.
 */
export function startOf(sql: string): Start {
  const word = firstWord(sql);
  if (CONTROL.has(word)) return 'alone';
  if (word !== 'PRAGMA') return 'at once';
  const { pragma } = classify(sql);
  return pragma?.name === 'foreign_keys' && pragma.hasArgument ? 'first' : 'at once';
}

function firstWord(sql: string): string {
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (!lexer.trivia) return sql.slice(lexer.start, lexer.end).toUpperCase();
  }
  return '';
}

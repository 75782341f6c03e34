import { advance } from '../sql/completion.js';
import type { Completion } from '../sql/completion.js';
import { Lexer } from '../sql/lexer.js';

/** What of a text is complete: statements that a `;` has ended, and what is left. */
export interface TakenStatements {
  readonly statements: readonly string[];
  readonly rest: string;
}

/** Cuts the statements off the front of a text that are ended by `;`. The `;` in a trigger's body, a string or a comment ends none. */
export function takeStatements(text: string): TakenStatements {
  const statements: string[] = [];
  const lexer = new Lexer(text);
  let state: Completion = 'start';
  let start = 0;
  let isEmpty = true;
  while (lexer.next()) {
    if (lexer.trivia) continue;
    state = advance(state, text, lexer);
    if (state !== 'start') isEmpty = false;
    else {
      if (!isEmpty) statements.push(text.slice(start, lexer.end - 1).trim());
      start = lexer.end;
      isEmpty = true;
    }
  }
  const rest = text.slice(start);
  return { statements, rest: rest.trim() === '' ? '' : rest };
}

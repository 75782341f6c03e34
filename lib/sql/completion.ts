import { Char } from './characters.js';
import type { Token } from './lexer.js';
import { isKeyword, isOperator } from './tokenizer.js';

/**
 * Where a script stands, after the state machine of `sqlite3_complete`
 * (https://sqlite.org/src/file/src/complete.c):
 *
 * ```
 * start --EXPLAIN--> explain --CREATE--> create --TRIGGER--> trigger --;--> semicolon --END--> end --;--> start
 *   |                   (QUERY PLAN)      (TEMP)                ^______ other ____|______________|
 *   +--other--> normal --;--> start
 * ```
 *
 * The `;` inside a trigger's body do not end the statement, only `; END ;` does, however deep its CASE expressions
 * nest and whatever its columns are called.
 */
export type Completion = 'start' | 'explain' | 'create' | 'normal' | 'trigger' | 'semicolon' | 'end';

/** The state behind one more token, which must not be white space or a comment. */
export function advance(state: Completion, sql: string, token: Token): Completion {
  if (isOperator(sql, token, Char.SEMICOLON)) return inTrigger(state) ? 'semicolon' : 'start';
  switch (state) {
    case 'start':
      return isKeyword(sql, token, 'EXPLAIN') ? 'explain' : beforeCreate(sql, token);
    case 'explain':
      // sqlite3_complete passes over any word here; only QUERY PLAN is SQL, and a later CREATE may be a column.
      if (isKeyword(sql, token, 'QUERY') || isKeyword(sql, token, 'PLAN')) return 'explain';
      return beforeCreate(sql, token);
    case 'create':
      if (isKeyword(sql, token, 'TEMP') || isKeyword(sql, token, 'TEMPORARY')) return 'create';
      return isKeyword(sql, token, 'TRIGGER') ? 'trigger' : 'normal';
    case 'semicolon':
      return isKeyword(sql, token, 'END') ? 'end' : 'trigger';
    case 'end':
      return 'trigger';
    default:
      return state;
  }
}

function inTrigger(state: Completion): boolean {
  return state === 'trigger' || state === 'semicolon';
}

function beforeCreate(sql: string, token: Token): Completion {
  return isKeyword(sql, token, 'CREATE') ? 'create' : 'normal';
}

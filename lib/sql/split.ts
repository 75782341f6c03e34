import type { Completion } from './completion.js';
import { advance } from './completion.js';
import { isHint } from './hints.js';
import { refuseNul } from './nul.js';
import type { Token } from './lexer.js';
import { Lexer } from './lexer.js';

/** One statement of a script: `sql` is exactly `script.slice(start, end)`. */
export interface StatementText {
  readonly sql: string;
  readonly start: number;
  readonly end: number;
}

/**
 * Splits a script into its statements. A statement's text leaves out its closing `;` and the white space and comments
 * around it, but keeps hint comments (`/*+`). Empty statements are dropped. Text that SQLite cannot read stays part
 * of its statement, for SQLite to refuse.
 *
 * @throws HAError `HA_INVALID_SQL` with `details.offset` when the script holds a NUL character.
 */
export function splitStatements(sql: string): StatementText[] {
  refuseNul(sql);
  const splitter = new Splitter(sql);
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (isHint(sql, lexer)) splitter.keep(lexer);
    else if (!lexer.trivia) splitter.add(lexer);
  }
  splitter.finish();
  return splitter.statements;
}

class Splitter {
  readonly statements: StatementText[] = [];
  private state: Completion = 'start';
  private start = -1;
  private end = -1;

  constructor(private readonly sql: string) {}

  /** Makes the token part of the current statement's text. */
  keep(token: Token): void {
    if (this.start < 0) this.start = token.start;
    this.end = token.end;
  }

  add(token: Token): void {
    const next = advance(this.state, this.sql, token);
    if (next === 'start') return this.finish();
    this.state = next;
    this.keep(token);
  }

  /** Ends the current statement; without a single token besides hints there is none. */
  finish(): void {
    const { start, end } = this;
    if (this.state !== 'start') this.statements.push({ sql: this.sql.slice(start, end), start, end });
    this.state = 'start';
    this.start = -1;
  }
}

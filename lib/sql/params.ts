import { Lexer } from './lexer.js';

/** One bound value of a statement; several parameters in the text may share it. */
export interface Parameter {
  /** SQLite's number of the parameter, from 1. */
  readonly ordinal: number;
  /** The name as written first, with its prefix: `:a`, `@a`, `$a`, `?5`. A plain `?` has none. */
  readonly name?: string;
  /** The name without its prefix, which is the key that better-sqlite3 binds by: `:a`, `@a` and `$a` share one. */
  readonly key?: string;
}

/**
 * The distinct parameters of one statement, ordered by SQLite's numbers
 * (https://sqlite.org/lang_expr.html#parameters): `?` takes the largest number so far plus one, `?NNN` takes NNN, a
 * name takes the next number at its first occurrence. Numbers that a gap leaves unused (`?5` alone) are not listed.
 */
export function parameters(sql: string): Parameter[] {
  const numbering = new Numbering();
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (lexer.kind === 'parameter') numbering.add(sql.slice(lexer.start, lexer.end));
  }
  return numbering.list();
}

class Numbering {
  private largest = 0;
  private readonly names = new Map<number, string | undefined>();
  private readonly ordinals = new Map<string, number>();

  add(text: string): void {
    const ordinal = this.ordinalOf(text);
    this.largest = Math.max(this.largest, ordinal);
    const known = this.names.get(ordinal);
    this.names.set(ordinal, known ?? (text === '?' ? undefined : text));
    if (text[0] !== '?') this.ordinals.set(text, ordinal);
  }

  private ordinalOf(text: string): number {
    if (text === '?') return this.largest + 1;
    if (text[0] === '?') return Number(text.slice(1));
    return this.ordinals.get(text) ?? this.largest + 1;
  }

  list(): Parameter[] {
    const entries = [...this.names].sort(([a], [b]) => a - b);
    return entries.map(([ordinal, name]) => (name === undefined ? { ordinal } : { ordinal, name, key: name.slice(1) }));
  }
}

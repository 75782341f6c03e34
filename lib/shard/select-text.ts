import { traverse, withOptions } from 'sqlite3-parser';
import type { AstNode, CreateViewStmt, Select, Span, Stmt } from 'sqlite3-parser';
import { foldCase, unquoteIdentifier } from '../sql/identifiers.js';
import { Lexer } from '../sql/lexer.js';
import { parameterName } from './program.js';

/** A part of a text that is replaced. */
export interface Cut {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A node of the syntax tree, of any type. */
export type Node = AstNode;

let parser: ReturnType<typeof withOptions> | undefined;

function parse(sql: string): Stmt | undefined {
  parser ??= withOptions({ digitSeparator: '_' });
  try {
    const result = parser.parseStmt(sql);
    return result.status === 'ok' ? result.root : undefined;
  } catch {
    return undefined;
  }
}

/** The syntax tree of a SELECT; undefined where the parser cannot read what SQLite can. */
export function parseSelect(sql: string): Select | undefined {
  const root = parse(sql);
  return root?.type === 'SelectStmt' ? root.body : undefined;
}

/** The syntax tree of a CREATE VIEW. */
export function parseView(sql: string): CreateViewStmt | undefined {
  const root = parse(sql);
  return root?.type === 'CreateViewStmt' ? root : undefined;
}

/** Calls for a node and everything below it, but for names of functions; `skip` leaves out what is below. */
export function walk(node: Node, enter: (node: Node) => 'skip' | void): void {
  traverse(node, {
    enter,
    keys: {
      FunctionCallExpr: ['args', 'orderBy', 'filterOver'],
      FunctionCallStarExpr: ['filterOver'],
    },
  });
}

/** A statement whose parts are taken over into other statements: parameters get names that are the same everywhere. */
export class SelectText {
  private readonly parameters: readonly Cut[];

  constructor(readonly sql: string) {
    this.parameters = parameterCuts(sql);
  }

  /** The text of a node, with parts of it replaced. */
  of(node: { readonly span: Span }, cuts: readonly Cut[] = []): string {
    return this.slice(node.span.offset, node.span.offset + node.span.length, cuts);
  }

  /** The whole text. */
  all(): string {
    return this.slice(0, this.sql.length, []);
  }

  private slice(start: number, end: number, cuts: readonly Cut[]): string {
    const within = [...cuts, ...this.parameters.filter((cut) => !cuts.some((outer) => holds(outer, cut)))]
      .filter((cut) => cut.start >= start && cut.end <= end)
      .sort((a, b) => a.start - b.start);
    let text = '';
    let at = start;
    for (const cut of within) {
      text += this.sql.slice(at, cut.start) + cut.text;
      at = cut.end;
    }
    return text + this.sql.slice(at, end);
  }
}

function holds(outer: Cut, inner: Cut): boolean {
  return inner.start >= outer.start && inner.end <= outer.end;
}

/** https://sqlite.org/lang_expr.html#parameters */
function parameterCuts(sql: string): Cut[] {
  const ordinals = new Map<string, number>();
  const cuts: Cut[] = [];
  let largest = 0;
  const lexer = new Lexer(sql);
  while (lexer.next()) {
    if (lexer.kind !== 'parameter') continue;
    const { start, end } = lexer;
    const name = sql.slice(start, end);
    let ordinal = largest + 1;
    if (name[0] === '?' && name !== '?') ordinal = Number(name.slice(1));
    else if (name !== '?') ordinal = ordinals.get(name) ?? ordinal;
    largest = Math.max(largest, ordinal);
    if (name[0] !== '?') ordinals.set(name, ordinal);
    cuts.push({ start, end, text: `@${parameterName(ordinal)}` });
  }
  return cuts;
}

/** A token that may be a name, without its quotes and folded. */
export interface NameToken {
  readonly name: string;
  readonly kind: 'word' | 'quoted' | 'string';
  /** A dot stands in front of it. */
  readonly behindDot: boolean;
  /** The text of the next token. */
  readonly next: string;
}

/** Every token of a text that may be a name. */
export function nameTokens(sql: string): NameToken[] {
  const lexer = new Lexer(sql);
  const found: { name: string; kind: NameToken['kind']; behindDot: boolean; next: string }[] = [];
  let open: { next: string } | undefined;
  let before = '';
  while (lexer.next()) {
    if (lexer.trivia) continue;
    const { kind } = lexer;
    const text = sql.slice(lexer.start, lexer.end);
    if (open !== undefined) open.next = text;
    open = undefined;
    if (kind === 'word' || kind === 'quoted' || kind === 'string') {
      const token = { name: foldCase(unquoteIdentifier(text)), kind, behindDot: before === '.', next: '' };
      found.push(token);
      open = token;
    }
    before = text;
  }
  return found;
}

/** A text in a form in which equal expressions are equal: without comments, spaces and the case of names. */
export function canonical(sql: string): string {
  const lexer = new Lexer(sql);
  const parts: string[] = [];
  while (lexer.next()) {
    if (lexer.trivia) continue;
    const text = sql.slice(lexer.start, lexer.end);
    parts.push(lexer.kind === 'word' ? foldCase(text) : text);
  }
  return parts.join(' ');
}

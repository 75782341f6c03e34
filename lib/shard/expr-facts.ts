import { foldCase } from '../sql/identifiers.js';
import { baseline } from './database-schema.js';
import { walk } from './select-text.js';
import type { Node } from './select-text.js';

export type FunctionCall = Extract<Node, { type: 'FunctionCallExpr' | 'FunctionCallStarExpr' }>;
export type ColumnNode = Extract<Node, { type: 'Id' | 'QualifiedExpr' | 'NameExpr' }>;

/** What an expression is made of, itself included. */
export interface ExprFacts {
  /** A SELECT in it, or IN with a table. */
  readonly subquery: boolean;
  readonly window: boolean;
  /** It may have another value each time. */
  readonly volatile: boolean;
  /** COLLATE stands in it. */
  readonly collate: boolean;
  readonly aggregates: readonly FunctionCall[];
  /** Names outside of subqueries; they may be aliases. */
  readonly columns: readonly ColumnNode[];
}

const RANDOM = new Set(['random', 'randomblob', 'sqlite_offset']);
const SUBQUERIES = new Set(['Select', 'InTableExpr']);
const CLOCKS = new Set(['CurrentDateLiteral', 'CurrentTimeLiteral', 'CurrentTimestampLiteral']);

export function exprFacts(root: Node): ExprFacts {
  let subquery = false;
  let window = false;
  let volatile = false;
  let collate = false;
  const aggregates: FunctionCall[] = [];
  const columns: ColumnNode[] = [];
  walk(root, (node) => {
    if (SUBQUERIES.has(node.type)) {
      subquery = true;
      return 'skip';
    }
    if (CLOCKS.has(node.type)) volatile = true;
    switch (node.type) {
      case 'CollateExpr':
        collate = true;
        break;
      case 'Id':
      case 'QualifiedExpr':
      case 'NameExpr':
        columns.push(node);
        return 'skip';
      case 'FunctionCallExpr':
      case 'FunctionCallStarExpr':
        if (node.filterOver?.overClause !== undefined) window = true;
        else if (isAggregate(node)) aggregates.push(node);
        if (isVolatile(node)) volatile = true;
        break;
      default:
    }
    return undefined;
  });
  return { subquery, window, volatile, collate, aggregates, columns };
}

/** `min` and `max` of several values are no aggregates. */
function isAggregate(node: FunctionCall): boolean {
  const name = foldCase(node.name.name);
  if (!baseline().aggregates.has(name)) return false;
  return (name !== 'min' && name !== 'max') || (node.type === 'FunctionCallExpr' && node.args?.length === 1);
}

function isVolatile(node: FunctionCall): boolean {
  if (RANDOM.has(foldCase(node.name.name))) return true;
  if (node.type !== 'FunctionCallExpr') return false;
  const times = timeArguments(node);
  if (times === undefined) return false;
  const { args = [] } = node;
  if (args.length < times.least) return true;
  return args.slice(times.first, times.first + times.count).some((arg) => !isFixedTime(arg));
}

function isFixedTime(arg: Node): boolean {
  switch (arg.type) {
    case 'NumericLiteral':
    case 'NullLiteral':
      return true;
    case 'StringLiteral':
      return !/^(now|subsec|subsecond)$/i.test(arg.value);
    case 'FunctionCallExpr':
      // What stopping the clock makes of a value that is only known when it is read.
      return foldCase(arg.name.name) === 'iif' && /^\d{4}-.+Z$/.test(literalOf(arg.args?.[1]));
    default:
      return false;
  }
}

function literalOf(node: Node | undefined): string {
  return node?.type === 'StringLiteral' ? node.value : '';
}

/** Where the arguments of a date function stand that may name the time, and how many it needs not to take the clock itself. */
export function timeArguments(
  node: Extract<Node, { type: 'FunctionCallExpr' }>,
): { readonly first: number; readonly count: number; readonly least: number } | undefined {
  switch (foldCase(node.name.name)) {
    case 'date':
    case 'time':
    case 'datetime':
    case 'julianday':
    case 'unixepoch':
      return { first: 0, count: 1, least: 1 };
    case 'strftime':
      return { first: 1, count: 1, least: 2 };
    case 'timediff':
      return { first: 0, count: 2, least: 2 };
    default:
      return undefined;
  }
}

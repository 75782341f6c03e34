import { parseSelect, walk } from './select-text.js';
import type { Cut, Node } from './select-text.js';
import { exprFacts, timeArguments } from './expr-facts.js';

/**
 * The statement with its clock stopped: `date('now')` and the like have the same value in every database then, as they
 * have throughout one statement of SQLite. A column may hold the text `now` too, which SQLite takes for the time as well.
 *
 * @param now Milliseconds of the Unix epoch.
 */
export function stopClock(sql: string, now: number): string {
  const root = parseSelect(sql);
  if (root === undefined) return sql;
  const cuts: Cut[] = [];
  walk(root, (node) => {
    const found = clockCuts(node, sql, now);
    cuts.push(...found);
    return found.length > 0 ? 'skip' : undefined;
  });
  return splice(sql, cuts);
}

function clockCuts(node: Node, sql: string, now: number): Cut[] {
  const iso = new Date(now).toISOString();
  switch (node.type) {
    case 'CurrentDateLiteral':
      return [replaced(node, `'${iso.slice(0, 10)}'`)];
    case 'CurrentTimeLiteral':
      return [replaced(node, `'${iso.slice(11, 19)}'`)];
    case 'CurrentTimestampLiteral':
      return [replaced(node, `'${iso.slice(0, 10)} ${iso.slice(11, 19)}'`)];
    case 'FunctionCallExpr':
      return callCuts(node, sql, iso);
    default:
      return [];
  }
}

function callCuts(node: Extract<Node, { type: 'FunctionCallExpr' }>, sql: string, iso: string): Cut[] {
  const times = timeArguments(node);
  if (times === undefined) return [];
  const { args = [] } = node;
  const cuts: Cut[] = [];
  if (args.length < times.least) {
    const close = node.span.offset + node.span.length - 1;
    if (sql[close] !== ')') return [];
    return [{ start: close, end: close, text: `${args.length === 0 ? '' : ', '}'${iso}'` }];
  }
  for (const arg of args.slice(times.first, times.first + times.count)) {
    if (arg.type === 'NumericLiteral') continue;
    if (arg.type === 'StringLiteral') {
      if (/^now$/i.test(arg.value)) cuts.push(replaced(arg, `'${iso}'`));
      continue;
    }
    const facts = exprFacts(arg);
    if (facts.subquery || facts.volatile || facts.window) continue;
    const { offset, length } = arg.span;
    const inner = sql.slice(offset, offset + length);
    // Behind a parameter without a number, a second copy would be another one.
    if (inner.includes('?')) continue;
    cuts.push(replaced(arg, `iif(lower(CAST((${inner}) AS TEXT)) = 'now', '${iso}', (${inner}))`));
  }
  return cuts;
}

function replaced(node: Node, text: string): Cut {
  return { start: node.span.offset, end: node.span.offset + node.span.length, text };
}

function splice(sql: string, cuts: readonly Cut[]): string {
  let text = '';
  let at = 0;
  for (const cut of [...cuts].sort((a, b) => a.start - b.start)) {
    text += sql.slice(at, cut.start) + cut.text;
    at = cut.end;
  }
  return text + sql.slice(at);
}

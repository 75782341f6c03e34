import { foldCase, quoteIdentifier } from '../sql/identifiers.js';
import { exprFacts } from './expr-facts.js';
import type { ColumnNode, ExprFacts } from './expr-facts.js';
import { columnName, fromTables, isSourceColumn, resolveColumn } from './from-tables.js';
import type { FromTable } from './from-tables.js';
import { SOURCE_COLUMN } from './program.js';
import type { Cut, Node, SelectText } from './select-text.js';
import { walk } from './select-text.js';
import type { TableShape } from './table-shape.js';

export type Select = Extract<Node, { type: 'Select' }>;
export type SelectFrom = Extract<Node, { type: 'SelectFrom' }>;
export type Expr = NonNullable<SelectFrom['whereClause']>;

/** A statement that is about to be planned. */
export interface Statement {
  readonly text: SelectText;
  readonly select: Select;
  readonly values: Readonly<Record<string, unknown>>;
  /** Base tables by folded name, with the column that names the database where the statement mentions that. */
  readonly shapes: ReadonlyMap<string, TableShape>;
  /** How often the statement refers to a base table, by folded name; through views too. */
  readonly uses: ReadonlyMap<string, number>;
}

/** A SELECT of its own over plain tables: what can be run in every database by itself. */
export interface SimpleSelect {
  readonly statement: Statement;
  readonly core: SelectFrom;
  readonly tables: readonly FromTable[];
  readonly where: Expr | undefined;
}

/**
 * Looks whether a statement is one SELECT whose rows come from one database each: from one table, or from joins that
 * equate the databases of their rows.
 */
export function simpleSelect(statement: Statement): SimpleSelect | undefined {
  const { select } = statement;
  const core = select.select;
  if (select.with !== undefined || (select.compounds ?? []).length > 0 || core.type !== 'SelectFrom') return undefined;
  const tables = fromTables(core.from, (name) => statement.shapes.get(foldCase(name)));
  if (tables === undefined) return undefined;
  const simple = { statement, core, tables, where: core.whereClause };
  if (!isRowLocal(simple)) return undefined;
  return simple;
}

function isRowLocal({ statement, core, tables, where }: SimpleSelect): boolean {
  const everywhere = where === undefined ? [] : conjuncts(where);
  if (!everywhere.every((term) => isPlain(exprFacts(term), tables))) return false;
  if (tables.length === 1) return true;
  const anchored = new Set<FromTable>(tables.slice(0, 1));
  const allowed = new Set<Node>();
  const joins = core.from?.joins ?? [];
  for (const [index, { constraint, operator }] of joins.entries()) {
    const table = tables[index + 1] as FromTable;
    if (constraint !== undefined && constraint.type !== 'OnJoinConstraint') return false;
    if (operator.type === 'TypedJoinJoinOperator' && ((operator.joinType ?? 0) & 4) !== 0) return false;
    const own = constraint === undefined ? [] : conjuncts(constraint.expr);
    if (!own.every((term) => isPlain(exprFacts(term), tables))) return false;
    const candidates = table.optional ? own : [...own, ...everywhere];
    const link = candidates.find((term) => equatesDatabases(term, tables, table, anchored));
    if (link === undefined) return false;
    for (const node of exprFacts(link).columns) allowed.add(node);
    if (!table.optional) anchored.add(table);
  }
  // Where no row of an optional table matches, its database is NULL, and not the one that is being read.
  let isLocal = true;
  walk(statement.select, (node) => {
    if (!isColumn(node)) return undefined;
    if (isSourceColumn(node) && !allowed.has(node) && resolveColumn(tables, node)?.table.optional !== false)
      isLocal = false;
    return 'skip';
  });
  return isLocal;
}

function equatesDatabases(
  term: Node,
  tables: readonly FromTable[],
  table: FromTable,
  anchored: ReadonlySet<FromTable>,
): boolean {
  if (term.type !== 'BinaryExpr' || term.op !== 'Equals') return false;
  const sides = [term.left, term.right].map((side) => (isColumn(side) ? resolveColumn(tables, side) : undefined));
  const [left, right] = sides;
  if (left?.column.name !== SOURCE_COLUMN || right?.column.name !== SOURCE_COLUMN) return false;
  return (left.table === table && anchored.has(right.table)) || (right.table === table && anchored.has(left.table));
}

export function isColumn(node: Node): node is ColumnNode {
  return node.type === 'Id' || node.type === 'QualifiedExpr' || node.type === 'NameExpr';
}

/** Whether an expression can be evaluated for one row, in the database of that row, with the same value as elsewhere. */
export function isPlain(facts: ExprFacts, tables: readonly FromTable[]): boolean {
  return (
    !facts.subquery &&
    !facts.volatile &&
    !facts.window &&
    facts.aggregates.length === 0 &&
    facts.columns.every((node) => resolveColumn(tables, node) !== undefined || isTruth(node, tables)) &&
    !lendsCollation(facts, tables)
  );
}

/**
 * Whether the column that names the database stands beside one with a collation. Inside a database it is a value, without the
 * BINARY of a column, which goes before the collation of a column behind it.
 */
function lendsCollation({ columns }: ExprFacts, tables: readonly FromTable[]): boolean {
  if (!columns.some(isSourceColumn)) return false;
  return columns.some((node) => (resolveColumn(tables, node)?.column.collation ?? 'BINARY') !== 'BINARY');
}

/** TRUE and FALSE are names, unless a column has them. */
export function isTruth(node: ColumnNode, tables: readonly FromTable[]): boolean {
  const name = columnName(node);
  return (
    node.type === 'Id' && (name === 'true' || name === 'false') && !tables.some(({ shape }) => shape.byName.has(name))
  );
}

/** The terms that AND joins. */
export function conjuncts(node: Expr): Expr[] {
  if (node.type === 'BinaryExpr' && node.op === 'And') return [...conjuncts(node.left), ...conjuncts(node.right)];
  if (node.type === 'ParenthesizedExpr' && node.exprs.length === 1) return conjuncts(node.exprs[0] as Expr);
  return [node];
}

/** What replaces the column that names the database, where a statement runs inside one. */
export function sourceCuts(root: Node): Cut[] {
  const cuts: Cut[] = [];
  walk(root, (node) => {
    if (!isColumn(node)) return undefined;
    if (isSourceColumn(node)) cuts.push(cutOf(node, `CAST(@${SOURCE_COLUMN} AS TEXT)`));
    return 'skip';
  });
  return cuts;
}

/** The text of a node for a statement that runs inside one database. */
export function sourceText(text: SelectText, node: Node): string {
  return text.of(node, sourceCuts(node));
}

/** FROM and WHERE for a statement that runs inside one database, which is attached under a name. */
export function sourceFrom({ statement, core, where }: SimpleSelect, schema: string): string {
  const { from } = core;
  if (from === undefined) return '';
  const cuts = sourceCuts(from);
  walk(from, (node) => {
    if (node.type === 'TableSelectTable') {
      const { objName } = node.tblName;
      cuts.push(cutOf(objName, `${schema}.${quoteIdentifier(objName.text)}`));
    }
  });
  const condition = where === undefined ? '' : ` WHERE ${sourceText(statement.text, where)}`;
  return `${statement.text.of(from, cuts)}${condition}`;
}

export function cutOf(node: Node, text: string): Cut {
  return { start: node.span.offset, end: node.span.offset + node.span.length, text };
}

/** LIMIT and OFFSET where they are whole numbers, known before anything runs; rows at most are infinite without one. */
export function knownLimit(statement: Statement): { readonly skip: number; readonly take: number } | undefined {
  const { limit } = statement.select;
  if (limit === undefined) return { skip: 0, take: Infinity };
  const take = wholeNumber(limit.expr, statement);
  const skip = limit.offset === undefined ? 0 : wholeNumber(limit.offset, statement);
  if (take === undefined || skip === undefined) return undefined;
  return { skip: Math.max(0, skip), take: take < 0 ? Infinity : take };
}

function wholeNumber(node: Expr, statement: Statement): number | undefined {
  if (node.type === 'NumericLiteral') return /^\d{1,15}$/.test(node.value) ? Number(node.value) : undefined;
  if (node.type === 'UnaryExpr' && node.op === 'Negative') {
    const value = node.expr.type === 'NumericLiteral' ? wholeNumber(node.expr, statement) : undefined;
    return value === undefined ? undefined : -value;
  }
  if (node.type !== 'VariableExpr') return undefined;
  const name = statement.text.of(node).slice(1);
  const value = statement.values[name];
  const number = typeof value === 'bigint' ? Number(value) : value;
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : undefined;
}

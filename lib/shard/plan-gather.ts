import { foldCase, quoteIdentifier } from '../sql/identifiers.js';
import { exprFacts } from './expr-facts.js';
import { columnName, fromTables, resolveColumn } from './from-tables.js';
import type { FromTable } from './from-tables.js';
import { MERGED_SCHEMA, SOURCE_COLUMN, SOURCE_SCHEMA } from './program.js';
import { nameTokens, walk } from './select-text.js';
import type { Node } from './select-text.js';
import { conjuncts, isPlain, knownLimit, sourceText } from './select-plan.js';
import type { Expr, SelectFrom, Statement } from './select-plan.js';
import { createMerged } from './table-shape.js';
import type { ColumnShape, TableShape } from './table-shape.js';

/** A statement that runs as it is, where rows of all databases were brought together. */
export interface GatherPlan {
  readonly setup: readonly string[];
  readonly copies: readonly string[];
}

/** What a plan for gathering is made from. */
export interface GatherInput {
  /** Base tables that the statement reads; with the column that names the database where it is mentioned. */
  readonly shapes: ReadonlyMap<string, TableShape>;
  /** CREATE VIEW statements, in any order. */
  readonly views: readonly string[];
  /** Absent where the text cannot be understood: then whole tables are gathered. */
  readonly statement: Statement | undefined;
}

/** Plans to gather the rows that a statement may need: others are left where WHERE, or ORDER BY with LIMIT, rules them out. */
export function planGather({ shapes, views, statement }: GatherInput): GatherPlan {
  const needed = statement === undefined || views.length > 0 ? undefined : mentionedNames(statement);
  const limits = statement === undefined ? new Map<string, string>() : rowLimits(statement);
  const setup: string[] = [];
  const copies: string[] = [];
  for (const [folded, shape] of shapes) {
    const columns = neededColumns(shape, needed);
    setup.push(createMerged(shape.name, columns));
    const names = columns.map(({ name }) => quoteIdentifier(name)).join(', ');
    const values = columns.map(({ name }) => (name === SOURCE_COLUMN ? `@${SOURCE_COLUMN}` : quoteIdentifier(name)));
    copies.push(
      `INSERT INTO ${MERGED_SCHEMA}.${quoteIdentifier(shape.name)}(${names}) SELECT ${values.join(', ')} FROM ${SOURCE_SCHEMA}.${quoteIdentifier(shape.name)}${limits.get(folded) ?? ''}`,
    );
  }
  return { setup: [...setup, ...views], copies };
}

function neededColumns(shape: TableShape, needed: ReadonlySet<string> | undefined): readonly ColumnShape[] {
  if (needed === undefined) return shape.columns;
  const columns = shape.columns.filter(({ name }) => needed.has(foldCase(name)));
  // A table has a column, even if only its rows are counted.
  return columns.length > 0 ? columns : shape.columns.slice(0, 1);
}

const NATURAL = 4;

/** The names that occur; undefined where columns count that are not named. */
function mentionedNames({ text, select }: Statement): ReadonlySet<string> | undefined {
  let hasUnnamed = false;
  walk(select, (node) => {
    if (node.type === 'StarResultColumn' || node.type === 'TableStarResultColumn' || node.type === 'InTableExpr') {
      hasUnnamed = true;
    }
    if (node.type === 'TypedJoinJoinOperator' && ((node.joinType ?? 0) & NATURAL) !== 0) hasUnnamed = true;
  });
  return hasUnnamed ? undefined : new Set(nameTokens(text.sql).map(({ name }) => name));
}

/** What is put behind FROM, by table: only where the table is read once, so that nobody else needs its other rows. */
function rowLimits(statement: Statement): Map<string, string> {
  const found = new Map<string, string>();
  const { select, uses } = statement;
  const core = select.select;
  if (core.type !== 'SelectFrom' || (select.compounds ?? []).length > 0) return found;
  const tables = fromTables(core.from, (name) => statement.shapes.get(foldCase(name)));
  if (tables === undefined || hidesTables(select, tables)) return found;
  const terms = core.whereClause === undefined ? [] : conjuncts(core.whereClause);
  for (const table of tables) {
    if (table.optional || uses.get(foldCase(table.shape.name)) !== 1) continue;
    const own = terms.filter((term) => isOf(term, tables, table));
    const where = own.map((term) => `(${sourceText(statement.text, term)})`).join(' AND ');
    const isAll = tables.length === 1 && own.length === terms.length;
    const top = isAll ? topRows(statement, core, table) : '';
    if (where === '' && top === '') continue;
    found.set(
      foldCase(table.shape.name),
      ` AS ${quoteIdentifier(table.alias)}${where === '' ? '' : ` WHERE ${where}`}${top}`,
    );
  }
  return found;
}

/** A common table expression may have the name of a table. */
function hidesTables({ with: clause }: Statement['select'], tables: readonly FromTable[]): boolean {
  const names = new Set((clause?.ctes ?? []).map((cte) => foldCase(cte.tblName.text)));
  return tables.some(({ shape }) => names.has(foldCase(shape.name)));
}

/** Whether a term of WHERE can be decided by rows of this table alone. */
function isOf(term: Expr, tables: readonly FromTable[], table: FromTable): boolean {
  const facts = exprFacts(term);
  if (!isPlain(facts, tables)) return false;
  return facts.columns.every((node) => {
    const column = resolveColumn(tables, node);
    return column === undefined || column.table === table;
  });
}

/** ORDER BY and LIMIT for every database: no more than the first rows of each can be among the first of all. */
function topRows(statement: Statement, core: SelectFrom, table: FromTable): string {
  const { select } = statement;
  const limit = knownLimit(statement);
  if (select.orderBy === undefined || limit === undefined || limit.take === Infinity) return '';
  if (core.distinctness === 'Distinct' || core.groupBy !== undefined || core.having !== undefined) return '';
  if (core.windowClause !== undefined || core.columns.some((column) => groupsRows(column))) return '';
  const terms: string[] = [];
  for (const { expr, order, nulls } of select.orderBy) {
    const term = orderTerm(statement, core, table, expr);
    if (term === undefined) return '';
    terms.push(
      `${term}${order === undefined ? '' : ` ${order.toUpperCase()}`}${nulls === undefined ? '' : ` NULLS ${nulls.toUpperCase()}`}`,
    );
  }
  return ` ORDER BY ${terms.join(', ')} LIMIT ${limit.skip + limit.take}`;
}

function groupsRows(node: Node): boolean {
  const facts = exprFacts(node);
  return facts.window || facts.aggregates.length > 0;
}

function orderTerm(statement: Statement, core: SelectFrom, table: FromTable, expr: Expr): string | undefined {
  if (expr.type === 'ParenthesizedExpr' && expr.exprs.length === 1) {
    return orderTerm(statement, core, table, expr.exprs[0] as Expr);
  }
  if (expr.type === 'CollateExpr') {
    const inner = orderTerm(statement, core, table, expr.expr);
    return inner === undefined ? undefined : `${inner} COLLATE ${quoteIdentifier(expr.collation)}`;
  }
  if (expr.type === 'Id') {
    // An alias goes before a column of its name.
    const named = core.columns.find(
      (column) => column.type === 'ExprResultColumn' && foldCase(column.alias?.name.text ?? '') === columnName(expr),
    );
    if (named?.type === 'ExprResultColumn') return plainTerm(statement, table, named.expr);
  }
  return plainTerm(statement, table, expr);
}

/** A constant could be an ordinal. */
function plainTerm({ text }: Statement, table: FromTable, expr: Expr): string | undefined {
  const facts = exprFacts(expr);
  if (!isPlain(facts, [table]) || !facts.columns.some((node) => resolveColumn([table], node) !== undefined))
    return undefined;
  return `(${sourceText(text, expr)})`;
}

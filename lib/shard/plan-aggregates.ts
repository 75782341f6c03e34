import { foldCase } from '../sql/identifiers.js';
import { exprFacts } from './expr-facts.js';
import type { ExprFacts, FunctionCall } from './expr-facts.js';
import { columnName, resolveColumn } from './from-tables.js';
import type { FromTable } from './from-tables.js';
import { GROUPS_TABLE, MERGED_SCHEMA, SOURCE_SCHEMA } from './program.js';
import type { Cut, Node } from './select-text.js';
import { canonical, walk } from './select-text.js';
import { cutOf, isColumn, isPlain, isTruth, simpleSelect, sourceFrom, sourceText } from './select-plan.js';
import type { Expr, SimpleSelect, Statement } from './select-plan.js';
import { declareColumn } from './table-shape.js';

/** A statement that is answered from groups that every database makes of its own rows. */
export interface GroupsPlan {
  readonly setup: string;
  readonly copy: string;
  readonly inexact: string | undefined;
  readonly query: string;
}

/**
 * The plan for a SELECT whose aggregates can be put together from those of parts, exactly: counts, the least and the greatest,
 * and sums of integers. Whether what was summed is integers alone turns out when it runs: the plan has a question that tells.
 * Undefined where rows themselves are needed.
 */
export function planGroups(statement: Statement): GroupsPlan | undefined {
  const simple = simpleSelect(statement);
  if (simple === undefined || simple.core.windowClause !== undefined) return undefined;
  try {
    return new GroupsPlanner(simple).plan();
  } catch (error) {
    if (error === NEEDS_ROWS) return undefined;
    throw error;
  }
}

const NEEDS_ROWS = Symbol('needs rows');

function needsRows(): never {
  // oxlint-disable-next-line typescript/only-throw-error -- caught right above, and never an error
  throw NEEDS_ROWS;
}

interface Key {
  readonly canonical: string;
  /** Folded name of the only column that it is, with its table; undefined for an expression. */
  readonly column: string | undefined;
  readonly reference: string;
}

class GroupsPlanner {
  private readonly keys: Key[] = [];
  private readonly merged = new Map<string, string>();
  private readonly declared: string[] = [];
  private readonly selected: string[] = [];
  private readonly sums: { readonly sum: string; readonly count: string }[] = [];
  private readonly aliases = new Map<string, Expr>();

  constructor(private readonly simple: SimpleSelect) {}

  plan(): GroupsPlan {
    const { core, statement } = this.simple;
    for (const column of core.columns) {
      if (column.type !== 'ExprResultColumn') needsRows();
      const alias = column.alias?.name.text;
      if (alias !== undefined && !this.aliases.has(foldCase(alias))) this.aliases.set(foldCase(alias), column.expr);
    }
    for (const key of this.keyExpressions()) this.addKey(key);
    const keys = this.keys.length;
    const columns = core.columns.map((column) => {
      if (column.type !== 'ExprResultColumn') return needsRows();
      const alias = column.alias === undefined ? '' : ` AS ${statement.text.of(column.alias.name)}`;
      return this.render(column.expr) + alias;
    });
    const having = core.having === undefined ? '' : ` HAVING ${this.render(core.having)}`;
    const orderBy = this.orderBy();
    if (this.merged.size === 0 && keys === 0) needsRows();
    const groupBy = keys === 0 ? '' : ` GROUP BY ${this.keys.map((_, i) => keyName(i)).join(', ')}`;
    const distinct = core.distinctness === 'Distinct' ? 'DISTINCT ' : '';
    const limit = statement.select.limit === undefined ? '' : ` ${this.limit()}`;
    const ordinals = this.keys.map((_, i) => i + 1).join(', ');
    return {
      setup: `CREATE TABLE ${MERGED_SCHEMA}.${GROUPS_TABLE}(${this.declared.join(', ')})`,
      copy: `INSERT INTO ${MERGED_SCHEMA}.${GROUPS_TABLE} SELECT ${this.selected.join(', ')} ${sourceFrom(this.simple, SOURCE_SCHEMA)}${keys === 0 ? '' : ` GROUP BY ${ordinals}`}`,
      inexact: this.inexact(),
      query: `SELECT ${distinct}${columns.join(', ')} FROM ${MERGED_SCHEMA}.${GROUPS_TABLE}${groupBy}${having}${orderBy}${limit}`,
    };
  }

  private get tables(): readonly FromTable[] {
    return this.simple.tables;
  }

  private text(node: Node): string {
    return this.simple.statement.text.of(node);
  }

  /** What the rows are grouped by: ordinals and aliases are resolved as SQLite does. */
  private keyExpressions(): Expr[] {
    const { core } = this.simple;
    const columns = core.columns.map((column) => (column.type === 'ExprResultColumn' ? column.expr : needsRows()));
    if (core.groupBy === undefined) {
      const aggregates = columns.some((expr) => exprFacts(expr).aggregates.length > 0) || core.having !== undefined;
      // SELECT DISTINCT groups by all that it selects.
      if (core.distinctness === 'Distinct' && !aggregates) return columns;
      return [];
    }
    return core.groupBy.map((term) => {
      const bare = unwrap(term);
      if (bare.type === 'NumericLiteral' && /^\d+$/.test(bare.value))
        return columns[Number(bare.value) - 1] ?? needsRows();
      // A column goes before an alias of its name.
      const alias =
        bare.type === 'Id' && resolveColumn(this.tables, bare) === undefined
          ? this.aliases.get(columnName(bare))
          : undefined;
      return alias ?? bare;
    });
  }

  private addKey(expr: Expr): void {
    const key = unwrap(expr);
    const facts = exprFacts(key);
    if (!isPlain(facts, this.tables) || facts.columns.length === 0) needsRows();
    const name = keyName(this.keys.length);
    const column = isColumn(key) ? resolveColumn(this.tables, key) : undefined;
    if (column !== undefined) {
      this.declared.push(declareColumn(name, column.column.affinity, column.column.collation));
      this.keys.push({
        canonical: '',
        column: `${column.table.alias}.${foldCase(column.column.name)}`,
        // An alias may have the name alone.
        reference: `${GROUPS_TABLE}.${name}`,
      });
    } else {
      this.refuseCollations(facts);
      this.declared.push(declareColumn(name, 'BLOB', 'BINARY'));
      // An expression has no affinity of its own, which a column would have.
      const reference = key.type === 'CastExpr' || isTransparent(key) ? needsRows() : `(+${name})`;
      this.keys.push({ canonical: canonical(this.text(key)), column: undefined, reference });
    }
    this.selected.push(sourceText(this.simple.statement.text, key));
  }

  /** Only BINARY: another collation of an expression would have to be inferred. */
  private refuseCollations(facts: ExprFacts): void {
    if (facts.collate) needsRows();
    for (const node of facts.columns) {
      const column = resolveColumn(this.tables, node);
      if (column !== undefined && column.column.collation !== 'BINARY') needsRows();
    }
  }

  /** The text of an expression over the groups of all databases. */
  private render(root: Expr): string {
    const cuts: Cut[] = [];
    walk(root, (node) => {
      const cut = this.replacement(node);
      if (cut === undefined) return undefined;
      cuts.push(cutOf(node, cut));
      return 'skip';
    });
    return this.simple.statement.text.of(root, cuts);
  }

  private replacement(node: Node): string | undefined {
    switch (node.type) {
      case 'Select':
      case 'InTableExpr':
      case 'CollateExpr':
      case 'CurrentDateLiteral':
      case 'CurrentTimeLiteral':
      case 'CurrentTimestampLiteral':
        return needsRows();
      default:
    }
    if (isColumn(node)) return this.column(node);
    const key = this.keys.find((one) => one.column === undefined && one.canonical === canonical(this.text(node)));
    if (key !== undefined) return key.reference;
    if (node.type !== 'FunctionCallExpr' && node.type !== 'FunctionCallStarExpr') return undefined;
    const facts = exprFacts(node);
    if (facts.window || facts.volatile) needsRows();
    // A table does not keep that a value was JSON, which these functions look at.
    if (/^json/i.test(node.name.name)) needsRows();
    return facts.aggregates[0] === node ? this.aggregate(node) : undefined;
  }

  private column(node: Parameters<typeof columnName>[0]): string {
    const resolved = resolveColumn(this.tables, node);
    if (resolved !== undefined) {
      const name = `${resolved.table.alias}.${foldCase(resolved.column.name)}`;
      return this.keys.find((key) => key.column === name)?.reference ?? needsRows();
    }
    if (isTruth(node, this.tables)) return this.text(node);
    // In HAVING and in expressions of ORDER BY an alias stands for what it names.
    const alias = node.type === 'Id' ? this.aliases.get(columnName(node)) : undefined;
    return alias === undefined ? needsRows() : `(${this.render(alias)})`;
  }

  private aggregate(node: FunctionCall): string {
    const id = canonical(this.text(node));
    let merged = this.merged.get(id);
    if (merged === undefined) {
      merged = this.addAggregate(node);
      this.merged.set(id, merged);
    }
    return merged;
  }

  private addAggregate(node: FunctionCall): string {
    const name = foldCase(node.name.name);
    const filter = node.filterOver?.filterClause;
    if (filter !== undefined && !isPlain(exprFacts(filter), this.tables)) needsRows();
    const tail = filter === undefined ? '' : ` FILTER (WHERE ${this.source(filter)})`;
    if (node.type === 'FunctionCallStarExpr') return name === 'count' ? this.total(`count(*)${tail}`) : needsRows();
    const [arg, ...others] = node.args ?? [];
    if (node.orderBy !== undefined || others.length > 0) needsRows();
    if (arg === undefined) return name === 'count' ? this.total(`count(*)${tail}`) : needsRows();
    const facts = exprFacts(arg);
    if (!isPlain(facts, this.tables) || facts.collate) needsRows();
    const isExtreme = name === 'min' || name === 'max';
    if (node.distinctness === 'Distinct' && !isExtreme) needsRows();
    const value = this.source(arg);
    switch (name) {
      case 'count':
        return this.total(`count(${value})${tail}`);
      case 'min':
      case 'max': {
        const column = isColumn(unwrap(arg)) ? resolveColumn(this.tables, unwrap(arg) as never) : undefined;
        if (column === undefined) this.refuseCollations(facts);
        return `${name}(${this.add(`${name}(${value})${tail}`, column?.column.collation ?? 'BINARY')})`;
      }
      case 'sum':
      case 'total':
      case 'avg':
        return this.sum(name, arg, value, tail);
      default:
        return needsRows();
    }
  }

  private source(node: Expr): string {
    return sourceText(this.simple.statement.text, node);
  }

  private total(expression: string): string {
    return `sum(${this.add(expression)})`;
  }

  private sum(name: string, arg: Expr, value: string, tail: string): string {
    if (this.isSurelyReal(arg)) needsRows();
    const sum = this.add(`sum(${value})${tail}`);
    const count = this.add(`count(${value})${tail}`);
    this.sums.push({ sum, count });
    if (name === 'sum') return `sum(${sum})`;
    if (name === 'total') return `(+CAST(coalesce(sum(${sum}), 0) AS REAL))`;
    return `(CAST(sum(${sum}) AS REAL) / sum(${count}))`;
  }

  /** The order of additions would show in the last digit. */
  private isSurelyReal(arg: Expr): boolean {
    let isReal = false;
    walk(arg, (node) => {
      if (node.type === 'NumericLiteral' && /[.eE]/.test(node.value) && !/^0x/i.test(node.value)) isReal = true;
      if (isColumn(node) && resolveColumn(this.tables, node)?.column.affinity === 'REAL') isReal = true;
    });
    return isReal;
  }

  private add(expression: string, collation = 'BINARY'): string {
    const name = `_ha_a${this.declared.length}`;
    this.declared.push(declareColumn(name, 'BLOB', collation));
    this.selected.push(expression);
    return name;
  }

  /** Sums that are not of integers alone, and those that may overflow together. */
  private inexact(): string | undefined {
    if (this.sums.length === 0) return undefined;
    const real = this.sums.map(({ sum, count }) => `typeof(${sum}) = 'real' OR (${sum} IS NULL AND ${count} > 0)`);
    const large = this.sums.map(
      ({ sum }) => `(SELECT total(abs(${sum})) FROM ${MERGED_SCHEMA}.${GROUPS_TABLE}) >= 9e18`,
    );
    return `SELECT 1 WHERE EXISTS (SELECT 1 FROM ${MERGED_SCHEMA}.${GROUPS_TABLE} WHERE ${real.join(' OR ')}) OR ${large.join(' OR ')}`;
  }

  private orderBy(): string {
    const terms = this.simple.statement.select.orderBy;
    if (terms === undefined) return '';
    const rendered = terms.map(({ expr, order, nulls }) => {
      const direction = order === undefined ? '' : ` ${order.toUpperCase()}`;
      return `${this.orderTerm(expr)}${direction}${nulls === undefined ? '' : ` NULLS ${nulls.toUpperCase()}`}`;
    });
    return ` ORDER BY ${rendered.join(', ')}`;
  }

  private orderTerm(term: Expr): string {
    const expr = unwrap(term);
    if (expr.type === 'CollateExpr') return `${this.orderTerm(expr.expr)} COLLATE ${expr.collation}`;
    if (expr.type === 'NumericLiteral' && /^\d+$/.test(expr.value)) return expr.value;
    // Here an alias goes before a column of its name.
    if (expr.type === 'Id' && this.aliases.has(columnName(expr))) return this.text(expr);
    return this.render(expr);
  }

  private limit(): string {
    const { limit } = this.simple.statement.select;
    if (limit === undefined) return '';
    for (const node of [limit.expr, limit.offset]) {
      if (node === undefined) continue;
      const facts = exprFacts(node);
      if (facts.columns.length > 0 || facts.subquery || facts.volatile) needsRows();
    }
    const offset = limit.offset === undefined ? '' : ` OFFSET ${this.text(limit.offset)}`;
    return `LIMIT ${this.text(limit.expr)}${offset}`;
  }
}

function keyName(index: number): string {
  return `_ha_k${index}`;
}

/** These pass the affinity of their argument on, as no other function does. */
const TRANSPARENT = new Set(['likely', 'unlikely', 'likelihood']);

function isTransparent(node: Expr): boolean {
  return node.type === 'FunctionCallExpr' && TRANSPARENT.has(foldCase(node.name.name));
}

function unwrap(node: Expr): Expr {
  return node.type === 'ParenthesizedExpr' && node.exprs.length === 1 ? unwrap(node.exprs[0] as Expr) : node;
}

import { foldCase } from '../sql/identifiers.js';
import { SOURCE_COLUMN } from './program.js';
import type { ColumnNode } from './expr-facts.js';
import type { Node } from './select-text.js';
import type { ColumnShape, TableShape } from './table-shape.js';

/** A table in FROM. */
export interface FromTable {
  /** Folded. */
  readonly alias: string;
  readonly shape: TableShape;
  /** Behind LEFT JOIN: its columns may be NULL where no row of it matches. */
  readonly optional: boolean;
}

/** A column that a name stands for. */
export interface ResolvedColumn {
  readonly table: FromTable;
  readonly column: ColumnShape;
}

type FromClause = Extract<Node, { type: 'FromClause' }>;
type SelectTable = NonNullable<FromClause['select']>;

const LEFT = 8;
const RIGHT = 16;

/** The plain tables of a FROM clause; undefined where there is anything else in it, or a RIGHT or FULL JOIN. */
export function fromTables(
  from: FromClause | undefined,
  shapeOf: (name: string) => TableShape | undefined,
): FromTable[] | undefined {
  if (from?.select === undefined) return undefined;
  const tables: FromTable[] = [];
  const add = (table: SelectTable, optional: boolean): boolean => {
    if (table.type !== 'TableSelectTable' || table.tblName.dbName !== undefined) return false;
    const shape = shapeOf(table.tblName.objName.text);
    if (shape === undefined) return false;
    const alias = table.alias?.name.text ?? table.tblName.objName.text;
    tables.push({ alias: foldCase(alias), shape, optional });
    return true;
  };
  if (!add(from.select, false)) return undefined;
  for (const { operator, table } of from.joins ?? []) {
    const type = (operator.type === 'TypedJoinJoinOperator' ? operator.joinType : 0) ?? 0;
    if ((type & RIGHT) !== 0 || !add(table, (type & LEFT) !== 0)) return undefined;
  }
  return tables;
}

/** The only column that a name can stand for; undefined where it is none, or may be several. */
export function resolveColumn(tables: readonly FromTable[], node: ColumnNode): ResolvedColumn | undefined {
  if (node.type === 'QualifiedExpr' && node.schema !== undefined) return undefined;
  const name = columnName(node);
  const alias = node.type === 'QualifiedExpr' ? foldCase(node.table.text) : undefined;
  const found = tables.flatMap((table) => {
    const column = table.shape.byName.get(name);
    return column !== undefined && (alias === undefined || table.alias === alias) ? [{ table, column }] : [];
  });
  return found.length === 1 ? found[0] : undefined;
}

/** The folded name of a column node, without its table. */
export function columnName(node: ColumnNode): string {
  if (node.type === 'QualifiedExpr') return foldCase(node.column.text);
  return foldCase(node.type === 'Id' ? node.name : node.name.text);
}

/** Whether a node is the column that names a row's database. */
export function isSourceColumn(node: ColumnNode): boolean {
  return columnName(node) === SOURCE_COLUMN;
}

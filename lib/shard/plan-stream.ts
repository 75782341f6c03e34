import { quoteIdentifier } from '../sql/identifiers.js';
import { exprFacts } from './expr-facts.js';
import { SOURCE_COLUMN } from './program.js';
import { isPlain, knownLimit, simpleSelect, sourceFrom, sourceText } from './select-plan.js';
import type { SimpleSelect, Statement } from './select-plan.js';

/** A statement whose rows are those of all databases, one after another. */
export interface StreamPlan {
  readonly query: string;
  readonly skip: number;
  readonly take: number;
}

/** The plan for a SELECT that looks at each row by itself; undefined where it does more. */
export function planStream(statement: Statement): StreamPlan | undefined {
  const simple = simpleSelect(statement);
  if (simple === undefined || statement.select.orderBy !== undefined) return undefined;
  const { core } = simple;
  if (core.distinctness === 'Distinct' || core.groupBy !== undefined || core.having !== undefined) return undefined;
  if (core.windowClause !== undefined) return undefined;
  const limit = knownLimit(statement);
  const columns = rowColumns(simple);
  if (limit === undefined || columns === undefined) return undefined;
  return { query: `SELECT ${columns} ${sourceFrom(simple, 'main')}`, ...limit };
}

/** The columns of the answer, as a database gives them for each of its rows. */
function rowColumns({ statement, core, tables }: SimpleSelect): string | undefined {
  const parts: string[] = [];
  for (const column of core.columns) {
    if (column.type === 'ExprResultColumn') {
      if (!isPlain(exprFacts(column.expr), tables)) return undefined;
      parts.push(sourceText(statement.text, column.expr));
    } else {
      // Over joins, `*` leaves out columns that it has already.
      const [table, ...others] = tables;
      if (table === undefined || others.length > 0) return undefined;
      for (const { name } of table.shape.columns) {
        parts.push(
          name === SOURCE_COLUMN
            ? `CAST(@${SOURCE_COLUMN} AS TEXT)`
            : `${quoteIdentifier(table.alias)}.${quoteIdentifier(name)}`,
        );
      }
    }
  }
  return parts.join(', ');
}

import { foldCase } from './identifiers.js';
import { StatementReader } from './statement-reader.js';

/**
 * The tables that the body of a CREATE TRIGGER writes, in lower case. Names in a body have no schema. A name too many (a
 * column called `of`, say) does no harm; one that stands in a text or a comment is not taken for a table.
 */
export function triggerTargets(sql: string): string[] {
  const reader = new StatementReader(sql);
  const names = new Set<string>();
  for (let i = 0; i < reader.length; i++) {
    const at = targetAt(reader, i);
    const name = at === undefined ? undefined : reader.name(at)?.name.name;
    if (name !== undefined) names.add(foldCase(name));
  }
  return [...names];
}

function targetAt(reader: StatementReader, index: number): number | undefined {
  if (reader.is(index, 'INTO')) return index + 1;
  if (reader.is(index, 'DELETE', 'FROM')) return index + 2;
  if (!reader.is(index, 'UPDATE')) return undefined;
  return reader.is(index + 1, 'OR') ? index + 3 : index + 1;
}

import type { ConflictAction, StatementFacts } from './statement-info.js';
import { UNKNOWN } from './statement-info.js';
import type { NameAt, StatementReader } from './statement-reader.js';
import { isTemp } from './statement-reader.js';

const CONFLICTS: ReadonlyMap<string, ConflictAction> = new Map([
  ['REPLACE', 'replace'],
  ['ROLLBACK', 'rollback'],
  ['ABORT', 'abort'],
  ['FAIL', 'fail'],
  ['IGNORE', 'ignore'],
]);

/** Reads INSERT [OR action] INTO name, or REPLACE INTO name, whose verb is at `index`. */
export function readInsert(reader: StatementReader, index: number): StatementFacts {
  const conflict = reader.is(index, 'REPLACE') ? 'replace' : conflictAt(reader, index + 1);
  const into = reader.is(index + 1, 'OR') ? index + 3 : index + 1;
  if (!reader.is(into, 'INTO')) return UNKNOWN;
  return change('insert', reader.name(into + 1), conflict);
}

/** Reads UPDATE [OR action] name, whose verb is at `index`. */
export function readUpdate(reader: StatementReader, index: number): StatementFacts {
  const conflict = conflictAt(reader, index + 1);
  return change('update', reader.name(conflict ? index + 3 : index + 1), conflict);
}

/** Reads DELETE FROM name, whose verb is at `index`. */
export function readDelete(reader: StatementReader, index: number): StatementFacts {
  return reader.is(index + 1, 'FROM') ? change('delete', reader.name(index + 2)) : UNKNOWN;
}

function conflictAt(reader: StatementReader, index: number): ConflictAction | undefined {
  return reader.is(index, 'OR') ? CONFLICTS.get(reader.keyword(index + 1)) : undefined;
}

function change(kind: 'insert' | 'update' | 'delete', at?: NameAt, conflict?: ConflictAction): StatementFacts {
  if (!at) return UNKNOWN;
  return { kind, writes: true, target: at.name, temp: isTemp(at.name.schema), ...(conflict && { conflict }) };
}

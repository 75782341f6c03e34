import { Char } from './characters.js';
import { foldCase } from './identifiers.js';
import type { PragmaInfo, StatementFacts } from './statement-info.js';
import { UNKNOWN } from './statement-info.js';
import type { StatementReader } from './statement-reader.js';
import { isTemp } from './statement-reader.js';

const WRITES = new Set(['optimize', 'incremental_vacuum']);

/** Pragmas that set a value stored in the database file. */
const WRITES_ARGUMENT = new Set([
  'application_id',
  'auto_vacuum',
  'default_cache_size',
  'encoding',
  'journal_mode',
  'schema_version',
  'user_version',
]);

/** Reads a PRAGMA whose verb is at `index`. */
export function readPragma(reader: StatementReader, index: number): StatementFacts {
  const at = reader.name(index + 1);
  if (!at) return UNKNOWN;
  const argument = argumentAt(reader, at.next);
  const { schema } = at.name;
  const name = foldCase(at.name.name);
  const hasArgument = argument !== undefined;
  const pragma: PragmaInfo = {
    ...(schema !== undefined && { schema }),
    name,
    hasArgument,
    ...(hasArgument && { argument }),
  };
  const writes = WRITES.has(name) || (hasArgument && WRITES_ARGUMENT.has(name));
  return { kind: 'pragma', writes, temp: isTemp(schema), pragma };
}

/** `= value` or `(value)`, as written. */
function argumentAt(reader: StatementReader, index: number): string | undefined {
  if (reader.isOperator(index, Char.EQUAL)) return reader.text(index + 1, reader.length - 1);
  if (!reader.isOperator(index, Char.LEFT_PAREN)) return undefined;
  return reader.text(index + 1, reader.skipParentheses(index) - 2);
}

import { types } from 'node:util';

/** What changes rows: compiled with the triggers of its table, it is worth being the same text again. */
const WRITE = /^(?:INSERT|UPDATE|DELETE)\b/;

/** Longer texts are compiled anew anyhow, and may have more values than SQLite binds: https://www.sqlite.org/limits.html */
const LONGEST_BOUND = 16 * 1024;

/** SQLite finds the partial index of a conflict target by what stands in the text, too. */
const CONFLICT_TARGET = /\bON\s+CONFLICT\b.*\bWHERE\b/is;

type Parameters = Readonly<Record<string, unknown>>;

/**
 * TypeORM writes numbers into the text of a statement, so that integers are stored as integers: every text is another then, and
 * SQLite compiles it anew. For writes they are made objects, which TypeORM binds; {@link bindable} makes integers of them.
 * Reads stay as they are: SQLite chooses among partial indexes by what stands in the text
 * (https://www.sqlite.org/partialindex.html#queries_using_partial_indexes).
 */
export function boundNumbers<P extends Parameters>(sql: string, parameters: P): P {
  if (sql.length > LONGEST_BOUND || !WRITE.test(sql) || CONFLICT_TARGET.test(sql)) return parameters;
  const bound: Record<string, unknown> = { ...parameters };
  for (const name in bound) {
    if (Number.isSafeInteger(bound[name])) bound[name] = Object(bound[name]);
  }
  return bound as P;
}

/** better-sqlite3 refuses booleans; TypeORM 1 turns them to numbers here too. */
export function bindable(value: unknown): unknown {
  if (typeof value === 'boolean') return Number(value);
  return types.isNumberObject(value) ? BigInt(Number(value)) : value;
}

import type { StatementFacts, TransactionMode } from './statement-info.js';
import type { StatementReader } from './statement-reader.js';
import { isTemp } from './statement-reader.js';

const MODES: ReadonlyMap<string, TransactionMode> = new Map([
  ['IMMEDIATE', 'immediate'],
  ['EXCLUSIVE', 'exclusive'],
]);

/** Reads BEGIN [DEFERRED | IMMEDIATE | EXCLUSIVE]; without a word it is deferred. */
export function readBegin(reader: StatementReader, index: number): StatementFacts {
  return { kind: 'begin', writes: false, transactionMode: MODES.get(reader.keyword(index + 1)) ?? 'deferred' };
}

/** Reads ROLLBACK [TRANSACTION [name]] [TO [SAVEPOINT] name]; TO is a reserved word. */
export function readRollback(reader: StatementReader, index: number): StatementFacts {
  const transaction = reader.is(index + 1, 'TRANSACTION');
  const rollbackTo =
    reader.is(index + 1, 'TO') || (transaction && (reader.is(index + 2, 'TO') || reader.is(index + 3, 'TO')));
  return { kind: 'rollback', writes: false, rollbackTo };
}

/** Reads VACUUM [schema] [INTO file]; INTO is a reserved word. */
export function readVacuum(reader: StatementReader, index: number): StatementFacts {
  const into = reader.is(index + 1, 'INTO') || reader.is(index + 2, 'INTO');
  return { kind: 'vacuum', writes: !into, into, temp: isTemp(reader.name(index + 1)?.name.name) };
}

/** Reads ANALYZE [schema | [schema.]name]. */
export function readAnalyze(reader: StatementReader, index: number): StatementFacts {
  const name = reader.name(index + 1)?.name;
  return { kind: 'analyze', writes: true, temp: isTemp(name?.schema ?? name?.name) };
}

/** Reads REINDEX [collation | [schema.]name]. */
export function readReindex(reader: StatementReader, index: number): StatementFacts {
  return { kind: 'reindex', writes: true, temp: isTemp(reader.name(index + 1)?.name.schema) };
}

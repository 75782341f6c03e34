import { HAError } from '../common/ha-error.js';
import { splitStatements } from '../sql/split.js';
import { StatementReader } from '../sql/statement-reader.js';

/** What a statement does to the transaction of its session. */
export type ControlStatement =
  | { readonly kind: 'begin'; readonly serializable: boolean }
  | { readonly kind: 'commit' | 'rollback' }
  | { readonly kind: 'savepoint' | 'release' | 'rollbackTo'; readonly name: string };

const MODES = ['DEFERRED', 'IMMEDIATE', 'EXCLUSIVE'] as const;

/**
 * Reads BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT or RELEASE.
 *
 * @throws HAError `HA_TRANSACTION_CONTROL` where SQLite would not take it either, and where something stands behind it: that
 * would be lost.
 */
export function controlStatement(sql: string): ControlStatement {
  const reader = new StatementReader(sql);
  switch (reader.keyword(0)) {
    case 'BEGIN':
      endsAt(reader, behindTransaction(reader, reader.isAny(1, MODES) ? 2 : 1));
      return { kind: 'begin', serializable: reader.is(1, 'EXCLUSIVE') };
    case 'COMMIT':
    case 'END':
      endsAt(reader, behindTransaction(reader, 1));
      return { kind: 'commit' };
    case 'ROLLBACK':
      return rollback(reader);
    case 'SAVEPOINT':
      return named('savepoint', reader, 1);
    case 'RELEASE':
      return named('release', reader, reader.is(1, 'SAVEPOINT') && reader.length > 2 ? 2 : 1);
    default:
      throw malformed(reader);
  }
}

/** True for a ROLLBACK of the whole transaction. */
export function isRollback(sql: string): boolean {
  return new StatementReader(sql).keyword(0) === 'ROLLBACK' && controlStatement(sql).kind === 'rollback';
}

function rollback(reader: StatementReader): ControlStatement {
  const behind = reader.is(1, 'TO') ? 1 : behindTransaction(reader, 1);
  if (!reader.is(behind, 'TO')) {
    endsAt(reader, behind);
    return { kind: 'rollback' };
  }
  const first = behind + 1;
  return named('rollbackTo', reader, reader.is(first, 'SAVEPOINT') && reader.length > first + 1 ? first + 1 : first);
}

/** The index behind `[TRANSACTION [name]]`. TO is a reserved word, and no name. */
function behindTransaction(reader: StatementReader, index: number): number {
  if (!reader.is(index, 'TRANSACTION')) return index;
  const name = reader.is(index + 1, 'TO') ? undefined : reader.name(index + 1);
  return name?.name.schema === undefined ? (name?.next ?? index + 1) : index + 1;
}

function endsAt(reader: StatementReader, index: number): void {
  if (index !== reader.length) throw malformed(reader);
}

function named(kind: 'savepoint' | 'release' | 'rollbackTo', reader: StatementReader, index: number): ControlStatement {
  const name = reader.name(index);
  if (name === undefined || name.name.schema !== undefined || name.next !== reader.length) throw malformed(reader);
  return { kind, name: name.name.name };
}

function malformed(reader: StatementReader): HAError {
  const text = reader.text(0, reader.length - 1);
  if (splitStatements(reader.sql).length > 1) {
    return new HAError(
      'HA_TRANSACTION_CONTROL',
      `'${text.slice(0, 80)}' is more than one statement, and nothing of it was run. Send them one by one, or as a script without parameters.`,
    );
  }
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    `'${text.slice(0, 80)}' is no statement that SQLite knows. See https://www.sqlite.org/lang_transaction.html and lang_savepoint.html.`,
  );
}

import { HAError } from '../common/ha-error.js';
import { StatementReader } from '../sql/statement-reader.js';

/** What a statement does to the transaction of its session. */
export type ControlStatement =
  | { readonly kind: 'begin'; readonly serializable: boolean }
  | { readonly kind: 'commit' | 'rollback' }
  | { readonly kind: 'savepoint' | 'release' | 'rollbackTo'; readonly name: string };

const BEGIN = /^BEGIN( (DEFERRED|IMMEDIATE|EXCLUSIVE))?( TRANSACTION( .+)?)?$/i;
const COMMIT = /^(COMMIT|END)( TRANSACTION( .+)?)?$/i;
const ROLLBACK = /^ROLLBACK( TRANSACTION( .+)?)?$/i;

/**
 * Reads BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT or RELEASE.
 *
 * @throws HAError `HA_TRANSACTION_CONTROL` where SQLite would not take it either.
 */
export function controlStatement(sql: string): ControlStatement {
  const reader = new StatementReader(sql);
  switch (reader.keyword(0)) {
    case 'BEGIN':
      refuseOther(reader, BEGIN);
      return { kind: 'begin', serializable: reader.is(1, 'EXCLUSIVE') };
    case 'COMMIT':
    case 'END':
      refuseOther(reader, COMMIT);
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

function rollback(reader: StatementReader): ControlStatement {
  const to = [1, 2, 3].find((index) => reader.is(index, 'TO'));
  if (to === undefined) {
    refuseOther(reader, ROLLBACK);
    return { kind: 'rollback' };
  }
  return named('rollbackTo', reader, reader.is(to + 1, 'SAVEPOINT') && reader.length > to + 2 ? to + 2 : to + 1);
}

function refuseOther(reader: StatementReader, form: RegExp): void {
  const text = reader.tokens.map((_token, index) => reader.text(index, index)).join(' ');
  if (!form.test(text)) throw malformed(reader);
}

function named(kind: 'savepoint' | 'release' | 'rollbackTo', reader: StatementReader, index: number): ControlStatement {
  const name = reader.name(index);
  if (name === undefined || name.name.schema !== undefined || name.next !== reader.length) throw malformed(reader);
  return { kind, name: name.name.name };
}

function malformed(reader: StatementReader): HAError {
  const text = reader.text(0, reader.length - 1);
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    `'${text.slice(0, 80)}' is no statement that SQLite knows. See https://www.sqlite.org/lang_transaction.html and lang_savepoint.html.`,
  );
}

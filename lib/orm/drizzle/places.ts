import type { RemoteCallback } from 'drizzle-orm/sqlite-proxy';
import type { HATransaction, HATransactionOptions } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import type { HASession } from '../../write/session.js';
import { sameHabit } from '../common/habit.js';
import { clientIn, clientOf } from './client.js';
import type { RowOptions } from './client.js';

/** Where statements run. */
export interface Place {
  client(rows: RowOptions): RemoteCallback;
  /**
   * Runs something in a transaction of this place.
   *
   * @param original The callback of the user in it.
   */
  begin<R>(
    work: (inside: Place) => Promise<R>,
    original: (...args: never[]) => unknown,
    options: HATransactionOptions,
  ): Promise<R>;
}

/** Every statement is a transaction of its own. */
export function onDatabase(db: HADatabase): Place {
  return {
    client: (rows) => clientOf(db, rows),
    begin: (work, original, options) =>
      db.transaction(
        sameHabit((tx: HATransaction) => work(inTransaction(tx)), original),
        options,
      ),
  };
}

/** Transactions in it are savepoints. */
function inTransaction(tx: HATransaction): Place {
  return {
    client: (rows) => clientOf(tx, rows),
    begin: (work) => tx.savepoint((inner) => work(inTransaction(inner))),
  };
}

/** A session in which a transaction is open. It is that of migrations, and knows none inside it. */
export function inSession(session: HASession): Place {
  const place: Place = { client: (rows) => clientIn(session, rows), begin: (work) => work(place) };
  return place;
}

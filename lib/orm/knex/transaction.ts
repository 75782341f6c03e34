import type { Knex } from 'knex';

/** What the end of a transaction is called in {@link KnexTransaction.query}. */
const COMMIT = 1;
const ROLLBACK = 2;

/** What is used of Knex's transactions: https://github.com/knex/knex/blob/master/lib/execution/transaction.js */
interface KnexTransaction {
  readonly isolationLevel?: string;
  readonly trxClient: { query(connection: unknown, sql: string): Promise<unknown> };
  /** Nothing more can be run in it. */
  _completed: boolean;
  /** Settle the promise of the transaction. */
  _resolver(value: unknown): void;
  _rejecter(error: unknown): void;
  begin(connection: unknown): Promise<unknown>;
  query(connection: unknown, sql: string, status?: number, value?: unknown): Promise<unknown>;
}

/**
 * Makes a transaction of Knex tell what its BEGIN, COMMIT and savepoints said, and makes of `serializable` a transaction that
 * is.
 */
export function honest(made: Knex.Transaction): Knex.Transaction {
  const transaction = made as unknown as KnexTransaction;
  tellFailures(transaction);
  const begin = transaction.begin.bind(transaction);
  transaction.begin = (connection) =>
    transaction.isolationLevel === 'serializable'
      ? transaction.query(connection, 'BEGIN EXCLUSIVE;')
      : begin(connection);
  return made;
}

/**
 * Knex tells a failure to the promise of the transaction only, which nobody has of one without a callback: `await trx.commit()`
 * resolved where nothing was written. COMMIT all but never fails over a file; here it does wherever others came first.
 */
function tellFailures(transaction: KnexTransaction): void {
  const rollback = transaction.query.bind(transaction);
  let committed: Promise<unknown> | undefined;
  transaction.query = (connection, sql, status, value) => {
    // Its failure is none: the transaction has ended, and its promise says how.
    if (status === ROLLBACK) return rollback(connection, sql, status, value);
    // A callback may commit by itself, and Knex does so behind it: how that ended, and not that it has ended.
    if (status === COMMIT && committed !== undefined) return committed;
    const answer = transaction.trxClient.query(connection, sql).then(
      (result) => {
        if (status === COMMIT) transaction._resolver(value);
        return result;
      },
      (error: unknown) => {
        transaction._completed = true;
        transaction._rejecter(error);
        throw error;
      },
    );
    if (status === COMMIT) {
      transaction._completed = true;
      committed = answer;
    }
    // Who awaits the promise of the transaction instead, as MikroORM does, has heard of it.
    answer.catch(() => undefined);
    return answer;
  };
}

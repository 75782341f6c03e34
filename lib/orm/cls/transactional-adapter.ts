import type { TransactionalAdapter } from '@nestjs-cls/transactional';
import { HAError } from '../../common/ha-error.js';
import { getHAToken } from '../../common/tokens.js';
import type { HAExecutor, HATransaction, HATransactionOptions } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import { checkInstalled } from '../common/installed-version.js';
import { sameHabit } from '../common/habit.js';

/** Which database transactions are of, and how they are where `@Transactional()` does not say. */
export interface HATransactionalAdapterOptions {
  /** Name of the database, where an application has several. Default `default`. */
  readonly connection?: string;
  readonly defaultTxOptions?: HATransactionOptions;
}

type Work = () => Promise<unknown>;
type SetTransaction = (tx?: HAExecutor) => void;

/** What the plugin asks of the adapter. */
type Wrapping = ReturnType<TransactionalAdapter<HADatabase, HAExecutor, HATransactionOptions>['optionsFactory']>;

/**
 * `@Transactional()` of @nestjs-cls/transactional on `db.transaction`. `TransactionHost.tx` is the transaction, outside of one the
 * database. Where others came first, or ids were generated, the method may run more than once, unless `retry: false`.
 *
 * @example
 * ClsModule.forRoot({
 *   plugins: [new ClsPluginTransactional({ adapter: new HATransactionalAdapter() })],
 * })
 *
 * @Transactional<HATransactionalAdapter>({ timeout: 10_000 })
 * async transfer(): Promise<void> {
 *   await this.txHost.tx.run('UPDATE …');
 * }
 * @throws HAError `HA_OPTIONS_INVALID` where @nestjs-cls/transactional is not 3; in a method `HA_NESTED_TRANSACTION` for
 * `Propagation.RequiresNew` inside a transaction, and for the database itself there (`Propagation.NotSupported`).
 */
export class HATransactionalAdapter implements TransactionalAdapter<HADatabase, HAExecutor, HATransactionOptions> {
  readonly connectionToken: string;
  readonly defaultTxOptions: HATransactionOptions;

  constructor({ connection, defaultTxOptions = {} }: HATransactionalAdapterOptions = {}) {
    checkInstalled({ name: '@nestjs-cls/transactional', from: [3, 0], below: [4, 0] });
    this.connectionToken = getHAToken(connection);
    this.defaultTxOptions = defaultTxOptions;
  }

  /** Called by the plugin. */
  readonly optionsFactory = (db: HADatabase): Wrapping => ({
    wrapWithTransaction: (options: HATransactionOptions, fn: Work, setTx: SetTransaction) =>
      begin(db, options, fn, setTx),
    wrapWithNestedTransaction: (_options: HATransactionOptions, fn: Work, setTx: SetTransaction, tx: HAExecutor) =>
      (tx as HATransaction).savepoint((inner) => within(inner, fn, setTx)),
    getFallbackInstance: () => db,
  });
}

async function begin(db: HADatabase, options: HATransactionOptions, fn: Work, setTx: SetTransaction): Promise<unknown> {
  let hasRun = false;
  const run = (tx: HATransaction): Promise<unknown> => {
    hasRun = true;
    return within(tx, fn, setTx);
  };
  try {
    return await db.transaction(sameHabit(run, fn), options);
  } catch (error) {
    if (!hasRun && error instanceof HAError && error.code === 'HA_NESTED_TRANSACTION') throw requiresNew(error);
    throw error;
  }
}

function within(tx: HATransaction, fn: Work, setTx: SetTransaction): Promise<unknown> {
  setTx(tx);
  return fn();
}

function requiresNew(cause: HAError): HAError {
  return new HAError(
    'HA_NESTED_TRANSACTION',
    'A transaction was to begin inside another one of the same database (Propagation.RequiresNew), whose end it would wait for. Use Propagation.Required to take part in it, or Propagation.Nested for a savepoint.',
    { cause },
  );
}

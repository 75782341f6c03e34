import { AsyncLocalStorage } from 'node:async_hooks';
import { HAError } from '../common/ha-error.js';
import { refuseInInterceptor } from '../common/interceptor-call.js';

/** The transaction whose callback is running. */
export interface TransactionContext {
  readonly owner: object;
  readonly open: boolean;
}

const current = new AsyncLocalStorage<TransactionContext>();
/** Until the first callback no lookup is needed: asking costs every read a little. */
let used = false;

/** Runs a transaction's callback, so that calls from inside it are recognised. */
export function runInContext<R>(context: TransactionContext, fn: () => R): R {
  used = true;
  return current.run(context, fn);
}

/**
 * Remembers who calls: what it gives runs something later with what `AsyncLocalStorage` holds for them. A transaction has its
 * turn in the course of another, whose request, tenant or trace must not become its own.
 */
export function callersContext(): <R>(fn: () => R) => R {
  return AsyncLocalStorage.snapshot();
}

/**
 * Refuses a call on the database from inside one of its own transactions, or an interceptor: it would wait for itself.
 *
 * @throws HAError `HA_NESTED_TRANSACTION`.
 */
export function refuseNested(owner: object): void {
  refuseInInterceptor();
  if (!used) return;
  const context = current.getStore();
  if (context === undefined || !context.open || context.owner !== owner) return;
  throw new HAError(
    'HA_NESTED_TRANSACTION',
    'The database was called inside a transaction callback, where it would wait for itself. Use the callback’s argument instead: tx.run(…), tx.get(…), tx.savepoint(…); db.reader reads outside of it.',
  );
}

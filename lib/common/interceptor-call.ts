import { AsyncLocalStorage } from 'node:async_hooks';
import { HAError } from './ha-error.js';
import { isThenable } from './thenable.js';

interface InterceptorCall {
  readonly name: string;
  open: boolean;
}

const current = new AsyncLocalStorage<InterceptorCall>();
/** Until the first call no lookup is needed: asking costs every read a little. */
let used = false;

/** Calls an interceptor, so that calls of the database from inside it are recognised. */
export function callInterceptor<R>(name: string, call: () => R | Promise<R>): R | Promise<R> {
  used = true;
  const context = { name, open: true };
  const close = (): void => {
    context.open = false;
  };
  let answer: R | Promise<R>;
  try {
    answer = current.run(context, call);
  } catch (error) {
    close();
    throw error;
  }
  if (isThenable(answer)) return Promise.resolve(answer).finally(close);
  close();
  return answer;
}

/**
 * Refuses a call of the database from inside an interceptor: a write would wait for itself, and what a read sees differs from
 * node to node.
 *
 * @throws HAError `HA_NESTED_TRANSACTION`.
 */
export function refuseInInterceptor(): void {
  if (!used) return;
  const call = current.getStore();
  if (call?.open !== true) return;
  throw new HAError(
    'HA_NESTED_TRANSACTION',
    `The database was called inside the interceptor '${call.name}', for which all writes wait. Read through its context: context.get(…), context.all(…).`,
  );
}

import type { Exchange } from './exchange.js';
import { HALeaderException } from './forward/leader-exception.js';

/**
 * Does something with a request, and where that fails tells the client when to come again. The filters of the application answer
 * the failure: only the header is set here.
 */
export async function withRetryAfter<R>(exchange: Exchange, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof HALeaderException && error.retryAfter !== undefined) {
      exchange.setHeader('Retry-After', error.retryAfter);
    }
    throw error;
  }
}

/**
 * What a guard or an interceptor answers whose request is being answered outside of Nest: it never settles. Anything else would
 * have a filter of the application answer a second time. It is collected with the request.
 */
export function never(): Promise<never> {
  return new Promise(() => undefined);
}

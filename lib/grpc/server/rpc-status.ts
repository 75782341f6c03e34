import { status } from '@grpc/grpc-js';
import { catchError, isObservable, throwError } from 'rxjs';
import type { GrpcStatus } from './database-service.js';

/** A handler as Nest makes it: with guards, pipes, interceptors and filters around it. */
export type Handler = (...args: never[]) => unknown;

/** What Nest's filter makes of a guard that says no. */
const FORBIDDEN = 'Forbidden resource';

/** The status of what Nest's filters make of an error. */
export function rpcStatus(error: unknown): GrpcStatus {
  const { code, message } = (typeof error === 'object' && error !== null ? error : {}) as Record<string, unknown>;
  const text = typeof message === 'string' ? message : String(error);
  if (typeof code === 'number') return { code, message: text };
  return { code: text === FORBIDDEN ? status.PERMISSION_DENIED : status.UNKNOWN, message: text };
}

/** The handler, whose errors are statuses. */
export function withStatus(handler: Handler): Handler {
  return Object.defineProperty(
    async (...args: never[]) => {
      const result: unknown = await handler(...args);
      if (!isObservable(result)) return result;
      return result.pipe(catchError((error: unknown) => throwError(() => rpcStatus(error))));
    },
    'name',
    { value: handler.name },
  );
}

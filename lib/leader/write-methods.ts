import type { CustomDecorator, ExecutionContext } from '@nestjs/common';
import { SetMetadata } from '@nestjs/common';

const WRITE_METHODS = 'nestjs-ha:write-methods';
const EVERY = '*';
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Which requests to a route, or to all routes of a controller, write: those of these HTTP methods, or all where none is named.
 * Without it all write but GET, HEAD and OPTIONS. On a route it goes before the one of its controller.
 *
 * @example
 * \@WriteMethods('GET') // counts visits
 * \@Get('visit')
 */
export function WriteMethods(...methods: string[]): CustomDecorator {
  const names = methods.map((method) => method.toUpperCase());
  return SetMetadata(WRITE_METHODS, names.length === 0 ? [EVERY] : names);
}

/** No request to this route, or to a route of this controller, writes: `POST /search`, for one. */
export function ReadOnly(): CustomDecorator {
  return SetMetadata(WRITE_METHODS, []);
}

/** Whether a request over HTTP counts as a write. */
export function isWriteRequest(context: ExecutionContext, method: string | undefined): boolean {
  const named = writeMethods(context);
  const name = (method ?? 'GET').toUpperCase();
  if (named === undefined) return !SAFE.has(name);
  // A framework answers HEAD with the route of GET.
  return named.includes(EVERY) || named.includes(name) || (name === 'HEAD' && named.includes('GET'));
}

/** Whether a call that has no method, a message of a microservice for one, counts as a write. */
export function isWriteCall(context: ExecutionContext): boolean {
  return writeMethods(context)?.length !== 0;
}

function writeMethods(context: ExecutionContext): readonly string[] | undefined {
  const ofRoute = Reflect.getMetadata(WRITE_METHODS, context.getHandler()) as readonly string[] | undefined;
  return ofRoute ?? (Reflect.getMetadata(WRITE_METHODS, context.getClass()) as readonly string[] | undefined);
}

/**
 * Whether something has to be awaited. Not all of it is a `Promise` of this very realm: query builders begin where they are
 * awaited, and other libraries have promises of their own.
 */
export function isThenable<R>(value: R | PromiseLike<R>): value is PromiseLike<R> {
  return typeof (value as Partial<PromiseLike<R>> | null | undefined)?.then === 'function';
}

import { AsyncLocalStorage } from 'node:async_hooks';

/** What reads of a part of the program have to see, by database. */
type Sequences = Map<object, number>;

const current = new AsyncLocalStorage<Sequences>();
/** Until the first one no lookup is needed. */
let used = false;

/** Runs something that has a memory of its own of what it wrote last; `after` counts as written before. */
export function runInSession<R>(owner: object, after: number, fn: () => R): R {
  used = true;
  // What is around it has been seen by it too.
  const sequences = new Map(current.getStore());
  sequences.set(owner, Math.max(after, sequences.get(owner) ?? 0));
  return current.run(sequences, fn);
}

/** Notes a write of the part of the program that runs. */
export function noteWritten(owner: object, sequence: number): void {
  const sequences = used ? current.getStore() : undefined;
  if (sequences !== undefined && sequence > (sequences.get(owner) ?? 0)) sequences.set(owner, sequence);
}

/** Sequence of the last write of the part of the program that runs; undefined where it has no memory of its own. */
export function lastWritten(owner: object): number | undefined {
  return used ? current.getStore()?.get(owner) : undefined;
}

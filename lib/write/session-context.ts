import { AsyncLocalStorage } from 'node:async_hooks';

/** What a part of the program, a request say, has written and seen, by database: stream sequences. */
export class SessionMemory {
  private readonly wrote = new Map<object, number>();
  private readonly seen = new Map<object, number>();

  /** @param around The part of the program that it is a part of: it is told of writes, and what it has seen counts here. */
  constructor(private readonly around?: SessionMemory) {}

  /** Notes a write. */
  note(owner: object, sequence: number): void {
    raise(this.wrote, owner, sequence);
    this.around?.note(owner, sequence);
  }

  /** Notes what reads have to see besides its own writes. */
  see(owner: object, sequence: number): void {
    raise(this.seen, owner, sequence);
  }

  /** Sequence of its last write; undefined where it wrote nothing. */
  written(owner: object): number | undefined {
    return this.wrote.get(owner);
  }

  /** What its reads have to see; undefined where nothing was noted. */
  last(owner: object): number | undefined {
    const all = [this.wrote.get(owner), this.seen.get(owner), this.around?.last(owner)];
    const known = all.filter((sequence) => sequence !== undefined);
    return known.length === 0 ? undefined : Math.max(...known);
  }
}

const current = new AsyncLocalStorage<SessionMemory>();
/** Until the first one no lookup is needed: asking costs every write a little. */
let used = false;

/** Runs something that has a memory of its own of what it wrote last; `after` counts as written before. */
export function runInSession<R>(owner: object, after: number, fn: () => R): R {
  used = true;
  const memory = new SessionMemory(current.getStore());
  memory.see(owner, after);
  return current.run(memory, fn);
}

/** Runs something in the session that is on, or else in a new one. */
export function inSession<R>(fn: (memory: SessionMemory) => R): R {
  used = true;
  const memory = current.getStore();
  if (memory !== undefined) return fn(memory);
  const made = new SessionMemory();
  return current.run(made, () => fn(made));
}

/** The session of the part of the program that runs; undefined where it has none. */
export function currentSession(): SessionMemory | undefined {
  return used ? current.getStore() : undefined;
}

/** Sequence of the last write of the part of the program that runs; undefined where it has no memory of its own. */
export function lastWritten(owner: object): number | undefined {
  return currentSession()?.last(owner);
}

function raise(sequences: Map<object, number>, owner: object, sequence: number): void {
  if (sequence > (sequences.get(owner) ?? -1)) sequences.set(owner, sequence);
}

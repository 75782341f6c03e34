import { AsyncLocalStorage } from 'node:async_hooks';

/** Notes how far the writes of one request got in the stream, database by database. */
export class WriteWitness {
  private readonly sequences = new Map<object, number>();

  /** @param database The database that wrote. @param sequence Where its write stands; undefined without a stream. */
  note(database: object, sequence: number | undefined): void {
    if (sequence === undefined) return;
    this.sequences.set(database, Math.max(sequence, this.sequences.get(database) ?? 0));
  }

  /** Sequence of the last write; undefined where there was none. */
  sequenceOf(database: object): number | undefined {
    return this.sequences.get(database);
  }
}

const current = new AsyncLocalStorage<WriteWitness>();
/** Until the first request is watched no lookup is needed: asking costs every write a little. */
let used = false;

/** Runs what a request does, so that its writes are noted; a watch that is on already is shared. */
export function witnessing<R>(fn: (witness: WriteWitness) => R): R {
  used = true;
  const outer = current.getStore();
  if (outer !== undefined) return fn(outer);
  const witness = new WriteWitness();
  return current.run(witness, () => fn(witness));
}

/** Who watches the request that is being served; undefined outside of one. */
export function currentWitness(): WriteWitness | undefined {
  return used ? current.getStore() : undefined;
}

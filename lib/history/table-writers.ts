/** A transaction that changes tables, by what its message says of it. */
export interface TableWriter {
  readonly origin: string;
  /** Where it stands. */
  readonly sequence: number;
  /** Numbers of its first and last message; undefined where it has none, and where none can be told. */
  readonly ids: { readonly first: number; readonly last: number } | undefined;
  /** What it had applied. */
  readonly epoch: number;
  /** So many ids right in front of its own it may have seen besides. */
  readonly behind: number;
}

/** The last ones of a table that are of one origin, and not older than what those saw: ascending by number and sequence. */
interface Run {
  readonly origin: string;
  readonly firsts: number[];
  readonly sequences: number[];
  /** Number of the last message. */
  last: number;
  /** Whoever stands up to here is not in the run. */
  floor: number;
}

/** Forgotten so many at once: one by one all the others would move each time. */
const LEAST_FORGOTTEN = 64;

/**
 * Who wrote to which table, to tell whether a transaction saw all of them: those up to its epoch, and those of its own node that
 * it ran behind. Not all of its own node: one whose answer was lost is rolled back there, and may be in the stream all the same.
 */
export class TableWriters {
  private readonly runs = new Map<string, Run>();

  note(table: string, { origin, sequence, ids, epoch }: TableWriter): void {
    const before = this.runs.get(table);
    let run = before;
    if (run?.origin !== origin || ids === undefined || ids.first <= run.last) {
      run = { origin, firsts: [], sequences: [], last: 0, floor: before?.sequences.at(-1) ?? 0 };
      this.runs.set(table, run);
    }
    forget(run, epoch);
    run.firsts.push(ids?.first ?? 0);
    run.sequences.push(sequence);
    run.last = ids?.last ?? 0;
  }

  /** True where somebody wrote to a table whom a transaction did not see. */
  hasUnseen(table: string, { origin, ids, epoch, behind }: TableWriter): boolean {
    const run = this.runs.get(table);
    if (run === undefined || (run.sequences.at(-1) ?? 0) <= epoch) return false;
    if (run.origin !== origin || ids === undefined || run.floor > epoch) return true;
    const earliest = run.firsts[firstBehind(run.sequences, epoch)] ?? 0;
    return earliest < ids.first - behind || run.last >= ids.first;
  }
}

/** Nearly all that follow have seen as much; for one that has not, what is forgotten is somebody whom it did not see. */
function forget(run: Run, epoch: number): void {
  const count = firstBehind(run.sequences, epoch);
  if (count < LEAST_FORGOTTEN || 2 * count < run.sequences.length) return;
  run.floor = run.sequences[count - 1] ?? run.floor;
  run.sequences.splice(0, count);
  run.firsts.splice(0, count);
}

/** Index of the first sequence behind another; they ascend. */
function firstBehind(sequences: readonly number[], epoch: number): number {
  let low = 0;
  let high = sequences.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sequences[middle] as number) <= epoch) low = middle + 1;
    else high = middle;
  }
  return low;
}

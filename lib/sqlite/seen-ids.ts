/**
 * Which messages were applied, as ranges of counters for each origin. A set and not a highest counter: retries may
 * reorder messages, and "highest" would then drop an acknowledged one.
 */
export interface IdRange {
  readonly lo: number;
  readonly hi: number;
}

/** A row of the control table that has to be written or, with `hi` undefined, removed. */
export interface RangeChange {
  readonly origin: string;
  readonly lo: number;
  readonly hi: number | undefined;
}

export class SeenIds {
  private readonly ranges = new Map<string, IdRange[]>();
  private readonly changes = new Map<string, RangeChange>();

  constructor(rows: Iterable<{ origin: string; lo: number; hi: number }> = []) {
    for (const { origin, lo, hi } of rows) this.of(origin).push({ lo, hi });
    for (const list of this.ranges.values()) list.sort((a, b) => a.lo - b.lo);
  }

  has(origin: string, n: number): boolean {
    return this.hasAll(origin, n, n);
  }

  /** True where no counter from one to another is missing. */
  hasAll(origin: string, lo: number, hi: number): boolean {
    const list = this.ranges.get(origin);
    if (list === undefined) return false;
    const index = lastAtOrBelow(list, lo);
    return index >= 0 && hi <= (list[index] as IdRange).hi;
  }

  /** Adds an id. Returns false where it was there already. */
  add(origin: string, n: number): boolean {
    const list = this.of(origin);
    const index = lastAtOrBelow(list, n);
    const below = list[index];
    if (below !== undefined && n <= below.hi) return false;
    const above = list[index + 1];
    const joinsBelow = below?.hi === n - 1;
    const joinsAbove = above?.lo === n + 1;
    const merged = { lo: joinsBelow ? below.lo : n, hi: joinsAbove ? above.hi : n };
    if (joinsAbove) this.note(origin, above.lo, undefined);
    this.note(origin, merged.lo, merged.hi);
    list.splice(joinsBelow ? index : index + 1, Number(joinsBelow) + Number(joinsAbove), merged);
    return true;
  }

  /** The rows to write since the last call. */
  takeChanges(): RangeChange[] {
    if (this.changes.size === 0) return [];
    const changes = [...this.changes.values()];
    this.changes.clear();
    return changes;
  }

  private of(origin: string): IdRange[] {
    let list = this.ranges.get(origin);
    if (list === undefined) this.ranges.set(origin, (list = []));
    return list;
  }

  private note(origin: string, lo: number, hi: number | undefined): void {
    this.changes.set(`${origin}.${lo}`, { origin, lo, hi });
  }
}

/** Index of the last range that starts at or below `n`, else -1. The last range is the usual answer. */
function lastAtOrBelow(list: readonly IdRange[], n: number): number {
  let high = list.length - 1;
  if (high < 0 || (list[high] as IdRange).lo <= n) return high;
  let low = -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((list[middle] as IdRange).lo <= n) low = middle;
    else high = middle;
  }
  return low;
}

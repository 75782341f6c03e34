/**
 * What a kind of transaction turned out to be when it ran before. It only decides how transactions are grouped: a wrong
 * guess costs time, never correctness.
 */
export class Habits {
  private readonly ordered = new Set<string>();
  private readonly slow = new Set<string>();

  constructor(private readonly limit = 1_000) {}

  isOrdered(key: string): boolean {
    return this.ordered.has(key);
  }

  isSlow(key: string): boolean {
    return this.slow.has(key);
  }

  noteOrdered(key: string): void {
    this.note(this.ordered, key);
  }

  noteSlow(key: string): void {
    this.note(this.slow, key);
  }

  /** It may have been slow for once: a pause of the garbage collector, a cold cache. */
  noteFast(key: string): void {
    this.slow.delete(key);
  }

  /** Without a key nothing is remembered: every session is another transaction. */
  private note(set: Set<string>, key: string): void {
    if (key === '') return;
    if (set.size >= this.limit) set.clear();
    set.add(key);
  }
}

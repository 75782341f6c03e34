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

  /** Without a key nothing is remembered: every session is another transaction. */
  private note(set: Set<string>, key: string): void {
    if (key === '') return;
    if (set.size >= this.limit) set.clear();
    set.add(key);
  }
}

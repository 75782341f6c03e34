/** How long a refusal is remembered, ms. */
const CONTENDED_MS = 10_000;

/**
 * What a kind of transaction turned out to be when it ran before. It only decides how transactions are grouped: a wrong
 * guess costs time, never correctness.
 */
export class Habits {
  private readonly ordered = new Set<string>();
  private readonly slow = new Set<string>();
  /** A time of `performance.now()`. */
  private contendedUntil = 0;

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

  notePlain(key: string): void {
    this.ordered.delete(key);
  }

  noteSlow(key: string): void {
    this.note(this.slow, key);
  }

  /** It may have been slow for once: a pause of the garbage collector, a cold cache. */
  noteFast(key: string): void {
    this.slow.delete(key);
  }

  /** Other nodes write too, and were first: what cannot run again is better off alone for a while. */
  noteContention(): void {
    this.contendedUntil = performance.now() + CONTENDED_MS;
  }

  get isContended(): boolean {
    return performance.now() < this.contendedUntil;
  }

  private note(set: Set<string>, key: string): void {
    if (set.size >= this.limit) set.clear();
    set.add(key);
  }
}

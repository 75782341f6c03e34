import { AsyncResource } from 'node:async_hooks';

/**
 * When work starts: `at once`; `alone`, behind all that came before, and before all that comes after; `first`, at once too, but
 * before all that comes after.
 */
export type Start = 'at once' | 'alone' | 'first';

interface Entry {
  readonly when: Start;
  start(): Promise<void>;
}

/** Runs work in the order in which it comes. */
export class Schedule {
  private readonly waiting: Entry[] = [];
  private running = 0;
  /** Something runs that what comes after it waits for. */
  private occupied = false;

  add<T>(when: Start, work: () => Promise<T>): Promise<T> {
    // What waits is started by somebody else's end, and must not run in its context.
    const bound = AsyncResource.bind(work);
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({ when, start: () => bound().then(resolve, reject) });
      this.next();
    });
  }

  private next(): void {
    for (let head = this.waiting[0]; head !== undefined; head = this.waiting[0]) {
      if (this.occupied || (head.when === 'alone' && this.running > 0)) return;
      this.waiting.shift();
      this.running++;
      const { when } = head;
      this.occupied = when !== 'at once';
      void head.start().then(() => this.done(when));
    }
  }

  private done(when: Start): void {
    this.running--;
    if (when !== 'at once') this.occupied = false;
    this.next();
  }
}

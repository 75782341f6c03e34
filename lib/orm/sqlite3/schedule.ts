import { AsyncResource } from 'node:async_hooks';

interface Entry {
  readonly alone: boolean;
  start(): Promise<void>;
}

/** Runs work in the order in which it comes, at once, or alone: behind all that came before, and before all that comes after. */
export class Schedule {
  private readonly waiting: Entry[] = [];
  private running = 0;
  private occupied = false;

  add<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    // What waits is started by somebody else's end, and must not run in its context.
    const bound = AsyncResource.bind(work);
    return new Promise<T>((resolve, reject) => {
      this.waiting.push({ alone, start: () => bound().then(resolve, reject) });
      this.next();
    });
  }

  private next(): void {
    for (let head = this.waiting[0]; head !== undefined; head = this.waiting[0]) {
      if (this.occupied || (head.alone && this.running > 0)) return;
      this.waiting.shift();
      this.running++;
      this.occupied = head.alone;
      void head.start().then(() => this.done());
    }
  }

  private done(): void {
    this.running--;
    this.occupied = false;
    this.next();
  }
}

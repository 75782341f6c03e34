import type { SimRandom } from './random.js';

type Task = () => void;

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly task: Task;
}

/** Of our time; longer than all that a node waits for. */
const LONGEST_RUN_MS = 20_000;

const real = { setImmediate: globalThis.setImmediate };

/**
 * Takes the place of the event loop: `setImmediate`, `setTimeout`, `performance.now` and `Math.random` of this realm are
 * ours while it is installed. What is due runs in an order that a seed decides, and the clock jumps to the next timer when
 * nothing else is left. So a history that waits for minutes takes none, and a seed brings the same interleaving again.
 */
export class Scheduler {
  private readonly immediates: Task[] = [];
  private readonly deferred: Task[] = [];
  private timers: Timer[] = [];
  private clock = 1_000;
  private count = 0;
  private restore: Task = () => undefined;

  /** @param slowness how likely a look at the clock takes long. */
  constructor(
    private readonly random: SimRandom,
    private readonly slowness = 0.02,
  ) {}

  install(): void {
    const names = [
      'setImmediate',
      'setTimeout',
      'clearTimeout',
      'setInterval',
      'clearInterval',
      'performance',
    ] as const;
    const before = names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
    const mathRandom = Math.random;
    const { timeOrigin } = performance;
    const now = (): number => this.now();
    const ours = {
      setImmediate: (task: (...args: unknown[]) => void, ...args: unknown[]) => this.soon(() => task(...args)),
      setTimeout: (task: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) =>
        this.later(() => task(...args), ms),
      clearTimeout: (timer: unknown) => void (this.timers = this.timers.filter((other) => other !== timer)),
      // What is done again and again for ever would keep every history in memory, and never lets one come to rest.
      setInterval: () => ({ unref: () => undefined }),
      clearInterval: () => undefined,
      performance: { now, timeOrigin },
    };
    for (const name of names) {
      Object.defineProperty(globalThis, name, { value: ours[name], configurable: true, writable: true });
    }
    Math.random = () => this.random.next();
    this.restore = () => {
      for (const [name, descriptor] of before) if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      Math.random = mathRandom;
    };
  }

  uninstall(): void {
    this.restore();
  }

  /** Runs a task behind those that were deferred before it: answers and deliveries of the broker. */
  readonly defer = (task: Task): void => {
    this.deferred.push(task);
  };

  /**
   * Lets up to `limit` tasks run; less where nothing is left. Timers are waited for only with `timers`, and not for ever: who
   * looks for a stream that is away does so again and again.
   */
  async run(limit = Number.POSITIVE_INFINITY, timers = true): Promise<void> {
    const end = this.clock + LONGEST_RUN_MS;
    for (let done = 0; done < limit; done++) {
      await breathe();
      const task = this.take(timers && this.clock < end);
      if (task === undefined) return;
      task();
    }
  }

  /** Runs tasks until a promise is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    const state = { settled: false };
    const mark = (): void => void (state.settled = true);
    promise.then(mark, mark);
    for (await breathe(); !state.settled; await breathe()) {
      const task = this.take(true);
      if (task === undefined) throw new Error('Nothing is left to run, and the promise is not settled.');
      task();
    }
    return promise;
  }

  private take(timers: boolean): Task | undefined {
    const { immediates, deferred } = this;
    if (immediates.length + deferred.length > 0) {
      const at = this.random.below(immediates.length + Number(deferred.length > 0));
      return at === immediates.length ? deferred.shift() : immediates.splice(at, 1)[0];
    }
    if (!timers) return undefined;
    const next = this.timers.reduce<Timer | undefined>(
      (first, timer) => (first && before(first, timer) ? first : timer),
      undefined,
    );
    if (next === undefined) return undefined;
    this.timers = this.timers.filter((timer) => timer !== next);
    this.clock = Math.max(this.clock, next.due);
    return next.task;
  }

  private soon(task: Task): Task {
    this.immediates.push(task);
    return task;
  }

  private later(task: Task, ms: number): Timer {
    const timer = { due: this.clock + ms, order: this.count++, task, unref: () => timer, ref: () => timer };
    this.timers.push(timer);
    return timer;
  }

  /** Every look at the clock takes a little time, now and then much. */
  private now(): number {
    this.clock += this.random.chance(this.slowness) ? this.random.next() * 8 : this.random.next() * 0.02;
    return this.clock;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}

/** Lets all promises that can go on do so. */
function breathe(): Promise<void> {
  return new Promise((resolve) => void real.setImmediate(resolve));
}

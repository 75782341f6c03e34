import type { EventSink } from '../common/events.js';

const MS_BETWEEN = 250;

/** Tells how far a snapshot has got, a few times a second. */
export class Progress {
  private bytes = 0;
  private told = 0;
  private readonly started = performance.now();

  constructor(
    private readonly action: 'store' | 'restore',
    private readonly size: number,
    private readonly emit: EventSink,
  ) {}

  /** Milliseconds so far. */
  get ms(): number {
    return performance.now() - this.started;
  }

  readonly count = (bytes: number): void => {
    this.bytes += bytes;
    const now = performance.now();
    if (now - this.told < MS_BETWEEN && this.bytes < this.size) return;
    this.told = now;
    this.emit({
      type: 'progress',
      action: this.action,
      bytes: this.bytes,
      size: this.size,
      percent: this.size === 0 ? 100 : Math.min(100, (100 * this.bytes) / this.size),
      rate: (this.bytes / Math.max(1, now - this.started)) * 1_000,
    });
  };
}

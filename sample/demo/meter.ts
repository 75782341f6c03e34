import type { HADatabase } from 'nestjs-ha';
import type { Subscription } from 'rxjs';
import type { Sighting } from './messages.js';

/** Measures a node: when transactions of others become visible, and how long its own take. */
export class Meter {
  readonly commitTimes: number[] = [];
  skipped = 0;
  private applied: Sighting[] = [];
  private probes: Sighting[] = [];
  private readonly subscription: Subscription;

  constructor(db: HADatabase, node: string) {
    this.subscription = db.events.subscribe((event) => {
      if (event.type === 'applied' && event.node !== node) this.applied.push([Number(event.sequence), now()]);
      if (event.type === 'skipped' || event.type === 'halted') this.skipped++;
    });
  }

  get commits(): number {
    return this.commitTimes.length;
  }

  /** Runs a write, and notes how long it took. */
  async timed<T>(write: () => Promise<T>): Promise<T> {
    const begun = now();
    const result = await write();
    this.commitTimes.push(now() - begun);
    return result;
  }

  noteProbe(sequence: bigint): void {
    this.probes.push([Number(sequence), now()]);
  }

  /** What was noted since the last call. */
  takeSightings(): { probes: Sighting[]; applied: Sighting[] } {
    const { probes, applied } = this;
    this.probes = [];
    this.applied = [];
    return { probes, applied };
  }

  stop(): void {
    this.subscription.unsubscribe();
  }
}

/** Milliseconds of the monotonic clock, which all processes of a machine share. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

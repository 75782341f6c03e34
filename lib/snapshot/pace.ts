import { sleep } from '../common/timing.js';

const BYTES = 1024 * 1024;
/** Rests so many times as long as the last bytes took, ms at most. */
const REST_FACTOR = 2;
const LONGEST_MS = 100;

/** Rests now and then: most of the time is left to those who write. */
export class Pace {
  private bytes = 0;
  private since = performance.now();

  passed(bytes: number): Promise<void> | undefined {
    this.bytes += bytes;
    if (this.bytes < BYTES) return undefined;
    this.bytes = 0;
    return this.rest();
  }

  private async rest(): Promise<void> {
    await sleep(Math.min(LONGEST_MS, REST_FACTOR * (performance.now() - this.since)));
    this.since = performance.now();
  }
}

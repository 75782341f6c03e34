import { within } from '../common/timing.js';
import type { Position } from '../sqlite/position.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { HALag } from '../write/status.js';

/** What has been delivered. */
export interface Deliveries {
  readonly backlog: number;
  /** When the server stored the oldest message that waits here, ms since 1970; undefined where none waits. */
  readonly waitingSince: number | undefined;
}

/** Measures the lag of one node. */
export class LagMeter {
  /** Since when the stream cannot be asked, or does not answer. */
  private silentSince: number | undefined;
  /** A sequence that was missing here, and since when that is known. */
  private missing: { readonly sequence: number; readonly since: number } | undefined;

  /** @param now Milliseconds since 1970; tests bring their own. */
  constructor(private readonly now: () => number = Date.now) {}

  /** Notes that the connection was lost or is back. */
  connection(isConnected: boolean): void {
    this.silentSince = isConnected ? undefined : (this.silentSince ?? this.now());
  }

  /** Asks the stream where it stands, and waits so many ms for its answer. */
  async measure(
    stream: ReplicationStream,
    position: Position,
    deliveries: Deliveries,
    timeoutMs: number,
  ): Promise<HALag> {
    const last = stream.isConnected
      ? await within(timeoutMs, stream.lastSubjectSequence()).catch(() => undefined)
      : undefined;
    const { received } = position;
    if (last === undefined) {
      this.silentSince ??= this.now();
      const since = Math.min(this.silentSince, deliveries.waitingSince ?? Infinity);
      return { messages: deliveries.backlog, seconds: this.secondsSince(since), answered: false };
    }
    this.silentSince = undefined;
    if (last <= received) this.missing = undefined;
    else if (this.missing === undefined || this.missing.sequence <= received) {
      this.missing = { sequence: last, since: this.now() };
    }
    const { missing } = this;
    if (missing === undefined) return { messages: 0, seconds: 0, answered: true };
    // What was not even delivered has no known age: at least it is missing since this was noticed.
    const seconds = this.secondsSince(Math.min(missing.since, deliveries.waitingSince ?? Infinity));
    return { messages: last - received, seconds, answered: true };
  }

  private secondsSince(time: number): number {
    return Math.max(0, this.now() - time) / 1_000;
  }
}

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
  private awaySince: number | undefined;
  private behindSince: number | undefined;

  /** Notes that the connection was lost or is back. */
  connection(isConnected: boolean): void {
    this.awaySince = isConnected ? undefined : (this.awaySince ?? Date.now());
  }

  /** Asks the stream where it stands. */
  async measure(stream: ReplicationStream, position: Position, deliveries: Deliveries): Promise<HALag> {
    if (!stream.isConnected) {
      const since = this.awaySince ?? Date.now();
      return { messages: deliveries.backlog, seconds: secondsSince(Math.min(since, deliveries.waitingSince ?? since)) };
    }
    const last = await stream.lastSubjectSequence();
    const messages = Math.max(0, last - position.received);
    if (messages === 0) this.behindSince = undefined;
    // What was not even delivered has no known age: at least it is missing since this was noticed first.
    else this.behindSince ??= Date.now();
    return { messages, seconds: messages === 0 ? 0 : secondsSince(deliveries.waitingSince ?? this.behindSince ?? 0) };
  }
}

function secondsSince(time: number): number {
  return Math.max(0, Date.now() - time) / 1_000;
}

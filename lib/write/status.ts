import type { HARole } from '../stream/membership/member.js';

/** Sequences of the stream; 0 where there is none yet. */
export interface HAPosition {
  /** Everything up to here is applied. */
  readonly received: bigint;
  /** The last transaction that this node published. */
  readonly published: bigint;
}

/** What asynchronous publishing has not brought to its place in the stream yet. */
export interface OutboxStatus {
  /** Transactions that are committed here, and not yet met in the stream. */
  readonly size: number;
  /** Age of the first of them, ms; 0 where there is none. */
  readonly oldestAge: number;
  /** Why nothing could be published the last time; undefined where all goes well. */
  readonly lastError: Error | undefined;
}

/** What a database says about itself. Cheap: nothing is asked of the stream. */
export interface HAStatus {
  readonly state: 'stopped' | 'starting' | 'running' | 'retrying' | 'halted' | 'closed';
  readonly role: HARole;
  /** Name of this node. */
  readonly node: string;
  readonly connected: boolean;
  readonly position: HAPosition;
  /** Messages that are delivered and not yet applied. */
  readonly backlog: number;
  /** Transactions that wait for their turn. */
  readonly waitingWrites: number;
  readonly lastError: Error | undefined;
  /** Only with `asyncPublisher`. */
  readonly outbox?: OutboxStatus | undefined;
}

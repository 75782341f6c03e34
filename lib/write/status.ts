import type { HAError } from '../common/ha-error.js';
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

/** What a target of change data capture is doing. */
export interface HACDCStatus {
  readonly name: string;
  /** `waiting` for the application to start; `failing` while it is tried again. */
  readonly state: 'waiting' | 'snapshot' | 'streaming' | 'failing' | 'stopped';
  /** Everything up to this stream sequence is delivered; undefined before the target has begun. */
  readonly position: bigint | undefined;
  /** Events that were delivered since the start. */
  readonly delivered: number;
  /** How often in a row it has failed. */
  readonly failures: number;
  readonly lastError: Error | undefined;
}

/** Who leads the cluster, as far as a node knows. */
export interface HALeaderStatus {
  readonly isLeader: boolean;
  /** Name of the leader; undefined where it is not known. */
  readonly node: string | undefined;
  /** Its addresses; undefined where no leader is known. */
  readonly target: string | undefined;
  /** On the leader: which election it leads by; grows with each. */
  readonly term: number | undefined;
}

/** What a database says about itself. Cheap: nothing is asked of the stream. */
export interface HAStatus {
  /** True while it runs and nobody has to act: it has not halted, and no foreign write is open. */
  readonly healthy: boolean;
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
  /** Conflict events so far. They are looked for only while somebody subscribes to `events`. */
  readonly conflicts: number;
  readonly lastError: Error | undefined;
  /** Set where something else wrote to the file (`HA_FOREIGN_WRITE`), until somebody acts. */
  readonly foreignWrite: HAError | undefined;
  /** Sequences of the messages that this node leaves out, by `db.skip()`. */
  readonly skipped: readonly bigint[];
  /** Each target of change data capture; absent where there is none. */
  readonly cdc?: readonly HACDCStatus[] | undefined;
  /** The snapshot in the store, as far as this node knows; undefined where it knows of none. */
  readonly snapshot: HASnapshotStatus | undefined;
  /** Only with `leaderProvider`. */
  readonly leader?: HALeaderStatus | undefined;
  /** Only with `asyncPublisher`. */
  readonly outbox?: OutboxStatus | undefined;
}

/** How far a node is behind the stream. */
export interface HALag {
  /**
   * Messages that the stream holds and that are not applied here. Where several databases share a stream, messages of the
   * others in between are counted too. While the stream does not answer: those that were delivered before.
   */
  readonly messages: number;
  /** For how long at least something has been missing here; while the stream does not answer, for how long it has not. */
  readonly seconds: number;
  /** Whether the stream could be asked, and answered. */
  readonly answered: boolean;
}

/** The snapshot in the store. */
export interface HASnapshotStatus {
  readonly sequence: bigint;
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since the server stored it, by this node's clock. */
  readonly age: number;
}

/** A snapshot in the store of the stream. */
export interface HASnapshot {
  /** Everything of the stream up to here is in it. */
  readonly sequence: bigint;
  /** Bytes. */
  readonly size: number;
  /** `SHA-256=` and the digest in base64 for URLs. */
  readonly digest: string;
  /** When the server stored it. */
  readonly storedAt: Date;
}

/** A copy of the database in a file. */
export interface HABackup {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Everything of the stream up to here is in it; 0 without a stream. */
  readonly sequence: bigint;
}

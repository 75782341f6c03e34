import type { Observable } from 'rxjs';

/** Where the others reach the leader. */
export interface LeaderTarget {
  /** As stored at the key `redirect`. */
  readonly text: string;
  /** `host:port` of its gRPC server. */
  readonly grpc?: string;
  /** `http://host:port` or `https://…`, maybe with a path. */
  readonly http?: string;
}

/** What is known about the leader at one moment. */
export interface LeaderState {
  readonly isLeader: boolean;
  readonly target?: LeaderTarget;
  readonly node?: string;
}

/** Who writes in a leader-based cluster. */
export abstract class HALeader {
  /** Whether this node may write now. Standalone and leaderless databases: true (every node writes). */
  abstract isLeader(): boolean;
  /** The leader's targets as last known; undefined where no leader is known. */
  abstract target(): LeaderTarget | undefined;
  /** Whether the database has a leaderProvider at all. */
  abstract readonly isConfigured: boolean;
  /** Emits the state at subscription and at each change. */
  abstract readonly changes: Observable<LeaderState>;
  /** Gives the leadership up (dynamic, on the leader), so that another node takes over at once. Resolves when it no longer leads. */
  abstract resign(): Promise<void>;
  /** Resolves when a leader is known (this node included), or rejects with HA_LEADER_UNKNOWN (retryable) after `timeout` ms. */
  abstract known(timeout: number, signal?: AbortSignal): Promise<LeaderState>;
}

import type { Observable } from 'rxjs';

/** Where the leader can be reached. */
export interface LeaderTarget {
  /** As stored at the key `redirect`: all of its addresses, separated by commas. */
  readonly text: string;
  /** `host:port` of its gRPC server; undefined where it names none. */
  readonly grpc?: string;
  /** `http(s)://…` of its HTTP server; undefined where it names none. */
  readonly http?: string;
}

/** Who leads, as far as this node knows. */
export interface LeaderState {
  /** Whether this node leads, and may write. */
  readonly isLeader: boolean;
  /** The leader's addresses; undefined where no leader is known. */
  readonly target?: LeaderTarget;
  /** The leader's name; undefined where it is not known, as that of a node of go-ha. */
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

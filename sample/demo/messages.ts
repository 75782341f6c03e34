/** What a node does in the demo: one loads the data set, the others change it meanwhile. */
export type Role = 'loader' | 'editor';

/** How a node process is configured, in its environment variable `DEMO_NODE`. */
export interface NodeConfig {
  readonly name: string;
  readonly role: Role;
  readonly dsn: string;
}

/** From the parent to a node. */
export type Command =
  | { readonly type: 'work' }
  /** Ends the editing; what is under way is finished. */
  | { readonly type: 'finish' }
  /** Waits until a sequence is applied, and answers with a {@link NodeResult}. */
  | { readonly type: 'result'; readonly sequence: string }
  | { readonly type: 'close' };

/** What a node tells about itself, several times a second. */
export interface NodeState {
  readonly rows: number;
  /** Rows that it has loaded, and how many there are. */
  readonly loaded: number;
  readonly total: number;
  readonly commits: number;
  /** Stream sequence up to which everything is applied. */
  readonly received: number;
  /** Probes committed here, and transactions of others that became visible here, since the last report. */
  readonly probes: readonly Sighting[];
  readonly applied: readonly Sighting[];
}

/** A sequence, and the time at which its transaction became visible; ms on the clock that all processes share. */
export type Sighting = readonly [sequence: number, time: number];

/** What a node holds in the end, and what it measured. */
export interface NodeResult {
  readonly rows: Readonly<Record<string, number>>;
  readonly checksum: string;
  readonly commits: number;
  /** Edits that a concurrent edit of another node overwrote, as the rows themselves tell. */
  readonly overwritten: number;
  /** Changes that the node left out or could not apply. */
  readonly skipped: number;
  /** ms from calling the database until the transaction was stored and committed. */
  readonly commitTimes: readonly number[];
}

/** From a node to the parent. */
export type Report =
  | { readonly type: 'ready' }
  | { readonly type: 'state'; readonly state: NodeState }
  /** The work is done; everything this node wrote is in the stream up to its sequence. */
  | { readonly type: 'done'; readonly sequence: string }
  | { readonly type: 'result'; readonly result: NodeResult }
  | { readonly type: 'failed'; readonly error: string };

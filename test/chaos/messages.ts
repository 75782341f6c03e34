/** What a write does; every kind leaves its marker in the stream. */
export type OperationKind =
  | 'insert'
  | 'generate'
  | 'count'
  | 'bag'
  | 'crowd'
  | 'hot'
  | 'delete'
  | 'script'
  | 'multi'
  | 'replace'
  | 'transfer'
  | 'increment'
  | 'ddl'
  | 'large'
  | 'refused'
  | 'thrown';

export interface Operation {
  readonly kind: OperationKind;
  /** Unique in the run. */
  readonly marker: string;
  /** Random integers below 2^31: rows, amounts, sizes. */
  readonly a: number;
  readonly b: number;
  /** Id of the row to delete, or to collide with. */
  readonly target?: string;
}

/** From the harness to a node. */
export type Command =
  | { readonly type: 'setup'; readonly id: number; readonly script: string }
  | { readonly type: 'run'; readonly id: number; readonly operation: Operation }
  | { readonly type: 'state'; readonly id: number }
  /** Sets the wall clock of the process forward or back, ms. */
  | { readonly type: 'clock'; readonly ms: number }
  | { readonly type: 'close' };

/** Where a node stands. */
export interface NodeState {
  readonly received: number;
  readonly backlog: number;
  readonly waiting: number;
  readonly state: string;
  readonly error: string | undefined;
  /** It leads the cluster. */
  readonly leads: boolean;
}

/** From a node to the harness. */
export type Report =
  | { readonly type: 'ready' }
  | { readonly type: 'done'; readonly id: number; readonly changes?: number; readonly sequence?: number }
  | {
      readonly type: 'refused';
      readonly id: number;
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
    }
  | { readonly type: 'state'; readonly id: number; readonly state: NodeState }
  | { readonly type: 'halted'; readonly message: string }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };

/** How a node process is configured, in its environment variable `CHAOS_NODE`. */
export interface NodeConfig {
  readonly name: string;
  readonly file: string;
  readonly urls: string;
  readonly stream: string;
  readonly replicas: number;
  readonly publisherTimeout: number;
  /** Applies the stream, writes nothing, and ends: makes the fold that all others are compared with. */
  readonly fold: boolean;
  /** In a cluster with a leader: where its gRPC server listens, and what others reach it by. */
  readonly leader?: { readonly port: number; readonly target: string };
}

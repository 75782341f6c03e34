import type { HAOptions } from './options.js';

/** Where a node without a stored position starts to read the stream. */
export type DeliverPolicy =
  | { readonly kind: 'all' }
  | { readonly kind: 'last' }
  | { readonly kind: 'new' }
  | { readonly kind: 'startSequence'; readonly sequence: bigint }
  | { readonly kind: 'startTime'; readonly time: Date };

/** How the leader is found: elected (`targets` are this node's own addresses) or fixed (`targets` are the leader's). */
export interface LeaderProviderOption {
  readonly kind: 'dynamic' | 'static';
  readonly targets: readonly string[];
}

/** A PRAGMA to run on every SQLite connection: a checked name and a value that is safe to put into SQL. */
export interface SqlitePragma {
  readonly name: string;
  readonly value: string;
}

/** No stream at all, a nats-server of our own, or one that runs elsewhere. */
export type HAMode = 'standalone' | 'embedded' | 'external';

/** The parsed value of every option; durations are milliseconds. */
export interface OptionValues {
  allowCrossDatabase: boolean;
  asyncPublisher: boolean;
  asyncPublisherOutboxDir: string | undefined;
  autoStart: boolean;
  bootstrap: 'auto' | 'never';
  clusterSize: number;
  concurrency: 'lww' | 'serializable';
  consistentReadTimeout: number;
  deliverPolicy: DeliverPolicy;
  disableDBSnapshotter: boolean;
  disableDDLSync: boolean;
  disablePublisher: boolean;
  disableSubscriber: boolean;
  forwardTimeout: number;
  generatedIds: 'ordered' | 'overwrite';
  grpcHost: string;
  grpcInsecure: boolean;
  grpcPort: number | undefined;
  grpcTimeout: number;
  grpcTlsCa: string | undefined;
  grpcTlsCert: string | undefined;
  grpcTlsKey: string | undefined;
  grpcToken: string | undefined;
  leaderProvider: LeaderProviderOption | undefined;
  name: string;
  natsConfigFile: string | undefined;
  natsHost: string;
  /** Bytes. */
  natsMaxPayload: number | undefined;
  natsName: string | undefined;
  natsPass: string | undefined;
  natsPort: number;
  natsServer: string | undefined;
  natsStoreDir: string | undefined;
  /** 0: every write is synced. */
  natsSyncInterval: number;
  natsUser: string | undefined;
  publisherTimeout: number;
  queryRouter: RegExp | undefined;
  replicas: number;
  replicationCreds: string | undefined;
  /** Empty for `:memory:` without the option: the subject is then the stream's own name. */
  replicationID: string;
  replicationStream: string;
  replicationTlsCa: string | undefined;
  replicationTlsCert: string | undefined;
  replicationTlsKey: string | undefined;
  replicationToken: string | undefined;
  /** The servers to connect to; empty unless `mode` is `external`. */
  replicationURL: readonly string[];
  rowIdentify: 'pk' | 'rowid' | 'full';
  snapshotInterval: number;
  /** Undefined: messages are kept forever. */
  streamMaxAge: number | undefined;
  /** Bytes; undefined: no limit. */
  streamMaxBytes: number | undefined;
  transactionTimeout: number;
}

/** All options after DSN, options object, environment and defaults were joined and checked. */
export interface ResolvedHAOptions extends Readonly<OptionValues> {
  /** Path of the database file; `:memory:`, or the name given with `mode=memory`, where `memory` is true. */
  readonly filename: string;
  readonly memory: boolean;
  /** `mode=rw` in the DSN: a missing file is an error instead of created. */
  readonly mustExist: boolean;
  readonly pragmas: readonly SqlitePragma[];
  readonly mode: HAMode;
}

/** Name of an option. */
export type OptionName = keyof HAOptions & keyof OptionValues;

import type { Duration, HAStreamOptions } from './stream-options.js';

/** Every option of a replicated database. An option set to `undefined` counts as not set. */
export interface HAOptions extends HAStreamOptions {
  /**
   * Whether the hint `db=regex` of a SELECT, and `db.acrossDatabases`, may read other databases of the application.
   * DSN `allowCrossDatabase`, environment `HA_ALLOW_CROSS_DATABASE`.
   * @default false
   */
  allowCrossDatabase?: boolean;
  /**
   * Commit first and publish afterwards, from an outbox in the same SQLite transaction: writes go on without the
   * stream.
   * DSN `asyncPublisher`, environment `HA_ASYNC_PUBLISHER`.
   * @default false
   */
  asyncPublisher?: boolean;
  /**
   * Folder for the outbox as a file of its own, instead of a table in the database. Needs `asyncPublisher`.
   * DSN `asyncPublisherOutboxDir`, environment `HA_ASYNC_PUBLISHER_OUTBOX_DIR`.
   * @default none
   */
  asyncPublisherOutboxDir?: string;
  /**
   * Start with the application; if false, nothing is opened or contacted before `start()`.
   * DSN `autoStart`, environment `HA_AUTO_START`.
   * @default true
   */
  autoStart?: boolean;
  /**
   * `auto`: a new node, and one that was away for too long, starts from a snapshot, and a file with rows founds a cluster
   * that has none; `never`: neither.
   * DSN `bootstrap`, environment `HA_BOOTSTRAP`.
   * @default auto
   */
  bootstrap?: 'auto' | 'never';
  /**
   * Number of nodes that elect a leader: more than half of them must agree.
   * DSN `clusterSize`, environment `HA_CLUSTER_SIZE`.
   * @default 1
   */
  clusterSize?: number;
  /**
   * `lww`: the last writer in the stream wins; `serializable`: transactions that someone came before are run again.
   * DSN `concurrency`, environment `HA_CONCURRENCY`.
   * @default lww
   */
  concurrency?: 'lww' | 'serializable';
  /**
   * How long `ConsistentReadInterceptor` waits for this node before the leader answers a read.
   * DSN `consistentReadTimeout`, environment `HA_CONSISTENT_READ_TIMEOUT`.
   * @default 2s
   */
  consistentReadTimeout?: Duration;
  /**
   * Where a node without a stored position starts: `all`, `last`, `new`, `by_start_sequence=N` or
   * `by_start_time=RFC3339`.
   * DSN `deliverPolicy`, environment `HA_DELIVER_POLICY`.
   * @default all
   */
  deliverPolicy?: string;
  /**
   * Take no snapshots of the database by itself.
   * DSN `disableDBSnapshotter`, environment `HA_DISABLE_SNAPSHOTTER` or `HA_DISABLE_DB_SNAPSHOTTER`.
   * @default false
   */
  disableDBSnapshotter?: boolean;
  /**
   * Do not replicate changes of the schema.
   * DSN `disableDDLSync`, environment `HA_DISABLE_DDL_SYNC`.
   * @default false
   */
  disableDDLSync?: boolean;
  /**
   * Make this node a read replica: writes are refused.
   * DSN `disablePublisher`, environment `HA_DISABLE_PUBLISHER`.
   * @default false
   */
  disablePublisher?: boolean;
  /**
   * Publish only: changes of other nodes are not applied here. Makes `generatedIds` `overwrite`.
   * DSN `disableSubscriber`, environment `HA_DISABLE_SUBSCRIBER`.
   * @default false
   */
  disableSubscriber?: boolean;
  /**
   * How long the leader may be silent on an HTTP request that was forwarded to it, before it answers.
   * DSN `forwardTimeout`, environment `HA_FORWARD_TIMEOUT`.
   * @default 30s
   */
  forwardTimeout?: Duration;
  /**
   * Rowids that SQLite chooses: `ordered` keeps both of two concurrent rows, `overwrite` lets the last in the stream
   * win.
   * DSN `generatedIds`, environment `HA_GENERATED_IDS`.
   * @default `ordered`; `overwrite` with `asyncPublisher` or `disableSubscriber`
   */
  generatedIds?: 'ordered' | 'overwrite';
  /**
   * Address the gRPC server listens on.
   * DSN `grpcHost`, environment `HA_GRPC_HOST`.
   * @default `0.0.0.0` with `grpcToken`, else `127.0.0.1`
   */
  grpcHost?: string;
  /**
   * Call other nodes over gRPC without TLS.
   * DSN `grpcInsecure`, environment `HA_GRPC_INSECURE`.
   * @default false
   */
  grpcInsecure?: boolean;
  /**
   * Port of the gRPC server; 0 takes a free one, unset starts none.
   * DSN `grpcPort`, environment `HA_GRPC_PORT`.
   * @default none
   */
  grpcPort?: number;
  /**
   * How long a gRPC call to another node may take, and how long the server may work on one answer of rows.
   * DSN `grpcTimeout`, environment `HA_GRPC_TIMEOUT`.
   * @default 5s
   */
  grpcTimeout?: Duration;
  /**
   * File with the certificate authority (PEM) that certificates of gRPC callers must come from. Needs `grpcTlsCert`.
   * DSN `grpcTlsCa`, environment `HA_GRPC_TLS_CA`.
   * @default none
   */
  grpcTlsCa?: string;
  /**
   * File with the certificate of the gRPC server (PEM). Needs `grpcTlsKey`.
   * DSN `grpcTlsCert`, environment `HA_GRPC_TLS_CERT`.
   * @default none
   */
  grpcTlsCert?: string;
  /**
   * File with the key of `grpcTlsCert` (PEM).
   * DSN `grpcTlsKey`, environment `HA_GRPC_TLS_KEY`.
   * @default none
   */
  grpcTlsKey?: string;
  /**
   * Token that gRPC callers must present.
   * DSN `grpcToken`, environment `HA_GRPC_TOKEN`.
   * @default none
   */
  grpcToken?: string;
  /**
   * One node writes for all: `dynamic:TARGET` elects it, TARGET being this node for the others; `static:TARGET`
   * names it.
   * DSN `leaderProvider`, environment `HA_LEADER_PROVIDER`.
   * @default none
   */
  leaderProvider?: string;
  /**
   * Name of this node, unique in the cluster.
   * DSN `name`, environment `HA_NAME`.
   * @default the host name
   */
  name?: string;
  /**
   * How long a write waits for the stream before it fails.
   * DSN `publisherTimeout`, environment `HA_PUBLISHER_TIMEOUT`.
   * @default 15s
   */
  publisherTimeout?: Duration;
  /**
   * Regular expression: every SELECT without a hint is answered from all databases of the application whose connection name or
   * file name matches it as a whole.
   * DSN `queryRouter`, environment `HA_QUERY_ROUTER`.
   * @default none
   */
  queryRouter?: string;
  /**
   * Name of the database in the cluster: nodes with the same one hold the same rows.
   * DSN `replicationID` or `replID`, environment `HA_REPLICATION_ID`.
   * @default the name of the database file
   */
  replicationID?: string;
  /**
   * How the row of a change is found on other nodes: by primary key, by rowid, or by all old values. The same on every node.
   * Messages do not say it, and nodes that differ in it end up with different rows.
   * DSN `rowIdentify`, environment `HA_ROW_IDENTIFY` or `HA_ROW_IDENTIDY`.
   * @default pk
   */
  rowIdentify?: 'pk' | 'rowid' | 'full';
  /**
   * Time between two snapshots, which are taken when something has changed.
   * DSN `snapshotInterval`, environment `HA_SNAPSHOT_INTERVAL`.
   * @default 1m
   */
  snapshotInterval?: Duration;
  /**
   * How long the callback of a transaction may hold the write queue before it is rolled back.
   * DSN `transactionTimeout`, environment `HA_TRANSACTION_TIMEOUT`.
   * @default 5s
   */
  transactionTimeout?: Duration;
}

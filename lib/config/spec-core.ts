import type { HAOptions } from './options.js';
import type { OptionTable } from './spec-types.js';
import type { HAStreamOptions } from './stream-options.js';
import { deliverPolicy, leaderProvider, nodeName, pattern, replicationId } from './stream-types.js';
import { boolean, integer, interval, oneOf, text } from './value-types.js';

/** The options of the database, its node and its cluster. */
export const CORE_TABLE: OptionTable<Exclude<keyof HAOptions, keyof HAStreamOptions>> = {
  allowCrossDatabase: {
    env: ['HA_ALLOW_CROSS_DATABASE'],
    type: boolean,
    default: 'false',
    doc: 'Whether the hint `db=regex` of a SELECT, and `db.acrossDatabases`, may read other databases of the application.',
  },
  asyncPublisher: {
    env: ['HA_ASYNC_PUBLISHER'],
    type: boolean,
    default: 'false',
    doc: 'Commit first and publish afterwards, from an outbox in the same SQLite transaction: writes go on without the stream.',
  },
  asyncPublisherOutboxDir: {
    env: ['HA_ASYNC_PUBLISHER_OUTBOX_DIR'],
    type: text('the path of a folder'),
    doc: 'Folder for the outbox as a file of its own, instead of a table in the database. Needs `asyncPublisher`.',
  },
  autoStart: {
    env: ['HA_AUTO_START'],
    type: boolean,
    default: 'true',
    doc: 'Start with the application; if false, nothing is opened or contacted before `start()`.',
  },
  bootstrap: {
    env: ['HA_BOOTSTRAP'],
    type: oneOf('auto', 'never'),
    default: 'auto',
    doc: '`auto`: a new node, and one that was away for too long, starts from a snapshot, and a file with rows founds a cluster that has none; `never`: neither.',
  },
  clusterSize: {
    env: ['HA_CLUSTER_SIZE'],
    type: integer(1, 1_000),
    default: '1',
    doc: 'Number of nodes that elect a leader: more than half of them must agree.',
  },
  concurrency: {
    env: ['HA_CONCURRENCY'],
    type: oneOf('lww', 'serializable'),
    default: 'lww',
    doc: '`lww`: the last writer in the stream wins; `serializable`: transactions that someone came before are run again.',
  },
  consistentReadTimeout: {
    env: ['HA_CONSISTENT_READ_TIMEOUT'],
    type: interval,
    default: '2s',
    doc: 'How long `ConsistentReadInterceptor` waits for this node before the leader answers a read.',
  },
  deliverPolicy: {
    env: ['HA_DELIVER_POLICY'],
    type: deliverPolicy,
    default: 'all',
    doc: 'Where a node without a stored position starts: `all`, `last`, `new`, `by_start_sequence=N` or `by_start_time=RFC3339`.',
  },
  disableDBSnapshotter: {
    env: ['HA_DISABLE_SNAPSHOTTER', 'HA_DISABLE_DB_SNAPSHOTTER'],
    type: boolean,
    default: 'false',
    doc: 'Take no snapshots of the database by itself.',
  },
  disableDDLSync: {
    env: ['HA_DISABLE_DDL_SYNC'],
    type: boolean,
    default: 'false',
    doc: 'Do not replicate changes of the schema.',
  },
  disablePublisher: {
    env: ['HA_DISABLE_PUBLISHER'],
    type: boolean,
    default: 'false',
    doc: 'Make this node a read replica: writes are refused.',
  },
  disableSubscriber: {
    env: ['HA_DISABLE_SUBSCRIBER'],
    type: boolean,
    default: 'false',
    doc: 'Publish only: changes of other nodes are not applied here. Makes `generatedIds` `overwrite`.',
  },
  forwardTimeout: {
    env: ['HA_FORWARD_TIMEOUT'],
    type: interval,
    default: '30s',
    doc: 'How long the leader may be silent on an HTTP request that was forwarded to it, before it answers.',
  },
  generatedIds: {
    env: ['HA_GENERATED_IDS'],
    type: oneOf('ordered', 'overwrite'),
    computed: '`ordered`; `overwrite` with `asyncPublisher` or `disableSubscriber`',
    doc: 'Rowids that SQLite chooses: `ordered` keeps both of two concurrent rows, `overwrite` lets the last in the stream win.',
  },
  grpcHost: {
    env: ['HA_GRPC_HOST'],
    type: text('an address'),
    computed: '`0.0.0.0` with `grpcToken`, else `127.0.0.1`',
    doc: 'Address the gRPC server listens on.',
  },
  grpcInsecure: {
    env: ['HA_GRPC_INSECURE'],
    type: boolean,
    default: 'false',
    doc: 'Call other nodes over gRPC without TLS.',
  },
  grpcPort: {
    env: ['HA_GRPC_PORT'],
    type: integer(0, 65_535),
    doc: 'Port of the gRPC server; 0 takes a free one, unset starts none.',
  },
  grpcTimeout: {
    env: ['HA_GRPC_TIMEOUT'],
    type: interval,
    default: '5s',
    doc: 'How long a gRPC call to another node may take, and how long the server may work on one answer of rows.',
  },
  grpcTlsCa: {
    env: ['HA_GRPC_TLS_CA'],
    type: text('the path of a file'),
    doc: 'File with the certificate authority (PEM) that certificates of gRPC callers must come from. Needs `grpcTlsCert`.',
  },
  grpcTlsCert: {
    env: ['HA_GRPC_TLS_CERT'],
    type: text('the path of a file'),
    doc: 'File with the certificate of the gRPC server (PEM). Needs `grpcTlsKey`.',
  },
  grpcTlsKey: {
    env: ['HA_GRPC_TLS_KEY'],
    type: text('the path of a file'),
    doc: 'File with the key of `grpcTlsCert` (PEM).',
  },
  grpcToken: {
    env: ['HA_GRPC_TOKEN'],
    type: text('a text'),
    secret: true,
    doc: 'Token that gRPC callers must present.',
  },
  leaderProvider: {
    env: ['HA_LEADER_PROVIDER'],
    type: leaderProvider,
    doc: 'One node writes for all: `dynamic:TARGET` elects it, TARGET being this node for the others; `static:TARGET` names it.',
  },
  name: {
    env: ['HA_NAME'],
    type: nodeName,
    computed: 'the host name',
    doc: 'Name of this node, unique in the cluster.',
  },
  publisherTimeout: {
    env: ['HA_PUBLISHER_TIMEOUT'],
    type: interval,
    default: '15s',
    doc: 'How long a write waits for the stream before it fails.',
  },
  queryRouter: {
    env: ['HA_QUERY_ROUTER'],
    type: pattern,
    doc: 'Regular expression: every SELECT without a hint is answered from all databases of the application whose connection name or file name matches it as a whole.',
  },
  replicationID: {
    dsn: ['replicationID', 'replID'],
    env: ['HA_REPLICATION_ID'],
    type: replicationId,
    computed: 'the name of the database file',
    doc: 'Name of the database in the cluster: nodes with the same one hold the same rows.',
  },
  rowIdentify: {
    env: ['HA_ROW_IDENTIFY', 'HA_ROW_IDENTIDY'],
    type: oneOf('pk', 'rowid', 'full'),
    default: 'pk',
    doc: 'How the row of a change is found on other nodes: by primary key, by rowid, or by all old values. The same on every node.',
  },
  snapshotInterval: {
    env: ['HA_SNAPSHOT_INTERVAL'],
    type: interval,
    default: '1m',
    doc: 'Time between two snapshots, which are taken when something has changed.',
  },
  transactionTimeout: {
    env: ['HA_TRANSACTION_TIMEOUT'],
    type: interval,
    default: '5s',
    doc: 'How long the callback of a transaction may hold the write queue before it is rolled back.',
  },
};

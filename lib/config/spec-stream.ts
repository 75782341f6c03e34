import type { HAStreamOptions } from './stream-options.js';
import type { OptionTable } from './spec-types.js';
import { servers, streamName, word } from './stream-types.js';
import { bytes, integer, serverDuration, text } from './value-types.js';

/** The options of the stream and its servers. */
export const STREAM_TABLE: OptionTable<keyof HAStreamOptions> = {
  natsConfigFile: {
    env: ['HA_NATS_CONFIG_NAME', 'HA_NATS_CONFIG_FILE'],
    type: text('the path of a file'),
    doc: 'Configuration file of the embedded NATS server; overrides all other `nats*` options.',
  },
  natsHost: {
    env: ['HA_NATS_HOST'],
    type: word,
    default: '127.0.0.1',
    doc: 'Address the embedded NATS server listens on.',
  },
  natsMaxPayload: {
    env: ['HA_NATS_MAX_PAYLOAD'],
    type: bytes(1024, 64 * 1024 ** 2),
    computed: "the server's own (1MB)",
    doc: 'Largest message of the embedded NATS server, in bytes or as in `8MB`.',
  },
  natsName: { env: ['HA_NATS_NAME'], type: word, doc: 'Name of the embedded NATS server.' },
  natsPass: { env: ['HA_NATS_PASS'], type: text('a text'), secret: true, doc: 'Password of `natsUser`.' },
  natsPort: {
    env: ['HA_NATS_PORT'],
    type: integer(0, 65_535),
    default: '4222',
    doc: 'Port of the embedded NATS server; 0 takes a free one.',
  },
  natsServer: {
    env: ['HA_NATS_SERVER'],
    type: text('the path of the nats-server binary'),
    computed: 'found in PATH, a cache, or fetched',
    doc: 'Path of the nats-server binary. It says where the binary is, not that it is to be started: by itself it starts none.',
  },
  natsStoreDir: {
    env: ['HA_NATS_STORE_DIR'],
    type: text('the path of a folder'),
    doc: 'Folder in which the embedded NATS server stores the stream.',
  },
  natsSyncInterval: {
    env: ['HA_NATS_SYNC_INTERVAL'],
    type: serverDuration(1, 'to sync every write'),
    default: '1s',
    doc: 'How often the embedded NATS server syncs its files to disk; 0 syncs every write.',
  },
  natsUser: {
    env: ['HA_NATS_USER'],
    type: word,
    doc: 'User that clients of the embedded NATS server must present, with `natsPass`.',
  },
  replicas: {
    env: ['HA_REPLICAS'],
    type: integer(1, 5),
    default: '1',
    doc: 'Copies of the stream in the NATS cluster.',
  },
  replicationCreds: {
    env: ['HA_REPLICATION_CREDS'],
    type: text('the path of a file'),
    doc: 'Credentials file (.creds) for the NATS servers of `replicationURL`.',
  },
  replicationStream: {
    env: ['HA_REPLICATION_STREAM'],
    type: streamName,
    default: 'ha_replication',
    doc: 'Name of the JetStream stream that carries the changes.',
  },
  replicationTlsCa: {
    env: ['HA_REPLICATION_TLS_CA'],
    type: text('the path of a file'),
    doc: 'File with the certificate authority of the NATS servers (PEM).',
  },
  replicationTlsCert: {
    env: ['HA_REPLICATION_TLS_CERT'],
    type: text('the path of a file'),
    doc: 'File with the client certificate for the NATS servers (PEM). Needs `replicationTlsKey`.',
  },
  replicationTlsKey: {
    env: ['HA_REPLICATION_TLS_KEY'],
    type: text('the path of a file'),
    doc: 'File with the key of `replicationTlsCert` (PEM).',
  },
  replicationToken: {
    env: ['HA_REPLICATION_TOKEN'],
    type: text('a text'),
    secret: true,
    doc: 'Token for the NATS servers of `replicationURL`.',
  },
  replicationURL: {
    env: ['HA_REPLICATION_URL'],
    type: servers,
    secret: true,
    doc: 'NATS servers to replicate through, separated by commas. Excludes the embedded server and its `nats*` options.',
  },
  streamMaxAge: {
    env: ['HA_STREAM_MAX_AGE'],
    type: serverDuration(100, 'for no limit'),
    doc: 'How long the stream keeps a message; unset or 0 keeps all. A standalone database with it keeps a history of its own.',
  },
  streamMaxBytes: {
    env: ['HA_STREAM_MAX_BYTES'],
    type: bytes(1024 ** 2, 1024 ** 5),
    doc: 'How large the stream may grow on disk, in bytes or as in `10GB`: then the oldest messages go. Unset is no limit.',
  },
};

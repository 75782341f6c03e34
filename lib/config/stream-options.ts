/** A duration: Go's notation (`15s`, `1h30m`) or a number of milliseconds. */
export type Duration = string | number;

/**
 * The stream: the NATS server that carries it, where it runs, and how it stores. Without `replicationURL` and `nats*`
 * options the database is standalone.
 */
export interface HAStreamOptions {
  /**
   * Configuration file of the embedded NATS server; overrides all other `nats*` options.
   * DSN `natsConfigFile`, environment `HA_NATS_CONFIG_NAME` or `HA_NATS_CONFIG_FILE`.
   * @default none
   */
  natsConfigFile?: string;
  /**
   * Address the embedded NATS server listens on.
   * DSN `natsHost`, environment `HA_NATS_HOST`.
   * @default 127.0.0.1
   */
  natsHost?: string;
  /**
   * Largest message of the embedded NATS server, in bytes or as in `8MB`.
   * DSN `natsMaxPayload`, environment `HA_NATS_MAX_PAYLOAD`.
   * @default the server's own (1MB)
   */
  natsMaxPayload?: number | string;
  /**
   * Name of the embedded NATS server.
   * DSN `natsName`, environment `HA_NATS_NAME`.
   * @default none
   */
  natsName?: string;
  /**
   * Password of `natsUser`.
   * DSN `natsPass`, environment `HA_NATS_PASS`.
   * @default none
   */
  natsPass?: string;
  /**
   * Port of the embedded NATS server; 0 takes a free one.
   * DSN `natsPort`, environment `HA_NATS_PORT`.
   * @default 4222
   */
  natsPort?: number;
  /**
   * Path of the nats-server binary. It says where the binary is, not that it is to be started: by itself it starts
   * none.
   * DSN `natsServer`, environment `HA_NATS_SERVER`.
   * @default found in PATH, a cache, or fetched
   */
  natsServer?: string;
  /**
   * Folder in which the embedded NATS server stores the stream.
   * DSN `natsStoreDir`, environment `HA_NATS_STORE_DIR`.
   * @default none
   */
  natsStoreDir?: string;
  /**
   * How often the embedded NATS server syncs its files to disk; 0 syncs every write.
   * DSN `natsSyncInterval`, environment `HA_NATS_SYNC_INTERVAL`.
   * @default 1s
   */
  natsSyncInterval?: Duration;
  /**
   * User that clients of the embedded NATS server must present, with `natsPass`.
   * DSN `natsUser`, environment `HA_NATS_USER`.
   * @default none
   */
  natsUser?: string;
  /**
   * Copies of the stream in the NATS cluster.
   * DSN `replicas`, environment `HA_REPLICAS`.
   * @default 1
   */
  replicas?: number;
  /**
   * Credentials file (.creds) for the NATS servers of `replicationURL`.
   * DSN `replicationCreds`, environment `HA_REPLICATION_CREDS`.
   * @default none
   */
  replicationCreds?: string;
  /**
   * Name of the JetStream stream that carries the changes.
   * DSN `replicationStream`, environment `HA_REPLICATION_STREAM`.
   * @default ha_replication
   */
  replicationStream?: string;
  /**
   * File with the certificate authority of the NATS servers (PEM).
   * DSN `replicationTlsCa`, environment `HA_REPLICATION_TLS_CA`.
   * @default none
   */
  replicationTlsCa?: string;
  /**
   * File with the client certificate for the NATS servers (PEM). Needs `replicationTlsKey`.
   * DSN `replicationTlsCert`, environment `HA_REPLICATION_TLS_CERT`.
   * @default none
   */
  replicationTlsCert?: string;
  /**
   * File with the key of `replicationTlsCert` (PEM).
   * DSN `replicationTlsKey`, environment `HA_REPLICATION_TLS_KEY`.
   * @default none
   */
  replicationTlsKey?: string;
  /**
   * Token for the NATS servers of `replicationURL`.
   * DSN `replicationToken`, environment `HA_REPLICATION_TOKEN`.
   * @default none
   */
  replicationToken?: string;
  /**
   * NATS servers to replicate through, separated by commas. Excludes the embedded server and its `nats*` options.
   * DSN `replicationURL`, environment `HA_REPLICATION_URL`.
   * @default none
   */
  replicationURL?: string;
  /**
   * How long the stream keeps a message; unset or 0 keeps all. A standalone database with it keeps a history of its own.
   * DSN `streamMaxAge`, environment `HA_STREAM_MAX_AGE`.
   * @default none
   */
  streamMaxAge?: Duration;
  /**
   * How large the stream may grow on disk, in bytes or as in `10GB`: then the oldest messages go. Unset is no limit.
   * DSN `streamMaxBytes`, environment `HA_STREAM_MAX_BYTES`.
   * @default none
   */
  streamMaxBytes?: number | string;
}

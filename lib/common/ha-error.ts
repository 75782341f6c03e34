/** Every code an {@link HAError} can carry. Branch on the code, never on the message. */
export type HAErrorCode =
  | 'HA_OPTIONS_INVALID'
  | 'HA_FOREIGN_DATABASE'
  | 'HA_DATABASE_OPEN'
  | 'HA_DATABASE_LOCKED'
  | 'HA_DATABASE_CLOSED'
  | 'HA_DUPLICATE_CONNECTION'
  | 'HA_NESTED_TRANSACTION'
  | 'HA_TRANSACTION_CLOSED'
  | 'HA_TRANSACTION_TIMEOUT'
  | 'HA_TRANSACTION_CONTROL'
  | 'HA_STATEMENT_REFUSED'
  | 'HA_INVALID_SQL'
  | 'HA_READ_ONLY'
  | 'HA_CONFLICT'
  | 'HA_PUBLISH_FAILED'
  | 'HA_PUBLISH_UNKNOWN'
  | 'HA_MESSAGE_TOO_LARGE'
  | 'HA_DUPLICATE_ID'
  | 'HA_INVALID_ID'
  | 'HA_UNAVAILABLE'
  | 'HA_WAIT_TIMEOUT'
  | 'HA_STREAM_CONNECT'
  | 'HA_STREAM_GAP'
  | 'HA_STREAM_RESET'
  | 'HA_STREAM_CONFIG'
  | 'HA_SNAPSHOT_STORE'
  | 'HA_SNAPSHOT_FAILED'
  | 'HA_SNAPSHOT_INVALID'
  | 'HA_BASE_CHANGED'
  | 'HA_APPLY_HALTED'
  | 'HA_SKIP_INVALID'
  | 'HA_FOREIGN_WRITE'
  | 'HA_OVERLAY_BROKEN'
  | 'HA_INTERCEPTOR'
  | 'HA_NATS_SERVER'
  | 'HA_NODE_NAME_TAKEN'
  | 'HA_SUBJECT_TAKEN'
  | 'HA_ID_SLOTS'
  | 'HA_CDC_DELIVERY'
  | 'HA_GRPC_SERVER'
  | 'HA_UNAUTHENTICATED'
  | 'HA_UNKNOWN_DATABASE'
  | 'HA_PARAMETER_INVALID'
  | 'HA_UNIMPLEMENTED'
  | 'HA_RESULT_TOO_LARGE'
  | 'HA_REMOTE'
  | 'HA_REMOTE_TIMEOUT'
  | 'HA_REMOTE_UNKNOWN'
  | 'HA_LEADER_UNREACHABLE'
  | 'HA_FORWARD_BODY'
  | 'HA_FORWARD_TIMEOUT'
  | 'HA_FORWARD_UNKNOWN'
  | 'HA_READ_BEHIND'
  | 'HA_HISTORY_GONE'
  | 'HA_HISTORY_INVALID'
  | 'HA_UNDO_INVALID'
  | 'HA_UNDO_REFUSED'
  | 'HA_UNDO_CONFLICT'
  | 'HA_LEADER_UNKNOWN'
  | 'HA_NOT_LEADER'
  | 'HA_LEADER_CHANGED'
  | 'HA_LEADER_LOOP'
  | 'HA_LEADER_NO_GRPC'
  | 'HA_RESULT_LOST'
  | 'HA_CROSS_DATABASE_REFUSED'
  | 'HA_CROSS_DATABASE_FAILED';

/** Details of an error, besides its code and message. */
export interface HAErrorOptions {
  /** The failure underneath, if there is one. */
  cause?: unknown;
  /** Whether running the same call again may succeed. Default false. */
  retryable?: boolean;
  /** Facts for programs: sequences, names, the offending value. */
  details?: Readonly<Record<string, unknown>>;
}

/**
 * The base of every error this library raises itself. Its message says what to do next. Failures of SQLite surface as
 * better-sqlite3's `SqliteError`, unchanged.
 */
export class HAError extends Error {
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    readonly code: HAErrorCode,
    message: string,
    options: HAErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = this.constructor.name;
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}

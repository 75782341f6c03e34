export { HAModule } from './ha.module.js';
export type {
  HAFactoryOptions,
  HAModuleAsyncOptions,
  HAModuleOptions,
  HAModuleOptionsWithDsn,
  HAOptionsFactory,
} from './ha-module-options.js';
export { HADatabaseRegistry } from './ha-database-registry.js';
export type { HARegisteredDatabase, HARegistryOptions } from './ha-database-registry.js';
export { HADatabase } from './write/ha-database.js';
export type { HAAcross, HAAcrossOptions, HAFailedDatabase } from './write/cross-port.js';
export type { ResyncOptions as HAResyncOptions } from './write/database-lifecycle.js';
export type {
  HAColumn,
  HAConsistency,
  HAExecuteOptions,
  HAExecutor,
  HAParameters,
  HAReadOptions,
  HAResult,
  HARunResult,
  HAStatement,
  HATransaction,
  HATransactionOptions,
  HAUnmanagedTransaction,
} from './write/executor.js';
export type { HASession, HASessionOptions } from './write/session.js';
export type {
  HAHistoryChange,
  HAHistoryOptions,
  HAHistoryOutcome,
  HAHistoryStart,
  HAHistoryTransaction,
  HARestored,
  HARowKey,
  HAUndoConflict,
  HAUndoOptions,
  HAUndoResult,
} from './write/history-port.js';
export type { HAOutcome } from './write/outcome.js';
export type {
  HABackup,
  HACDCStatus,
  HALag,
  HALeaderStatus,
  HAPosition,
  HASnapshot,
  HASnapshotStatus,
  HAStatus,
  OutboxStatus,
} from './write/status.js';
export type { HAMember, HARole } from './stream/membership/member.js';
export { ReplicationPublisher } from './publish/replication-publisher.js';
export { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
export { HASnapshotter } from './snapshot/snapshotter.js';
export type { SnapshotOptions as HASnapshotOptions } from './snapshot/snapshotter.js';
export type {
  DebeziumEnvelope,
  HACDCContext,
  HACDCEvent,
  HACDCRegistration,
  HACDCSettings,
  HACDCTarget,
} from './cdc/target.js';
export { InjectHA, InjectHALeader } from './common/inject-ha.js';
export { HALeader } from './leader/leader.js';
export type { LeaderState as HALeaderState, LeaderTarget as HALeaderTarget } from './leader/leader.js';
export { OnHAChange } from './common/on-change.js';
export type { HAChange, HAChangeOperation, HAChangeRow, HAChangeValue } from './changeset/row-changes.js';
export { getHALeaderToken, getHAToken } from './common/tokens.js';
export { HAError } from './common/ha-error.js';
export { isRetryable } from './common/retryable.js';
export { retryTransaction } from './common/retry-transaction.js';
export type { HARetryOptions } from './common/retry-transaction.js';
export type { HAErrorCode } from './common/ha-error.js';
export type { HAConflict, HAEvent, HARow, HAValue, HAWarningCode } from './common/events.js';
export type { HAOptions } from './config/options.js';
export type { ConfigureConnection, ConnectionRole } from './sqlite/connection.js';
export { FirstWriteWins } from './interceptors/first-write-wins.js';
export type { FirstWriteWinsOptions as HAFirstWriteWinsOptions } from './interceptors/first-write-wins.js';
export { IgnoreTables } from './interceptors/ignore-tables.js';
export { LastWriteWinsByColumn } from './interceptors/last-write-wins-by-column.js';
export type { LastWriteWinsOptions as HALastWriteWinsOptions } from './interceptors/last-write-wins-by-column.js';
export { MergeCounter } from './interceptors/merge-counter.js';
export { newValue, oldValue, withValues } from './changeset/interceptor.js';
export type {
  HAChangeSet,
  HAInterceptedChange,
  HAInterceptor,
  HAInterceptorAnswer,
  HAInterceptorContext,
  HARowAnswer,
  HARowContext,
  HAStoredRow,
} from './changeset/interceptor.js';
export { InvalidText as HAInvalidText } from './changeset/changeset.js';
export type {
  RowChange as HARowChange,
  SqlChange as HASqlChange,
  SqlValue as HASqlValue,
} from './changeset/changeset.js';
export type { HAInterceptorProvider } from './interceptor-providers.js';
export { LeaderGuard } from './leader/leader-guard.js';
export { ConsistentReadInterceptor } from './leader/consistent-read.interceptor.js';
export { ReadOnly, WriteMethods } from './leader/write-methods.js';
export { HALeaderException } from './leader/forward/leader-exception.js';

export { HAModule } from './ha.module.js';
export type {
  HAFactoryOptions,
  HAModuleAsyncOptions,
  HAModuleOptions,
  HAModuleOptionsWithDsn,
  HAOptionsFactory,
} from './ha-module-options.js';
export { HADatabase } from './write/ha-database.js';
export type { ResyncOptions as HAResyncOptions } from './write/ha-database.js';
export type {
  HAExecutor,
  HAParameters,
  HARunResult,
  HAStatement,
  HATransaction,
  HATransactionOptions,
} from './write/executor.js';
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
export type { HALag, HAPosition, HAStatus, OutboxStatus } from './write/status.js';
export type { HAMember, HARole } from './stream/membership/member.js';
export { ReplicationPublisher } from './publish/replication-publisher.js';
export { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
export { InjectHA } from './common/inject-ha.js';
export { OnHAChange } from './common/on-change.js';
export type { HAChange, HAChangeOperation, HAChangeRow, HAChangeValue } from './changeset/row-changes.js';
export { getHAToken } from './common/tokens.js';
export { HAError } from './common/ha-error.js';
export type { HAErrorCode } from './common/ha-error.js';
export type { HAConflict, HAEvent, HARow, HAValue, HAWarningCode } from './common/events.js';
export type { HAOptions } from './config/options.js';
export type { ConfigureConnection, ConnectionRole } from './sqlite/connection.js';

import { HAError } from '../common/ha-error.js';
import type { Connections } from '../sqlite/connections.js';
import type { Position } from '../sqlite/position.js';
import type { Committer } from './committer.js';
import type { HistoryPort } from './history-port.js';
import type { OutcomeFinder } from './outcome.js';
import type { Reads } from './reads.js';
import type { StatementInfos } from './statement-info.js';
import type { TransactionRunner } from './transaction-runner.js';
import type { WriteRouter } from './write-router.js';

/** A database that is open: what the calls of a database work with. */
export interface OpenDatabase {
  readonly connections: Connections;
  readonly committer: Committer;
  readonly runner: TransactionRunner;
  readonly reads: Reads;
  readonly infos: StatementInfos;
  /** How long writes wait for other programs that hold the file's lock, ms. */
  readonly busyTimeout: number;
  /** Absent without replication. */
  readonly position: Position | undefined;
  /** Absent without replication. */
  readonly outcomes: OutcomeFinder | undefined;
  /** Absent where none is kept. */
  readonly history: HistoryPort | undefined;
  /** Absent where every node writes. */
  readonly router?: WriteRouter | undefined;
  /** Sequence of the last message that the stream holds; absent without replication. */
  readonly latest?: (() => Promise<number>) | undefined;
  readonly readOnly: boolean;
  /** It does not follow the stream. */
  readonly publishesOnly: boolean;
}

/**
 * Refuses a write on a node that does none.
 *
 * @throws HAError `HA_READ_ONLY`.
 */
export function refuseReadOnly(open: OpenDatabase): void {
  if (!open.readOnly) return;
  throw new HAError(
    'HA_READ_ONLY',
    'This node is a read replica (disablePublisher): it does not write. Send the write to another node.',
  );
}

/**
 * The history of a database.
 *
 * @throws HAError `HA_UNAVAILABLE` where it keeps none.
 */
export function historyOf({ history }: OpenDatabase): HistoryPort {
  if (history !== undefined) return history;
  throw new HAError(
    'HA_UNAVAILABLE',
    'This database keeps no history: it has no stream. Set replicationURL or embedded NATS, or streamMaxAge, with which a standalone database keeps one of its own.',
  );
}

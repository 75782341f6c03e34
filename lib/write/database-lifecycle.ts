import type { Observable } from 'rxjs';
import type { HAChange } from '../changeset/row-changes.js';
import type { HAEvent } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { HAMember } from '../stream/membership/member.js';
import type { CrossPort } from './cross-port.js';
import type { OpenDatabase } from './open-database.js';
import type { HABackup, HALag, HASnapshot, HAStatus } from './status.js';

/** How {@link HADatabase.resync} goes about it. */
export interface ResyncOptions {
  /**
   * Where the rows come from: the `stream` from its beginning, the cluster's `snapshot`, or `this-node`: then all other
   * nodes take over the rows of this one. Default `stream`.
   */
  readonly from?: 'stream' | 'snapshot' | 'this-node';
  /** Applies the messages that {@link HADatabase.skip} had left out, now that they can be read. Default false. */
  readonly forgetSkips?: boolean;
}

/** Opens and closes the database; the wiring behind {@link HADatabase}. */
export interface DatabaseLifecycle {
  /** Whether a first call may start the database. */
  readonly autoStart: boolean;
  readonly transactionTimeout: number;
  /** Set by the database: is told of its writes that went to the leader. */
  noteWritten: (sequence: number) => void;
  /** How long a read waits for what it has to see, ms. */
  readonly readTimeout: number;
  readonly events: Observable<HAEvent>;
  readonly changes: Observable<HAChange>;
  /** Called with every use. */
  touch?(): void;
  /** Answers SELECTs from several databases; absent where there is no application that knows others. */
  readonly cross?: CrossPort | undefined;
  /** The database, while it is started. */
  readonly open: OpenDatabase | undefined;
  start(): Promise<OpenDatabase>;
  stop(): Promise<void>;
  close(): Promise<void>;
  status(): HAStatus;
  skip(sequence: bigint): Promise<void>;
  acknowledgeForeignWrite(): Promise<void>;
  resync(options?: ResyncOptions): Promise<void>;
  snapshot(options: { readonly replace?: boolean }): Promise<HASnapshot>;
  backup(path: string): Promise<HABackup>;
  lag(timeoutMs: number): Promise<HALag>;
  /** The nodes of the cluster; called while the database is started. */
  members(): Promise<HAMember[]>;
}

/**
 * The open database. The first call starts it, where it may.
 *
 * @throws HAError `HA_UNAVAILABLE` where it may not, and whatever keeps the database from starting.
 */
export function opened(lifecycle: DatabaseLifecycle): OpenDatabase | Promise<OpenDatabase> {
  const { open } = lifecycle;
  lifecycle.touch?.();
  if (open !== undefined) return open;
  if (!lifecycle.autoStart && lifecycle.status().state !== 'starting') throw notStarted();
  return lifecycle.start();
}

/** The error for a database that is not open, and is not opened by a call. */
export function notStarted(): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    'The database is not started. Await db.start() first, or leave autoStart on; after close() it stays closed.',
  );
}

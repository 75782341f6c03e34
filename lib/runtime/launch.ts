import type { HAError } from '../common/ha-error.js';
import type { StoredTarget } from '../cdc/effect-log.js';
import type { StagedSnapshot } from '../snapshot/staged-snapshot.js';
import type { CarriedRows } from '../sqlite/control-tables.js';
import type { IncomingMessage, StartPoint } from '../stream/replication-stream.js';
import type { SnapshotStart } from './snapshotting.js';

/** What is special about one start. */
export interface Launch extends SnapshotStart {
  /** Where a file without a position starts, whatever the option says. */
  readonly startPoint?: StartPoint;
  /** Called once the file is locked, before it is opened. */
  readonly beforeOpen?: () => void;
  /** Called when everything is applied, before anybody can write. */
  readonly onReady?: () => void;
  /** Called where the start has failed, before anybody can try again. */
  readonly onFailed?: () => void;
  /** Takes the place of the file, once that is locked. */
  readonly staged?: StagedSnapshot | undefined;
  /** Keeps the file that a snapshot takes the place of. */
  readonly keep?: boolean;
  /** Told where it is kept. */
  readonly onKept?: (path: string) => void;
  /** Rows that a new file takes over. */
  readonly carried?: CarriedRows;
  /** Where targets of change data capture go on in a new file. */
  readonly targets?: readonly StoredTarget[];
  /** A message that an operator wants left out. */
  readonly skip?: SkipRequest;
  /** Serves what the file holds, and nothing more: why. */
  readonly halted?: HAError;
  /** Overrides that of the module. */
  readonly retryAttempts?: number;
}

/** A message, and why it is left out. */
export interface SkipRequest {
  readonly message: IncomingMessage;
  readonly reason: string;
}

/** The message at which applying has halted. */
export interface HaltedMessage extends SkipRequest {
  /** Nobody can read it: leaving it out is for an operator to decide. */
  readonly unreadable: boolean;
}

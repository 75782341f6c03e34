import { readTargets, startOf } from '../cdc/effect-log.js';
import type { HAError } from '../common/ha-error.js';
import type { HASnapshotter } from '../snapshot/snapshotter.js';
import { readCarried } from '../sqlite/control-tables.js';
import { SetAside } from '../sqlite/set-aside.js';
import { LateStream } from '../stream/late-stream.js';
import { baseChangeOf } from '../subscribe/base.js';
import { refuseTrimmed } from '../subscribe/establish-cursor.js';
import { recordSkip } from '../subscribe/record-skip.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { ResyncOptions } from '../write/database-lifecycle.js';
import type { OpenDatabase } from '../write/open-database.js';
import { notFollowing, outboxWaits, skipInvalid, skipRefused } from './errors.js';
import type { Launch } from './launch.js';
import type { Maintenance } from './maintenance.js';
import type { Messages } from './messages.js';
import type { Opened, Replication } from './opened.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';

/** What is built anew, and from what. */
export interface RebuildingParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotter: HASnapshotter;
  readonly snapshotting: Snapshotting;
  readonly maintenance: Maintenance;
  readonly opened: Opened;
}

/** What an operator, or the node itself, does about a database that has halted or holds wrong rows. */
export class Rebuilding {
  constructor(private readonly parts: RebuildingParts) {}

  /** Goes on without the message at which applying has halted. */
  skip(sequence: bigint): Promise<void> {
    const { maintenance, opened } = this.parts;
    return maintenance.run(async () => {
      await maintenance.settled();
      const { replication } = opened;
      const skip = maintenance.halted;
      if (skip === undefined || maintenance.isClosed || BigInt(skip.message.sequence) !== sequence) {
        throw skipInvalid(sequence, skip?.message.sequence);
      }
      if (!skip.unreadable) throw skipRefused(sequence, skip.reason);
      if (replication === undefined) {
        maintenance.revive();
        await maintenance.begin({ skip });
        return;
      }
      await replication.control.run((db) => recordSkip(db, skip.message, skip.reason));
      await maintenance.relaunch();
    });
  }

  /** Builds the file anew; on any failure the old one is put back. */
  resync({ forgetSkips = false, from = 'stream' }: ResyncOptions): Promise<void> {
    return this.parts.maintenance.run(() =>
      from === 'stream' ? this.resyncStream(forgetSkips) : this.resyncSnapshot(from),
    );
  }

  /** Whether starting anew would get a node further that has halted for a reason. */
  async canRecover(cause: HAError): Promise<boolean> {
    const { snapshotting, opened } = this.parts;
    const { replication } = opened;
    if (replication === undefined || baseChangeOf(cause) !== undefined) return replication !== undefined;
    // Nobody can tell before it is tried.
    if (replication.stream instanceof LateStream && !replication.stream.isConnected) return true;
    return snapshotting.canRestore(replication.stream);
  }

  /** Starts a node anew that has halted; where that fails, it serves what it has, and stays halted. */
  recover(cause: HAError): Promise<void> {
    const { maintenance, subscriber } = this.parts;
    return maintenance.run(async () => {
      if (maintenance.isClosed || maintenance.isStopped || subscriber.state !== 'halted') return;
      try {
        await maintenance.relaunch({ change: baseChangeOf(cause), retryAttempts: 0 });
      } catch (error) {
        if (!maintenance.isClosed && !maintenance.isStopped) await maintenance.beginAnew({ halted: cause });
        throw error;
      }
    });
  }

  private async resyncStream(forgetSkips: boolean): Promise<void> {
    const { profile, messages, opened } = this.parts;
    const { options, subject } = profile;
    const { replication, database } = opened;
    if (replication === undefined || database === undefined || !profile.follows) throw notFollowing();
    const { async } = replication;
    // What it holds lies over the fold, and would be lost with the file.
    if (async?.isSettled === false && !async.isFlowing) throw outboxWaits(async.status.size);
    await refuseTrimmed(replication.stream, subject, replication.position.cursor.subjectSequence);
    const aside = options.memory ? undefined : SetAside.begin(database.connections.path, new Date());
    const launch = anew(database, aside, forgetSkips);
    await this.rebuild(launch, this.drained(replication));
    messages.emit({ type: 'resynced', path: aside?.target });
  }

  /** Takes over the snapshot of the cluster, or has it take over the rows of this node. */
  private async resyncSnapshot(from: 'snapshot' | 'this-node'): Promise<void> {
    const { profile, messages, maintenance, snapshotter } = this.parts;
    if (!profile.follows || maintenance.isClosed) throw notFollowing();
    await maintenance.settled();
    maintenance.revive();
    let path: string | undefined;
    const keep = from === 'snapshot' && !profile.options.memory;
    const snapshots = from === 'snapshot' ? 'must' : 'found';
    await this.rebuild({ snapshots, keep, onKept: (kept) => (path = kept) });
    // What is in the store may be of another stream: new nodes must not have to wait for the next snapshot.
    if (from === 'this-node') await snapshotter.take().catch(messages.failed);
    messages.emit({ type: 'resynced', path });
  }

  /** Starts the database anew in a special way; where that fails, in the usual one. */
  private async rebuild(launch: Launch, finished?: () => Promise<void>): Promise<void> {
    const { maintenance } = this.parts;
    try {
      await maintenance.relaunch(launch, finished);
    } catch (error) {
      if (!maintenance.isClosed) await maintenance.begin().catch(() => undefined);
      throw error;
    }
  }

  private drained({ async }: Replication): (() => Promise<void>) | undefined {
    return async && (() => this.parts.opened.drain(async));
  }
}

/** A start on an empty file, which takes over what this node alone knows. */
function anew(
  { connections }: OpenDatabase,
  aside: ReturnType<typeof SetAside.begin> | undefined,
  forgetSkips: boolean,
): Launch {
  const { applier } = connections;
  const kept = readCarried(applier);
  return {
    startPoint: { kind: 'all' },
    snapshots: 'never',
    carried: forgetSkips ? { ...kept, skipped: [] } : kept,
    // Transactions are recorded anew, and may be cut into other parts: one that is half delivered begins again.
    targets: readTargets(applier).map((stored) => ({ ...stored, ...startOf(stored.sequence) })),
    beforeOpen: () => aside?.move(),
    onReady: () => aside?.finish(),
    onFailed: () => aside?.restore(),
  };
}

import { Interceptors } from '../apply/interceptors.js';
import { checkRegistrations } from '../cdc/change-data-capture.js';
import { Telemetry } from '../common/telemetry.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import type { Leadership } from '../leader/leadership.js';
import { ReplicationPublisher } from '../publish/replication-publisher.js';
import { HASnapshotter } from '../snapshot/snapshotter.js';
import { IdGenerator } from '../sqlite/id-generator.js';
import { IdSlotLease } from '../stream/membership/id-slots.js';
import { StreamSource } from '../stream/stream-source.js';
import { ChangeFeed } from '../subscribe/change-feed.js';
import { LagMeter } from '../subscribe/lag.js';
import { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import { DatabaseFile } from './database-file.js';
import { leaderWithoutStream } from './errors.js';
import { LeaderWiring, leadershipOf } from './leader-wiring.js';
import { Maintenance } from './maintenance.js';
import { ClusterPlace } from './membership.js';
import { Messages } from './messages.js';
import type { Reactions } from './messages.js';
import { Opened } from './opened.js';
import { Opening } from './opening.js';
import { Profile } from './profile.js';
import type { RuntimeExtras } from './profile.js';
import { Rebuilding } from './rebuilding.js';
import { Recovery } from './recovery.js';
import { Snapshotting } from './snapshotting.js';
import { Starting } from './starting.js';
import { StatusReport } from './status.js';
import { Targets } from './targets.js';

/** What depends on nothing that is opened, and stays when the database is stopped. */
interface LastingParts {
  readonly profile: Profile;
  readonly telemetry: Telemetry;
  readonly messages: Messages;
  readonly leader: Leadership;
  readonly idSlots: IdSlotLease;
  readonly ids: IdGenerator;
  readonly interceptors: Interceptors | undefined;
  readonly source: StreamSource;
  readonly publisher: ReplicationPublisher;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotter: HASnapshotter;
  readonly changeFeed: ChangeFeed;
  readonly lagMeter: LagMeter;
}

/** What the calls of `HARuntime` go to. */
export interface RuntimeParts extends LastingParts {
  readonly cluster: ClusterPlace;
  readonly opened: Opened;
  readonly snapshotting: Snapshotting;
  readonly file: DatabaseFile;
  readonly leaderWiring: LeaderWiring;
  readonly maintenance: Maintenance;
  readonly rebuilding: Rebuilding;
  readonly report: StatusReport;
}

/**
 * Makes the parts of one database, opening nothing: the only place that knows all of them. Each states what it needs of the
 * others.
 *
 * @param written Told of every write of this process that went to the leader.
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function compose(
  options: ResolvedHAOptions,
  extras: RuntimeExtras,
  written: (sequence: number) => void,
): RuntimeParts {
  const lasting = makeLasting(options, extras, {
    halted: (error) => opened.halt(error),
    connected: () => opened.replication?.async?.kick(),
  });
  const { profile, messages, ids } = lasting;
  const { configure, heartbeatMs, retryAttempts, retryDelay } = extras;
  const cluster: ClusterPlace = new ClusterPlace({ ...lasting, heartbeatMs, replication: () => opened.replication });
  const recovery = new Recovery({
    pauseMs: options.snapshotInterval,
    isWorthwhile: (cause) => rebuilding.canRecover(cause),
    restart: (cause) => rebuilding.recover(cause),
    failed: messages.failed,
  });
  const opened: Opened = new Opened({ ...lasting, cluster, recovery });
  const snapshotting = snapshottingOf(profile, messages, cluster);
  const file = new DatabaseFile({ profile, messages, snapshotting, ids, configure });
  const state = (): StatusReport['state'] => report.state;
  const leaderWiring = new LeaderWiring({ ...lasting, cluster, opened, state, written });
  const targets = new Targets(profile, messages);
  const open = { ...lasting, cluster, opened, snapshotting, targets, leaderWiring, file, configure };
  const starting = new Starting({ ...open, opening: new Opening(open), retryAttempts, retryDelay });
  const maintenance = new Maintenance({ ...open, recovery, starting });
  const rebuilding: Rebuilding = new Rebuilding({ ...open, maintenance });
  const report: StatusReport = new StatusReport({ ...open, maintenance });
  leaderWiring.tellChanges();
  return { ...lasting, cluster, opened, snapshotting, file, leaderWiring, maintenance, rebuilding, report };
}

function makeLasting(options: ResolvedHAOptions, extras: RuntimeExtras, reactions: Reactions): LastingParts {
  const profile = new Profile(options, extras);
  if (options.leaderProvider !== undefined && profile.isStandalone) throw leaderWithoutStream();
  const telemetry = new Telemetry();
  const messages = new Messages(extras.logger, telemetry, reactions);
  const leader = leadershipOf(profile, extras, messages);
  checkRegistrations(profile.targets, profile.follows);
  const idSlots = new IdSlotLease();
  const ids = new IdGenerator(extras.idSlot ?? idSlots);
  idSlots.holder = ids;
  return {
    profile,
    telemetry,
    messages,
    leader,
    idSlots,
    ids,
    interceptors: interceptorsOf(options, extras),
    source: new StreamSource(options, (line) => extras.logger.warn(line), extras.stream ?? profile.local),
    publisher: new ReplicationPublisher(),
    subscriber: new ReplicationSubscriber(),
    snapshotter: new HASnapshotter(),
    changeFeed: new ChangeFeed(),
    lagMeter: new LagMeter(),
  };
}

function interceptorsOf(
  { name: node, replicationID }: ResolvedHAOptions,
  { interceptors = [] }: RuntimeExtras,
): Interceptors | undefined {
  return interceptors.length === 0 ? undefined : new Interceptors(interceptors, { node, replicationID });
}

function snapshottingOf(profile: Profile, messages: Messages, cluster: ClusterPlace): Snapshotting {
  const { options, subject, publishesLater, busyTimeout } = profile;
  return new Snapshotting({
    options,
    subject,
    publishesLater,
    busyTimeout,
    origin: () => profile.origin,
    emit: messages.emit,
    othersHavePosition: () => cluster.othersHavePosition(),
    othersHaveApplied: () => cluster.othersHaveApplied(),
  });
}

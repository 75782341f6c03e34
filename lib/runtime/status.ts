import type { HASnapshotter } from '../snapshot/snapshotter.js';
import type { LagMeter } from '../subscribe/lag.js';
import type { Leadership } from '../leader/leadership.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { HALag, HAStatus } from '../write/status.js';
import type { LeaderWiring } from './leader-wiring.js';
import type { Maintenance } from './maintenance.js';
import type { ClusterPlace } from './membership.js';
import type { Messages } from './messages.js';
import type { Opened } from './opened.js';
import type { Profile } from './profile.js';

/** What is asked. */
export interface StatusParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly cluster: ClusterPlace;
  readonly leader: Leadership;
  readonly leaderWiring: LeaderWiring;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotter: HASnapshotter;
  readonly lagMeter: LagMeter;
  readonly maintenance: Maintenance;
  readonly opened: Opened;
}

/** What a database says about itself. */
export class StatusReport {
  constructor(private readonly parts: StatusParts) {}

  get state(): HAStatus['state'] {
    const { maintenance, opened, cluster, subscriber } = this.parts;
    if (maintenance.isClosed) return 'closed';
    if (opened.database === undefined) return maintenance.phase;
    if (cluster.expelled !== undefined) return 'halted';
    const { state } = subscriber;
    return state === 'halted' || state === 'retrying' ? state : 'running';
  }

  /** Cheap: nothing is asked of the stream. */
  read(): HAStatus {
    const { profile, messages, cluster, leader, leaderWiring, subscriber, snapshotter, opened } = this.parts;
    const { state } = this;
    const { replication, database } = opened;
    const { position, async, cdc } = replication ?? {};
    const foreignWrite = replication?.alarm.error;
    const lead = leaderWiring.status;
    return {
      healthy: state === 'running' && foreignWrite === undefined,
      state,
      role: profile.roleUnder(leader),
      node: profile.options.name,
      connected: replication?.stream.isConnected ?? false,
      position: { received: BigInt(position?.received ?? 0), published: BigInt(position?.published ?? 0) },
      backlog: subscriber.backlog,
      waitingWrites: database?.committer.waiting ?? 0,
      conflicts: messages.conflicts,
      lastError: cluster.expelled ?? subscriber.error,
      foreignWrite,
      skipped: [...(replication?.skips ?? [])].map(BigInt),
      snapshot: snapshotter.status,
      ...(lead === undefined ? {} : { leader: lead }),
      ...(async === undefined ? {} : { outbox: async.status }),
      ...(cdc === undefined ? {} : { cdc: cdc.status }),
    };
  }

  /** How far this node is behind the stream; nothing without one. */
  async lag(timeoutMs: number): Promise<HALag> {
    const { profile, subscriber, lagMeter, opened } = this.parts;
    const { replication } = opened;
    if (replication === undefined || profile.options.disableSubscriber) {
      return { messages: 0, seconds: 0, answered: true };
    }
    return lagMeter.measure(replication.stream, replication.position, subscriber, timeoutMs);
  }
}

import { HAError } from '../common/ha-error.js';
import type { Telemetry } from '../common/telemetry.js';
import type { Leadership } from '../leader/leadership.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import { HEARTBEAT_MS } from '../stream/membership/membership.js';
import type { OutcomeFinder } from '../write/outcome.js';
import type { HALeaderStatus, HAStatus } from '../write/status.js';
import { Leading, makeLeadership, unservedWarning } from './leading.js';
import type { ClusterPlace } from './membership.js';
import type { Messages } from './messages.js';
import type { Opened } from './opened.js';
import type { Profile, RuntimeExtras } from './profile.js';

/** Makes what knows the leader of the cluster, before anything is open. */
export function leadershipOf({ options }: Profile, extras: RuntimeExtras, messages: Messages): Leadership {
  const leader = makeLeadership({
    options,
    heartbeatMs: extras.heartbeatMs ?? HEARTBEAT_MS,
    timings: extras.leaderTimings,
    now: extras.leaderClock,
    failed: (error) => {
      // The connection tells by itself that it is lost, and what fails in an election is done again.
      if (!(error instanceof HAError && error.retryable)) messages.failed(error);
    },
  });
  const unserved = unservedWarning(options);
  if (unserved !== undefined) messages.logger.warn(unserved);
  return leader;
}

/** What stands between the leader of the cluster and this database. */
export interface LeaderParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly telemetry: Telemetry;
  readonly leader: Leadership;
  readonly cluster: ClusterPlace;
  readonly publisher: ReplicationPublisher;
  readonly opened: Opened;
  readonly state: () => HAStatus['state'];
  /** Told of every write of this process that went to the leader. */
  readonly written: (sequence: number) => void;
}

/** Ties the leader of the cluster, which is known as long as the module lives, to each start of the database. */
export class LeaderWiring {
  constructor(private readonly parts: LeaderParts) {}

  /** Undefined where every node writes. */
  get status(): HALeaderStatus | undefined {
    const { leader } = this.parts;
    if (!leader.isConfigured) return undefined;
    const { isLeader, node, target } = leader.state;
    return { isLeader, node, target: target?.text, term: isLeader ? leader.term : undefined };
  }

  /** Tells of every change of the leader; the first time at once, where one is known. */
  tellChanges(): void {
    this.parts.leader.changes.subscribe(({ isLeader, node, target }) => this.tell(isLeader, node, target?.text));
  }

  /** Has writes go to the leader; undefined where every node writes. */
  open(outcomes: OutcomeFinder | undefined): Leading | undefined {
    const { leader, profile, publisher, telemetry, written, opened } = this.parts;
    if (opened.replication === undefined || !leader.isConfigured) return undefined;
    const { stream, position } = opened.replication;
    return new Leading(leader, profile.options, { telemetry, stream, position, publisher, outcomes, written });
  }

  /** Looks for the leader, and stands for election. */
  async follow(): Promise<void> {
    const { leader, profile, publisher, cluster, opened } = this.parts;
    const { replication } = opened;
    if (replication === undefined || !leader.isConfigured) return;
    const { stream, position } = replication;
    await leader.attach({
      stream,
      position,
      publisher,
      bucket: profile.subject.replaceAll('.', '_'),
      session: cluster.sessionId ?? position.origin,
      isFollowing: () => opened.database !== undefined && /^(running|retrying)$/.test(this.parts.state()),
      others: async () => (await cluster.sightings()) ?? [],
    });
  }

  /**
   * Lets another node lead, where there is one: the application is about to end, and its requests, which go on for a while,
   * write through that. Never fails.
   */
  async handOver(): Promise<void> {
    const { leader, cluster } = this.parts;
    if (!leader.isConfigured || leader.isStatic || !leader.isLeader()) return;
    const others = await cluster.sightings()?.catch(() => []);
    if (others !== undefined && others.length > 0) await leader.resign().catch(() => undefined);
  }

  private tell(isLeader: boolean, node: string | undefined, target: string | undefined): void {
    const { leader, messages, cluster, opened } = this.parts;
    if (!leader.isConfigured || (opened.database === undefined && target === undefined)) return;
    const { logger } = messages;
    if (isLeader) logger.log('This node leads the cluster.');
    else logger.log(target === undefined ? 'No leader is known.' : `The leader is ${node ?? 'a node'} at ${target}.`);
    messages.events.next({ type: 'leader', isLeader, node, target });
    // Others read the role in the record of this node.
    cluster.beat();
  }
}

import { BehaviorSubject, distinctUntilChanged } from 'rxjs';
import type { Observable } from 'rxjs';
import { HAError } from '../common/ha-error.js';
import type { LeaderProviderOption } from '../config/resolved.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { Position } from '../sqlite/position.js';
import { KeyValueDenied } from '../stream/key-value.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { WriteFence } from '../write/fence.js';
import { announce, readAnnouncement, tellResigned } from './announcement.js';
import type { Announcement } from './announcement.js';
import { Election, deposed } from './election.js';
import { HALeader } from './leader.js';
import type { LeaderState } from './leader.js';
import { leaderUnknown } from './leader-errors.js';
import { Quorum } from './quorum.js';
import type { MemberSighting } from './quorum.js';
import { StaticLeader } from './static-leader.js';
import { targetOf } from './target.js';
import { BUCKET_TTL_MS, LEADER_TIMINGS } from './timings.js';
import type { LeaderTimings } from './timings.js';

/** What does not change while the application lives. */
export interface LeadershipSettings {
  readonly provider: LeaderProviderOption | undefined;
  readonly node: string;
  readonly clusterSize: number;
  /** It may lead, if elected. */
  readonly mayLead: boolean;
  /** Whether `static` names this node. */
  readonly isNamed: boolean;
  readonly timings?: LeaderTimings | undefined;
  readonly heartbeatMs: number;
  readonly now?: (() => number) | undefined;
  readonly failed: (error: unknown) => void;
}

/** A database that is open. */
export interface LeadershipPorts {
  readonly stream: ReplicationStream;
  /** Of the key of the leader. */
  readonly bucket: string;
  readonly publisher: ReplicationPublisher;
  readonly position: Position;
  /** Random for each start. */
  readonly session: string;
  /** It follows the stream, and writes can be run. */
  readonly isFollowing: () => boolean;
  readonly others: () => Promise<readonly MemberSighting[]>;
}

/** What finds the leader, while the database is open. */
interface Finder {
  readonly isLeading: boolean;
  readonly term: number | undefined;
  readonly known: { readonly value: string; readonly node: string | undefined } | undefined;
  start(): Promise<void>;
  look(): void;
  observe(commands: readonly string[]): void;
  resign(): Promise<void>;
  stop(): Promise<void>;
}

/** How long one try to store the announcement may take, ms. */
const ANNOUNCE_MS = 2_000;
const CATCH_UP_MS = 10_000;

/** Who leads the cluster: one for each database, for the life of the module. Without a leaderProvider every node writes. */
export class Leadership extends HALeader implements WriteFence {
  private readonly states: BehaviorSubject<LeaderState>;
  private finder: Finder | undefined;
  private quorum: Quorum | undefined;
  private readonly now: () => number;
  private readonly timings: LeaderTimings;
  override readonly changes: Observable<LeaderState>;

  constructor(private readonly settings: LeadershipSettings) {
    super();
    this.now = settings.now ?? (() => performance.now());
    this.timings = settings.timings ?? LEADER_TIMINGS;
    this.states = new BehaviorSubject<LeaderState>(this.state);
    this.changes = this.states.pipe(distinctUntilChanged(isSame));
  }

  override get isConfigured(): boolean {
    return this.settings.provider !== undefined;
  }

  override isLeader(): boolean {
    return !this.isConfigured || this.finder?.isLeading === true;
  }

  override target(): LeaderState['target'] {
    return this.state.target;
  }

  /** Who leads, at this moment. */
  get state(): LeaderState {
    const { provider } = this.settings;
    if (provider === undefined) return { isLeader: true };
    const fixed = provider.kind === 'static' ? provider.targets.join(',') : undefined;
    const fallback = fixed === undefined ? undefined : { value: fixed, node: undefined };
    const known = this.finder === undefined ? fallback : this.finder.known;
    return {
      isLeader: this.isLeader(),
      ...(known === undefined ? {} : { target: targetOf(known.value) }),
      ...(known?.node === undefined ? {} : { node: known.node }),
    };
  }

  /** A leader that is named and not elected: whoever it is, it does not change. */
  get isStatic(): boolean {
    return this.settings.provider?.kind === 'static';
  }

  /** @inheritdoc */
  get term(): number {
    return this.finder?.term ?? 0;
  }

  /** @inheritdoc */
  refusal(): HAError | undefined {
    return this.isLeader() ? undefined : deposed();
  }

  override async resign(): Promise<void> {
    await this.finder?.resign();
  }

  override known(timeout: number, signal?: AbortSignal): Promise<LeaderState> {
    return this.when((state) => state.isLeader || state.target !== undefined, timeout, signal);
  }

  /** Resolves with the first state, from now on, for which something holds. */
  when(holds: (state: LeaderState) => boolean, timeout: number, signal?: AbortSignal): Promise<LeaderState> {
    const { state } = this;
    if (holds(state)) return Promise.resolve(state);
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
        subscription.unsubscribe();
      };
      const aborted = (): void => {
        end();
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(() => {
        end();
        reject(leaderUnknown(timeout, this.reason()));
      }, timeout);
      // The states lag behind: the one of now was looked at above.
      const subscription = this.states.subscribe((next) => {
        if (!holds(next)) return;
        queueMicrotask(end);
        resolve(next);
      });
      if (signal?.aborted === true) aborted();
      else signal?.addEventListener('abort', aborted);
    });
  }

  /** Begins to look for the leader, and to stand for election. */
  async attach(ports: LeadershipPorts): Promise<void> {
    const { provider, isNamed } = this.settings;
    if (provider === undefined) return;
    if (provider.kind === 'static') {
      this.finder = new StaticLeader({
        target: provider.targets.join(','),
        isNamed,
        session: ports.session,
        establish: (announcement, mayGoOn) => this.establish(ports, announcement, mayGoOn),
        changed: () => this.changed(),
        failed: this.settings.failed,
      });
    } else this.finder = await this.election(ports, provider.targets.join(','));
    await this.finder.start();
    this.changed();
  }

  /** Gives the leadership up, and looks no more. Never fails. */
  async detach(): Promise<void> {
    const { finder, quorum } = this;
    quorum?.stop();
    await finder?.stop();
    if (this.finder === finder) this.finder = undefined;
    this.changed();
  }

  /** Sees the commands of the stream in order, behind the commit of each. */
  observe(commands: readonly string[]): void {
    if (commands.length > 0) this.finder?.observe(commands);
  }

  /** Looks at once who leads: who was thought to, does not answer. */
  look(): void {
    this.finder?.look();
  }

  complete(): void {
    this.states.complete();
  }

  private async election(ports: LeadershipPorts, target: string): Promise<Election> {
    const { settings, now, timings } = this;
    const bucket = await openBucket(ports);
    const quorum = new Quorum(settings.clusterSize, ports.others, settings.heartbeatMs, now, settings.failed);
    this.quorum = quorum;
    await quorum.start();
    return new Election({
      bucket,
      node: settings.node,
      session: ports.session,
      target,
      timings,
      isCandidate: () => settings.mayLead && ports.isFollowing(),
      hasQuorum: (gone) => quorum.isThereBut(gone),
      establish: (announcement, mayGoOn) => this.establish(ports, announcement, mayGoOn),
      tellResigned: () => publishHint(ports),
      changed: () => this.changed(),
      failed: settings.failed,
      now,
    });
  }

  /** Everything applied, then the announcement right behind it. */
  private async establish(
    { publisher, position }: LeadershipPorts,
    announcement: Announcement,
    mayGoOn: () => boolean,
  ): Promise<void> {
    const last = await publisher.lastSubjectSequence();
    await position.waitFor(last, { timeout: CATCH_UP_MS });
    if (!mayGoOn()) return;
    const group = publisher.group(last, () => (mayGoOn() ? undefined : deposed()));
    group.add(publisher.customMessage(announce(announcement)));
    const [outcome] = await group.settle(performance.now() + ANNOUNCE_MS);
    if (outcome?.kind === 'stored') await position.waitFor(outcome.sequence, { timeout: CATCH_UP_MS });
  }

  private changed(): void {
    if (!this.states.closed) this.states.next(this.state);
  }

  private reason(): string {
    const { settings, quorum, finder } = this;
    if (finder === undefined) return 'the database is not started';
    if (quorum !== undefined && !quorum.isThere) {
      return `${quorum.alive} of ${settings.clusterSize} nodes (clusterSize) are there, and an election needs ${quorum.needed}`;
    }
    return 'none is elected, or NATS cannot be asked';
  }
}

/** True where a message of the stream is of a leader that has just been elected. */
export function isAnnouncement(command: string): boolean {
  return readAnnouncement(command) !== undefined;
}

async function openBucket({ stream, bucket }: LeadershipPorts): Promise<NonNullable<Awaited<ReturnType<Open>>>> {
  try {
    const opened = await stream.keyValue?.(bucket, { ttlMs: BUCKET_TTL_MS });
    if (opened !== undefined) return opened;
  } catch (error) {
    if (error instanceof KeyValueDenied) throw noBucket(bucket, error);
    throw error;
  }
  throw noBucket(bucket, undefined);
}

type Open = NonNullable<ReplicationStream['keyValue']>;

/** Wakes the others; where it gets lost they find out by themselves. */
async function publishHint({ publisher, session }: LeadershipPorts): Promise<void> {
  const group = publisher.group(undefined);
  group.add(publisher.customMessage(tellResigned(session)));
  await group.settle(performance.now());
}

function noBucket(bucket: string, cause: Error | undefined): HAError {
  return new HAError(
    'HA_STREAM_CONFIG',
    `A leader is elected in the key-value bucket '${bucket}', which this node may not have${cause === undefined ? '' : ` (${cause.message})`}. Allow its account to create and use it, or name the leader: leaderProvider=static:TARGET.`,
    { cause, details: { bucket } },
  );
}

function isSame(a: LeaderState, b: LeaderState): boolean {
  return a.isLeader === b.isLeader && a.node === b.node && a.target?.text === b.target?.text;
}

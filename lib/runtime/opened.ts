import type { ChangeDataCapture } from '../cdc/change-data-capture.js';
import type { HAError } from '../common/ha-error.js';
import { within } from '../common/timing.js';
import type { Leadership } from '../leader/leadership.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { HASnapshotter } from '../snapshot/snapshotter.js';
import type { Checkpointer } from '../sqlite/checkpointer.js';
import type { Connections } from '../sqlite/connections.js';
import type { ControlWrites } from '../sqlite/control-writes.js';
import type { ForeignWriteAlarm } from '../sqlite/foreign-write-alarm.js';
import type { Outcomes } from '../sqlite/outcomes.js';
import type { Position } from '../sqlite/position.js';
import { LateStream } from '../stream/late-stream.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { StreamSource } from '../stream/stream-source.js';
import type { ChangeFeed } from '../subscribe/change-feed.js';
import type { IdleAdvance } from '../subscribe/idle-advance.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { OpenDatabase } from '../write/open-database.js';
import type { AsyncPublishing } from './async-publishing.js';
import { outboxWaits, stoppedError } from './errors.js';
import type { Leading } from './leading.js';
import type { ClusterPlace } from './membership.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { Recovery } from './recovery.js';

/** What a database has to do with its stream, for one start. */
export interface Replication {
  readonly stream: ReplicationStream;
  readonly position: Position;
  readonly outcomes: Outcomes;
  /** Origins of this start and of earlier ones of the same file. */
  readonly origins: ReadonlySet<string>;
  /** Messages that an operator had this node leave out. */
  readonly skips: ReadonlySet<number>;
  readonly control: ControlWrites;
  readonly alarm: ForeignWriteAlarm;
  readonly async: AsyncPublishing | undefined;
  readonly cdc: ChangeDataCapture | undefined;
  readonly idle: IdleAdvance | undefined;
}

/** What lives longer than one start, and is told of its end. */
export interface OpenedParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly cluster: ClusterPlace;
  readonly leader: Leadership;
  readonly recovery: Recovery;
  readonly source: StreamSource;
  readonly publisher: ReplicationPublisher;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotter: HASnapshotter;
  readonly changeFeed: ChangeFeed;
}

/** How often stopping looks whether an interceptor does not answer, ms. */
const LOOK_FOR_STUCK_MS = 500;

/**
 * What one start has opened so far, and how it is taken down: the same way for a start that fails half-way, and for a
 * database that is stopped. The start puts things here as soon as they are there.
 */
export class Opened {
  files: Connections | undefined;
  checkpointer: Checkpointer | undefined;
  replication: Replication | undefined;
  /** Writes that go to the leader. */
  leading: Leading | undefined;
  /** What calls work with: there when everything is applied, and gone before anything is taken down. */
  database: OpenDatabase | undefined;

  constructor(private readonly parts: OpenedParts) {}

  /** Takes no more writes, ends those under way, and takes everything down. */
  async stop(database = this.database): Promise<void> {
    const { leader, changeFeed, messages } = this.parts;
    await this.finishWrites(stoppedError(), database);
    await leader.detach();
    this.database = undefined;
    await this.tearDown();
    await changeFeed.drained();
    messages.events.next({ type: 'stopped' });
  }

  /** Waits for the writes under way; for those that only the stream can bring back, no longer than for a publish. */
  async finishWrites(reason: HAError, database = this.database): Promise<void> {
    const { publisherTimeout } = this.parts.profile.options;
    const { position } = this.replication ?? {};
    const timer = setTimeout(() => position?.fail(reason), publisherTimeout);
    // What the leader has been given is answered, and brought here by the stream.
    const forwarded = within(publisherTimeout, database?.router?.close(reason) ?? Promise.resolve());
    await database?.committer.close(reason);
    await forwarded;
    clearTimeout(timer);
    await this.replication?.async?.flush(publisherTimeout);
  }

  /** Waits until nothing is left in the outbox; call where nothing is added any more. */
  async drain(async: AsyncPublishing): Promise<void> {
    await async.settled(this.parts.profile.options.publisherTimeout);
    if (!async.isSettled) throw outboxWaits(async.status.size);
  }

  /** Waits for something that interceptors hold back: no longer for one of them than a write waits for the stream. */
  async impatiently(work: Promise<void>): Promise<void> {
    const { publisherTimeout } = this.parts.profile.options;
    const every = Math.max(10, Math.min(LOOK_FOR_STUCK_MS, publisherTimeout / 4));
    const timer = setInterval(() => this.abandonStuck(publisherTimeout), every);
    try {
      await work;
    } finally {
      clearInterval(timer);
    }
  }

  /** Applying has stopped: nothing is written any more, until the node comes back by itself where it can. */
  halt(error: HAError): void {
    const { profile, recovery } = this.parts;
    this.database?.committer.halt(error);
    this.replication?.async?.stop();
    if (this.database !== undefined && profile.options.bootstrap === 'auto') recovery.begin(error);
  }

  /**
   * Takes down whatever is open, in the reverse order of the start; the numbers are those that `HARuntime` describes. May be
   * called again.
   */
  async tearDown(): Promise<void> {
    const { replication, files } = this;
    const { leader, cluster, recovery, source } = this.parts;
    // 7.
    await leader.detach();
    // 6.
    this.leading?.close();
    this.leading = undefined;
    this.database = undefined;
    // What it has begun would join the cluster behind the end.
    if (replication?.stream instanceof LateStream) await replication.stream.settle();
    const leave = cluster.detach();
    this.replication = undefined;
    this.files = undefined;
    recovery.end();
    // 5.
    await this.endReplication(replication);
    // 3.
    await leave();
    // 2.
    await replication?.stream.close();
    await source.close();
    // 1.
    replication?.async?.close();
    await this.checkpointer?.close();
    files?.close();
  }

  private async endReplication(replication: Replication | undefined): Promise<void> {
    const { subscriber, snapshotter, publisher } = this.parts;
    replication?.position.fail(stoppedError());
    replication?.async?.stop();
    // In front of all that writes to the control tables: it may hold the write turn, and wait for an interceptor.
    await subscriber.stop();
    await snapshotter.detach();
    await replication?.idle?.stop();
    await replication?.cdc?.stop();
    await replication?.alarm.stop();
    publisher.detach();
  }

  /** Takes back what waits for an interceptor that does not answer, so that stopping gets on. */
  private abandonStuck(afterMs: number): void {
    const { subscriber } = this.parts;
    const { async, position } = this.replication ?? {};
    const askedAt = Math.min(subscriber.askedAt ?? Infinity, async?.askedAt ?? Infinity);
    if (performance.now() - askedAt < afterMs) return;
    position?.fail(stoppedError());
    async?.abandon();
    subscriber.stop().catch(() => undefined);
  }
}

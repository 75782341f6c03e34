import type { Observable, Subject } from 'rxjs';
import type { HAChange } from './changeset/row-changes.js';
import type { HAEvent } from './common/events.js';
import type { Telemetry } from './common/telemetry.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import type { Leadership } from './leader/leadership.js';
import type { ReplicationPublisher } from './publish/replication-publisher.js';
import { compose } from './runtime/compose.js';
import type { RuntimeParts } from './runtime/compose.js';
import { stoppedError } from './runtime/errors.js';
import type { Replication } from './runtime/opened.js';
import type { RuntimeExtras } from './runtime/profile.js';
import type { HASnapshotter } from './snapshot/snapshotter.js';
import type { IdGenerator } from './sqlite/id-generator.js';
import type { IdSlotLease } from './stream/membership/id-slots.js';
import type { HAMember } from './stream/membership/member.js';
import type { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
import type { CrossPort } from './write/cross-port.js';
import type { DatabaseLifecycle, ResyncOptions } from './write/database-lifecycle.js';
import type { OpenDatabase } from './write/open-database.js';
import type { HABackup, HALag, HASnapshot, HAStatus } from './write/status.js';

/** Calls of all databases. */
let uses = 0;

/**
 * One database: starts it and takes it down, as often as it is asked to.
 *
 * Start (`runtime/opening.ts`), tried again where the stream falls silent (`runtime/starting.ts`):
 * 1. lock the file, put the right one in its place, and open it (`database-file.ts`)
 * 2. connect to the stream (`connecting.ts`)
 * 3. take a place among the nodes (`membership.ts`)
 * 4. find the position in the stream, or the snapshot that has to take the place of the file (`snapshotting.ts`, `footing.ts`)
 * 5. follow the stream, and wait until what it held is applied (`joining.ts`)
 * 6. take reads and writes, tell targets of changes, take snapshots
 * 7. look for the leader, and stand for election (`leader-wiring.ts`)
 *
 * Stop (`runtime/opened.ts`), in reverse; a start that fails half-way is taken down alike, from the second on:
 * - finish the writes that wait
 * - 7. leave the lead to others
 * - 6. take no calls any more
 * - 5. stop following, delivering and publishing; there is nothing to do for 4., since what is committed is the position
 * - 3. leave the cluster
 * - 2. disconnect, stop the embedded server
 * - 1. close the file
 *
 * Stops, and starts that put another file in place, wait for each other (`runtime/maintenance.ts`).
 */
export class HARuntime implements DatabaseLifecycle {
  private readonly parts: RuntimeParts;
  readonly events: Subject<HAEvent>;
  readonly changes: Observable<HAChange>;
  readonly telemetry: Telemetry;
  readonly publisher: ReplicationPublisher;
  readonly subscriber: ReplicationSubscriber;
  readonly snapshotter: HASnapshotter;
  /** Who leads the cluster. */
  readonly leader: Leadership;
  /** Makes the values of `ha_id()`; kept when the database is stopped and started, so that they never repeat. */
  readonly ids: IdGenerator;
  /** The slot of this node for them. */
  readonly idSlots: IdSlotLease;
  /** Told of every write of this process that went to the leader. */
  noteWritten: (sequence: number) => void = () => undefined;
  /** Grows with every call, over all databases: the least is the one that was not used for longest. */
  lastUse = 0;

  constructor(
    readonly options: ResolvedHAOptions,
    private readonly extras: RuntimeExtras,
  ) {
    const parts = compose(options, extras, (sequence) => this.noteWritten(sequence));
    this.parts = parts;
    this.events = parts.messages.events;
    this.changes = parts.changeFeed.changes.asObservable();
    this.telemetry = parts.telemetry;
    this.publisher = parts.publisher;
    this.subscriber = parts.subscriber;
    this.snapshotter = parts.snapshotter;
    this.leader = parts.leader;
    this.ids = parts.ids;
    this.idSlots = parts.idSlots;
  }

  get autoStart(): boolean {
    const { maintenance } = this.parts;
    return this.options.autoStart && !maintenance.isClosed && !maintenance.isStopped;
  }

  get cross(): CrossPort | undefined {
    return this.extras.cross;
  }

  get transactionTimeout(): number {
    return this.options.transactionTimeout;
  }

  get readTimeout(): number {
    return this.options.grpcTimeout;
  }

  get isStandalone(): boolean {
    return this.parts.profile.isStandalone;
  }

  get open(): OpenDatabase | undefined {
    return this.parts.opened.database;
  }

  /** How often the file was opened: what was read of an earlier one may not hold any more. */
  get launches(): number {
    return this.parts.file.launches;
  }

  /** Whether the file can be closed for a while without anybody noticing: the next call opens it again. */
  get isPausable(): boolean {
    const { options, open, parts } = this;
    const serves = options.grpcPort !== undefined || parts.profile.targets.length > 0 || parts.changeFeed.observed;
    if (open === undefined || options.memory || !this.autoStart || serves) return false;
    return open.committer.isIdle && !open.connections.isLeased;
  }

  touch(): void {
    this.lastUse = ++uses;
  }

  start(): Promise<OpenDatabase> {
    return this.parts.maintenance.start();
  }

  /** Ends behind everything that was called before it: the last call decides how the database is left. */
  stop(): Promise<void> {
    return this.parts.maintenance.stop();
  }

  /** Closes the file until the next call, which opens it again. */
  pause(): Promise<void> {
    return this.parts.maintenance.pause();
  }

  /** Stops for good. */
  async close(): Promise<void> {
    const { maintenance, leader, changeFeed } = this.parts;
    if (!(await maintenance.close())) return;
    leader.complete();
    this.events.complete();
    changeFeed.changes.complete();
  }

  /**
   * Lets another node lead, where there is one: the application is about to end, and its requests, which go on for a while,
   * write through that. Never fails.
   */
  handOver(): Promise<void> {
    return this.parts.leaderWiring.handOver();
  }

  /** Goes on without the message at which applying has halted. */
  skip(sequence: bigint): Promise<void> {
    return this.parts.rebuilding.skip(sequence);
  }

  /** Builds the file anew; on any failure the old one is put back. */
  resync(options: ResyncOptions = {}): Promise<void> {
    return this.parts.rebuilding.resync(options);
  }

  async acknowledgeForeignWrite(): Promise<void> {
    await this.replication?.alarm.acknowledge();
  }

  async snapshot(options: { readonly replace?: boolean }): Promise<HASnapshot> {
    return this.snapshotter.take(options);
  }

  async backup(path: string): Promise<HABackup> {
    const { open, replication, parts } = this;
    if (open === undefined) throw stoppedError();
    const subject = replication === undefined ? undefined : parts.profile.subject;
    return parts.snapshotting.backup(open.connections, replication?.async, path, subject);
  }

  status(): HAStatus {
    return this.parts.report.read();
  }

  /** How far this node is behind the stream; nothing without one. */
  lag(timeoutMs: number): Promise<HALag> {
    return this.parts.report.lag(timeoutMs);
  }

  members(): Promise<HAMember[]> {
    return this.parts.cluster.members();
  }

  private get replication(): Replication | undefined {
    return this.parts.opened.replication;
  }
}

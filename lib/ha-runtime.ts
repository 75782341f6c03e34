import { hostname } from 'node:os';
import type { Logger } from '@nestjs/common';
import { Subject } from 'rxjs';
import { Applier } from './apply/applier.js';
import { ConflictDetector } from './apply/conflict-detector.js';
import { Interceptors } from './apply/interceptors.js';
import { AsyncPublishing, refusePending } from './runtime/async-publishing.js';
import { ChangeDataCapture, checkRegistrations, forgetOthers } from './cdc/change-data-capture.js';
import { beginAgain, createCdcTables, displaced, readTargets, startOf, writeTarget } from './cdc/effect-log.js';
import type { StoredTarget } from './cdc/effect-log.js';
import type { Registration } from './cdc/target-runner.js';
import { Capture } from './capture/capture.js';
import type { HAEvent } from './common/events.js';
import { HAError } from './common/ha-error.js';
import { Telemetry } from './common/telemetry.js';
import { sleep, within } from './common/timing.js';
import { subjectOf } from './config/normalize.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import { DatabaseHistory } from './history/database-history.js';
import type { RecentMessage } from './apply/recent-messages.js';
import { decodeChangeSet } from './changeset/codec.js';
import type { MessageOrigin } from './changeset/codec.js';
import type { HAInterceptor } from './changeset/interceptor.js';
import { MessageEncoder } from './publish/message-encoder.js';
import { ReplicationPublisher } from './publish/replication-publisher.js';
import { Leading, makeLeadership, unservedWarning } from './runtime/leading.js';
import type { Leadership } from './leader/leadership.js';
import type { LeaderTimings } from './leader/timings.js';
import { Recovery } from './runtime/recovery.js';
import { HASnapshotter } from './snapshot/snapshotter.js';
import { removeDatabase } from './snapshot/database-copy.js';
import { StagedSnapshot } from './snapshot/staged-snapshot.js';
import { StoredStates } from './snapshot/stored-states.js';
import { Snapshotting } from './runtime/snapshotting.js';
import type { SnapshotStart } from './runtime/snapshotting.js';
import type { ConfigureConnection, Connection } from './sqlite/connection.js';
import { Checkpointer } from './sqlite/checkpointer.js';
import { Connections } from './sqlite/connections.js';
import {
  CursorWriter,
  newOrigin,
  readCarried,
  readSeen,
  readSkips,
  recordOrigin,
  writeCarried,
} from './sqlite/control-tables.js';
import type { CarriedRows, StreamCursor } from './sqlite/control-tables.js';
import { ControlWrites } from './sqlite/control-writes.js';
import { ForeignWriteAlarm } from './sqlite/foreign-write-alarm.js';
import { ForeignWrites } from './sqlite/foreign-writes.js';
import { Outcomes } from './sqlite/outcomes.js';
import { IdGenerator, randomSlot } from './sqlite/id-generator.js';
import type { IdSlot } from './sqlite/id-generator.js';
import { knownPayload, rememberPayload } from './sqlite/outbox-tables.js';
import { Position } from './sqlite/position.js';
import { realFile } from './sqlite/real-file.js';
import { SetAside } from './sqlite/set-aside.js';
import { WriteTurn } from './sqlite/write-turn.js';
import { IdSlotLease } from './stream/membership/id-slots.js';
import { ownMember } from './stream/membership/member.js';
import type { HAMember, HARole, MemberFacts, MemberRecord } from './stream/membership/member.js';
import { HEARTBEAT_MS, Membership } from './stream/membership/membership.js';
import type { IncomingMessage, ReplicationStream, StartPoint, StreamStatus } from './stream/replication-stream.js';
import type { LocalStream } from './stream/local/local-stream.js';
import { LateStream } from './stream/late-stream.js';
import { StreamSource } from './stream/stream-source.js';
import {
  closedError,
  leaderWithoutStream,
  notFollowing,
  outboxWaits,
  relaunchError,
  skipInvalid,
  skipRefused,
  stoppedError,
} from './runtime/errors.js';
import { ChangeFeed } from './subscribe/change-feed.js';
import { baseChangeOf, readBase } from './subscribe/base.js';
import { cursorWithoutStream, refuseTrimmed, streamGap, verifyCursor } from './subscribe/establish-cursor.js';
import { IdleAdvance } from './subscribe/idle-advance.js';
import { alignHistory, endLocalHistory, localHistory, localSubject } from './subscribe/local-history.js';
import { LagMeter } from './subscribe/lag.js';
import { recordSkip } from './subscribe/record-skip.js';
import { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
import type { CommittedTransaction } from './write/commit-group.js';
import { Committer } from './write/committer.js';
import type { ReplicationPorts } from './write/committer.js';
import type { CrossPort } from './write/cross-port.js';
import { HoldGate } from './write/hold-gate.js';
import type { DatabaseLifecycle, OpenDatabase, ResyncOptions } from './write/ha-database.js';
import { OutcomeFinder } from './write/outcome.js';
import { Reads } from './write/reads.js';
import { StatementInfos } from './write/statement-info.js';
import type { HABackup, HALag, HALeaderStatus, HASnapshot, HAStatus } from './write/status.js';
import { TransactionRunner } from './write/transaction-runner.js';

/** What the runtime needs besides the options. */
export interface RuntimeExtras {
  readonly logger: Logger;
  readonly configure?: ConfigureConnection | undefined;
  /** Decide on every transaction of the stream, in this order. */
  readonly interceptors?: readonly HAInterceptor[] | undefined;
  /** How often connecting is tried again at start. */
  readonly retryAttempts: number;
  /** Milliseconds between tries. */
  readonly retryDelay: number;
  /** The part of `ha_id()` that belongs to this node alone. Default: leased from the cluster. */
  readonly idSlot?: IdSlot | undefined;
  /** Replaces the stream that the options describe: tests and simulators bring their own. */
  readonly stream?: ReplicationStream | undefined;
  /** Who receives what the stream changes here. */
  readonly cdc?: readonly Registration[] | undefined;
  /** Answers SELECTs from several databases. */
  readonly cross?: CrossPort | undefined;
  /** Milliseconds between the heartbeats of a member, which tests shorten. */
  readonly heartbeatMs?: number | undefined;
  /** How long an election takes, which tests change. */
  readonly leaderTimings?: LeaderTimings | undefined;
  /** Milliseconds of a monotonic clock, for elections. Default: the machine's. */
  readonly leaderClock?: (() => number) | undefined;
}

interface Replication {
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

/** Calls of all databases. */
let uses = 0;

/** What is special about one start. */
interface Launch extends SnapshotStart {
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

interface SkipRequest {
  readonly message: IncomingMessage;
  readonly reason: string;
}

/** The message at which applying has halted. */
interface HaltedMessage extends SkipRequest {
  /** Nobody can read it: leaving it out is for an operator to decide. */
  readonly unreadable: boolean;
}

/** Largest message, bytes, as long as the server could not be asked: a little below what nats-server takes by default. */
const ASSUMED_PAYLOAD = 1_000_000;
const DEFAULT_BUSY_TIMEOUT_MS = 5_000;
/** How often stopping looks whether an interceptor does not answer, ms. */
const LOOK_FOR_STUCK_MS = 500;
const NEVER_INTERCEPTS =
  'This node follows no stream, so its interceptors are never asked: its own writes stay as they are, whatever other nodes make of them.';
/** So many times one start takes over a snapshot: each may turn out to be outdated when it is there. */
const MOST_RESTORES = 5;

/** Assembles one database from its parts, starts it and takes it down: the only place that knows all of them. */
export class HARuntime implements DatabaseLifecycle {
  readonly events = new Subject<HAEvent>();
  readonly telemetry = new Telemetry();
  private readonly lagMeter = new LagMeter();
  private readonly changeFeed = new ChangeFeed();
  readonly changes = this.changeFeed.changes.asObservable();
  /** Told of every write of this process that went to the leader. */
  noteWritten: (sequence: number) => void = () => undefined;
  readonly publisher = new ReplicationPublisher();
  readonly subscriber = new ReplicationSubscriber();
  readonly snapshotter = new HASnapshotter();
  /** Who leads the cluster. */
  readonly leader: Leadership;
  /** Writes of this start that go to the leader. */
  private leading: Leading | undefined;
  private readonly snapshotting: Snapshotting;
  private readonly recovery: Recovery;
  /** Makes the values of `ha_id()`; kept when the database is stopped and started, so that they never repeat. */
  readonly ids: IdGenerator;
  /** The slot of this node for them. */
  readonly idSlots = new IdSlotLease();
  private opened: OpenDatabase | undefined;
  private files: Connections | undefined;
  private checkpointer: Checkpointer | undefined;
  private replication: Replication | undefined;
  private membership: Membership | undefined;
  /** Why this node may go on no more, although nothing is wrong with what it applied. */
  private expelled: HAError | undefined;
  private readonly source: StreamSource;
  /** The history of a standalone database, where it keeps one. */
  private readonly local: LocalStream | undefined;
  private readonly interceptors: Interceptors | undefined;
  private starting: Promise<OpenDatabase> | undefined;
  private stopping = false;
  /** Ends the start that is under way. */
  private aborting = new AbortController();
  /** Calls of stop that have not ended: a start behind them waits for them. */
  private stops = 0;
  private conflicts = 0;
  /** The message at which the last start failed. */
  private haltedStart: HaltedMessage | undefined;
  /** Ends with the last of the calls that stop the database or start it anew: they wait for each other. */
  private maintenance: Promise<unknown> = Promise.resolve();
  private closed = false;
  private stopped = false;
  /** How often the file was opened: what was read of an earlier one may not hold any more. */
  launches = 0;
  /** Grows with every call, over all databases: the least is the one that was not used for longest. */
  lastUse = 0;

  constructor(
    readonly options: ResolvedHAOptions,
    private readonly extras: RuntimeExtras,
  ) {
    if (options.leaderProvider !== undefined && this.isStandalone) throw leaderWithoutStream();
    this.leader = makeLeadership({
      options,
      heartbeatMs: extras.heartbeatMs ?? HEARTBEAT_MS,
      timings: extras.leaderTimings,
      now: extras.leaderClock,
      failed: (error) => this.leaderFailed(error),
    });
    const unserved = unservedWarning(options);
    if (unserved !== undefined) extras.logger.warn(unserved);
    this.leader.changes.subscribe(({ isLeader, node, target }) => this.tellLeader(isLeader, node, target?.text));
    checkRegistrations(this.targets, !options.disableSubscriber && !this.isStandalone);
    this.ids = new IdGenerator(extras.idSlot ?? this.idSlots);
    this.idSlots.holder = this.ids;
    this.local = extras.stream === undefined ? localHistory(options) : undefined;
    const { interceptors = [] } = extras;
    if (interceptors.length > 0) {
      this.interceptors = new Interceptors(interceptors, { node: options.name, replicationID: options.replicationID });
    }
    this.source = new StreamSource(options, (line) => extras.logger.warn(line), extras.stream ?? this.local);
    this.snapshotting = new Snapshotting({
      options,
      subject: this.subject,
      publishesLater: this.publishesLater,
      origin: () => this.messageOrigin(),
      emit: (event) => this.emit(event),
      busyTimeout: busyTimeout(options),
      othersHavePosition: async () => (await this.members()).some(({ self, received }) => !self && received > 0n),
      othersHaveApplied: async () => (await this.membership?.othersHaveApplied()) === true,
    });
    this.recovery = new Recovery({
      pauseMs: options.snapshotInterval,
      isWorthwhile: (cause) => this.canRecover(cause),
      restart: (cause) => this.recover(cause),
      failed: (error) => this.emit({ type: 'error', error: error instanceof Error ? error : new Error(String(error)) }),
    });
  }

  private get subject(): string {
    if (this.local !== undefined) return localSubject(this.options);
    return subjectOf(this.options.replicationStream, this.options.replicationID);
  }

  private get targets(): readonly Registration[] {
    return this.extras.cdc ?? [];
  }

  get autoStart(): boolean {
    return this.options.autoStart && !this.closed && !this.stopped;
  }

  get cross(): CrossPort | undefined {
    return this.extras.cross;
  }

  touch(): void {
    this.lastUse = ++uses;
  }

  /** Whether the file can be closed for a while without anybody noticing: the next call opens it again. */
  get isPausable(): boolean {
    const { options, opened } = this;
    const serves = options.grpcPort !== undefined || this.targets.length > 0 || this.changeFeed.changes.observed;
    if (opened === undefined || options.memory || !this.autoStart || serves) return false;
    return opened.committer.isIdle && !opened.connections.isLeased;
  }

  /** Closes the file until the next call, which opens it again. */
  async pause(): Promise<void> {
    this.stops++;
    await this.impatiently(this.maintain(() => this.pauseNow())).finally(() => this.stops--);
  }

  get transactionTimeout(): number {
    return this.options.transactionTimeout;
  }

  get readTimeout(): number {
    return this.options.grpcTimeout;
  }

  get open(): OpenDatabase | undefined {
    return this.opened;
  }

  get isStandalone(): boolean {
    const { mode, disablePublisher, disableSubscriber } = this.options;
    if (disablePublisher && disableSubscriber) return true;
    return mode === 'standalone' && this.extras.stream === undefined;
  }

  private get hasStream(): boolean {
    return !this.isStandalone || this.local !== undefined;
  }

  async start(): Promise<OpenDatabase> {
    if (this.closed) throw closedError();
    this.stopped = false;
    return this.stops === 0 ? this.startNow() : this.maintain(() => this.startNow());
  }

  /** Ends behind everything that was called before it: the last call decides how the database is left. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.stops++;
    this.aborting.abort(stoppedError());
    // It waits until everything is applied.
    if (this.opened === undefined) this.replication?.position.fail(stoppedError());
    await this.impatiently(this.maintain(() => this.stopNow())).finally(() => this.stops--);
  }

  private async startNow(): Promise<OpenDatabase> {
    if (this.closed) throw closedError();
    return (this.starting ??= this.launch());
  }

  private async stopNow(): Promise<void> {
    if (this.starting === undefined) return;
    await this.starting.catch(() => undefined);
    this.stopping = true;
    try {
      await this.stopOnce();
    } finally {
      this.starting = undefined;
      this.stopping = false;
    }
  }

  private async pauseNow(): Promise<void> {
    const { opened } = this;
    if (opened === undefined || this.starting === undefined) return;
    this.stopping = true;
    // Calls that come from now on wait, and open it again.
    this.opened = undefined;
    try {
      await this.stopOnce(opened);
    } finally {
      this.starting = undefined;
      this.stopping = false;
    }
  }

  /** Goes on without the message at which applying has halted. */
  skip(sequence: bigint): Promise<void> {
    return this.maintain(async () => {
      if (this.opened === undefined) await this.starting?.catch(() => undefined);
      const { replication } = this;
      const skip = this.haltedAt ?? this.haltedStart;
      if (skip === undefined || this.closed || BigInt(skip.message.sequence) !== sequence) {
        throw skipInvalid(sequence, skip?.message.sequence);
      }
      if (!skip.unreadable) throw skipRefused(sequence, skip.reason);
      if (replication === undefined) {
        this.stopped = false;
        await (this.starting ??= this.launch({ skip }));
        return;
      }
      await replication.control.run((db) => recordSkip(db, skip.message, skip.reason));
      await this.relaunch();
    });
  }

  async acknowledgeForeignWrite(): Promise<void> {
    await this.replication?.alarm.acknowledge();
  }

  /** Builds the file anew; on any failure the old one is put back. */
  resync({ forgetSkips = false, from = 'stream' }: ResyncOptions = {}): Promise<void> {
    return this.maintain(async () => {
      if (from !== 'stream') return this.resyncSnapshot(from);
      const { replication, opened, options } = this;
      if (replication === undefined || opened === undefined || options.disableSubscriber || this.isStandalone)
        throw notFollowing();
      const { async } = replication;
      // What it holds lies over the fold, and would be lost with the file.
      if (async?.isSettled === false && !async.isFlowing) throw outboxWaits(async.status.size);
      await refuseTrimmed(replication.stream, this.subject, replication.position.cursor.subjectSequence);
      const { path, applier } = opened.connections;
      const aside = options.memory ? undefined : SetAside.begin(path, new Date());
      const kept = readCarried(applier);
      const carried = forgetSkips ? { ...kept, skipped: [] } : kept;
      const files = {
        beforeOpen: () => aside?.move(),
        onReady: () => aside?.finish(),
        onFailed: () => aside?.restore(),
      };
      const drained = async ? () => this.drain(async) : undefined;
      // Transactions are recorded anew, and may be cut into other parts: one that is half delivered begins again.
      const targets = readTargets(applier).map((stored) => ({ ...stored, ...startOf(stored.sequence) }));
      await this.rebuild({ startPoint: { kind: 'all' }, snapshots: 'never', carried, targets, ...files }, drained);
      this.emit({ type: 'resynced', path: aside?.target });
    });
  }

  /** Takes over the snapshot of the cluster, or has it take over the rows of this node. */
  private async resyncSnapshot(from: 'snapshot' | 'this-node'): Promise<void> {
    const { options } = this;
    if (this.isStandalone || options.disableSubscriber || this.closed) throw notFollowing();
    if (this.opened === undefined) await this.starting?.catch(() => undefined);
    this.stopped = false;
    let path: string | undefined;
    const keep = from === 'snapshot' && !options.memory;
    const snapshots = from === 'snapshot' ? 'must' : 'found';
    await this.rebuild({ snapshots, keep, onKept: (kept) => (path = kept) });
    // What is in the store may be of another stream: new nodes must not have to wait for the next snapshot.
    if (from === 'this-node')
      await this.snapshotter.take().catch((error: Error) => this.emit({ type: 'error', error }));
    this.emit({ type: 'resynced', path });
  }

  /** Starts the database anew in a special way; where that fails, in the usual one. */
  private async rebuild(launch: Launch, finished?: () => Promise<void>): Promise<void> {
    try {
      await this.relaunch(launch, finished);
    } catch (error) {
      if (!this.closed) await (this.starting ??= this.launch()).catch(() => undefined);
      throw error;
    }
  }

  private async canRecover(cause: HAError): Promise<boolean> {
    const { replication } = this;
    if (replication === undefined || baseChangeOf(cause) !== undefined) return replication !== undefined;
    // Nobody can tell before it is tried.
    if (replication.stream instanceof LateStream && !replication.stream.isConnected) return true;
    return this.snapshotting.canRestore(replication.stream);
  }

  private recover(cause: HAError): Promise<void> {
    return this.maintain(async () => {
      if (this.closed || this.stopped || this.subscriber.state !== 'halted') return;
      try {
        await this.relaunch({ change: baseChangeOf(cause), retryAttempts: 0 });
      } catch (error) {
        if (!this.closed && !this.stopped) await (this.starting = this.launch({ halted: cause }));
        throw error;
      }
    });
  }

  async snapshot(options: { readonly replace?: boolean }): Promise<HASnapshot> {
    return this.snapshotter.take(options);
  }

  async backup(path: string): Promise<HABackup> {
    const { opened, replication } = this;
    if (opened === undefined) throw stoppedError();
    const subject = replication === undefined ? undefined : this.subject;
    return this.snapshotting.backup(opened.connections, replication?.async, path, subject);
  }

  /**
   * Lets another node lead, where there is one: the application is about to end, and its requests, which go on for a while,
   * write through that. Never fails.
   */
  async handOver(): Promise<void> {
    if (!this.leader.isConfigured || this.leader.isStatic || !this.leader.isLeader()) return;
    const others = await this.membership?.sightings().catch(() => []);
    if (others !== undefined && others.length > 0) await this.leader.resign().catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.stop();
    this.leader.complete();
    this.events.complete();
    this.changeFeed.changes.complete();
  }

  status(): HAStatus {
    const { options, opened, replication, subscriber } = this;
    const state = this.stateName();
    const foreignWrite = replication?.alarm.error;
    return {
      healthy: state === 'running' && foreignWrite === undefined,
      state,
      role: this.role,
      node: options.name,
      connected: replication?.stream.isConnected ?? false,
      position: {
        received: BigInt(replication?.position.received ?? 0),
        published: BigInt(replication?.position.published ?? 0),
      },
      backlog: subscriber.backlog,
      waitingWrites: opened?.committer.waiting ?? 0,
      conflicts: this.conflicts,
      lastError: this.expelled ?? subscriber.error,
      foreignWrite,
      skipped: [...(replication?.skips ?? [])].map(BigInt),
      snapshot: this.snapshotter.status,
      ...(this.leader.isConfigured ? { leader: this.leaderStatus } : {}),
      ...(replication?.async === undefined ? {} : { outbox: replication.async.status }),
      ...(replication?.cdc === undefined ? {} : { cdc: replication.cdc.status }),
    };
  }

  async members(): Promise<HAMember[]> {
    return this.membership?.members() ?? [ownMember(this.facts(), 0)];
  }

  private get follows(): boolean {
    return !this.isStandalone && !this.options.disableSubscriber;
  }

  private get role(): HARole {
    const { disablePublisher, disableSubscriber } = this.options;
    if (this.isStandalone) return 'standalone';
    if (disablePublisher) return 'replica';
    if (disableSubscriber) return 'publisher';
    if (!this.leader.isConfigured) return 'peer';
    return this.leader.isLeader() ? 'leader' : 'follower';
  }

  private get leaderStatus(): HALeaderStatus {
    const { isLeader, node, target } = this.leader.state;
    return { isLeader, node, target: target?.text, term: isLeader ? this.leader.term : undefined };
  }

  private tellLeader(isLeader: boolean, node: string | undefined, target: string | undefined): void {
    if (!this.leader.isConfigured || (this.opened === undefined && target === undefined)) return;
    const { logger } = this.extras;
    if (isLeader) logger.log('This node leads the cluster.');
    else logger.log(target === undefined ? 'No leader is known.' : `The leader is ${node ?? 'a node'} at ${target}.`);
    this.events.next({ type: 'leader', isLeader, node, target });
    // Others read the role in the record of this node.
    this.membership?.beat();
  }

  private leaderFailed(error: unknown): void {
    // The connection tells by itself that it is lost, and what fails in an election is done again.
    if (error instanceof HAError && error.retryable) return;
    this.emit({ type: 'error', error: error instanceof Error ? error : new Error(String(error)) });
  }

  private facts(): MemberFacts {
    const { options, replication } = this;
    return {
      node: options.name,
      process: String(processId()),
      role: this.role,
      received: replication?.position.received ?? 0,
      applied: replication?.position.cursor.subjectSequence ?? 0,
      address: this.source.address,
      host: hostname(),
      interceptors: this.interceptors?.names ?? [],
    };
  }

  /** How far this node is behind the stream; nothing without one. */
  async lag(timeoutMs: number): Promise<HALag> {
    const { replication } = this;
    if (replication === undefined || this.options.disableSubscriber) return { messages: 0, seconds: 0, answered: true };
    return this.lagMeter.measure(replication.stream, replication.position, this.subscriber, timeoutMs);
  }

  private stateName(): HAStatus['state'] {
    if (this.closed) return 'closed';
    if (this.opened === undefined) {
      return this.starting === undefined || this.stopping ? 'stopped' : 'starting';
    }
    if (this.expelled !== undefined) return 'halted';
    const { state } = this.subscriber;
    return state === 'halted' || state === 'retrying' ? state : 'running';
  }

  private maintain<R>(work: () => Promise<R>): Promise<R> {
    const run = this.maintenance.then(work);
    this.maintenance = run.catch(() => undefined);
    return run;
  }

  /** Takes everything down, and starts again: calls wait for it, and writes that wait already fail. */
  private relaunch(launch: Launch = {}, finished?: () => Promise<void>): Promise<OpenDatabase> {
    this.recovery.end();
    const stop = async (): Promise<void> => {
      await this.impatiently(this.finishWrites(relaunchError()));
      await finished?.();
      await this.tearDown();
      this.events.next({ type: 'stopped' });
    };
    return (this.starting = this.launch(launch, stop));
  }

  /** Waits until nothing is left in the outbox; call where nothing is added any more. */
  private async drain(async: AsyncPublishing): Promise<void> {
    await async.settled(this.options.publisherTimeout);
    if (!async.isSettled) throw outboxWaits(async.status.size);
  }

  private async launch(launch: Launch = {}, before?: () => Promise<void>): Promise<OpenDatabase> {
    this.aborting = new AbortController();
    try {
      await before?.();
      const open = await this.startPatiently(launch);
      this.haltedStart = undefined;
      return open;
    } catch (error) {
      this.haltedStart = this.haltedAt ?? this.haltedStart;
      await this.tearDown();
      launch.onFailed?.();
      this.starting = undefined;
      throw error;
    }
  }

  private get haltedAt(): HaltedMessage | undefined {
    const { haltedAt: message, haltedUnreadable: unreadable, error } = this.subscriber;
    return message === undefined ? undefined : { message, unreadable, reason: error?.message ?? '' };
  }

  /** Starts, as often as Nest's other database modules would: the stream may fall silent at any step. */
  private async startPatiently(first: Launch): Promise<OpenDatabase> {
    const { logger, retryDelay } = this.extras;
    const { retryAttempts = this.extras.retryAttempts } = first;
    let launch = first;
    for (let attempt = 0, restores = 0; ; attempt++) {
      try {
        const open = await this.startOnce(launch);
        if (launch.staged !== undefined) this.tellRestored(launch.staged);
        return open;
      } catch (error) {
        const next = restores++ < MOST_RESTORES ? this.restoring(error, launch) : undefined;
        const retryable = error instanceof HAError && error.retryable;
        if (next === undefined && (!retryable || attempt >= retryAttempts || this.closed)) throw error;
        this.aborting.signal.throwIfAborted();
        await this.tearDown();
        if (next !== undefined) {
          launch = next;
          continue;
        }
        logger.warn(`${(error as Error).message} Trying again (${attempt + 1}/${retryAttempts}) …`);
        await sleep(retryDelay);
        this.aborting.signal.throwIfAborted();
      }
    }
  }

  /** The start that has to follow one that met with a snapshot, or with the need of one. */
  private restoring(error: unknown, launch: Launch): Launch | undefined {
    if (error instanceof StagedSnapshot) {
      const carried = launch.carried ?? (this.files && this.snapshotting.carried(this.files));
      const snapshots = launch.snapshots === undefined ? undefined : 'never';
      const before = launch.targets ?? (this.files && readTargets(this.files.applier));
      const { sequence } = error.facts;
      const targets = before && displaced(before, sequence).map((target) => this.missing(target, sequence + 1));
      return {
        ...launch,
        staged: error,
        change: undefined,
        snapshots,
        ...(carried === undefined ? {} : { carried }),
        ...(targets === undefined ? {} : { targets }),
      };
    }
    const change = baseChangeOf(error);
    const isAuto = this.options.bootstrap === 'auto' && !this.options.disableSubscriber;
    return change === undefined || !isAuto ? undefined : { ...launch, change };
  }

  private tellRestored({ facts }: StagedSnapshot): void {
    const { sequence, size, ms } = facts;
    this.emit({ type: 'snapshot', action: 'restored', sequence: BigInt(sequence), size, ms });
  }

  private beforeOpen(launch: Launch, exclusive: boolean, path: string): void {
    if (launch.beforeOpen !== undefined) launch.beforeOpen();
    else if (exclusive) this.putBack();
    if (!exclusive) return;
    removeDatabase(`${path}-ha-snapshot`);
    if (launch.staged === undefined) return;
    const isKept = launch.keep === true || (launch.staged.keeps && !this.options.memory);
    const how = { isAside: launch.beforeOpen !== undefined, keep: isKept };
    const kept = this.snapshotting.install(launch.staged, path, how, launch);
    if (kept === undefined) return;
    launch.onKept?.(kept);
    if (launch.staged.keeps) {
      this.extras.logger.warn(
        `An earlier start had made the rows of this file those of the cluster, and was interrupted. What the cluster has is in its place now; the file as it was is at ${kept}. Rows that were written to it since are only there.`,
      );
    }
  }

  private async startOnce(launch: Launch): Promise<OpenDatabase> {
    const { options, extras } = this;
    // What looks like a resync that was not finished may be under way in another process.
    const exclusive = this.hasStream || SetAside.unfinished(realFile(options.filename)) !== undefined;
    this.launches++;
    const connections = new Connections({
      filename: options.filename,
      memory: options.memory,
      pragmas: options.pragmas,
      configure: extras.configure,
      ids: this.ids,
      exclusive,
      beforeOpen: (path) => this.beforeOpen(launch, exclusive, path),
    });
    this.files = connections;
    const turn = new WriteTurn();
    this.checkpointer = new Checkpointer(connections.path, connections.reader, turn, (error) =>
      this.emit({ type: 'error', error }),
    );
    if (this.isStandalone) this.idSlots.fix(randomSlot());
    if (this.local === undefined) endLocalHistory(connections.applier, localSubject(options));
    const ports = this.hasStream ? await this.joinStream(connections, turn, launch) : undefined;
    const infos = new StatementInfos();
    const runner = new TransactionRunner(connections.writer, connections.reader, ports?.capture, infos, {
      orderGeneratedIds: options.generatedIds === 'ordered' && !options.disableSubscriber,
      orderAll: options.concurrency === 'serializable' || this.leader.isConfigured,
      replicateDDL: !options.disableDDLSync,
      followsStream: !options.disableSubscriber,
      onGeneratedId: ({ name }) => this.emit(generatedIdWarning(name)),
      publishesLater: ports?.outbox !== undefined,
      intercepts: this.follows ? this.interceptors?.concern.bind(this.interceptors) : undefined,
      tellsEffects: ports?.record !== undefined,
    });
    const committer = new Committer(connections.writer, runner, turn, ports, {
      publisherTimeout: options.publisherTimeout,
      busyTimeout: busyTimeout(options),
      telemetry: this.telemetry,
    });
    if (this.interceptors !== undefined && !this.follows) extras.logger.warn(NEVER_INTERCEPTS);
    await this.catchUp();
    this.refuseExpelled();
    this.membership?.beat();
    launch.onReady?.();
    const outcomes = this.outcomeFinder(committer);
    const leading = this.openLeading(outcomes);
    this.leading = leading;
    this.opened = {
      connections,
      committer,
      runner,
      reads: new Reads(connections),
      infos,
      position: ports?.position,
      router: leading?.router,
      latest: ports === undefined ? undefined : () => this.publisher.lastSubjectSequence(),
      outcomes,
      history: this.historyOf(connections, committer, runner),
      readOnly: options.disablePublisher && !this.isStandalone,
      publishesOnly: options.disableSubscriber && !this.isStandalone,
    };
    this.replication?.cdc?.start();
    if (launch.halted !== undefined) this.subscriber.halt(launch.halted);
    this.takeSnapshots(connections);
    await this.followLeader();
    this.events.next({ type: 'started' });
    return this.opened;
  }

  private openLeading(outcomes: OutcomeFinder | undefined): Leading | undefined {
    const { replication, leader, options, publisher } = this;
    if (replication === undefined || !leader.isConfigured) return undefined;
    const { stream, position } = replication;
    return new Leading(leader, options, {
      telemetry: this.telemetry,
      stream,
      position,
      publisher,
      outcomes,
      written: (at) => this.noteWritten(at),
    });
  }

  private async followLeader(): Promise<void> {
    const { replication, membership, leader } = this;
    if (replication === undefined || !leader.isConfigured) return;
    await leader.attach({
      stream: replication.stream,
      position: replication.position,
      publisher: this.publisher,
      bucket: this.subject.replaceAll('.', '_'),
      session: membership?.sessionId ?? replication.position.origin,
      isFollowing: () => this.opened !== undefined && /^(running|retrying)$/.test(this.stateName()),
      others: async () => (await membership?.sightings()) ?? [],
    });
  }

  /** The process died while the file was built anew. */
  private putBack(): void {
    const unfinished = this.options.memory ? undefined : SetAside.unfinished(realFile(this.options.filename));
    if (unfinished === undefined) return;
    unfinished.restore();
    this.extras.logger.warn(
      'A resync was not finished: the file from before is back in its place. Call db.resync() again.',
    );
  }

  private async joinStream(connections: Connections, turn: WriteTurn, launch: Launch): Promise<ReplicationPorts> {
    const { options, subject } = this;
    const foreign = new ForeignWrites(connections.applier, () => alarm.found());
    const { stream, cursor } = await this.connect(connections, launch);
    const origin = newOrigin();
    const position = new Position(cursor, readSeen(connections.applier), origin);
    const control = new ControlWrites(connections.applier, turn, foreign, busyTimeout(options));
    const alarm = new ForeignWriteAlarm(connections.path, {
      turn,
      control,
      emit: (event) => this.emit(event),
      received: () => position.received,
    });
    const outcomes = new Outcomes(connections.reader);
    const { carried: rows, skip } = launch;
    if (rows !== undefined) await control.run((db) => writeCarried(db, rows));
    if (skip !== undefined) await control.run((db) => recordSkip(db, skip.message, skip.reason));
    const origins = await control.run((db) => recordOrigin(db, origin));
    const skips = readSkips(connections.applier);
    const hold = new HoldGate(options.name);
    const applier = new Applier(
      connections.applier,
      options.rowIdentify,
      {
        before: (info) => (cdc === undefined ? async?.overlay.stepAside() : cdc.recorder.before(info)),
        behind: (sql, info, ran) => cdc?.recorder.behind(sql, info, ran),
      },
      this.interceptors,
    );
    const applied = this.appliedCapture(connections);
    const async = this.publishesLater
      ? this.openOutbox(connections, applier, applied, { stream, position, hold, foreign })
      : undefined;
    if (async === undefined) refusePending(connections.applier);
    const known = readTargets(connections.applier);
    const targets = launch.targets ?? this.targetsBehind(known, this.snapshotting.placesBehind(launch, cursor), cursor);
    const cdc =
      this.targets.length + known.length > 0 || targets !== undefined
        ? await this.openTargets(connections, applied, { position, control, async, carried: targets })
        : undefined;
    const follows = !options.disableSubscriber && this.local === undefined;
    const idle = follows
      ? new IdleAdvance({
          stream,
          position,
          control,
          subscriber: this.subscriber,
          subject,
          maxAge: options.streamMaxAge,
        })
      : undefined;
    this.replication = { stream, position, outcomes, origins, skips, control, alarm, async, cdc, idle };
    stream.passed = () => Math.max(position.received, position.proven);
    alarm.start(connections.applier, foreign);
    this.refuseExpelled();
    const conflicts = new ConflictDetector({
      db: connections.applier,
      applier,
      received: cursor.received,
      isObserved: () => this.events.observed,
      wasApplied: (origin, n) => position.seen.has(origin, n),
    });
    if (stream instanceof LateStream) stream.verify = () => this.verifyLate(stream, position, subject);
    else if (!options.disableSubscriber) stream.verify = () => this.verify(stream, position, subject);
    this.publisher.attach(stream, new MessageEncoder(origin, this.messageOrigin()));
    if (!options.disableSubscriber) {
      await this.subscriber.start({
        stream,
        db: connections.applier,
        applier,
        conflicts,
        turn,
        foreign,
        position,
        cursorWriter: new CursorWriter(connections.applier, subject),
        skips,
        base: readBase(connections.applier),
        emit: (event) => this.emit(event),
        observe: (node, commands) => {
          hold.observe(node, commands);
          this.leader.observe(commands);
        },
        applied: (sequence, changeSet, skipped) => {
          this.telemetry.sink?.applied(Math.max(0, Date.now() - Number(changeSet.timestampNs / 1_000_000n)));
          this.changeFeed.applied(sequence, changeSet, skipped);
          cdc?.wake();
        },
        overlay: async?.overlay,
        effects: cdc?.recorder,
        met: (sequence, messages) => {
          this.changeFeed.committed(sequence, messages);
          cdc?.wake();
        },
      });
    }
    if (stream instanceof LateStream && launch.halted === undefined) stream.begin();
    async?.start();
    idle?.start();
    return {
      publisher: this.publisher,
      position,
      outcomes,
      foreign,
      capture: new Capture(connections.writer, {
        markGeneratedIds: options.generatedIds === 'ordered' ? 'always' : 'once',
        rowIdentify: options.rowIdentify,
        pieceBytes: () => Math.min(256 * 1024, Math.floor(stream.maxPayload / 4)),
        // What waits in the outbox may be told to a target of a later start.
        exactImages: cdc !== undefined || async !== undefined,
      }),
      cursorWriter: new CursorWriter(connections.writer, subject),
      feed: options.disableSubscriber ? undefined : this.subscriber,
      hold,
      fence: this.leader.isConfigured ? this.leader : undefined,
      outbox: async,
      record: cdc?.record,
      applied: (transaction) => {
        cdc?.wake();
        const { sequence, changes, messages } = transaction;
        this.changeFeed.committed(sequence, messages);
        conflicts.remember(() => recentOf(transaction, options.name), sequence);
        if (!this.events.observed) return;
        this.events.next({ type: 'applied', sequence: BigInt(sequence), node: options.name, changes });
      },
      lostStream: (sequence) => this.lostStream(sequence, position.received),
    };
  }

  private takeSnapshots(connections: Connections): void {
    const { replication } = this;
    if (replication === undefined || this.options.disableSubscriber) return;
    const { stream, position, skips, async: outbox, alarm } = replication;
    const advance = async (): Promise<void> => replication.idle?.advance();
    if (stream.objects === undefined && !(stream instanceof LateStream)) return;
    const doubt = (): string | undefined => {
      if (this.subscriber.state === 'halted') return 'the node has halted';
      if (skips.size > 0) return `messages were left out on this node (status().skipped)`;
      return alarm.error === undefined ? undefined : 'something else wrote to the file (status().foreignWrite)';
    };
    this.snapshotter.attach(
      this.snapshotting.takes(connections, stream, () => position.cursor, { outbox, doubt, advance }),
    );
  }

  private historyOf(
    connections: Connections,
    committer: Committer,
    runner: TransactionRunner,
  ): DatabaseHistory | undefined {
    const { replication, options, extras } = this;
    if (replication === undefined) return undefined;
    const { rowIdentify, pragmas } = options;
    return new DatabaseHistory({
      ...replication,
      connections,
      committer,
      runner,
      rowIdentify,
      rebuild: {
        rowIdentify,
        pragmas,
        configure: extras.configure,
        fromBeginning: options.deliverPolicy.kind === 'all',
      },
      followsStream: !options.disableSubscriber,
      snapshots: new StoredStates({
        stream: replication.stream,
        streamName: options.replicationStream,
        replicationID: options.replicationID,
        subject: this.subject,
        base: () => readBase(connections.reader),
      }),
      intercepts: this.interceptors?.concern.bind(this.interceptors),
      patience: options.publisherTimeout,
    });
  }

  private outcomeFinder(committer: Committer): OutcomeFinder | undefined {
    const { replication, options, publisher } = this;
    if (replication === undefined) return undefined;
    return new OutcomeFinder({
      ...replication,
      publisher,
      isLed: this.leader.isConfigured,
      settles: !options.disablePublisher && !options.disableSubscriber,
      settled: (id, timeoutMs) => committer.settled(id, timeoutMs),
      waits: (id) => replication.async?.holds(id) === true,
      publisherTimeout: options.publisherTimeout,
    });
  }

  /** In front of everything that is applied or written: two nodes of one name, or two databases on one subject, must not. */
  private async joinCluster(stream: ReplicationStream, subject: string): Promise<void> {
    const { options, extras } = this;
    this.membership = new Membership({
      stream,
      streamName: options.replicationStream,
      subject,
      replicationID: options.replicationID,
      heartbeatMs: extras.heartbeatMs,
      facts: () => this.facts(),
      idSlots: this.idSlots,
      warn: (line) => extras.logger.warn(line),
      lost: (error) => this.expel(error),
      met: (member) => this.compareInterceptors(member),
    });
    await this.membership.join();
  }

  /** Nodes that decide otherwise hold other rows. */
  private compareInterceptors({ node, role, interceptors }: MemberRecord): void {
    if (interceptors === undefined || role === 'publisher' || !this.follows) return;
    const own = this.interceptors?.names ?? [];
    if (own.join('\n') === interceptors.join('\n')) return;
    const message = `The interceptors of '${node}' are ${listOf(interceptors)}, and those of this node ${listOf(own)}: their rows will differ for good. Give all nodes the same, in the same order, and then call db.resync() where they were wrong.`;
    this.emit({ type: 'warning', code: 'HA_INTERCEPTORS', node, message });
  }

  /** What a start without the stream left out is done when it can be reached. */
  private async verifyLate(stream: LateStream, position: Position, subject: string): Promise<void> {
    if (this.membership !== undefined) return this.verify(stream, position, subject);
    try {
      await this.joinCluster(stream, subject).catch((error: unknown) => {
        if (error instanceof HAError && !error.retryable) this.expel(error);
        throw error;
      });
      await this.verify(stream, position, subject);
    } catch (error) {
      // The connection goes with it: the name must be free for the next one.
      await this.leaveCluster();
      throw error;
    }
  }

  private async leaveCluster(): Promise<void> {
    const { membership } = this;
    this.membership = undefined;
    await membership?.leave();
  }

  /** Another node took this one's place: nothing is applied or written any more. */
  private expel(error: HAError): void {
    this.expelled = error;
    if (this.subscriber.state === 'stopped') this.emit({ type: 'halted', sequence: 0n, error });
    else this.subscriber.halt(error);
  }

  private refuseExpelled(): void {
    if (this.expelled !== undefined) throw this.expelled;
  }

  private get publishesLater(): boolean {
    const { asyncPublisher, disablePublisher } = this.options;
    return asyncPublisher && !disablePublisher && !this.isStandalone;
  }

  /** What applying does to rows, where somebody has to know: who publishes later, and change data capture. */
  private appliedCapture(connections: Connections): Capture {
    return AsyncPublishing.capture(connections, this.options.rowIdentify);
  }

  /** Where targets go on that this node knows from another stream, or from before its rows were made those of all. */
  private targetsBehind(
    known: readonly StoredTarget[],
    places: ReturnType<Snapshotting['placesBehind']>,
    { received }: StreamCursor,
  ): StoredTarget[] | undefined {
    if (places === 'left' || known.some(({ sequence }) => sequence > received + 1)) {
      return beginAgain(known, received).map((target) => this.missing(target, target.sequence));
    }
    if (places === undefined) return undefined;
    // What was recorded here, and not told yet, is told behind the rows: what is gone among them has to be told gone.
    return known.map((target) => {
      const next = { ...target, snapshot: true };
      return places === 'lost' ? this.missing(next, received) : this.unlessUnwanted(next);
    });
  }

  /** What happened in front of a place is not told to a target, or only as far as rows are there: not in silence. */
  private missing(stored: StoredTarget, sequence: number): StoredTarget {
    const next = this.unlessUnwanted(stored);
    const isKnown = this.targets.some(({ settings }) => settings.name === stored.target);
    if (!stored.snapshot || !isKnown) return next;
    const what = next.snapshot
      ? `it gets all rows that are there now, but what was deleted before sequence ${sequence} and not told yet is never told to it. Compare its copy with the tables, or empty it before the rows come`
      : `what happened before sequence ${sequence} is not told to it, for it has snapshot: 'never'. Compare its copy with the tables, or give it snapshot: 'initial' and another name`;
    const error = new HAError(
      'HA_CDC_DELIVERY',
      `This database was taken from a snapshot, or follows a new stream. The CDC target '${stored.target}' cannot be told all of it: ${what}.`,
      { details: { target: stored.target, sequence } },
    );
    this.emit({ type: 'error', error });
    return next;
  }

  private unlessUnwanted(stored: StoredTarget): StoredTarget {
    const registration = this.targets.find(({ settings }) => settings.name === stored.target);
    return registration?.settings.snapshot === 'never' ? { ...stored, snapshot: false } : stored;
  }

  private async openTargets(
    connections: Connections,
    capture: Capture,
    ports: {
      position: Position;
      control: ControlWrites;
      async: AsyncPublishing | undefined;
      carried: readonly StoredTarget[] | undefined;
    },
  ): Promise<ChangeDataCapture | undefined> {
    const { position, control, async, carried = [] } = ports;
    const { replicationID, name, publisherTimeout } = this.options;
    const common = {
      connections,
      control: <R>(work: (db: Connection) => R) => control.run(work),
      log: (line: string) => this.extras.logger.log(line),
    };
    if (carried.length > 0) {
      await control.run((db) => {
        createCdcTables(db);
        for (const target of carried) writeTarget(db, target);
        // Of another stream, or of another file.
        const first = Math.min(...carried.map(({ sequence }) => sequence));
        db.prepare('DELETE FROM main.ha_cdc_log WHERE sequence < ? OR sequence > ?').run(first, position.received);
      });
    }
    if (this.targets.length === 0) {
      await forgetOthers([], common);
      return undefined;
    }
    return ChangeDataCapture.open(this.targets, {
      ...common,
      capture,
      received: () => position.received,
      isSettled: () => async?.isSettled ?? true,
      settled: async () => async?.settled(publisherTimeout),
      names: { db: replicationID, node: name },
      failed: (error) => this.emit({ type: 'error', error }),
    });
  }

  private openOutbox(
    connections: Connections,
    applier: Applier,
    capture: Capture,
    ports: { stream: ReplicationStream; position: Position; hold: HoldGate; foreign: ForeignWrites },
  ): AsyncPublishing {
    const { stream, position, hold, foreign } = ports;
    const store = AsyncPublishing.openStore(connections, this.options, position.seen);
    if (!(stream instanceof LateStream)) rememberPayload(connections.applier, stream.maxPayload);
    return new AsyncPublishing(connections.applier, applier, capture, store, this.options.name, {
      stream,
      position,
      foreign,
      busyTimeout: busyTimeout(this.options),
      pass: () => hold.pass(),
      lostStream: (sequence) => this.lostStream(sequence, position.received),
      failed: (error) => this.emit({ type: 'error', error }),
    });
  }

  /** Makes sure that the stream is the one that was followed so far; else nothing is applied or written any more. */
  private async verify(stream: ReplicationStream, position: Position, subject: string): Promise<void> {
    try {
      const { created, proven } = await verifyCursor(position.cursor, stream, subject);
      position.proven = Math.max(position.proven, proven);
      // A database that was started without the stream did not know it yet.
      if (position.cursor.streamCreated === '') position.cursor = { ...position.cursor, streamCreated: created };
    } catch (error) {
      if (error instanceof HAError && !error.retryable) this.subscriber.halt(error);
      throw error;
    }
  }

  private lostStream(sequence: number, received: number): HAError {
    const error = new HAError(
      'HA_STREAM_RESET',
      `The stream gave sequence ${sequence} to a new transaction, but this database has applied up to ${received}: it was made anew, or restored from an older copy. Nothing is applied or written any more. Restore the stream, or start with a new file to take over what it holds now.`,
      { details: { sequence, received } },
    );
    this.subscriber.halt(error);
    return error;
  }

  private messageOrigin(): MessageOrigin {
    return {
      node: this.options.name,
      processId: processId(),
      filename: this.options.replicationID,
    };
  }

  private async connect(
    connections: Connections,
    launch: Launch,
  ): Promise<{ readonly stream: ReplicationStream; readonly cursor: StreamCursor }> {
    const { subject } = this;
    const { applier } = connections;
    const start = launch.startPoint ?? this.options.deliverPolicy;
    if (launch.halted !== undefined) {
      const cursor = cursorWithoutStream(applier, subject, start);
      if (cursor === undefined) throw launch.halted;
      return { stream: this.lateStream(), cursor };
    }
    try {
      const stream = await this.source.open(subject);
      stream.onStatus = (status) => this.followStatus(status);
      this.lagMeter.connection(true);
      if (this.local === undefined) await this.joinCluster(stream, subject);
      else alignHistory(applier, subject, this.local);
      return {
        stream,
        cursor: await this.snapshotting.findStart(connections, stream, start, launch, this.aborting.signal),
      };
    } catch (error) {
      // Whoever asked for other rows must not be told that they are there.
      const isDemanded = launch.snapshots !== undefined && launch.staged === undefined;
      if (!this.publishesLater || isDemanded || !isUnreachable(error)) throw error;
      const cursor = cursorWithoutStream(applier, subject, start);
      if (cursor === undefined) throw error;
      await this.leaveCluster();
      await this.source.close();
      this.emit({ type: 'error', error });
      return { stream: this.lateStream(knownPayload(applier)), cursor };
    }
  }

  private lateStream(payload = ASSUMED_PAYLOAD): LateStream {
    const { subject } = this;
    const stream = new LateStream(() => this.source.open(subject), payload, `the stream of '${subject}'`);
    stream.onStatus = (status) => this.followStatus(status);
    this.lagMeter.connection(false);
    return stream;
  }

  private followStatus(status: StreamStatus): void {
    if (status.type === 'gap') {
      this.subscriber.halt(streamGap(this.subject, status.after, status.first));
      return;
    }
    if (status.type !== 'error') this.lagMeter.connection(status.type === 'connected');
    this.emit(status);
  }

  /** Waits until what the stream held at this moment is applied: an application must not begin with stale data. */
  private async catchUp(): Promise<void> {
    const { replication } = this;
    if (replication === undefined || this.options.disableSubscriber) return;
    if (replication.stream instanceof LateStream && !replication.stream.isConnected) return;
    const last = await replication.stream.lastSubjectSequence();
    await replication.position.waitFor(last);
  }

  private async stopOnce(opened = this.opened): Promise<void> {
    await this.finishWrites(stoppedError(), opened);
    await this.leader.detach();
    this.opened = undefined;
    await this.tearDown();
    await this.changeFeed.drained();
    this.events.next({ type: 'stopped' });
  }

  /** Waits for the writes under way; for those that only the stream can bring back, no longer than for a publish. */
  private async finishWrites(reason: HAError, opened = this.opened): Promise<void> {
    const { position } = this.replication ?? {};
    const timer = setTimeout(() => position?.fail(reason), this.options.publisherTimeout);
    // What the leader has been given is answered, and brought here by the stream.
    const forwarded = within(this.options.publisherTimeout, opened?.router?.close(reason) ?? Promise.resolve());
    await opened?.committer.close(reason);
    await forwarded;
    clearTimeout(timer);
    await this.replication?.async?.flush(this.options.publisherTimeout);
  }

  /** Waits for something that interceptors hold back: no longer for one of them than a write waits for the stream. */
  private async impatiently(work: Promise<void>): Promise<void> {
    const { publisherTimeout } = this.options;
    const every = Math.max(10, Math.min(LOOK_FOR_STUCK_MS, publisherTimeout / 4));
    const timer = setInterval(() => this.abandonStuck(publisherTimeout), every);
    try {
      await work;
    } finally {
      clearInterval(timer);
    }
  }

  /** Takes back what waits for an interceptor that does not answer, so that stopping gets on. */
  private abandonStuck(afterMs: number): void {
    const { async, position } = this.replication ?? {};
    const askedAt = Math.min(this.subscriber.askedAt ?? Infinity, async?.askedAt ?? Infinity);
    if (performance.now() - askedAt < afterMs) return;
    position?.fail(stoppedError());
    async?.abandon();
    this.subscriber.stop().catch(() => undefined);
  }

  private async tearDown(): Promise<void> {
    const { replication, files } = this;
    await this.leader.detach();
    this.leading?.close();
    this.leading = undefined;
    this.opened = undefined;
    // What it has begun would join the cluster behind the end.
    if (replication?.stream instanceof LateStream) await replication.stream.settle();
    const { membership } = this;
    this.membership = undefined;
    this.replication = undefined;
    this.files = undefined;
    this.recovery.end();
    replication?.position.fail(stoppedError());
    replication?.async?.stop();
    // In front of all that writes to the control tables: it may hold the write turn, and wait for an interceptor.
    await this.subscriber.stop();
    await this.snapshotter.detach();
    await replication?.idle?.stop();
    await replication?.cdc?.stop();
    await replication?.alarm.stop();
    this.publisher.detach();
    await membership?.leave();
    this.expelled = undefined;
    await replication?.stream.close();
    await this.source.close();
    replication?.async?.close();
    await this.checkpointer?.close();
    files?.close();
  }

  private emit(event: HAEvent): void {
    const { logger } = this.extras;
    if (event.type === 'halted') {
      logger.error(event.error.message);
      this.opened?.committer.halt(event.error);
      this.replication?.async?.stop();
      if (this.opened !== undefined && this.options.bootstrap === 'auto') this.recovery.begin(event.error);
    } else if (event.type === 'foreignWrite') logger.error(event.error.message);
    else if (event.type === 'resynced')
      logger.warn(`Built anew${event.path === undefined ? '' : `; the old file is at ${event.path}`}.`);
    else if (event.type === 'snapshot' && event.action === 'restored')
      logger.log(`Started from a snapshot of ${event.size} bytes at sequence ${event.sequence}.`);
    else if (event.type === 'error') logger.warn(event.error.message);
    else if (event.type === 'skipped') {
      this.telemetry.sink?.skipped();
      logger.warn(skippedLine(event));
    } else if (event.type === 'warning') logger.warn(event.message);
    else if (event.type === 'intercepted') logger.debug?.(interceptedLine(event));
    else if (event.type === 'conflict') {
      this.conflicts++;
      this.telemetry.sink?.conflict();
    } else if (event.type === 'disconnected') logger.warn('The connection to NATS is lost; reads go on, writes wait.');
    else if (event.type === 'connected') logger.log('Connected to NATS again.');
    if (event.type === 'connected') this.replication?.async?.kick();
    this.events.next(event);
  }
}

/** Nothing is wrong but that NATS is away. */
function isUnreachable(error: unknown): error is HAError {
  return error instanceof HAError && error.code === 'HA_STREAM_CONNECT';
}

/** When this process began, nanoseconds since 1970. */
function processId(): bigint {
  return BigInt(Math.round(performance.timeOrigin * 1e3)) * 1_000n;
}

/** A transaction of this node as others see it: conflicts with it have to name it. */
function recentOf({ sequence, messages, ids }: CommittedTransaction, node: string): RecentMessage {
  return {
    sequence,
    origin: ids[0]?.origin ?? node,
    node,
    ids: { first: ids[0]?.n ?? 0, last: ids.at(-1)?.n ?? 0 },
    bytes: messages.reduce((sum, { data }) => sum + data.length, 0),
    foreign: false,
    read: () => {
      const parts = messages.map(({ data }) => decodeChangeSet(data.toString('utf8')));
      return { changes: parts.flatMap(({ changes }) => changes), epoch: parts[0]?.epoch ?? 0n };
    },
  };
}

function listOf(names: readonly string[]): string {
  return names.length === 0 ? 'none' : names.join(', ');
}

function interceptedLine({
  sequence,
  node,
  interceptors,
  written,
  applied,
}: HAEvent & { type: 'intercepted' }): string {
  return `Of ${written} change(s) by ${node} at sequence ${sequence} ${applied} took effect: ${interceptors.join(', ')}`;
}

function skippedLine({ sequence, node, target, reason }: HAEvent & { type: 'skipped' }): string {
  // A whole message that an operator had left out: nobody could read who wrote it.
  if (node === '')
    return `Left out the whole message ${target === '' ? '' : `'${target}' `}at sequence ${sequence}: ${reason}`;
  return `Left out a change of '${target}' by ${node} at sequence ${sequence}: ${reason}`;
}

function busyTimeout(options: ResolvedHAOptions): number {
  const pragma = options.pragmas.find(({ name }) => name === 'busy_timeout');
  return pragma === undefined ? DEFAULT_BUSY_TIMEOUT_MS : Number(pragma.value);
}

function generatedIdWarning(table: string): HAEvent {
  const message = `SQLite chose the id of a new row in '${table}', and generatedIds is 'overwrite': two nodes that insert at once choose the same id, and the later row replaces the earlier one on every node. Insert ha_id() as the id, or set generatedIds=ordered where the option allows it.`;
  return { type: 'warning', code: 'HA_GENERATED_IDS', table, message };
}

import { immediate, retry, sleep } from '../common/timing.js';
import { HAError } from '../common/ha-error.js';
import type { Telemetry } from '../common/telemetry.js';
import type { Capture } from '../capture/capture.js';
import type { MessageId } from '../changeset/message-id.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { Connection } from '../sqlite/connection.js';
import { isBusy } from '../sqlite/connections.js';
import { readSeen } from '../sqlite/control-tables.js';
import type { CursorWriter } from '../sqlite/control-tables.js';
import type { ForeignWrites } from '../sqlite/foreign-writes.js';
import type { Outcomes } from '../sqlite/outcomes.js';
import type { Position } from '../sqlite/position.js';
import { TransactionControl } from '../sqlite/transaction-control.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import { CommitGroup } from './commit-group.js';
import type { CommittedTransaction, PublishedMember } from './commit-group.js';
import { DirectLane } from './direct-lane.js';
import type { WriteFence } from './fence.js';
import { Habits } from './habits.js';
import { REFUSALS_BEFORE_HOLD } from './hold-gate.js';
import type { HoldGate } from './hold-gate.js';
import type { Member, QueuedMember } from './member.js';
import { OrderedLane } from './ordered-lane.js';
import type { OutboxPort } from './outbox-port.js';
import { conflict, leftOut, publishFailed, publishUnknown } from './publish-errors.js';
import type { TransactionRunner } from './transaction-runner.js';
import { UnsettledMessages } from './unsettled-messages.js';

/** What replication adds to the write path; absent in standalone mode. */
export interface ReplicationPorts {
  readonly publisher: ReplicationPublisher;
  readonly capture: Capture;
  readonly position: Position;
  readonly cursorWriter: CursorWriter;
  readonly outcomes: Outcomes;
  readonly foreign: ForeignWrites;
  /** What the stream has delivered; undefined where this node does not follow the stream. */
  readonly feed: DeliveredFeed | undefined;
  readonly hold: HoldGate;
  /** In a cluster with a leader: whether this node may publish. Then it publishes in order, always. */
  readonly fence?: WriteFence | undefined;
  /** Records what transactions do to rows, as the last thing in front of COMMIT; absent where nobody asks for it. */
  readonly record?: ((transaction: CommittedTransaction) => void) | undefined;
  /** With asynchronous publishing: where transactions go that are not ordered. */
  readonly outbox?: OutboxPort | undefined;
  /** Called for each transaction of this node that was committed at its place, without coming back from the stream. */
  readonly applied: (transaction: CommittedTransaction) => void;
  /** Called where the stream gives out sequences that this node has seen used: it is not the same stream any more. */
  readonly lostStream: (sequence: number) => HAError;
}

/** A message that was delivered, by its place. */
export interface DeliveredMessage {
  readonly id: string | undefined;
  readonly sequence: number;
}

/** Messages that the stream has delivered and that are not applied yet. */
export interface DeliveredFeed {
  /** The next messages in stream order, at most `count`. */
  next(count: number): readonly DeliveredMessage[];
  /** Resolves once the message at a sequence was delivered, or enough of others in front of it. */
  whenDelivered(sequence: number, count: number, timeoutMs: number): Promise<void>;
}

export interface CommitterSettings {
  /** Milliseconds. */
  readonly publisherTimeout: number;
  readonly busyTimeout: number;
  readonly telemetry?: Telemetry | undefined;
}

/** Most transactions in one group. */
const GROUP_MEMBERS = 256;
/** A group stops taking members after this time, ms, so that those in it are not kept waiting. */
const GROUP_MS = 10;
const GROUP_BYTES = 4 * 1024 * 1024;
/** Members run in one go before the loop may send what is waiting. */
const MEMBERS_PER_STEP = 16;
const MAX_ATTEMPTS = 64;
const CATCH_UP_PAUSE_MS = 100;
const BUSY_PAUSE_MS = 5;
const BACK_OFF_MS = 20;
const MAX_BACK_OFF_MS = 80;
/** How long a pause to ask for, ms, for each attempt so far. */
const HOLD_MS = 10;

/**
 * The write path: one queue, one loop.
 *
 * ```
 * queue → write turn → BEGIN IMMEDIATE → each member: SAVEPOINT, run, drain, publish, RELEASE
 *       → all acknowledged → in the stream exactly where this node stands? COMMIT with the new position
 *                          → else ROLLBACK, and the stream brings it back in its order
 * ```
 * *Once published, the stream decides.* The local run is kept only where it is certainly the same as applying the stream:
 * the acknowledged sequences follow the position without a gap, and applying is exact. In every other case (somebody
 * came between, an acknowledgement was lost, COMMIT failed) the group is rolled back, the applier brings what was stored,
 * and the caller is answered when its position is applied. So the database never holds anything but the fold of the
 * stream, and a crash at any point needs no repair.
 */
export class Committer {
  private readonly queue: QueuedMember[] = [];
  private readonly habits = new Habits();
  private readonly unsettled = new UnsettledMessages();
  private running: Promise<void> | undefined;
  private closed: HAError | undefined;
  /** A time of `performance.now()`. */
  private closedAt = 0;
  /** When another connection was first found to hold the write lock that is still held; a time of `performance.now()`. */
  private busySince: number | undefined;
  private halted: HAError | undefined;
  private readonly control: TransactionControl;
  /** The group that is on its way: its callers are not all answered yet. */
  private group: CommitGroup | undefined;
  private round: Promise<void> = Promise.resolve();
  /** With asynchronous publishing: ordered transactions that wait for their turn. */
  private readonly lane: OrderedLane | undefined;
  /** Without a stream: where a write needs not queue. */
  private readonly direct: DirectLane | undefined;

  constructor(
    private readonly db: Connection,
    private readonly runner: TransactionRunner,
    private readonly turn: WriteTurn,
    private readonly ports: ReplicationPorts | undefined,
    private readonly settings: CommitterSettings,
  ) {
    this.control = new TransactionControl(db);
    if (ports === undefined) this.direct = new DirectLane(this.control, runner, turn, settings.telemetry);
    if (ports?.outbox !== undefined) this.lane = new OrderedLane(ports.outbox, settings.publisherTimeout);
  }

  /** Whether no transaction waits or is under way. */
  get isIdle(): boolean {
    return this.running === undefined && this.waiting === 0;
  }

  /** Transactions that wait. */
  get waiting(): number {
    return this.queue.length + (this.lane?.length ?? 0);
  }

  /** Why no transaction is taken any more; undefined while they are. */
  get closing(): HAError | undefined {
    return this.closed;
  }

  /**
   * Why a transaction that is open cannot go on; undefined while it can.
   *
   * @param patience How long it may, where the database is being stopped, ms.
   */
  ending(patience: number): HAError | undefined {
    if (this.closed === undefined || this.halted !== undefined) return this.halted;
    return performance.now() - this.closedAt < patience ? undefined : this.closed;
  }

  enqueue(member: Member): void {
    if (this.closed !== undefined) {
      member.reject(this.closed);
      return;
    }
    if (this.waiting === 0 && this.direct?.run(member) === true) return;
    this.queue.push({ member, attempt: 0, maybeStored: false, tried: [] });
    this.kick();
  }

  /** Runs something on the writer outside any transaction: VACUUM, checkpoints. */
  async exclusive<R>(work: (db: Connection) => R): Promise<R> {
    const release = await this.turn.acquire();
    const foreign = this.ports?.foreign;
    try {
      foreign?.look();
      return work(this.db);
    } finally {
      foreign?.adopt(this.db);
      release();
    }
  }

  /** Refuses new transactions, and resolves when those that wait are done. */
  async close(reason: HAError): Promise<void> {
    if (this.closed === undefined) this.closedAt = performance.now();
    this.closed = reason;
    while (this.running !== undefined) await this.running;
  }

  /** Refuses all transactions, those that wait too: what they would meet is not what the cluster has. */
  halt(reason: HAError): void {
    this.closed = reason;
    this.halted = reason;
    for (const { member } of [...this.queue.splice(0), ...(this.lane?.clear() ?? [])]) member.reject(reason);
  }

  /** Waits until the message with an id is not on its way any more: nobody will send it again. False where it still is. */
  async settled(id: MessageId, timeoutMs: number): Promise<boolean> {
    const isDone = (): boolean => this.group?.sends(id) !== true;
    if (!isDone()) await Promise.race([this.round.catch(() => undefined), sleep(timeoutMs)]);
    return isDone();
  }

  private async loop(): Promise<void> {
    try {
      while (this.waiting > 0) {
        if (this.lane === undefined) await this.ports?.hold.pass();
        else await this.shunt(this.lane);
        if (this.queue.length > 0) {
          this.round = this.runGroup();
          await this.round;
        }
        await immediate();
      }
    } finally {
      this.running = undefined;
      this.kick();
    }
  }

  private kick(): void {
    if (this.waiting > 0) this.running ??= Promise.resolve().then(() => this.loop());
  }

  /** Puts ordered transactions aside until they can run, and back in front when they can. */
  private async shunt(lane: OrderedLane): Promise<void> {
    this.queue.unshift(...(await lane.turn(this.queue.length > 0)));
    for (let next = this.queue[0]; next !== undefined; next = this.queue[0]) {
      const { serializable, key } = next.member;
      const isOrdered = next.needsOrder === true || serializable || this.habits.isOrdered(key);
      if (!isOrdered || this.ports?.outbox?.canOrder === true) return;
      this.queue.shift();
      lane.park(next);
    }
  }

  private async runGroup(): Promise<void> {
    const release = await this.turn.acquire();
    let finish: (() => Promise<void>) | undefined;
    let group: CommitGroup | undefined;
    const { enforcement } = this.runner;
    try {
      enforcement.use(this.queue[0]?.member.foreignKeys);
      await this.begin();
      group = this.newGroup();
      this.group = group;
      await this.admit(group);
      finish = await this.commit(group);
    } catch (error) {
      this.rollback();
      this.ports?.capture.invalidate();
      if (group === undefined) this.queue.shift()?.member.reject(error);
      else finish = this.afterFailure(group, error);
    } finally {
      enforcement.restore();
      release();
    }
    try {
      await finish?.();
    } finally {
      this.group = undefined;
    }
  }

  /**
   * SQLite, say, has failed in the middle of a group. What was sent may be in the stream all the same, so only that tells its
   * callers what became of it: told that nothing was written, they would run it again, or use its id again.
   */
  private afterFailure(group: CommitGroup, error: unknown): (() => Promise<void>) | undefined {
    const { ports } = this;
    if (error instanceof HAError || ports?.feed === undefined || group.published.length === 0) {
      group.rejectAll(error);
      return undefined;
    }
    group.rejectUnsent(error);
    return async () => {
      await group.settle(this.publishDeadline(group, ports));
      await this.followStream(group, ports);
    };
  }

  /**
   * Waits for other processes without blocking the loop: https://www.sqlite.org/rescode.html#busy
   *
   * The time counts for all writes that wait together: they must not fail one after the other.
   */
  private async begin(): Promise<void> {
    const enqueuedAt = this.queue[0]?.member.enqueuedAt ?? 0;
    await retry(
      async () => this.beginOnce(),
      (error) => {
        if (!isBusy(error)) return false;
        this.busySince ??= performance.now();
        return performance.now() < Math.max(this.busySince, enqueuedAt) + this.settings.busyTimeout;
      },
      BUSY_PAUSE_MS,
    );
    this.busySince = undefined;
    this.ports?.capture.ensureInstalled();
  }

  private beginOnce(): void {
    this.control.begin();
    try {
      this.ports?.foreign.begun(this.db);
    } catch (error) {
      this.control.rollback();
      throw error;
    }
  }

  private commitNow(): void {
    this.control.commit();
    this.ports?.foreign.committed(this.db);
  }

  /** Rolls back, also where SQLite has done so by itself. */
  private rollback(): void {
    if (!this.control.inTransaction) this.ports?.foreign.interrupted(this.db);
    this.control.rollback();
    const { publisher, position } = this.ports ?? {};
    // What was sent may be in the stream, and what is written from here on has not seen it.
    if (position !== undefined && publisher?.origin !== undefined) position.keptFrom = publisher.lastNumber + 1;
  }

  private newGroup(): CommitGroup {
    const { ports } = this;
    const group: CommitGroup = new CommitGroup(this.control, this.runner, ports, this.habits, () =>
      ports === undefined ? 0 : this.publishDeadline(group, ports),
    );
    return group;
  }

  private async admit(group: CommitGroup): Promise<void> {
    const limit = this.ports === undefined ? 1 : GROUP_MEMBERS;
    const until = performance.now() + GROUP_MS;
    let taken = 0;
    while (taken < limit && !group.closed) {
      const next = this.queue[0];
      if (next === undefined || !group.admits(next)) return;
      this.queue.shift();
      let admitted: boolean;
      try {
        const pending = group.run(next);
        admitted = pending === undefined ? group.lastAdmitted : await pending;
      } catch (error) {
        // What it has changed could not be undone alone, and the group ends.
        if (!group.hasSent(next)) next.member.reject(error);
        throw error;
      }
      if (!admitted) {
        this.queue.unshift(next);
        return;
      }
      taken++;
      if (taken % MEMBERS_PER_STEP === 0) await Promise.resolve();
      if (performance.now() >= until || group.bytes >= GROUP_BYTES) return;
    }
  }

  /** Ends a group; returns what remains to be done once the write turn is given back. */
  private async commit(group: CommitGroup): Promise<(() => Promise<void>) | undefined> {
    const { ports } = this;
    if (ports?.outbox !== undefined && group.published.length === 0) {
      await this.commitDeferred(group, ports.outbox);
      return undefined;
    }
    if (ports === undefined || group.published.length === 0) {
      this.commitPlain(group);
      return undefined;
    }
    const deadline = this.publishDeadline(group, ports);
    await group.settle(deadline);
    this.settings.telemetry?.sink?.published(group.published.length, performance.now() - group.publishedAt);
    if (ports.feed !== undefined && (group.firstStoredSequence ?? Infinity) <= ports.position.received) {
      throw ports.lostStream(group.firstStoredSequence ?? 0);
    }
    if (group.isStored && (await group.standsAtItsPlace(deadline)) && this.tryCommit(group, ports)) {
      if (ports.feed !== undefined) group.announce(ports.applied);
      this.settings.telemetry?.sink?.committed(group.published.length);
      group.resolveAll();
      return undefined;
    }
    this.rollback();
    ports.capture.invalidate();
    return () => this.followStream(group, ports);
  }

  /** COMMIT together with the messages, which are published later. */
  private async commitDeferred(group: CommitGroup, outbox: OutboxPort): Promise<void> {
    const { deferred, canonical } = group;
    try {
      if (!this.control.inTransaction && deferred.length > 0) throw lostGroup();
      if (deferred.length > 0) {
        outbox.store(
          this.db,
          deferred.map(({ transaction }) => transaction),
        );
      }
      if (this.control.inTransaction) this.commitNow();
      else this.ports?.foreign.interrupted(this.db);
    } catch (error) {
      this.rollback();
      if (deferred.length > 0) outbox.discarded();
      this.ports?.capture.invalidate();
      group.rejectAll(error);
      return;
    }
    if (deferred.length > 0) outbox.committed();
    const { sink } = this.settings.telemetry ?? {};
    if (deferred.length > 0) sink?.committed(deferred.length);
    group.resolveAll();
    if (canonical === undefined) return;
    try {
      await outbox.canonicalise(canonical.transaction);
      sink?.committed(1);
      canonical.queued.member.resolve(canonical.value, undefined);
    } catch (error) {
      canonical.queued.member.reject(error);
    }
  }

  private commitPlain(group: CommitGroup): void {
    if (!this.control.inTransaction) {
      this.ports?.foreign.interrupted(this.db);
      group.resolveAll();
      return;
    }
    try {
      this.commitNow();
      if (this.ports === undefined) this.settings.telemetry?.sink?.committed(1);
      group.resolveAll();
    } catch (error) {
      this.rollback();
      group.rejectAll(error);
    }
  }

  /** Who waited behind a long transaction has time for an answer; while the stream is away nobody waits twice. */
  private publishDeadline(group: CommitGroup, { publisher }: ReplicationPorts): number {
    const { publisherTimeout } = this.settings;
    const due = Math.min(...group.published.map(({ queued }) => queued.member.enqueuedAt)) + publisherTimeout;
    return publisher.isConnected ? Math.max(due, performance.now() + Math.min(publisherTimeout, 1_000)) : due;
  }

  /** COMMIT together with the position that the group moved to. */
  private tryCommit(group: CommitGroup, ports: ReplicationPorts): boolean {
    const { position } = ports;
    const last = group.lastMessage;
    position.published = Math.max(position.published, last.sequence);
    if (ports.feed === undefined) {
      this.commitNow();
      return true;
    }
    const cursor = {
      ...position.cursor,
      received: last.sequence,
      subjectSequence: last.sequence,
      messageTime: '',
      messageId: last.id,
    };
    try {
      for (const id of group.messageIds) position.seen.add(id.origin, id.n);
      for (const { id, sequence } of group.chunked) ports.cursorWriter.endTransaction(id, 'committed', sequence);
      ports.cursorWriter.write(cursor, position.seen);
      if (ports.record !== undefined) group.announce(ports.record);
      this.commitNow();
    } catch {
      // The messages are stored, so the stream will bring them; only what memory says of this attempt has to go.
      this.rollback();
      position.seen = readSeen(this.db);
      return false;
    }
    position.advance(cursor);
    return true;
  }

  /** What may still come behind the message with an id, although its caller was told that nobody knows; the last first. */
  unsettledBehind(id: MessageId): MessageId[] {
    return this.unsettled.behind(id);
  }

  /** The group was rolled back: answers its callers as the stream brings what was stored of it. */
  private async followStream(group: CommitGroup, ports: ReplicationPorts): Promise<void> {
    const { position } = ports;
    this.unsettled.note(group.unsettledIds);
    const last = group.lastStoredSequence;
    if (last !== undefined) {
      position.published = Math.max(position.published, last);
      await group.abortIncomplete();
      try {
        if (ports.feed !== undefined) await position.waitFor(last);
      } catch (error) {
        group.endUnapplied(error as HAError);
        return;
      }
    }
    // Who ran behind a member that was not stored may have read rows that never were.
    const again = group.takeMisled();
    group.resolveNoops();
    for (const member of group.published) {
      if (this.answer(member, ports)) again.push(member.queued);
    }
    if (again.length > 0) await this.runAgain(again, ports, group.lastOwnSequence);
  }

  /** Answers a member of a rolled back group. Returns true where it has to run again. */
  private answer(member: PublishedMember, ports: ReplicationPorts): boolean {
    const { queued, value } = member;
    const result = member.result();
    if (result.kind === 'stored') {
      if (this.counts(member, result.again, ports)) {
        this.settings.telemetry?.sink?.committed(1);
        queued.member.resolve(value, result.sequence);
      } else queued.member.reject(leftOut(member.messages[0]?.id ?? ''));
    } else if (result.kind === 'refused') {
      queued.maybeStored = result.maybeStored;
      return true;
    } else if (result.kind === 'unknown' && this.wasDelivered(member.ids, ports)) {
      this.settings.telemetry?.sink?.committed(1);
      queued.member.resolve(value, this.deliveredAt(member.ids, ports.position));
    } else {
      const surely = result.kind === 'failed' || member.followedByStored;
      queued.member.reject(surely ? publishFailed(result.error) : publishUnknown(result.error, member.ids));
    }
    return false;
  }

  /** Whether the nodes take what is stored: they do not where its id was void before, or its parts were aborted. */
  private counts({ ids }: PublishedMember, again: boolean, ports: ReplicationPorts): boolean {
    if (ports.feed === undefined || (ids.length === 1 && !again)) return true;
    return this.wasDelivered(ids, ports);
  }

  private wasDelivered([first]: readonly MessageId[], { outcomes }: ReplicationPorts): boolean {
    return first !== undefined && outcomes.of(first.origin, first.n)?.kind === 'committed';
  }

  /** A transaction stands where its last part does. */
  private deliveredAt(ids: readonly MessageId[], position: Position): number {
    return Math.max(...ids.map((id) => position.sequenceOf(id) ?? position.received));
  }

  /** Catches up with the stream, and puts the members in front of the queue. `end` is that of their group there. */
  private async runAgain(members: QueuedMember[], ports: ReplicationPorts, end: number | undefined): Promise<void> {
    this.habits.noteContention();
    try {
      const last = await this.catchUpInTime(ports);
      // Refused, although what was stored of the group is the last on the subject: others share the stream.
      if (last === end) ports.publisher.noteSharedStream();
    } catch (error) {
      const cause = error as Error;
      for (const { member, maybeStored, tried } of members) {
        member.reject(maybeStored ? publishUnknown(cause, tried.at(-1)?.ids ?? []) : publishFailed(cause));
      }
      return;
    }
    const again: QueuedMember[] = [];
    for (const queued of members) {
      const stored = queued.tried.find(({ ids }) => this.wasDelivered(ids, ports));
      if (stored === undefined) this.settings.telemetry?.sink?.refused(1);
      else this.settings.telemetry?.sink?.committed(1);
      if (stored !== undefined) queued.member.resolve(stored.value, this.deliveredAt(stored.ids, ports.position));
      else if (!queued.member.retry || queued.attempt >= MAX_ATTEMPTS) queued.member.reject(conflict(queued.attempt));
      else again.push(queued);
    }
    if (again.length === 0) return;
    // Everything up to now is applied: where somebody else was elected meanwhile, this node knows.
    const refused = ports.fence?.refusal();
    if (refused !== undefined) {
      for (const { member } of again) member.reject(refused);
      return;
    }
    const attempts = Math.max(...again.map(({ attempt }) => attempt));
    if (ports.fence === undefined && attempts > REFUSALS_BEFORE_HOLD) await this.askForHold(ports, attempts);
    else await sleep(backOff(attempts));
    const { halted } = this;
    if (halted !== undefined) {
      for (const { member } of again) member.reject(publishFailed(halted));
      return;
    }
    // In front of all others: transactions of a node keep the order in which they were called.
    this.queue.unshift(...again);
  }

  /** Asks the other nodes for a pause, and waits until the stream has it: from there on the way is free. */
  private async askForHold(ports: ReplicationPorts, attempts: number): Promise<void> {
    const group = ports.publisher.group(undefined);
    group.add(ports.publisher.customMessage(ports.hold.request(HOLD_MS * attempts)));
    const [outcome] = await group.settle(performance.now() + this.settings.publisherTimeout);
    if (outcome?.kind !== 'stored') return;
    await ports.position.waitFor(outcome.sequence, { timeout: this.settings.publisherTimeout }).catch(() => undefined);
  }

  /** Asks again while the stream does not answer, as long as a write waits for it. */
  private async catchUpInTime(ports: ReplicationPorts): Promise<number> {
    const deadline = performance.now() + this.settings.publisherTimeout;
    return retry(
      () => this.catchUp(ports),
      (error) => error instanceof HAError && error.retryable && performance.now() < deadline,
      CATCH_UP_PAUSE_MS,
    );
  }

  /** Returns the sequence of the last message on the subject. */
  private async catchUp(ports: ReplicationPorts): Promise<number> {
    const { position, publisher } = ports;
    const { received } = position;
    const last = await publisher.lastSubjectSequence();
    if (last > position.received) await position.waitFor(last, { timeout: this.settings.publisherTimeout });
    else if (last !== position.cursor.subjectSequence && position.received === received) {
      // The stream forgot the last message of this subject by age or size: expectations compare with what is left. Where anything
      // was applied meanwhile, the answer may be from before it.
      position.cursor = { ...position.cursor, subjectSequence: last };
    }
    return last;
  }
}

/** Disk full, say: https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction */
function lostGroup(): HAError {
  return new HAError(
    'HA_CONFLICT',
    'SQLite rolled back all open transactions because of a failure in another one; nothing was written. Run the transaction again.',
    { retryable: true },
  );
}

/** A random time below a bound that doubles: nodes that collided must not collide again. */
function backOff(refusals: number): number {
  return Math.random() * Math.min(BACK_OFF_MS * 2 ** (refusals - 1), MAX_BACK_OFF_MS);
}

import { HAError } from '../common/ha-error.js';
import { parseMessageId } from '../changeset/message-id.js';
import type { MessageId } from '../changeset/message-id.js';
import type { WriteAnswer } from '../changeset/changeset.js';
import { duplicateId } from '../publish/publish-group.js';
import type { PublishGroup, PublishOutcome } from '../publish/publish-group.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { OutboxTransaction } from '../sqlite/outbox-store.js';
import type { TransactionControl } from '../sqlite/transaction-control.js';
import type { OutgoingMessage } from '../stream/replication-stream.js';
import type { ReplicationPorts } from './committer.js';
import type { Habits } from './habits.js';
import type { Member, QueuedMember } from './member.js';
import type { Counts } from './result.js';
import { rolledBack } from './open-transaction.js';
import { conflict, publishFailed, publishUnknown, unapplied } from './publish-errors.js';
import type { TransactionEffects, TransactionRunner } from './transaction-runner.js';

/** A callback that took longer than this, ms, is not put behind others until it was faster. */
const SLOW_MS = 2;

/** What became of all messages of one member. */
export type MemberResult =
  /** `again`: its id was in the stream already, and only applying tells whether it is this transaction that has it. */
  | { readonly kind: 'stored'; readonly sequence: number; readonly again: boolean }
  /** `maybeStored`: only catching up with the stream tells whether it is what it was refused for. */
  | { readonly kind: 'refused'; readonly maybeStored: boolean }
  | { readonly kind: 'failed' | 'unknown'; readonly error: Error };

/** A transaction of this node that stands at its place in the stream. */
export interface CommittedTransaction {
  readonly sequence: number;
  /** How many changes it has. */
  readonly changes: number;
  readonly messages: readonly OutgoingMessage[];
  /** Ids of the messages. */
  readonly ids: readonly MessageId[];
}

/** A member whose changes were sent. */
export interface PublishedMember {
  readonly queued: QueuedMember;
  readonly value: unknown;
  readonly messages: readonly OutgoingMessage[];
  readonly ids: readonly MessageId[];
  readonly inexact: boolean;
  /** How many changes it sent. */
  readonly changes: number;
  outcomes: readonly PublishOutcome[];
  /**
   * A later message of this node was stored, and this one was sent only once: so it is in the stream in front of that, or
   * never will be.
   */
  followedByStored: boolean;
  result(): MemberResult;
}

/** A member that is published behind its COMMIT. */
export interface DeferredMember {
  readonly queued: QueuedMember;
  readonly value: unknown;
  /** Ids of its messages. */
  readonly ids: readonly MessageId[];
  readonly transaction: OutboxTransaction;
}

/** A member whose messages are made. */
interface Sending {
  readonly queued: QueuedMember;
  readonly value: unknown;
  readonly effects: TransactionEffects;
  readonly messages: readonly OutgoingMessage[];
  readonly ids: readonly MessageId[];
}

/**
 * One group commit on its way: the members that ran in the open SQLite transaction, and their messages.
 *
 * A group is *ordered* (stored only where nobody wrote in between) or *plain*. The first member decides; one that turns out to
 * be ordered inside a plain group is undone to its savepoint and opens the next group. Only one that cannot run again stays: what
 * is in front of it is settled first, and the group is ordered from there on.
 */
export class CommitGroup {
  readonly published: PublishedMember[] = [];
  bytes = 0;
  /** When its first message was sent, by `performance.now()`. */
  publishedAt = 0;
  /** True when no further member may join. */
  closed = false;
  /** Whether the last member that ran at once was admitted. */
  lastAdmitted = true;
  /** With asynchronous publishing: members for the outbox. */
  readonly deferred: DeferredMember[] = [];
  /** The last of them, where it was undone here, and is to be applied instead. */
  canonical: DeferredMember | undefined;
  private noops: { readonly queued: QueuedMember; readonly value: unknown; readonly behind: number }[] = [];
  private publishing: PublishGroup | undefined;
  private ordered = false;
  private abortedAt: number | undefined;
  /** The last sequence in front of its ordered members. */
  private expected: number | undefined;
  /** How many members are answered. */
  private answered = 0;
  /** None of its members may run again. */
  private runsOnce = true;

  constructor(
    private readonly control: TransactionControl,
    private readonly runner: TransactionRunner,
    private readonly ports: ReplicationPorts | undefined,
    private readonly habits: Habits,
    /** Until when its messages have to be answered, by `performance.now()`. */
    private readonly deadline: () => number,
  ) {}

  /** True where a member may join as far as can be told before it runs. */
  admits({ member }: QueuedMember): boolean {
    const { enforcement } = this.runner;
    if (!enforcement.suits(member.foreignKeys)) return false;
    if (this.isEmpty) return true;
    if (!enforcement.isUsual || this.isBroken) return false;
    if (member.opensGroup === true || this.habits.isSlow(member.key)) return false;
    if (!member.retry && !this.admitsOnce) return false;
    // A callback should not run twice for the company it is in.
    if (this.ordered && member.isCallback && !this.expectsOrder(member.serializable, member.key)) return false;
    return this.ordered || this.hasNoChanges || !this.expectsOrder(member.serializable, member.key);
  }

  /**
   * Runs a member. Returns nothing where it ended at once (see {@link lastAdmitted}), else a promise; false means that it
   * has to open the next group.
   */
  run(queued: QueuedMember): Promise<boolean> | undefined {
    const { member } = queued;
    let value: unknown;
    try {
      this.control.savepoint();
      this.runner.start(!this.isEmpty);
      value = member.run(queued.attempt + 1, !this.isEmpty);
      this.runsOnce &&= !member.retry;
    } catch (error) {
      this.lastAdmitted = this.failOrPostpone(queued, error);
      return undefined;
    }
    if (value instanceof Promise) return this.runAsync(queued, value);
    const admitted = this.finish(queued, value);
    if (admitted instanceof Promise) return admitted;
    this.lastAdmitted = admitted;
    return undefined;
  }

  /** Waits for the acknowledgements that have not come yet. */
  async settle(deadline: number): Promise<void> {
    if (this.publishing === undefined) return;
    const outcomes = await this.publishing.settle(deadline);
    this.publishing = undefined;
    let at = 0;
    for (const member of this.published.slice(this.answered)) {
      member.outcomes = outcomes.slice(at, at + member.messages.length);
      at += member.messages.length;
    }
    this.answered = this.published.length;
    let later = false;
    for (const member of this.published.toReversed()) {
      member.followedByStored = later && member.outcomes.every(wasSentOnce);
      later ||= member.outcomes.some((outcome) => outcome.kind === 'stored');
    }
  }

  /**
   * True where every message is in the stream, the open transaction still stands, and its rows are exact. Where nothing
   * comes back from the stream, the rows of this node are the best there are.
   */
  get isStored(): boolean {
    const isFollowed = this.ports?.feed !== undefined;
    return (
      this.control.inTransaction &&
      this.published.every((member) => {
        const result = member.result();
        return result.kind === 'stored' && !(isFollowed && (member.inexact || result.again));
      })
    );
  }

  /** True where nobody's message came between this node's position and the end of the group. */
  async standsAtItsPlace(deadline: number): Promise<boolean> {
    const { feed, position, publisher } = this.ports as ReplicationPorts;
    if (feed === undefined) return true;
    const sequences = this.sequences;
    const last = sequences.at(-1) ?? 0;
    if (this.ordered && publisher.ordersSurely) return true;
    if (sequences.every((sequence, index) => sequence === position.received + index + 1)) return true;
    // Other subjects share the stream, or somebody came between: the delivery tells.
    await feed.whenDelivered(last, sequences.length, Math.max(0, deadline - performance.now()));
    const next = feed.next(sequences.length);
    const own = this.published.flatMap((member) => member.messages.map((message) => message.id));
    if (next.length !== own.length) return false;
    // A message that was sent again may be stored twice: what lies between the two places is not applied here.
    return own.every((id, index) => next[index]?.id === id && next[index]?.sequence === sequences[index]);
  }

  get lastMessage(): { readonly sequence: number; readonly id: string } {
    const id = this.published.at(-1)?.messages.at(-1)?.id ?? '';
    return { sequence: this.sequences.at(-1) ?? 0, id };
  }

  get lastStoredSequence(): number | undefined {
    return this.sequences.length === 0 ? undefined : Math.max(...this.sequences);
  }

  get firstStoredSequence(): number | undefined {
    return this.sequences[0];
  }

  /** True where a message of this group has the id. */
  sends({ origin, n }: MessageId): boolean {
    const { published, deferred, canonical } = this;
    const members = [...published, ...deferred, ...(canonical === undefined ? [] : [canonical])];
    return members.some(({ ids }) => ids.some((id) => id.origin === origin && id.n === n));
  }

  get messageIds(): MessageId[] {
    return this.published.flatMap((member) => [...member.ids]);
  }

  /** Ids of the transactions of which nobody can say whether they are in the stream. */
  get unsettledIds(): MessageId[] {
    return this.published.flatMap((member) => (isOpenEnded(member.result()) ? member.ids.slice(0, 1) : []));
  }

  /** Ids and places of the transactions in several messages. */
  get chunked(): { readonly id: string; readonly sequence: number }[] {
    return this.published.flatMap((member) => {
      const result = member.result();
      const [first] = member.messages;
      if (member.messages.length === 1 || first === undefined || result.kind !== 'stored') return [];
      return [{ id: first.id, sequence: result.sequence }];
    });
  }

  /** Tells all nodes to drop the chunks of members that were stored only in part. */
  async abortIncomplete(): Promise<void> {
    const { publisher } = this.ports as ReplicationPorts;
    for (const { outcomes, messages } of this.published) {
      this.abortedAt = (await abortPart(publisher, messages, outcomes)) ?? this.abortedAt;
    }
  }

  /** The last sequence on the subject, should nobody else have written since. */
  get lastOwnSequence(): number | undefined {
    return this.abortedAt ?? this.lastStoredSequence;
  }

  /** Tells of every transaction that this commit put into its place. */
  announce(applied: (transaction: CommittedTransaction) => void): void {
    for (const member of this.published) {
      const { changes, messages, ids } = member;
      const outcome = member.result();
      if (outcome.kind === 'stored') applied({ sequence: outcome.sequence, changes, messages, ids });
    }
  }

  resolveAll(): void {
    this.resolveNoops();
    for (const { queued, value } of this.deferred) queued.member.resolve(value, undefined);
    for (const member of this.published) {
      const outcome = member.result();
      member.queued.member.resolve(member.value, outcome.kind === 'stored' ? outcome.sequence : undefined);
    }
  }

  resolveNoops(): void {
    for (const { queued, value } of this.noops) queued.member.resolve(value, undefined);
    this.noops = [];
  }

  /** Takes out the members without changes that ran behind one that was not stored. */
  takeMisled(): QueuedMember[] {
    const lost = this.published.findIndex((member) => member.result().kind !== 'stored');
    if (lost < 0) return [];
    const misled = this.noops.filter(({ behind }) => behind > lost);
    this.noops = this.noops.filter(({ behind }) => behind <= lost);
    for (const { queued } of misled) queued.attempt++;
    return misled.map(({ queued }) => queued);
  }

  rejectAll(error: unknown): void {
    for (const { queued } of this.published) queued.member.reject(error);
    this.rejectUnsent(error);
  }

  /** Rejects those of whom surely nothing is in the stream. */
  rejectUnsent(error: unknown): void {
    for (const { queued } of [...this.noops, ...this.deferred]) queued.member.reject(error);
    this.canonical?.queued.member.reject(error);
    this.noops = [];
  }

  hasSent(queued: QueuedMember): boolean {
    return this.published.some((member) => member.queued === queued);
  }

  /**
   * This node applies nothing any more. What the stream has stored is written all the same: where the node was stopped in
   * good order its callers are told so, and where it halted, that they must not run it again. Nobody can tell any more what
   * became of a message that got no answer.
   */
  endUnapplied(cause: HAError): void {
    for (const { queued } of this.noops) queued.member.reject(cause);
    for (const member of this.published) {
      const { queued, value, ids } = member;
      const result = member.result();
      if (isOpenEnded(result)) queued.member.reject(publishUnknown(cause, ids));
      else if (result.kind !== 'stored') queued.member.reject(cause);
      else if (cause.code === 'HA_UNAVAILABLE' || this.isApplied(result.sequence))
        queued.member.resolve(value, result.sequence);
      else queued.member.reject(unapplied(result.sequence, cause));
    }
  }

  /** It stands in front of the message at which applying has halted. */
  private isApplied(sequence: number): boolean {
    const { position, feed } = this.ports as ReplicationPorts;
    return feed !== undefined && sequence <= position.received;
  }

  private get isEmpty(): boolean {
    return this.hasNoChanges && this.noops.length === 0;
  }

  private get hasNoChanges(): boolean {
    return this.published.length === 0 && this.deferred.length === 0;
  }

  private get sequences(): number[] {
    return this.published.flatMap((member) =>
      member.outcomes.flatMap((outcome) => (outcome.kind === 'stored' ? [outcome.sequence] : [])),
    );
  }

  private expectsOrder(serializable: boolean, key: string): boolean {
    return serializable || this.habits.isOrdered(key);
  }

  private async runAsync(queued: QueuedMember, running: Promise<unknown>): Promise<boolean> {
    const { member } = queued;
    const started = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(timedOut(member.timeout)), member.timeout);
    });
    try {
      const value = await Promise.race([running, timeout]);
      this.noteDuration(member, started);
      return await this.finish(queued, value);
    } catch (error) {
      running.catch(() => undefined);
      if (member.retry) this.habits.noteSlow(member.key);
      else this.noteDuration(member, started);
      return this.failOrPostpone(queued, error);
    } finally {
      clearTimeout(timer);
    }
  }

  private noteDuration({ key }: Member, started: number): void {
    if (performance.now() - started > SLOW_MS) this.habits.noteSlow(key);
    else this.habits.noteFast(key);
  }

  private finish(queued: QueuedMember, value: unknown): boolean | Promise<boolean> {
    let effects: TransactionEffects | undefined;
    try {
      queued.member.abandon();
      if (this.runner.isMisplaced) return this.postpone(queued);
      if (!this.control.inTransaction) throw rolledBack();
      if (this.runner.isAlone) this.closed = true;
      effects = this.runner.finish();
      if (effects === undefined && this.runner.changedSchema && this.ports?.outbox?.isSettled === false) {
        // What would have to be taken back was written in the schema of before.
        queued.needsOrder = true;
        return this.postpone(queued);
      }
      if (effects === undefined) {
        this.control.release();
        this.noops.push({ queued, value, behind: this.published.length });
        return true;
      }
      const fits = this.takesOrder(queued, effects);
      if (fits && this.mayMislead(queued)) return this.publishOnceAnswered(queued, value, effects);
      if (fits && !this.isBroken) return this.publish(queued, value, effects);
      return queued.member.retry ? this.postpone(queued) : this.publishBehind(queued, value, effects);
    } catch (error) {
      this.fail(queued, error);
      return true;
    }
  }

  /** Decides the kind of the group; false where a member does not fit into it. */
  private takesOrder(queued: QueuedMember, effects: TransactionEffects): boolean {
    const { member } = queued;
    const ordered = effects.ordered || member.serializable;
    if (effects.ordered) this.habits.noteOrdered(member.key);
    else if (!member.retry) this.habits.notePlain(member.key);
    if (ordered && !this.ordered && this.ports?.outbox?.canOrder === false) {
      if (!member.retry) throw mustWait();
      queued.needsOrder = true;
      return false;
    }
    if (this.hasNoChanges) {
      this.ordered = ordered;
      return true;
    }
    return !ordered || this.ordered;
  }

  /** Somebody may not be in the stream, as far as is known by now: who runs behind would see rows that never were. */
  private get isBroken(): boolean {
    return this.publishing?.isBroken === true;
  }

  /**
   * It cannot run again, and nothing but the answers tells whether those are stored whose rows it has seen: in an ordered group
   * and in a linked one it is refused with them.
   */
  private mayMislead({ member }: QueuedMember): boolean {
    const { publishing } = this;
    if (member.retry || this.ordered || publishing === undefined) return false;
    return this.isBroken || !publishing.isLinked;
  }

  /** Publishes a member that cannot run again behind plain ones, when they are answered. */
  private async publishOnceAnswered(
    queued: QueuedMember,
    value: unknown,
    effects: TransactionEffects,
  ): Promise<boolean> {
    try {
      if (this.publishing?.isLinked === true) await this.settleStored(this.deadline());
      else await this.publishing?.allAnswered();
      return await (this.isBroken ? this.publishBehind(queued, value, effects) : this.publish(queued, value, effects));
    } catch (error) {
      this.fail(queued, error);
      return true;
    }
  }

  /**
   * Publishes a member that cannot run again where it is ordered behind plain ones, or others may be lost: it is stored only
   * behind what it has seen, so their places have to be known first.
   */
  private async publishBehind(queued: QueuedMember, value: unknown, effects: TransactionEffects): Promise<boolean> {
    try {
      const deadline = this.deadline();
      await this.settleStored(deadline);
      if (!(await this.standsAtItsPlace(deadline))) throw this.broken(conflict(1));
      this.expected = this.lastStoredSequence;
      this.ordered = true;
      return await this.publish(queued, value, effects);
    } catch (error) {
      this.fail(queued, error);
      return true;
    }
  }

  /** Waits for the answers; throws unless all of the group is stored. */
  private async settleStored(deadline: number): Promise<void> {
    await this.settle(deadline);
    if (!this.isStored) throw this.broken(misled());
  }

  /** Nobody joins any more, and what cannot run again stays alone for a while. */
  private broken(error: HAError): HAError {
    this.closed = true;
    this.habits.noteContention();
    return error;
  }

  /**
   * Whether one that cannot run again may join. It is refused where anybody in front of it is, and all wait until it has ended:
   * so only where that is nothing new to them, and no other node is in the way.
   */
  private get admitsOnce(): boolean {
    return this.runsOnce && this.runner.keepsCompany && !this.habits.isContended;
  }

  /** Undoes a member, which opens the next group. */
  private postpone(queued: QueuedMember): false {
    queued.member.abandon();
    this.rollbackMember();
    this.closed = true;
    queued.attempt++;
    return false;
  }

  private publish(queued: QueuedMember, value: unknown, effects: TransactionEffects): boolean | Promise<boolean> {
    const { publisher, position, feed, fence, outbox } = this.ports as ReplicationPorts;
    const refused = fence?.refusal();
    if (refused !== undefined) throw refused;
    const id = queued.member.transactionId?.();
    if (id !== undefined && (outbox !== undefined || feed === undefined)) throw leadsNobody();
    const messages = publisher.encode({
      ...effects,
      epoch: position.received,
      ...(fence === undefined
        ? { behind: publisher.lastNumber + 1 - this.firstSeen }
        : // What is in front of it in its group is stored, or it is not.
          { term: fence.term }),
      ...(id === undefined ? {} : { id, answer: answerOf(value) }),
    });
    // Its node may declare it void, and without an order others would be stored behind it all the same.
    if (id !== undefined && fence === undefined) this.closed = true;
    // The stream's memory of ids ends; that of the nodes does not, and they would all leave the message out.
    const ids = messages.flatMap(({ id }) => parseMessageId(id) ?? []);
    const known = ids.findIndex(({ origin, n }) => position.seen.has(origin, n));
    if (known >= 0) throw publishFailed(duplicateId(messages[known]?.id ?? ''));
    if (this.ports?.outbox !== undefined && !this.ordered) {
      return this.defer(queued, value, ids, { ...effects, messages });
    }
    const sending: Sending = { queued, value, effects, messages, ids };
    return messages.length > 1 && this.publishing?.isLinked === true ? this.sendLarge(sending) : this.send(sending);
  }

  /**
   * Sends what takes several messages behind linked ones. Others come between its many messages, and each time what was refused would
   * travel again: so it is not linked, but waits until all in front of it is stored.
   */
  private async sendLarge(sending: Sending): Promise<boolean> {
    const { queued } = sending;
    try {
      await this.settle(this.deadline());
      if (this.isStored) return await this.send(sending);
      if (queued.member.retry) return this.postpone(queued);
      throw this.broken(misled());
    } catch (error) {
      this.fail(queued, error);
      return true;
    }
  }

  private send({ queued, value, effects, messages, ids }: Sending): boolean | Promise<boolean> {
    const { publisher, position, feed, fence } = this.ports as ReplicationPorts;
    const last = this.expected ?? position.cursor.subjectSequence;
    const expected = this.ordered && feed !== undefined ? last : undefined;
    if (this.published.length === 0) this.publishedAt = performance.now();
    // Without a subscriber nothing would tell what became of those that were refused.
    const linked = !this.ordered && this.runsOnce && feed !== undefined && messages.length === 1;
    this.publishing ??= publisher.group(expected, fence && (() => fence.refusal()), linked);
    this.control.release();
    const member: PublishedMember = {
      queued,
      value,
      messages,
      ids,
      inexact: effects.inexact,
      changes: effects.changes,
      outcomes: [],
      followedByStored: false,
      result: () => combine(member.outcomes),
    };
    queued.attempt++;
    queued.tried.push({ ids, value });
    this.published.push(member);
    if (effects.inexact) this.closed = true;
    for (const message of messages) this.bytes += message.data.length;
    if (this.publishing.isOneByOne) return this.publishOneByOne(messages);
    for (const message of messages) this.publishing.add(message);
    return true;
  }

  /** Number of the first own message that the next one is run behind, although it is not applied from the stream. */
  private get firstSeen(): number {
    const { publisher, position, feed, outbox } = this.ports as ReplicationPorts;
    const next = publisher.lastNumber + 1;
    if (outbox !== undefined && !this.ordered)
      return outbox.firstInFlight(position.origin) ?? this.deferred[0]?.ids[0]?.n ?? next;
    return feed === undefined ? position.keptFrom : (this.published[0]?.ids[0]?.n ?? next);
  }

  private defer(
    queued: QueuedMember,
    value: unknown,
    ids: readonly MessageId[],
    transaction: OutboxTransaction & TransactionEffects,
  ): true {
    for (const { data } of transaction.messages) this.bytes += data.length;
    if (!transaction.inexact) {
      this.control.release();
      this.deferred.push({ queued, value, ids, transaction });
      return true;
    }
    this.rollbackMember();
    this.closed = true;
    this.canonical = { queued, value, ids, transaction };
    return true;
  }

  private async publishOneByOne(messages: readonly OutgoingMessage[]): Promise<boolean> {
    for (const message of messages) {
      this.publishing?.add(message);
      await this.publishing?.answered();
    }
    return true;
  }

  private failOrPostpone(queued: QueuedMember, error: unknown): boolean {
    if (this.runner.isMisplaced && this.control.inTransaction) {
      this.habits.noteSlow(queued.member.key);
      return this.postpone(queued);
    }
    this.fail(queued, error);
    return true;
  }

  private fail(queued: QueuedMember, error: unknown): void {
    queued.member.abandon();
    // OR ROLLBACK and RAISE(ROLLBACK) end the whole SQLite transaction; what was sent comes back through the stream.
    if (this.control.inTransaction) this.rollbackMember();
    else {
      this.closed = true;
      this.ports?.capture.invalidate();
    }
    queued.member.reject(error);
  }

  private rollbackMember(): void {
    this.control.undoSavepoint();
    if (this.runner.touchedSchema) this.ports?.capture.invalidate();
    this.ports?.capture.ensureInstalled();
  }
}

/** Tells all nodes to drop the chunks of a transaction where only some of them were stored. Returns the sequence of that. */
async function abortPart(
  publisher: ReplicationPublisher,
  messages: readonly OutgoingMessage[],
  outcomes: readonly PublishOutcome[],
): Promise<number | undefined> {
  const stored = outcomes.filter((outcome) => outcome.kind === 'stored').length;
  if (stored === 0 || stored === messages.length) return undefined;
  const group = publisher.group(undefined);
  group.add(publisher.abortMessage(messages[0]?.id ?? ''));
  const [outcome] = await group.settle(performance.now() + 5_000);
  return outcome?.kind === 'stored' ? outcome.sequence : undefined;
}

/** Chunks count as stored only together, at the place of the last one. */
function combine(outcomes: readonly PublishOutcome[]): MemberResult {
  const last = outcomes.at(-1);
  if (last === undefined) return { kind: 'unknown', error: new Error('not sent') };
  if (outcomes.some((outcome) => outcome.kind === 'refused'))
    return { kind: 'refused', maybeStored: outcomes.every(canBeStored) };
  for (const outcome of outcomes) {
    if (outcome.kind === 'failed' || outcome.kind === 'unknown') return outcome;
  }
  if (last.kind !== 'stored') return { kind: 'refused', maybeStored: false };
  const again = outcomes.some((outcome) => outcome.kind === 'stored' && outcome.again);
  return { kind: 'stored', sequence: last.sequence, again };
}

/** Only applying the stream would have told what became of it. */
function isOpenEnded(result: MemberResult): boolean {
  if (result.kind === 'stored') return result.again;
  return result.kind === 'unknown' || (result.kind === 'refused' && result.maybeStored);
}

/** What its caller may have to be told by somebody else. */
function answerOf(value: unknown): WriteAnswer | undefined {
  const { changes, lastInsertRowid } = (value ?? {}) as Partial<Counts>;
  if (typeof changes !== 'number' || lastInsertRowid === undefined) return undefined;
  return { changes, lastInsertRowid: BigInt(lastInsertRowid) };
}

function wasSentOnce(outcome: PublishOutcome): boolean {
  return outcome.kind !== 'unknown' || outcome.sentOnce;
}

function canBeStored(outcome: PublishOutcome): boolean {
  return outcome.kind === 'stored' || outcome.kind === 'unknown' || (outcome.kind === 'refused' && outcome.maybeStored);
}

/** Without a leaderProvider of its own it may be set up as no leader can be. */
function leadsNobody(): HAError {
  return new HAError(
    'HA_UNIMPLEMENTED',
    'A write was forwarded to this node as to the leader, but with asyncPublisher or disableSubscriber it cannot be one. Nothing was written. Name another node, or leave the option out.',
  );
}

function mustWait(): HAError {
  return new HAError(
    'HA_CONFLICT',
    'The transaction needs its place in the stream, but others of this node are still on their way there, and it may not run twice. Nothing was written. Run it again, or ask for serializable: true, so that this is known in front.',
    { retryable: true },
  );
}

/** What it has read of others of its group never was, as far as is known. */
function misled(): HAError {
  return new HAError(
    'HA_CONFLICT',
    'The transaction ran behind another one of this node that the stream did not take; nothing was written. Run the transaction again.',
    { retryable: true },
  );
}

function timedOut(ms: number): HAError {
  return new HAError(
    'HA_TRANSACTION_TIMEOUT',
    `The transaction was rolled back: its callback had not ended after ${ms} ms, and all writes wait for it. Do slow work before or behind it, or raise its timeout.`,
    { details: { timeout: ms } },
  );
}

import { immediate, sleep } from '../common/timing.js';
import { isLocalLack } from '../apply/applier.js';
import type { Applier } from '../apply/applier.js';
import type { ConflictDetector, WatchedMessage } from '../apply/conflict-detector.js';
import type { EffectsPort } from '../apply/effects-port.js';
import type { Interception, Step } from '../apply/interception.js';
import type { Overlay } from '../apply/overlay.js';
import type { Change, ChangeSet } from '../changeset/changeset.js';
import { decodeChangeSet } from '../changeset/codec.js';
import type { EventSink, HAEvent } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import { parseMessageId } from '../changeset/message-id.js';
import type { MessageId } from '../changeset/message-id.js';
import { mayBeVoid, voidedId } from '../publish/void-message.js';
import type { Connection } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import { isBusy } from '../sqlite/connections.js';
import type { ForeignWrites } from '../sqlite/foreign-writes.js';
import { readSeen } from '../sqlite/control-tables.js';
import type { CursorWriter, StreamCursor } from '../sqlite/control-tables.js';
import type { Position } from '../sqlite/position.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import type { IncomingMessage, ReplicationStream, StreamSubscription } from '../stream/replication-stream.js';
import { baseChanged, baseOf } from './base.js';
import { DeliveryQueue } from './delivery-queue.js';

/** `halted` needs somebody to act; everything else goes on by itself. */
export type SubscriberState = 'stopped' | 'running' | 'retrying' | 'halted';

export interface SubscriberPorts {
  readonly stream: ReplicationStream;
  readonly db: Connection;
  readonly applier: Applier;
  readonly conflicts: ConflictDetector;
  readonly turn: WriteTurn;
  readonly foreign: ForeignWrites;
  readonly position: Position;
  readonly cursorWriter: CursorWriter;
  /** Sequences of messages that an operator wants left out. */
  readonly skips: ReadonlySet<number>;
  /** The base that the database stands on; ''. */
  readonly base?: string | undefined;
  readonly emit: EventSink;
  /** Sees the node and the CUSTOM commands of every message, in stream order. */
  readonly observe: (node: string, commands: readonly string[]) => void;
  /** Sees every changeset behind its commit, and which of its changes were left out. */
  readonly applied?:
    ((sequence: number, changeSet: ChangeSet, skipped: ReadonlySet<Change> | undefined) => void) | undefined;
  /** Own transactions that lie over the fold; absent where this node publishes before it commits. */
  readonly overlay?: Overlay | undefined;
  /** Records what really happens to rows; absent where nobody asks for it. */
  readonly effects?: EffectsPort | undefined;
  /** Sees the messages of every own transaction that met its place in the stream without being applied there again. */
  readonly met?: ((sequence: number, messages: readonly { readonly data: Buffer }[]) => void) | undefined;
}

/** A batch is cut after this time, ms: the event loop must breathe while a long backlog is applied. */
const SLICE_MS = 4;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
/** Bytes: names of nodes and files are in it. */
const LONGEST_VOID = 16 * 1024;

/** An own transaction that met its place in the stream. */
interface Popped {
  readonly changes: number;
  readonly messages: readonly { readonly data: Buffer }[];
}

interface Decoded {
  readonly message: IncomingMessage;
  readonly id: MessageId | undefined;
  /** Undefined where the message was applied before, or is a part of a transaction that is not complete yet. */
  readonly changeSet: ChangeSet | undefined;
  /** Bytes of all its messages. */
  readonly bytes: number;
  /** It is the next own transaction over the fold, whose rows are there already. */
  readonly popped?: Popped;
}

/**
 * Follows the stream: takes its messages in order, and applies them in batches.
 *
 * ```
 * stopped ──start──▶ running ──environment fails──▶ retrying ──in time──▶ running
 *    ▲                  └──a message cannot be read──▶ halted
 *    └──────stop─────────── from every state
 * ```
 * A batch is one SQLite transaction that holds rows and position together, so each message takes effect exactly once,
 * whatever happens in between. The consumer at the server is disposable: the database has the only cursor.
 */
export class ReplicationSubscriber {
  state: SubscriberState = 'stopped';
  private readonly queue = new DeliveryQueue();
  private subscription: StreamSubscription | undefined;
  private pumping: Promise<void> | undefined;
  private lastError: Error | undefined;
  private failures = 0;
  private attached: SubscriberPorts | undefined;
  /** The message that is being decoded or applied. */
  private current: IncomingMessage | undefined;
  private unreadable = false;
  /** How many messages of the batch are in front of the current one. */
  private inFront = 0;
  /** Sequence of a message at which an interceptor failed: what is in front of it is committed without it. */
  private barrier: number | undefined;
  private stopping: Promise<void> = Promise.resolve();
  private wakeStopping: () => void = () => undefined;
  private ended: Promise<void> = Promise.resolve();
  /** Since when an interceptor is waited for; a time of `performance.now()`, undefined where none is. */
  askedAt: number | undefined;

  get error(): Error | undefined {
    return this.lastError;
  }

  /** The message at which applying has stopped; undefined where it has not, or for another reason. */
  get haltedAt(): IncomingMessage | undefined {
    return this.state === 'halted' ? this.current : undefined;
  }

  /** True where the message at which applying has stopped cannot be read: only then may it be left out. */
  get haltedUnreadable(): boolean {
    return this.haltedAt !== undefined && this.unreadable;
  }

  /** Messages that are delivered, but not applied. */
  get backlog(): number {
    return this.queue.length;
  }

  /** When the server stored the oldest message that waits here, ms since 1970; undefined where none waits. */
  get waitingSince(): number | undefined {
    const received = this.attached?.position.received ?? 0;
    for (let index = 0; ; index++) {
      const message = this.queue.peek(index);
      if (message === undefined) return undefined;
      if (message.sequence > received) return Number(message.time);
    }
  }

  private get ports(): SubscriberPorts {
    if (this.attached === undefined) throw new HAError('HA_UNAVAILABLE', 'Nothing is followed before db.start().');
    return this.attached;
  }

  /** Starts behind the stored position. */
  async start(ports: SubscriberPorts): Promise<void> {
    await this.ended;
    if (this.state !== 'stopped') return;
    this.attached = ports;
    this.state = 'running';
    this.lastError = undefined;
    this.current = undefined;
    this.unreadable = false;
    this.barrier = undefined;
    this.stopping = new Promise((resolve) => {
      this.wakeStopping = resolve;
    });
    this.queue.open(ports.position.received);
    const subscription = await ports.stream.consume(ports.position.received, (message) => this.queue.push(message));
    // Stopped meanwhile.
    if (!this.isActive()) return subscription.stop();
    this.subscription = subscription;
    this.pumping = this.pump();
  }

  /** Ends behind the batch that is under way; one that waits for an interceptor is taken back. */
  stop(): Promise<void> {
    if (this.state !== 'stopped') this.ended = this.end();
    return this.ended;
  }

  private async end(): Promise<void> {
    this.state = 'stopped';
    this.wakeStopping();
    const { subscription } = this;
    this.subscription = undefined;
    this.queue.close();
    await subscription?.stop();
    await this.pumping;
  }

  /** The next messages in stream order, at most `count`. */
  next(count: number): readonly IncomingMessage[] {
    this.queue.dropUpTo(this.ports.position.received);
    const next: IncomingMessage[] = [];
    for (let i = 0; i < count; i++) {
      const message = this.queue.peek(i);
      if (message !== undefined) next.push(message);
    }
    return next;
  }

  /** Resolves once a sequence was delivered, or so many messages that somebody else's are among them, or in time. */
  async whenDelivered(sequence: number, count: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      this.queue.dropUpTo(this.ports.position.received);
      const left = deadline - performance.now();
      if (this.queue.lastSequence >= sequence || this.queue.length >= count || left <= 0) return;
      if (this.state !== 'running') return;
      await Promise.race([this.queue.arrival(), sleep(Math.min(left, 50))]);
    }
  }

  private async pump(): Promise<void> {
    while (this.isActive()) {
      if (this.queue.length === 0) {
        await this.queue.arrival();
        continue;
      }
      const release = await this.ports.turn.acquire();
      try {
        if (this.isActive()) await this.applyBatch();
        this.recovered();
      } catch (error) {
        this.failed(error);
      } finally {
        release();
      }
      await (this.failures > 0 ? sleep(retryPause(this.failures)) : immediate());
    }
  }

  private isActive(): boolean {
    return this.state === 'running' || this.state === 'retrying';
  }

  private async applyBatch(): Promise<void> {
    const { db, applier, position, cursorWriter, conflicts, foreign, overlay } = this.ports;
    this.queue.dropUpTo(position.received);
    if (this.queue.length === 0) return;
    this.current = undefined;
    db.exec('BEGIN IMMEDIATE');
    conflicts.begin();
    overlay?.begin();
    try {
      foreign.begun(db);
      applier.prepare();
      const { taken, cursor, notices } = await this.applyWaiting();
      cursorWriter.write(cursor, position.seen);
      db.exec('COMMIT');
      conflicts.commit(cursor.received);
      foreign.committed(db);
      overlay?.committed();
      this.queue.drop(taken);
      position.advance(cursor);
      for (const notice of notices) notice();
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      else foreign.interrupted(db);
      conflicts.rollback();
      applier.reset();
      overlay?.rolledBack();
      this.ports.effects?.rolledBack();
      position.seen = readSeen(db);
      throw error;
    }
  }

  private async applyWaiting(): Promise<{ taken: number; cursor: StreamCursor; notices: (() => void)[] }> {
    const { position, overlay } = this.ports;
    const notices: (() => void)[] = [];
    let cursor = position.cursor;
    let taken = 0;
    const started = performance.now();
    let until = performance.now() + SLICE_MS;
    for (;;) {
      const message = this.queue.peek(taken);
      if (message === undefined || (taken > 0 && message.sequence === this.barrier)) break;
      this.current = message;
      this.inFront = taken;
      if (this.queue.inFrontOf(taken) > cursor.received) throw lost(message, this.queue.inFrontOf(taken), cursor);
      const decoded = this.tryDecode(message, taken === 0, notices);
      if (decoded === undefined) break;
      for (const step of this.applyOne(decoded, notices)) {
        if (step !== undefined) await this.unlessStopped(step);
        else if (performance.now() < until) continue;
        else await immediate();
        until = performance.now() + SLICE_MS;
      }
      cursor = follow(cursor, message);
      taken++;
      if (performance.now() < until) continue;
      // What took long to make way for this batch would have to make way for the next one too.
      if (overlay === undefined || performance.now() - started >= 3 * overlay.batchMs) break;
      await immediate();
      until = performance.now() + SLICE_MS;
    }
    this.current = undefined;
    if (overlay !== undefined) await this.inSlices(overlay.finish());
    return { taken, cursor, notices };
  }

  private async inSlices(steps: Generator<Step, void>): Promise<void> {
    let until = performance.now() + SLICE_MS;
    for (const step of steps) {
      if (step !== undefined) await this.unlessStopped(step);
      else if (performance.now() < until) continue;
      else await immediate();
      until = performance.now() + SLICE_MS;
    }
  }

  /** Waits for an interceptor, with an open transaction that nobody else may use: but not longer than this node lives. */
  private async unlessStopped(answer: Promise<void>): Promise<void> {
    this.askedAt = performance.now();
    try {
      await Promise.race([answer, this.stopping]);
    } finally {
      this.askedAt = undefined;
    }
    if (!this.isActive()) throw new HAError('HA_UNAVAILABLE', 'Stopped while an interceptor was waited for.');
  }

  /** Undefined where a message cannot be read: what is in front of it is committed first. */
  private tryDecode(message: IncomingMessage, first: boolean, notices: (() => void)[]): Decoded | undefined {
    try {
      if (this.ports.skips.has(message.sequence)) return this.leaveOut(message, notices);
      return this.decode(message);
    } catch (error) {
      // The disk's fault, not the message's.
      if (isSqliteError(error)) throw error;
      if (!first) return undefined;
      if (error instanceof HAError && error.code === 'HA_BASE_CHANGED') throw error;
      this.unreadable = true;
      throw new HAError(
        'HA_APPLY_HALTED',
        `The message at sequence ${message.sequence} cannot be read: ${error instanceof Error ? error.message : String(error)}. Nothing behind it is applied. Upgrade this node if a newer one wrote it; db.skip(${message.sequence}n) goes on without it.`,
        { cause: error, details: { sequence: message.sequence } },
      );
    }
  }

  /** Passes over a message, and with a part of a transaction over the whole of it. */
  private leaveOut(message: IncomingMessage, notices: (() => void)[]): Decoded {
    const { position, cursorWriter, emit } = this.ports;
    const id = message.id === undefined ? undefined : parseMessageId(message.id);
    if (id !== undefined) position.seen.add(id.origin, id.n);
    const target = message.id ?? '';
    const transaction = message.chunk?.split(';')[0] ?? target;
    if (transaction !== '') cursorWriter.endTransaction(transaction, 'skipped', message.sequence);
    const sequence = BigInt(message.sequence);
    notices.push(() => emit({ type: 'skipped', sequence, node: '', target, reason: 'an operator had it left out' }));
    return { message, id, changeSet: undefined, bytes: 0 };
  }

  private decode(message: IncomingMessage): Decoded {
    const { seen } = this.ports.position;
    const id = message.id === undefined ? undefined : parseMessageId(message.id);
    if (id !== undefined && seen.has(id.origin, id.n)) return { message, id, changeSet: undefined, bytes: 0 };
    const popped = id === undefined ? undefined : this.popHead(message, id);
    if (id !== undefined && popped !== undefined) {
      seen.add(id.origin, id.n);
      this.ports.position.noteOwn(id, message.sequence);
      return { message, id, changeSet: undefined, bytes: 0, popped };
    }
    const text = textOf(message);
    const decoded =
      message.chunk === undefined
        ? { message, id, changeSet: decodeChangeSet(text), bytes: message.data.length }
        : this.decodeChunk(message, id, text);
    const base = decoded.changeSet === undefined ? undefined : baseOf(decoded.changeSet);
    if (base !== undefined && base !== (this.ports.base ?? '')) {
      throw baseChanged({ sequence: message.sequence, base }, decoded.changeSet?.node ?? '');
    }
    if (id !== undefined) {
      seen.add(id.origin, id.n);
      this.ports.position.noteOwn(id, message.sequence);
    }
    this.noteVoid(message, decoded.changeSet);
    return decoded;
  }

  /** Takes an id away. Where a transaction, or the first part of one, came under it before, that has it. */
  private noteVoid({ id = '', sequence }: IncomingMessage, changeSet: ChangeSet | undefined): void {
    const voided = voidedId(changeSet, id);
    if (voided === undefined) return;
    const { position, cursorWriter } = this.ports;
    const other = voided === id ? undefined : parseMessageId(voided);
    if (voided !== id && (other === undefined || !position.seen.add(other.origin, other.n))) return;
    cursorWriter.endTransaction(voided, 'void', sequence);
  }

  /** Takes an own transaction out of the overlay, where its rows can stay as they are; undefined where they cannot. */
  private popHead(message: IncomingMessage, id: MessageId): Popped | undefined {
    const { overlay, conflicts, cursorWriter, effects } = this.ports;
    if (overlay?.isHead(message.id) !== true || isVoidMessage(message)) return undefined;
    const { chunk, sequence } = message;
    let messages: readonly { readonly data: Buffer }[] = [{ data: dataOf(message) }];
    if (chunk !== undefined) {
      const [transactionId = '', place = ''] = chunk.split(';');
      const stored = cursorWriter.readChunks(transactionId);
      if (cursorWriter.hasEnded(transactionId) || !place.endsWith(`/${stored.length + 1}`)) return undefined;
      messages = [...stored.map(({ data }) => ({ data: Buffer.from(data) })), ...messages];
    }
    if (conflicts.isActive) {
      const changeSet = joined(messages);
      const watched = watchedOf({ message, id, changeSet, bytes: sizeOf(messages) }, changeSet);
      // What others wrote meanwhile has to be seen without it.
      if (conflicts.meetsOthers(watched)) return undefined;
      conflicts.close(watched, undefined);
    }
    if (chunk !== undefined) cursorWriter.endTransaction(chunk.split(';')[0] ?? '', 'committed', sequence);
    if (effects?.wants(sequence) === true) effects.met(sequence, overlay.headEffects());
    return { changes: overlay.pop(), messages };
  }

  /** Keeps the parts of a transaction until its last one comes: it takes effect as a whole, at that place. */
  private decodeChunk(message: IncomingMessage, id: MessageId | undefined, text: string): Decoded {
    const { cursorWriter } = this.ports;
    const incomplete = { message, id, changeSet: undefined, bytes: 0 };
    const [transactionId = '', place = ''] = (message.chunk ?? '').split(';');
    if (place === 'abort') {
      cursorWriter.endTransaction(transactionId, 'aborted', message.sequence);
      return incomplete;
    }
    const [part = 0, parts = 0] = place.split('/').map(Number);
    if (!(part >= 1 && part <= parts)) throw new SyntaxError(`malformed chunk header '${message.chunk}'`);
    if (cursorWriter.hasEnded(transactionId)) return incomplete;
    const last = decodeChangeSet(text);
    if (part < parts) {
      cursorWriter.addChunk(transactionId, part, message.sequence, text);
      return incomplete;
    }
    const stored = cursorWriter.readChunks(transactionId);
    const complete = stored.length === parts - 1;
    cursorWriter.endTransaction(transactionId, complete ? 'committed' : 'aborted', message.sequence);
    const bytes = stored.reduce((sum, { data }) => sum + Buffer.byteLength(data), message.data.length);
    if (!complete) return { message, id, changeSet: { ...last, changes: [], sequences: [] }, bytes };
    const changes = [...stored.flatMap(({ data }) => decodeChangeSet(data).changes), ...last.changes];
    return { message, id, changeSet: { ...last, changes }, bytes };
  }

  private *applyOne(decoded: Decoded, notices: (() => void)[]): Generator<Step, void> {
    const { message, changeSet, popped } = decoded;
    const { applier, applied, conflicts, effects, emit, met, observe, overlay } = this.ports;
    const sequence = BigInt(message.sequence);
    if (overlay !== undefined && popped !== undefined) {
      notices.push(() => {
        emit({ type: 'applied', sequence, node: overlay.node, changes: popped.changes });
        met?.(message.sequence, popped.messages);
      });
    }
    if (changeSet === undefined) {
      if (popped === undefined && message.id !== undefined && overlay !== undefined) yield* overlay.drop(message.id);
      return;
    }
    const { node } = changeSet;
    const place = { sequence: message.sequence, foreign: message.version === undefined };
    if (overlay !== undefined) yield* overlay.makeWay(message.id, changeSet, place.foreign);
    // Behind making way: what it compares with is the fold.
    const watched = conflicts.isActive ? watchedOf(decoded, changeSet) : undefined;
    const witness = watched && conflicts.open(watched);
    let skipped: Set<Change> | undefined;
    const steps = applier.apply(changeSet, { ...place, witness }, (index, change, reason) => {
      if (watched !== undefined) (watched.refused ??= new Set()).add(index);
      (skipped ??= new Set()).add(change);
      const target = this.recordSkipped(message, node, index, change, reason);
      notices.push(() => emit({ type: 'skipped', sequence, node, target, reason }));
    });
    const interception =
      effects === undefined
        ? yield* steps
        : yield* effects.around({ sequence: message.sequence, node, timestampNs: changeSet.timestampNs }, steps);
    const taken = interception === undefined ? changeSet : interception.taken;
    if (watched !== undefined) {
      // What interceptors left is not go-ha's any more: its values are as they are stored.
      const known = interception === undefined ? watched : { ...watched, foreign: false, read: readAlready(taken) };
      for (const conflict of conflicts.close(known, witness)) notices.push(() => emit(conflict));
    }
    if (interception !== undefined && interception.names.length > 0) {
      notices.push(() => emit(interceptedEvent(sequence, node, interception)));
    }
    const commands = changeSet.changes.flatMap((change) => (change.operation === 'CUSTOM' ? [change.command] : []));
    notices.push(() => {
      observe(node, commands);
      emit({ type: 'applied', sequence, node, changes: taken.changes.length });
      applied?.(message.sequence, taken, skipped);
    });
  }

  private recordSkipped(message: IncomingMessage, node: string, index: number, change: Change, reason: string): string {
    const target = 'table' in change ? change.table : change.command;
    this.ports.cursorWriter.addSkipped({
      sequence: message.sequence,
      change: index,
      node,
      target,
      operation: change.operation,
      detail: JSON.stringify(change, describeValue),
      error: reason,
    });
    return target;
  }

  private recovered(): void {
    this.failures = 0;
    if (this.state === 'retrying') this.state = 'running';
    if (this.state === 'running') this.lastError = undefined;
  }

  /** What the environment did (disk full, locked) is tried again; what a message holds would fail again. */
  private failed(error: unknown): void {
    const reason = error instanceof Error || isSqliteError(error) ? error : new Error(String(error));
    if (!this.isActive()) return;
    if (
      reason instanceof HAError &&
      reason.code === 'HA_INTERCEPTOR' &&
      this.current !== undefined &&
      this.inFront > 0
    ) {
      this.barrier = this.current.sequence;
      return;
    }
    this.lastError = reason;
    if (isSqliteError(error) && !/^SQLITE_(ERROR|CORRUPT|NOTADB|MISUSE|RANGE)/.test(error.code)) {
      this.failures++;
      this.state = 'retrying';
      if (!isBusy(error)) this.ports.emit({ type: 'error', error: reason });
      return;
    }
    this.stopApplying(reason instanceof HAError ? reason : this.haltedBy(reason));
  }

  /** Stops applying until somebody acts, for a reason that lies in no message. */
  halt(error: HAError): void {
    this.current = undefined;
    this.stopApplying(error);
  }

  private stopApplying(error: HAError): void {
    if (this.state === 'stopped' || this.state === 'halted') return;
    this.lastError = error;
    this.state = 'halted';
    this.wakeStopping();
    this.ports.position.fail(error);
    const { sequence } = error.details;
    const place = typeof sequence === 'number' ? sequence : (this.queue.peek(0)?.sequence ?? 0);
    this.ports.emit({ type: 'halted', sequence: BigInt(place), error });
  }

  private haltedBy(error: Error): HAError {
    const { received } = this.ports.position;
    const sequence = this.current?.sequence;
    const place = sequence === undefined ? `behind sequence ${received}` : `at the message of sequence ${sequence}`;
    return new HAError(
      'HA_APPLY_HALTED',
      `Applying stopped ${place}: ${error.message}. Nothing further is applied. ${adviceFor(error)}`,
      { cause: error, details: { sequence, received } },
    );
  }
}

function interceptedEvent(sequence: bigint, node: string, interception: Interception): HAEvent {
  const { names: interceptors, written, effective } = interception;
  return { type: 'intercepted', sequence, node, interceptors, written, applied: effective.length };
}

function adviceFor(error: Error): string {
  return isLocalLack(error)
    ? 'Other nodes have what is missing here: this node goes on by itself when it is started with it (configure, or the same build of SQLite).'
    : 'This node goes on by itself when that is mended and the database started again.';
}

/** A fault of this program, which must not become one of the data. */
function lost({ sequence }: IncomingMessage, inFront: number, { received }: StreamCursor): HAError {
  return new HAError(
    'HA_STREAM_GAP',
    `The message at sequence ${sequence} was delivered behind ${inFront}, but only what lies up to ${received} is applied. Nothing behind that is applied, so nothing is lost: start the database again, and it goes on behind ${received}.`,
    { details: { sequence, received } },
  );
}

function follow(cursor: StreamCursor, message: IncomingMessage): StreamCursor {
  return {
    ...cursor,
    received: message.sequence,
    subjectSequence: message.sequence,
    messageTime: message.time,
    messageId: message.id ?? null,
  };
}

/** One changeset of all messages of a transaction. */
function joined(messages: readonly { readonly data: Buffer }[]): ChangeSet {
  const parts = messages.map(({ data }) => decodeChangeSet(data.toString('utf8')));
  return { ...(parts.at(-1) as ChangeSet), changes: parts.flatMap(({ changes }) => changes) };
}

function sizeOf(messages: readonly { readonly data: Buffer }[]): number {
  return messages.reduce((sum, { data }) => sum + data.length, 0);
}

/** The message as the search for conflicts has to know it. */
function watchedOf({ message, id, bytes }: Decoded, changeSet: ChangeSet): WatchedMessage {
  const { sequence, version, chunk } = message;
  const first = chunk === undefined ? id : parseMessageId(chunk.slice(0, chunk.indexOf(';')));
  return {
    sequence,
    origin: id?.origin ?? changeSet.node,
    node: changeSet.node,
    ids: id && first && { first: first.n, last: id.n },
    bytes,
    foreign: version === undefined,
    led: changeSet.term !== undefined,
    epoch: Number(changeSet.epoch),
    behind: changeSet.behind ?? 0,
    // The parts of a large transaction lie in several messages.
    read: chunk === undefined ? readLater(message) : readAlready(changeSet),
  };
}

/** Functions of their own: what one scope holds, all closures in it keep in memory. */
function readLater(message: IncomingMessage): () => ChangeSet {
  return () => decodeChangeSet(textOf(message));
}

function readAlready(changeSet: ChangeSet): () => ChangeSet {
  return () => changeSet;
}

function dataOf({ data }: IncomingMessage): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.length);
}

function textOf(message: IncomingMessage): string {
  return dataOf(message).toString('utf8');
}

/** True for a message that stands where an own one should, and takes its id away. */
function isVoidMessage(message: IncomingMessage): boolean {
  const data = dataOf(message);
  if (data.length > LONGEST_VOID || !mayBeVoid(data)) return false;
  return voidedId(decodeChangeSet(data.toString('utf8')), message.id ?? '') === message.id;
}

function describeValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

function retryPause(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MAX_MS);
}

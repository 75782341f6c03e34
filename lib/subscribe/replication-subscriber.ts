import { immediate, sleep } from '../common/timing.js';
import type { Applier } from '../apply/applier.js';
import type { Overlay } from '../apply/overlay.js';
import type { Change, ChangeSet } from '../changeset/changeset.js';
import { decodeChangeSet } from '../changeset/codec.js';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import { parseMessageId } from '../changeset/message-id.js';
import type { Connection } from '../sqlite/connection.js';
import { isBusy, isSqliteError } from '../sqlite/connections.js';
import { readSeen } from '../sqlite/control-tables.js';
import type { CursorWriter, StreamCursor } from '../sqlite/control-tables.js';
import type { Position } from '../sqlite/position.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import type { IncomingMessage, ReplicationStream, StreamSubscription } from '../stream/replication-stream.js';
import { DeliveryQueue } from './delivery-queue.js';

/** `halted` needs somebody to act; everything else goes on by itself. */
export type SubscriberState = 'stopped' | 'running' | 'retrying' | 'halted';

export interface SubscriberPorts {
  readonly stream: ReplicationStream;
  readonly db: Connection;
  readonly applier: Applier;
  readonly turn: WriteTurn;
  readonly position: Position;
  readonly cursorWriter: CursorWriter;
  readonly emit: EventSink;
  /** Sees the node and the CUSTOM commands of every message, in stream order. */
  readonly observe: (node: string, commands: readonly string[]) => void;
  /** Own transactions that lie over the fold; absent where this node publishes before it commits. */
  readonly overlay?: Overlay | undefined;
}

/** A batch is cut after this time, ms: the event loop must breathe while a long backlog is applied. */
const SLICE_MS = 4;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;

interface Decoded {
  readonly message: IncomingMessage;
  /** Undefined where the message was applied before, or is a part of a transaction that is not complete yet. */
  readonly changeSet: ChangeSet | undefined;
  /** It is the next own transaction over the fold, whose rows are there already: its number of changes. */
  readonly popped?: number;
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

  get error(): Error | undefined {
    return this.lastError;
  }

  /** Messages that are delivered, but not applied. */
  get backlog(): number {
    return this.queue.length;
  }

  private get ports(): SubscriberPorts {
    if (this.attached === undefined) throw new HAError('HA_UNAVAILABLE', 'Nothing is followed before db.start().');
    return this.attached;
  }

  /** Starts behind the stored position. */
  async start(ports: SubscriberPorts): Promise<void> {
    if (this.state !== 'stopped') return;
    this.attached = ports;
    this.state = 'running';
    this.lastError = undefined;
    this.subscription = await this.ports.stream.consume(this.ports.position.received, (message) =>
      this.queue.push(message),
    );
    this.pumping = this.pump();
  }

  /** Ends behind the batch that is under way. */
  async stop(): Promise<void> {
    if (this.state === 'stopped') return;
    this.state = 'stopped';
    const { subscription } = this;
    this.subscription = undefined;
    this.queue.clear();
    await subscription?.stop();
    this.queue.clear();
    await this.pumping;
  }

  /** Ids of the next messages in stream order. */
  nextIds(count: number): readonly (string | undefined)[] {
    this.queue.dropUpTo(this.ports.position.received);
    const ids: (string | undefined)[] = [];
    for (let i = 0; i < count; i++) ids.push(this.queue.peek(i)?.id);
    return ids;
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
    const { db, applier, position, cursorWriter, overlay } = this.ports;
    this.queue.dropUpTo(position.received);
    if (this.queue.length === 0) return;
    db.exec('BEGIN IMMEDIATE');
    overlay?.begin();
    try {
      applier.prepare();
      const { taken, cursor, notices } = await this.applyWaiting();
      cursorWriter.write(cursor, position.seen);
      db.exec('COMMIT');
      overlay?.committed();
      this.queue.drop(taken);
      position.advance(cursor);
      for (const notice of notices) notice();
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      applier.reset();
      overlay?.rolledBack();
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
      if (message === undefined) break;
      const decoded = this.tryDecode(message, taken === 0);
      if (decoded === undefined) break;
      for (const _step of this.applyOne(decoded, notices)) {
        if (performance.now() < until) continue;
        await immediate();
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
    if (overlay !== undefined) await this.inSlices(overlay.finish());
    return { taken, cursor, notices };
  }

  private async inSlices(steps: Generator<void, void>): Promise<void> {
    let until = performance.now() + SLICE_MS;
    for (const _step of steps) {
      if (performance.now() < until) continue;
      await immediate();
      until = performance.now() + SLICE_MS;
    }
  }

  /** Undefined where a message cannot be read: what is in front of it is committed first. */
  private tryDecode(message: IncomingMessage, first: boolean): Decoded | undefined {
    try {
      return this.decode(message);
    } catch (error) {
      if (!first) return undefined;
      throw new HAError(
        'HA_APPLY_HALTED',
        `The message at sequence ${message.sequence} cannot be read: ${error instanceof Error ? error.message : String(error)}. Nothing behind it is applied. Upgrade this node if a newer one wrote it.`,
        { cause: error, details: { sequence: message.sequence } },
      );
    }
  }

  private decode(message: IncomingMessage): Decoded {
    const { seen } = this.ports.position;
    const id = message.id === undefined ? undefined : parseMessageId(message.id);
    if (id !== undefined && seen.has(id.origin, id.n)) return { message, changeSet: undefined };
    if (id !== undefined && this.ports.overlay?.isHead(message.id) === true) {
      seen.add(id.origin, id.n);
      return { message, changeSet: undefined, popped: this.popHead(message) };
    }
    const text = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.length).toString('utf8');
    const changeSet = message.chunk === undefined ? decodeChangeSet(text) : this.decodeChunk(message, text);
    if (id !== undefined) {
      seen.add(id.origin, id.n);
      this.ports.position.noteOwn(id, message.sequence);
    }
    return { message, changeSet };
  }

  private popHead({ chunk }: IncomingMessage): number {
    if (chunk !== undefined) this.ports.cursorWriter.takeChunks(chunk.split(';')[0] ?? '');
    return this.ports.overlay?.pop() ?? 0;
  }

  /** Keeps the parts of a transaction until its last one comes: it takes effect as a whole, at that place. */
  private decodeChunk(message: IncomingMessage, text: string): ChangeSet | undefined {
    const { cursorWriter } = this.ports;
    const [transactionId = '', place = ''] = (message.chunk ?? '').split(';');
    if (place === 'abort') {
      cursorWriter.takeChunks(transactionId);
      return undefined;
    }
    const [part = 0, parts = 0] = place.split('/').map(Number);
    if (!(part >= 1 && part <= parts)) throw new SyntaxError(`malformed chunk header '${message.chunk}'`);
    const last = decodeChangeSet(text);
    if (part < parts) {
      cursorWriter.addChunk(transactionId, part, message.sequence, text);
      return undefined;
    }
    const stored = cursorWriter.takeChunks(transactionId);
    if (stored.length !== parts - 1) return { ...last, changes: [], sequences: [] };
    return { ...last, changes: [...stored.flatMap(({ data }) => decodeChangeSet(data).changes), ...last.changes] };
  }

  private *applyOne({ message, changeSet, popped }: Decoded, notices: (() => void)[]): Generator<void, void> {
    const { applier, emit, observe, overlay } = this.ports;
    const sequence = BigInt(message.sequence);
    if (overlay !== undefined && popped !== undefined) {
      notices.push(() => emit({ type: 'applied', sequence, node: overlay.node, changes: popped }));
    }
    if (changeSet === undefined) return;
    const { node } = changeSet;
    const place = { sequence: message.sequence, foreign: message.version === undefined };
    if (overlay !== undefined) yield* overlay.makeWay(message.id, changeSet, place.foreign);
    yield* applier.apply(changeSet, place, (index, change, reason) => {
      const target = this.recordSkipped(message, node, index, change, reason);
      notices.push(() => emit({ type: 'skipped', sequence, node, target, reason }));
    });
    const commands = changeSet.changes.flatMap((change) => (change.operation === 'CUSTOM' ? [change.command] : []));
    notices.push(() => {
      observe(node, commands);
      emit({ type: 'applied', sequence, node, changes: changeSet.changes.length });
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
    if (this.state === 'stopped') return;
    this.lastError = reason;
    if (isSqliteError(error) && !/^SQLITE_(ERROR|CORRUPT|NOTADB|MISUSE|RANGE)/.test(error.code)) {
      this.failures++;
      this.state = 'retrying';
      if (!isBusy(error)) this.ports.emit({ type: 'error', error: reason });
      return;
    }
    this.halt(reason instanceof HAError ? reason : this.haltedBy(reason));
  }

  /** Stops applying until somebody acts. */
  halt(error: HAError): void {
    if (this.state === 'stopped' || this.state === 'halted') return;
    this.lastError = error;
    this.state = 'halted';
    this.ports.position.fail(error);
    this.ports.emit({ type: 'halted', sequence: BigInt(this.queue.peek(0)?.sequence ?? 0), error });
  }

  private haltedBy(error: Error): HAError {
    const sequence = this.queue.peek(0)?.sequence ?? 0;
    return new HAError(
      'HA_APPLY_HALTED',
      `Applying stopped behind sequence ${this.ports.position.received}, at or after message ${sequence}: ${error.message}. Nothing further is applied until this is solved and the database started again.`,
      { cause: error, details: { sequence } },
    );
  }
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

function describeValue(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}

function retryPause(failures: number): number {
  return Math.min(RETRY_FIRST_MS * 2 ** (failures - 1), RETRY_MAX_MS);
}

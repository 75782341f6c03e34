import { parseMessageId } from '../changeset/message-id.js';
import { sleep } from '../common/timing.js';
import { HAError } from '../common/ha-error.js';
import type { NumberedMessage } from '../sqlite/outbox-store.js';
import type { Position } from '../sqlite/position.js';
import type { OutgoingMessage, PublishReceipt, ReplicationStream } from '../stream/replication-stream.js';
import { StreamBatchBroken, StreamRefusal, StreamRepetition, StreamUnavailable } from '../stream/replication-stream.js';

/** Where the relay finds what it has to publish. */
export interface RelaySource {
  /** The highest number that was given out. */
  readonly last: number;
  /** Committed messages behind a number, in order. */
  after(n: number, limit: number): NumberedMessage[];
}

export interface RelayPorts {
  readonly stream: ReplicationStream;
  readonly source: RelaySource;
  readonly position: Position;
  /** Resolves when this node may publish: another one may have asked for a pause. */
  readonly pass: () => Promise<void>;
  /** Called where the stream gives out sequences that this node has seen used. */
  readonly lostStream: (sequence: number) => HAError;
  readonly failed: (error: Error) => void;
}

interface Sent {
  readonly message: NumberedMessage;
  outcome: 'stored' | 'refused' | 'unavailable' | 'unknown' | undefined;
}

/** Most messages on their way at once, and their bytes. */
const MAX_WINDOW = 2_048;
const WINDOW_BYTES = 8 * 1024 * 1024;
/**
 * While many commit, small windows would take time from them. So a window of fewer than so many messages waits for more: so many
 * milliseconds for each message of the last one, and at most so many. A lone writer waits for nothing.
 */
const GATHERED = 1_024;
const GATHER_MS_PER_MESSAGE = 0.1;
const MAX_GATHER_MS = 40;
/** Sent without a break, so that the loop breathes. */
const MOST_AT_ONCE = 512;
/** Messages read at once. */
const READ_LIMIT = 256;
/** How long one attempt waits for its acknowledgement, ms. */
const ATTEMPT_MS = 5_000;
/** A long backlog is waited for in steps of this length, ms. */
const CATCH_UP_MS = 1_000;
/** Behind so many broken batches, so many messages are sent one by one: whatever breaks them, the outbox gets on. */
const MOST_BROKEN = 2;
const SINGLES_BEHIND_BROKEN = 64;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5_000;

/**
 * Publishes the outbox, in order, for as long as it takes.
 *
 * ```
 * away ──connected──▶ catching up ──done──▶ sending ──refused──▶ sending, from the refused message on
 *   ▲                     ▲                    ├──no answer────▶ catching up
 *   └──────── disconnected ───────────────────┘
 * ```
 * A node's messages never overtake each other, or an insert that is repeated behind its update would restore the old row
 * everywhere. So each message that is sent while another is unanswered expects that one to be the last of the stream: what
 * comes between, or a message that got lost, refuses it and all behind it. The first has no expectation, for nothing that
 * others write may keep it out.
 *
 * A message without an answer may be stored. Before anything is sent again, the node catches up with the stream: what was
 * stored is delivered, and has left the outbox then, however long ago it was sent.
 */
export class Relay {
  private running: Promise<void> | undefined;
  private isStopped = false;
  /** Everything up to this number is stored. */
  private at = 0;
  /** The last number that was read. */
  private read = 0;
  private waiting: NumberedMessage[] = [];
  private sent: Sent[] = [];
  private window = MAX_WINDOW;
  private filledAt = -Infinity;
  private readBefore = 0;
  private isCaughtUp = false;
  private failures = 0;
  private brokenBatches = 0;
  private singles = 0;
  private error: Error | undefined;
  private wake: () => void = () => undefined;

  constructor(private readonly ports: RelayPorts) {}

  /** Why the last attempt failed; undefined where all goes well. */
  get lastError(): Error | undefined {
    return this.error;
  }

  /** True while messages get through. */
  get isFlowing(): boolean {
    return this.ports.stream.isConnected && this.failures === 0 && !this.isStopped;
  }

  get isRunning(): boolean {
    return !this.isStopped;
  }

  start(): void {
    this.running ??= this.loop();
  }

  /** Tells that there may be something to publish, or that the connection has changed. */
  kick(): void {
    this.wake();
  }

  /** Sends nothing more. What has no answer yet stays in the outbox. */
  stop(): void {
    this.isStopped = true;
    this.wake();
  }

  /** True where everything up to a number is stored in the stream. */
  isStored(n: number): boolean {
    return this.at >= n;
  }

  private async loop(): Promise<void> {
    while (!this.isStopped) {
      try {
        if (!this.ports.stream.isConnected) await this.rest(undefined);
        else if (!this.isCaughtUp) await this.catchUp();
        else await this.send();
      } catch (error) {
        await this.fail(error);
      }
    }
  }

  /** Waits until the stream has delivered all that it holds now; what is left in the outbox then is not in it. */
  private async catchUp(): Promise<void> {
    const { stream, position } = this.ports;
    const last = await stream.lastSubjectSequence();
    while (position.received < last) {
      if (this.isStopped || !stream.isConnected) return;
      await position.waitFor(last, { timeout: CATCH_UP_MS }).catch(unlessLate);
    }
    this.at = 0;
    this.startFrom(0);
    this.isCaughtUp = true;
  }

  private startFrom(n: number): void {
    this.read = n;
    this.waiting = [];
    this.sent = [];
  }

  /** Fills the window and takes the answers, until something goes wrong or all is stored. */
  private async send(): Promise<void> {
    if (this.sent.length === 0) {
      await this.ports.pass();
      await this.gather();
    }
    this.fill();
    if (this.sent.length === 0) {
      this.recovered();
      await this.rest(undefined);
      return;
    }
    const first = this.sent[0] as Sent;
    if (first.outcome === undefined) await this.rest(undefined, () => first.outcome !== undefined);
    this.takeStored();
    const broken = this.sent[0]?.outcome;
    if (broken !== undefined) await this.restart(broken);
  }

  /** Waits for more to send, where only little waits and something was sent just now. */
  private async gather(): Promise<void> {
    const last = Math.max(0, this.read - this.readBefore);
    const end = this.filledAt + Math.min(MAX_GATHER_MS, last * GATHER_MS_PER_MESSAGE);
    while (this.isLittle && !this.isStopped) {
      const left = end - performance.now();
      if (left <= 0) break;
      await this.rest(left);
    }
    if (this.waitingCount === 0) return;
    this.filledAt = performance.now();
    this.readBefore = this.read;
  }

  private get isLittle(): boolean {
    return this.waitingCount > 0 && this.waitingCount < GATHERED;
  }

  private get waitingCount(): number {
    return this.ports.source.last - this.read + this.waiting.length;
  }

  private fill(): void {
    const { ordering, batchLimit } = this.ports.stream;
    if (ordering === 'batch' && this.singles === 0) this.fillBatch(Math.min(batchLimit, MAX_WINDOW));
    else this.fillWindow(ordering === 'chained' ? this.window : 1);
  }

  /** One batch at a time: all of it is stored, or nothing. */
  private fillBatch(limit: number): void {
    if (this.sent.length > 0) return;
    let bytes = 0;
    while (this.sent.length < limit && bytes < WINDOW_BYTES && !this.isStopped) {
      const message = this.next();
      if (message === undefined) break;
      bytes += message.data.length;
      this.sent.push({ message, outcome: undefined });
    }
    const batch = [...this.sent];
    if (batch.length === 0) return;
    this.ports.stream.publishBatch(batch.map(outgoing), ATTEMPT_MS).then(
      (receipts) => batch.forEach((sent, index) => this.answered(sent, receipts[index] as PublishReceipt)),
      (error: unknown) => {
        if (error instanceof StreamRepetition || error instanceof StreamBatchBroken) this.brokenBatches++;
        for (const sent of batch) this.unanswered(sent, error);
      },
    );
  }

  private fillWindow(limit: number): void {
    // Many at a time: each of a few would be a packet of its own.
    if (this.sent.length > limit >> 1 || (this.sent.length > 0 && this.isLittle)) return;
    const most = Math.min(limit, this.sent.length + MOST_AT_ONCE);
    let bytes = this.sent.reduce((sum, { message }) => sum + message.data.length, 0);
    while (this.sent.length < most && bytes < WINDOW_BYTES && !this.isStopped) {
      if (this.sent.at(-1)?.outcome !== undefined && this.sent.at(-1)?.outcome !== 'stored') return;
      const message = this.next();
      if (message === undefined) return;
      bytes += message.data.length;
      this.publish(message);
    }
  }

  private next(): NumberedMessage | undefined {
    if (this.waiting.length === 0) {
      this.waiting = this.ports.source.after(this.read, READ_LIMIT).reverse();
      this.read = this.waiting[0]?.n ?? this.read;
    }
    return this.waiting.pop();
  }

  private publish(message: NumberedMessage): void {
    const before = this.sent.at(-1)?.message.id;
    const sent: Sent = { message, outcome: undefined };
    this.sent.push(sent);
    const full = before === undefined ? outgoing(sent) : { ...outgoing(sent), expect: { lastMessageId: before } };
    this.ports.stream.publish(full, ATTEMPT_MS).then(
      (receipt) => this.answered(sent, receipt),
      (error: unknown) => this.unanswered(sent, error),
    );
  }

  private answered(sent: Sent, { sequence, duplicate }: PublishReceipt): void {
    const { position } = this.ports;
    const id = parseMessageId(sent.message.id);
    sent.outcome = 'stored';
    position.published = Math.max(position.published, sequence);
    if (!duplicate && sequence <= position.received && (id === undefined || !position.seen.has(id.origin, id.n))) {
      sent.outcome = 'unknown';
      this.isStopped = true;
      this.error = this.ports.lostStream(sequence);
    }
    this.wake();
  }

  private unanswered(sent: Sent, error: unknown): void {
    if (error instanceof StreamRefusal) sent.outcome = 'refused';
    else {
      sent.outcome = error instanceof StreamUnavailable ? 'unavailable' : 'unknown';
      this.error = error instanceof Error ? error : new Error(String(error));
    }
    this.wake();
  }

  private takeStored(): void {
    let count = 0;
    while (this.sent[count]?.outcome === 'stored') count++;
    if (count === 0) return;
    this.at = (this.sent[count - 1] as Sent).message.n;
    this.sent.splice(0, count);
    this.window = Math.min(MAX_WINDOW, this.window + count);
    this.singles = Math.max(0, this.singles - count);
    this.recovered();
  }

  /** The first unanswered message was not stored, or nobody knows: those behind it cannot be, and are answered first. */
  private async restart(broken: NonNullable<Sent['outcome']>): Promise<void> {
    await this.rest(undefined, () => this.sent.every(({ outcome }) => outcome !== undefined));
    const isKnown = this.sent.every(({ outcome }) => outcome === 'refused' || outcome === 'unavailable');
    this.window = Math.max(1, this.window >> 1);
    if (this.brokenBatches >= MOST_BROKEN) {
      this.brokenBatches = 0;
      this.singles = SINGLES_BEHIND_BROKEN;
    }
    this.startFrom(this.at);
    if (!isKnown) this.isCaughtUp = false;
    if (broken !== 'refused') await this.fail(this.error);
  }

  private recovered(): void {
    this.failures = 0;
    this.error = undefined;
  }

  private async fail(error: unknown): Promise<void> {
    this.error = error instanceof Error ? error : new Error(String(error));
    if (this.failures++ === 0 && this.ports.stream.isConnected) this.ports.failed(this.error);
    this.startFrom(this.at);
    this.isCaughtUp = false;
    await this.rest(Math.min(FIRST_PAUSE_MS * 2 ** Math.min(this.failures - 1, 10), MAX_PAUSE_MS));
  }

  /** Waits for a call of {@link kick}, for a condition that answers bring about, or for a time. */
  private async rest(ms: number | undefined, until?: () => boolean): Promise<void> {
    for (;;) {
      if (this.isStopped || until?.() === true) return;
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      await (ms === undefined ? woken : Promise.race([woken, sleep(ms)]));
      if (until === undefined) return;
    }
  }
}

function outgoing({ message: { id, data, chunk } }: Sent): OutgoingMessage {
  return chunk === undefined ? { id, data } : { id, data, chunk };
}

function unlessLate(error: unknown): void {
  if (!(error instanceof HAError && error.code === 'HA_WAIT_TIMEOUT')) throw error;
}

import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import type {
  OrderedForm,
  OutgoingMessage,
  PublishExpectation,
  PublishReceipt,
  ReplicationStream,
} from '../stream/replication-stream.js';
import { StreamBatchBroken, StreamRefusal, StreamRepetition, StreamUnavailable } from '../stream/replication-stream.js';

/** What became of a message. */
export type PublishOutcome =
  /**
   * `again`: the id was there already. It is this message where an earlier attempt got no answer, or one that somebody
   * published to settle its outcome: only applying the stream tells.
   */
  | { readonly kind: 'stored'; readonly sequence: number; readonly again: boolean }
  /**
   * Somebody else's message came first. Nothing was stored, unless `maybeStored`: then an earlier attempt got no answer,
   * and what came first may be this message itself.
   */
  | { readonly kind: 'refused'; readonly maybeStored: boolean }
  /** Surely not stored. */
  | { readonly kind: 'failed'; readonly error: Error }
  /** Stored or not: no answer came. A message sent twice may wait in two places, and one of them be emptied late. */
  | { readonly kind: 'unknown'; readonly error: Error; readonly sentOnce: boolean };

interface Sent {
  message: OutgoingMessage;
  receipt: Promise<unknown>;
  outcome: PublishOutcome | undefined;
  attempts: number;
  /** True once it may have reached the server without an answer. */
  maybeStored: boolean;
}

/** How long one attempt waits for its acknowledgement, ms. */
const ATTEMPT_MS = 2_000;
const RETRY_PAUSE_MS = 25;
/** One attempt has to be done in time: what is larger travels in several batches. */
const BATCH_BYTES = 8 * 1024 * 1024;
/** Behind so many broken batches the messages are sent one by one: whatever breaks them, writes go on. */
const MOST_BROKEN = 2;
/**
 * A server without replicas writes each batch to the disk (10 ms here) before it answers, and single messages not (70 µs
 * and the way): below this number they are faster.
 */
const FEWEST_WITHOUT_REPLICAS = 16;

/**
 * The messages of one group commit. Each is sent the moment it is added, or held where they travel as a batch;
 * {@link settle} sends what is held, waits for all answers and repeats what got none, under the same ids.
 *
 * A node's messages must never overtake each other, or an insert that is retried behind its update would restore the old
 * row everywhere. So only an unanswered *tail* is repeated: a message whose successor was stored never is.
 */
export class PublishGroup {
  private readonly sent: Sent[] = [];
  /** So many at the beginning are known to be stored. */
  private stored = 0;
  private brokenBatches = 0;
  /** Most messages of a linked group that are sent again at once: all of them would be refused over and over beside busy writers. */
  private window = Infinity;

  constructor(
    private readonly stream: ReplicationStream,
    /** The group is refused unless this is the last sequence on the subject; undefined for a plain group. */
    private readonly expected: number | undefined,
    /** How an ordered group is sent. */
    private readonly form: OrderedForm = stream.ordering,
    /** Looked at right before anything is sent: why it may not be. */
    private readonly permit: () => HAError | undefined = () => undefined,
    /** A plain group is linked: see {@link isLinked}. */
    private readonly linked = false,
  ) {}

  /**
   * True where each message of a plain group is stored only right behind the one before, so that none can be where that was
   * lost, which the transaction of this one has seen. Where others wrote in between, {@link settle} sends again what was refused,
   * and only the first of that without a condition: all in front of it is stored by then.
   */
  get isLinked(): boolean {
    return this.linked && this.expected === undefined && this.form === 'chained';
  }

  get size(): number {
    return this.sent.length;
  }

  /** True where each message has to be answered before the next can be added. */
  get isOneByOne(): boolean {
    return this.expected !== undefined && this.form === 'single';
  }

  /** True where a message was answered, but not as stored, or its time was over: until {@link settle} has repeated it. */
  get isBroken(): boolean {
    while (this.sent[this.stored]?.outcome?.kind === 'stored') this.stored++;
    for (let at = this.stored; at < this.sent.length; at++) {
      const { outcome } = this.sent[at] as Sent;
      if (outcome !== undefined && outcome.kind !== 'stored') return true;
    }
    return false;
  }

  /**
   * Sends or holds a message; in an ordered group it is stored only right behind the one before. `maybeStored` says that its
   * id may be in the stream already; otherwise that is an error.
   */
  add(message: OutgoingMessage, maybeStored = false): void {
    const entry: Sent = { message, receipt: Promise.resolve(), outcome: undefined, attempts: 0, maybeStored };
    const before = this.sent.at(-1);
    this.sent.push(entry);
    if (this.isHeld) return;
    const expect = this.expectation(before);
    if (expect === 'refuse') entry.outcome = { kind: 'refused', maybeStored: false };
    else {
      if (expect !== undefined) entry.message = { ...message, expect };
      this.send(entry);
    }
  }

  /** Waits until the last message is answered: streams without a chain take ordered messages one by one. */
  async answered(): Promise<void> {
    await this.sent.at(-1)?.receipt;
  }

  /** Waits until every message that was sent is answered, or its time is over. */
  async allAnswered(): Promise<void> {
    await this.collect();
  }

  /** What became of every message, in order. `deadline` is a time of `performance.now()`. */
  async settle(deadline: number): Promise<PublishOutcome[]> {
    if (this.isHeld) await this.sendHeld(this.sent);
    let repeated: readonly Sent[] = [];
    for (;;) {
      await this.collect();
      const tail = this.unansweredTail();
      this.adjustWindow(repeated);
      repeated = [];
      if (tail.length === 0 || performance.now() >= deadline || this.permit() !== undefined) break;
      if (tail[0]?.outcome?.kind !== 'refused' || !this.stream.isConnected) await sleep(RETRY_PAUSE_MS);
      if (!this.stream.isConnected) continue;
      repeated = tail.slice(0, this.window);
      await this.repeat(repeated);
    }
    return this.outcomes();
  }

  private outcomes(): PublishOutcome[] {
    const last = this.lastStored;
    return this.sent.map(({ outcome, attempts, maybeStored }, at) => {
      // An early attempt may come late, right behind a late one of the message that it expects.
      if (this.isLinked && at > last + 1 && outcome?.kind === 'refused' && maybeStored) return noAnswer(attempts);
      return outcome ?? noAnswer(attempts);
    });
  }

  /** Half as many where others came between what was sent, twice as many where nobody did. */
  private adjustWindow(repeated: readonly Sent[]): void {
    if (!this.isLinked || repeated.length === 0) return;
    const isThrough = repeated.every(({ outcome }) => outcome?.kind === 'stored');
    this.window = isThrough ? repeated.length * 2 : Math.max(1, repeated.length >> 1);
  }

  /** Index of the last message that is stored; -1 where none is. */
  private get lastStored(): number {
    return this.sent.findLastIndex(({ outcome }) => outcome?.kind === 'stored');
  }

  private get isHeld(): boolean {
    return this.expected !== undefined && this.form === 'batch';
  }

  /** What a message expects; `refuse` where the one before it was not stored, so that nothing is sent. */
  private expectation(before: Sent | undefined): PublishExpectation | 'refuse' | undefined {
    if (this.expected === undefined)
      return this.isLinked && before !== undefined ? { lastMessageId: before.message.id } : undefined;
    if (before === undefined) return { lastSubjectSequence: this.expected };
    if (this.form === 'chained') return { lastMessageId: before.message.id };
    return before.outcome?.kind === 'stored' ? { lastSubjectSequence: before.outcome.sequence } : 'refuse';
  }

  private send(entry: Sent): void {
    const denied = this.permit();
    if (denied !== undefined) {
      deny(entry, denied);
      return;
    }
    entry.attempts++;
    entry.outcome = undefined;
    entry.receipt = this.stream.publish(entry.message, ATTEMPT_MS).then(
      (receipt) => {
        entry.outcome = stored(entry, receipt);
      },
      (error: Error) => {
        entry.outcome = failure(entry, error);
      },
    );
  }

  /** Sends what was held: one batch, or as many as it takes, each when the one before is stored. */
  private async sendHeld(entries: readonly Sent[]): Promise<void> {
    const most = this.mostInBatch(entries.length);
    for (let at = 0; at < entries.length;) {
      const part = firstBatch(entries.slice(at), most);
      at += part.length;
      const error = await this.sendBatch(part);
      if (error === undefined) continue;
      for (const entry of part) entry.outcome = failure(entry, error);
      // What follows was not sent this time.
      for (const entry of entries.slice(at)) entry.outcome = following(entry, error);
      return;
    }
  }

  /** Sends messages that are stored together or not at all. Returns the reason where they were not, or may not be. */
  private async sendBatch(part: readonly Sent[]): Promise<Error | undefined> {
    const before = this.sent[this.sent.indexOf(part[0] as Sent) - 1];
    const expect = this.expectation(before) as PublishExpectation;
    const messages = part.map(({ message }, index) => (index === 0 ? { ...message, expect } : message));
    const denied = this.permit();
    if (denied !== undefined) return denied;
    for (const entry of part) entry.attempts++;
    try {
      const receipts = await this.stream.publishBatch(messages, ATTEMPT_MS);
      part.forEach((entry, index) => {
        entry.outcome = stored(entry, receipts[index] ?? { sequence: 0, duplicate: false });
      });
      return part.map(({ outcome }) => outcome).find(isTaken)?.error;
    } catch (error) {
      if (error instanceof StreamBatchBroken) this.brokenBatches++;
      if (!(error instanceof StreamRepetition) || part.some(({ maybeStored }) => maybeStored)) return error as Error;
      // Nothing was sent before, so somebody else has one of the ids: sent one by one, the answers tell which.
      this.brokenBatches = MOST_BROKEN;
      return new StreamBatchBroken(error.message);
    }
  }

  private mostInBatch(count: number): number {
    const isFewForOneReplica = this.stream.ordering === 'chained' && count < FEWEST_WITHOUT_REPLICAS;
    return isFewForOneReplica || this.brokenBatches >= MOST_BROKEN ? 1 : this.stream.batchLimit;
  }

  private async repeat(tail: readonly Sent[]): Promise<void> {
    if (this.isHeld) {
      await this.sendHeld(tail);
      return;
    }
    // All in front of it is stored, and others may write all the time: with its condition it might be refused for ever.
    const [first] = tail;
    if (this.isLinked && first !== undefined) first.message = withoutCondition(first.message);
    for (const entry of tail) this.send(entry);
  }

  private async collect(): Promise<void> {
    for (const entry of this.sent) await entry.receipt;
  }

  /**
   * Messages behind the last stored one that got no answer; none behind a refusal, for they are refused with it. One whose
   * id is taken would be answered so for ever. In a linked group, all behind the last stored one, unless they expect one whose id
   * is taken.
   */
  private unansweredTail(): Sent[] {
    if (this.isLinked) {
      const tail = this.sent.slice(this.lastStored + 1);
      const taken = tail.findIndex(({ outcome }) => isTaken(outcome));
      return taken < 0 ? tail : tail.slice(0, taken);
    }
    const tail: Sent[] = [];
    for (let i = this.sent.length - 1; i >= 0; i--) {
      const entry = this.sent[i] as Sent;
      if (entry.outcome?.kind === 'stored') break;
      if (entry.outcome?.kind === 'refused') tail.length = 0;
      else if (!isTaken(entry.outcome)) tail.unshift(entry);
    }
    return tail;
  }
}

function withoutCondition({ expect: _none, ...message }: OutgoingMessage): OutgoingMessage {
  return message;
}

/** What was not sent for want of a permission; an earlier attempt may have been. */
function deny(entry: Sent, error: HAError): void {
  entry.outcome = unanswered(entry, error);
}

/** What an acknowledgement says: an id that was there before its first attempt belongs to a message of somebody else. */
function stored({ message, maybeStored }: Sent, { sequence, duplicate }: PublishReceipt): PublishOutcome {
  if (duplicate && !maybeStored) return { kind: 'failed', error: duplicateId(message.id, sequence) };
  return { kind: 'stored', sequence, again: duplicate };
}

function isTaken(outcome: PublishOutcome | undefined): outcome is Extract<PublishOutcome, { kind: 'failed' }> {
  return outcome?.kind === 'failed' && isDuplicateId(outcome.error);
}

function isDenied(error: Error): boolean {
  return error instanceof HAError && error.code === 'HA_NOT_LEADER';
}

function isDuplicateId(error: Error): boolean {
  return error instanceof HAError && error.code === 'HA_DUPLICATE_ID';
}

/** Ids begin with a random origin for each start, so two processes must have the same memory. */
export function duplicateId(id: string, sequence?: number): HAError {
  const where = sequence === undefined ? '' : ` at sequence ${sequence}`;
  return new HAError(
    'HA_DUPLICATE_ID',
    `The stream holds a message with the id ${id}${where} that this process did not send. Does a copy of this machine run, with the memory of this one? Stop and start the database on each: ids are then new.`,
    { details: { id, sequence } },
  );
}

/** The first of the messages that fit into one batch; at least one. */
function firstBatch(entries: readonly Sent[], most: number): readonly Sent[] {
  let bytes = 0;
  const end = entries.findIndex(({ message }, index) => {
    bytes += message.data.length;
    return index > 0 && (index >= most || bytes > BATCH_BYTES);
  });
  return end < 0 ? entries : entries.slice(0, end);
}

/** What an attempt that failed says of a message that was in it. */
function failure(entry: Sent, error: Error): PublishOutcome {
  if (isDuplicateId(error)) return { kind: 'failed', error };
  if (error instanceof StreamRepetition) entry.maybeStored = true;
  if (error instanceof StreamRefusal || error instanceof StreamRepetition) {
    return { kind: 'refused', maybeStored: entry.maybeStored };
  }
  if (!(error instanceof StreamUnavailable) && !isDenied(error)) entry.maybeStored = true;
  return unanswered(entry, error);
}

/** What an attempt that failed says of a message behind it, which was not sent then. */
function following(entry: Sent, error: Error): PublishOutcome {
  const isRefused = error instanceof StreamRefusal || error instanceof StreamRepetition || isDuplicateId(error);
  return isRefused ? { kind: 'refused', maybeStored: entry.maybeStored } : unanswered(entry, error);
}

function unanswered({ maybeStored, attempts }: Sent, error: Error): PublishOutcome {
  return maybeStored ? { kind: 'unknown', error, sentOnce: attempts === 1 } : { kind: 'failed', error };
}

function noAnswer(attempts: number): PublishOutcome {
  return { kind: 'unknown', error: new Error('no answer'), sentOnce: attempts === 1 };
}

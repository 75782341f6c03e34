import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import type {
  OutgoingMessage,
  PublishExpectation,
  PublishReceipt,
  ReplicationStream,
} from '../stream/replication-stream.js';
import { StreamRefusal, StreamUnavailable } from '../stream/replication-stream.js';

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
  readonly message: OutgoingMessage;
  receipt: Promise<PublishReceipt | Error>;
  outcome: PublishOutcome | undefined;
  attempts: number;
  /** True once it may have reached the server without an answer. */
  maybeStored: boolean;
}

/** How long one attempt waits for its acknowledgement, ms. */
const ATTEMPT_MS = 2_000;
const RETRY_PAUSE_MS = 25;

/**
 * The messages of one group commit. Each is sent the moment it is added; {@link settle} waits for all answers and
 * repeats what got none, under the same ids.
 *
 * A node's messages must never overtake each other, or an insert that is retried behind its update would restore the old
 * row everywhere. So only an unanswered *tail* is repeated: a message whose successor was stored never is.
 */
export class PublishGroup {
  private readonly sent: Sent[] = [];

  constructor(
    private readonly stream: ReplicationStream,
    /** The group is refused unless this is the last sequence on the subject; undefined for a plain group. */
    private readonly expected: number | undefined,
  ) {}

  get size(): number {
    return this.sent.length;
  }

  /**
   * Sends a message; in an ordered group it is chained to the one before. `maybeStored` says that its id may be in the
   * stream already; otherwise that is an error.
   */
  add(message: OutgoingMessage, maybeStored = false): void {
    const expect = this.expectation();
    const full = expect === undefined || expect === 'refuse' ? message : { ...message, expect };
    const entry: Sent = {
      message: full,
      receipt: Promise.resolve(new Error('not sent')),
      outcome: undefined,
      attempts: 0,
      maybeStored,
    };
    this.sent.push(entry);
    if (expect === 'refuse') entry.outcome = { kind: 'refused', maybeStored: false };
    else this.send(entry);
  }

  /** Waits until the last message is answered: streams without a chain take ordered messages one by one. */
  async answered(): Promise<void> {
    await this.sent.at(-1)?.receipt;
  }

  /** What became of every message, in order. `deadline` is a time of `performance.now()`. */
  async settle(deadline: number): Promise<PublishOutcome[]> {
    for (;;) {
      await this.collect();
      const tail = this.unansweredTail();
      if (tail.length === 0 || performance.now() >= deadline) break;
      await sleep(RETRY_PAUSE_MS);
      if (!this.stream.isConnected) continue;
      for (const entry of tail) this.send(entry);
    }
    return this.sent.map(({ outcome, attempts }) => outcome ?? noAnswer(attempts));
  }

  /** What the next message expects; `refuse` where the one before it was not stored, so that nothing is sent. */
  private expectation(): PublishExpectation | 'refuse' | undefined {
    if (this.expected === undefined) return undefined;
    const before = this.sent.at(-1);
    if (before === undefined) return { lastSubjectSequence: this.expected };
    if (this.stream.ordering === 'chained') return { lastMessageId: before.message.id };
    return before.outcome?.kind === 'stored' ? { lastSubjectSequence: before.outcome.sequence } : 'refuse';
  }

  private send(entry: Sent): void {
    entry.attempts++;
    entry.outcome = undefined;
    entry.receipt = this.stream.publish(entry.message, ATTEMPT_MS).then(
      (receipt) => {
        entry.outcome = stored(entry, receipt);
        return receipt;
      },
      (error: Error) => {
        entry.outcome = this.failure(entry, error);
        return error;
      },
    );
  }

  private failure(entry: Sent, error: Error): PublishOutcome {
    if (error instanceof StreamRefusal) {
      return { kind: 'refused', maybeStored: entry.maybeStored };
    }
    if (!(error instanceof StreamUnavailable)) entry.maybeStored = true;
    return entry.maybeStored ? { kind: 'unknown', error, sentOnce: entry.attempts === 1 } : { kind: 'failed', error };
  }

  private async collect(): Promise<void> {
    for (const entry of this.sent) await entry.receipt;
  }

  /**
   * Messages behind the last stored one that got no answer; none behind a refusal, for they are refused with it. One whose
   * id is taken would be answered so for ever.
   */
  private unansweredTail(): Sent[] {
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

/** What an acknowledgement says: an id that was there before its first attempt belongs to a message of somebody else. */
function stored({ message, maybeStored }: Sent, { sequence, duplicate }: PublishReceipt): PublishOutcome {
  if (duplicate && !maybeStored) return { kind: 'failed', error: duplicateId(message.id, sequence) };
  return { kind: 'stored', sequence, again: duplicate };
}

function isTaken(outcome: PublishOutcome | undefined): boolean {
  return outcome?.kind === 'failed' && outcome.error instanceof HAError && outcome.error.code === 'HA_DUPLICATE_ID';
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

function noAnswer(attempts: number): PublishOutcome {
  return { kind: 'unknown', error: new Error('no answer'), sentOnce: attempts === 1 };
}

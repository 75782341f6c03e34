import type { MessageId } from '../changeset/message-id.js';
import { HAError } from '../common/ha-error.js';
import type { StreamCursor } from './control-tables.js';
import type { SeenIds } from './seen-ids.js';

/** Own messages whose sequence is remembered: more than can be under way. */
const REMEMBERED = 4_096;

interface Waiter {
  readonly sequence: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** How long to wait for a sequence. */
export interface WaitOptions {
  /** Milliseconds; default: for ever. */
  readonly timeout?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Where this node stands in the stream, as it is on disk, and whoever waits for it to get further. It moves only behind a
 * COMMIT that wrote the same position.
 */
export class Position {
  /** Sequence of the last message that this node published. */
  published = 0;
  /** Nothing on our subject is missing up to here, also where `received` is lower: only others wrote. */
  proven = 0;
  /** Where nothing comes back from the stream: all own messages from this number on took effect here when they were sent. */
  keptFrom = 1;
  /** Sequences of own messages by their number, in a ring: numbers and sequences side by side. */
  private readonly own = new Float64Array(2 * REMEMBERED);
  private waiters: Waiter[] = [];
  private failure: Error | undefined;

  constructor(
    public cursor: StreamCursor,
    public seen: SeenIds,
    /** Origin of the messages of this start of the database. */
    readonly origin = '',
  ) {}

  get received(): number {
    return this.cursor.received;
  }

  /** Remembers where a message of this node came back: its acknowledgement may be lost. */
  noteOwn(id: MessageId, sequence: number): void {
    if (id.origin !== this.origin) return;
    const at = 2 * (id.n % REMEMBERED);
    this.own[at] = id.n;
    this.own[at + 1] = sequence;
  }

  /** Sequence of a message of this node that came back from the stream; undefined where that is long ago, or it never did. */
  sequenceOf(id: MessageId): number | undefined {
    const at = 2 * (id.n % REMEMBERED);
    return id.origin === this.origin && this.own[at] === id.n ? this.own[at + 1] : undefined;
  }

  /** Takes over a position that was just committed. */
  advance(cursor: StreamCursor): void {
    this.cursor = cursor;
    if (this.waiters.length === 0) return;
    const due = this.waiters.filter((waiter) => waiter.sequence <= cursor.received);
    if (due.length === 0) return;
    this.waiters = this.waiters.filter((waiter) => waiter.sequence > cursor.received);
    for (const waiter of due) waiter.resolve();
  }

  /**
   * Resolves once everything up to a sequence is applied here.
   *
   * @throws HAError `HA_WAIT_TIMEOUT` after the timeout; the reason of the signal where that is aborted.
   */
  waitFor(sequence: number, options: WaitOptions = {}): Promise<void> {
    if (sequence <= this.cursor.received) return Promise.resolve();
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const { timeout, signal } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.waiters = this.waiters.filter((other) => other !== waiter);
      };
      const fail = (error: Error): void => {
        done();
        reject(error);
      };
      const onAbort = (): void => fail(signal?.reason as Error);
      const timer = timeout === undefined ? undefined : setTimeout(() => fail(this.late(sequence, timeout)), timeout);
      const waiter: Waiter = {
        sequence,
        resolve: () => {
          done();
          resolve();
        },
        reject: fail,
      };
      signal?.addEventListener('abort', onAbort);
      this.waiters.push(waiter);
    });
  }

  /** Ends all waiting, and refuses more of it until {@link recover}: replication has stopped. */
  fail(error: Error): void {
    this.failure = error;
    const { waiters } = this;
    this.waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }

  recover(): void {
    this.failure = undefined;
  }

  private late(sequence: number, timeout: number): HAError {
    return new HAError(
      'HA_WAIT_TIMEOUT',
      `Sequence ${sequence} was not applied here within ${timeout} ms; this node stands at ${this.received}. Wait longer, or read on the node that wrote.`,
      { retryable: true, details: { sequence, received: this.received } },
    );
  }
}

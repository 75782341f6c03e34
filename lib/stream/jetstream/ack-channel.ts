import { createInbox, NatsError, nuid } from 'nats';
import type { Msg, MsgHdrs, NatsConnection, Subscription } from 'nats';
import {
  StreamBatchBroken,
  StreamRefusal,
  StreamRepetition,
  StreamTimeout,
  StreamUnavailable,
} from '../replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../replication-stream.js';
import { messageHeaders } from './message-headers.js';

/** The stream takes only so many messages in a batch; nothing was stored. */
export class BatchTooLarge extends StreamUnavailable {
  constructor(
    message: string,
    /** 1 where it takes no batches. */
    readonly limit: number,
  ) {
    super(message);
  }
}

/** The server took the messages of a batch for single ones: any of them may be stored. */
export class BatchIgnored extends StreamTimeout {}

interface Waiting {
  readonly resolve: (ack: PubAck) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
}

/** The server's answer to a publish: https://docs.nats.io/reference/reference-protocols/nats_api_reference */
interface PubAck {
  readonly seq?: number;
  readonly duplicate?: boolean;
  /** Messages of the atomic batch that this is the answer to; absent on other answers. */
  readonly count?: number;
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** A message that is about to be sent. */
interface Held {
  readonly token: string;
  readonly data: Buffer;
  readonly list: MsgHdrs;
}

/** How long a message is held at most, ms. */
const HOLD_MS = 1;
/** How often overdue acknowledgements are looked for, ms. One timer serves all: a timer for each message would cost more than the publish. */
const SWEEP_MS = 50;
const NO_RESPONDERS = 503;
/** Error codes of the server: https://github.com/nats-io/nats-server/blob/main/server/errors.json */
/** An earlier attempt under the same id is on its way to the replicas. */
const ID_IN_PROCESS = 10_158;
const BATCHES_DISABLED = 10_174;
const BATCH_INCOMPLETE = 10_176;
/** Servers 2.12.0 take no message ids in batches. */
const BATCH_HEADER_UNSUPPORTED = 10_177;
const BATCH_TOO_LARGE = 10_199;
const BATCH_REPEATS_ID = 10_201;
const TOO_MANY_BATCHES = 10_210;

/**
 * Publishes with acknowledgement over one subscription. The client's own `JetStreamClient.publish` makes a timer, a
 * request object and several promises for each message; a group commit publishes tens of thousands a second.
 *
 * What comes within a round of the event loop, and a millisecond, is sent in one go: the client writes to the socket whenever
 * JavaScript pauses for a moment, and a transaction that waits between its statements would pay a system call for itself.
 */
export class AckChannel {
  private readonly prefix = createInbox();
  private readonly waiting = new Map<string, Waiting>();
  private readonly subscription: Subscription;
  private timer: NodeJS.Timeout | undefined;
  private counter = 0;
  private held: Held[] = [];
  private heldSince = 0;
  private flushing: NodeJS.Immediate | undefined;

  constructor(
    private readonly nc: NatsConnection,
    private readonly subject: string,
  ) {
    this.subscription = nc.subscribe(`${this.prefix}.*`, {
      callback: (error, message) => {
        if (error === null) this.answer(message);
      },
    });
  }

  publish(message: OutgoingMessage, timeoutMs: number): Promise<PublishReceipt> {
    return new Promise((resolve, reject) => {
      const resolveAck = ({ seq, duplicate }: PubAck): void =>
        resolve({ sequence: seq ?? 0, duplicate: duplicate === true });
      this.request(message.data, messageHeaders(message), timeoutMs, resolveAck, reject);
    });
  }

  /**
   * Publishes an atomic batch. Only its last message is answered, for all: the server looks at conditions and ids when
   * that has come. https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
   *
   * @throws BatchTooLarge where the server takes fewer messages in a batch, or none; BatchIgnored.
   */
  async publishBatch(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<PublishReceipt[]> {
    const batch = nuid.next();
    this.flush();
    const ack = await new Promise<PubAck>((resolve, reject) => {
      messages.forEach((message, index) => {
        const isLast = index === messages.length - 1;
        const list = messageHeaders(message, { batch, place: index + 1, isLast });
        if (isLast) this.request(message.data, list, timeoutMs, resolve, reject);
        else this.nc.publish(this.subject, message.data, { headers: list });
      });
    }).catch((error: unknown) => {
      // Without its last message nothing of a batch is stored.
      throw error instanceof NatsError ? unavailable(error) : error;
    });
    // A server that knows nothing of batches takes every message for itself.
    if (ack.count !== messages.length) throw new BatchIgnored('the server does not know atomic batches');
    const before = (ack.seq ?? 0) - messages.length;
    return messages.map((_message, index) => ({ sequence: before + index + 1, duplicate: false }));
  }

  /** Ends all waiting: the connection is gone, and with it the answers. What was not sent yet never is. */
  fail(reason: string): void {
    this.held = [];
    for (const token of this.waiting.keys()) this.settle(token)?.reject(new StreamTimeout(reason));
  }

  close(): void {
    this.fail('the connection was closed');
    clearInterval(this.timer);
    this.timer = undefined;
    this.subscription.unsubscribe();
  }

  private request(
    data: Buffer,
    list: MsgHdrs,
    timeoutMs: number,
    resolve: (ack: PubAck) => void,
    reject: (error: Error) => void,
  ): void {
    const token = (++this.counter).toString(36);
    const now = performance.now();
    this.waiting.set(token, { resolve, reject, deadline: now + timeoutMs });
    this.timer ??= setInterval(() => this.sweep(), SWEEP_MS);
    if (this.held.length === 0) this.heldSince = now;
    this.held.push({ token, data, list });
    if (now - this.heldSince >= HOLD_MS) this.flush();
    else this.flushing ??= setImmediate(() => this.flush());
  }

  private flush(): void {
    clearImmediate(this.flushing);
    this.flushing = undefined;
    const { held } = this;
    this.held = [];
    for (const { token, data, list } of held) {
      // Its caller has been told that it was not answered in time.
      if (!this.waiting.has(token)) continue;
      try {
        this.nc.publish(this.subject, data, { headers: list, reply: `${this.prefix}.${token}` });
      } catch (error) {
        this.settle(token)?.reject(unavailable(error));
      }
    }
  }

  private answer(message: Msg): void {
    const waiting = this.settle(message.subject.slice(this.prefix.length + 1));
    if (waiting === undefined) return;
    if (message.data.length === 0 && message.headers?.code === NO_RESPONDERS) {
      waiting.reject(new StreamUnavailable('no JetStream answers for the stream'));
      return;
    }
    const ack = message.json<PubAck>();
    if (ack.error === undefined) waiting.resolve(ack);
    else waiting.reject(refusal(ack.error));
  }

  private settle(token: string): Waiting | undefined {
    const waiting = this.waiting.get(token);
    this.waiting.delete(token);
    return waiting;
  }

  private sweep(): void {
    if (this.waiting.size === 0) {
      clearInterval(this.timer);
      this.timer = undefined;
      return;
    }
    const now = performance.now();
    for (const [token, { deadline }] of this.waiting) {
      if (deadline <= now) this.settle(token)?.reject(new StreamTimeout('the stream did not answer in time'));
    }
  }
}

/**
 * Errors of an expectation are refusals; 5xx, and that an earlier attempt is on its way, say nothing about what was
 * stored; all others say that it was not.
 */
function refusal(error: NonNullable<PubAck['error']>): Error {
  const description = error.description ?? `error ${error.err_code ?? error.code}`;
  if (/wrong last (sequence|msg id)/i.test(description)) {
    const last = /sequence: (\d+)/.exec(description)?.[1];
    return new StreamRefusal(description, last === undefined ? undefined : Number(last));
  }
  switch (error.err_code) {
    case BATCH_REPEATS_ID:
      return new StreamRepetition(description);
    case ID_IN_PROCESS:
      return new StreamTimeout(description);
    case BATCHES_DISABLED:
    case BATCH_HEADER_UNSUPPORTED:
      return new BatchTooLarge(description, 1);
    case BATCH_INCOMPLETE:
    case TOO_MANY_BATCHES:
      return new StreamBatchBroken(description);
    case BATCH_TOO_LARGE:
      return new BatchTooLarge(description, Number(/(\d+)\s*$/.exec(description)?.[1] ?? 1));
  }
  return error.code >= 500 ? new StreamTimeout(description) : new StreamUnavailable(description);
}

function unavailable(error: unknown): Error {
  return new StreamUnavailable(error instanceof Error ? error.message : String(error), { cause: error });
}

import { createInbox, headers } from 'nats';
import type { Msg, NatsConnection, Subscription } from 'nats';
import { WIRE_VERSION } from '../../changeset/codec.js';
import { StreamRefusal, StreamTimeout, StreamUnavailable } from '../replication-stream.js';
import type { OutgoingMessage, PublishReceipt } from '../replication-stream.js';

interface Waiting {
  readonly resolve: (receipt: PublishReceipt) => void;
  readonly reject: (error: Error) => void;
  readonly deadline: number;
}

/** The server's answer to a publish: https://docs.nats.io/reference/reference-protocols/nats_api_reference */
interface PubAck {
  readonly seq?: number;
  readonly duplicate?: boolean;
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string };
}

/** How often overdue acknowledgements are looked for, ms. One timer serves all: a timer for each message would cost more than the publish. */
const SWEEP_MS = 50;
const NO_RESPONDERS = 503;

/**
 * Publishes with acknowledgement over one subscription. The client's own `JetStreamClient.publish` makes a timer, a
 * request object and several promises for each message; a group commit publishes tens of thousands a second.
 */
export class AckChannel {
  private readonly prefix = createInbox();
  private readonly waiting = new Map<string, Waiting>();
  private readonly subscription: Subscription;
  private timer: NodeJS.Timeout | undefined;
  private counter = 0;

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
      const token = (++this.counter).toString(36);
      this.waiting.set(token, { resolve, reject, deadline: performance.now() + timeoutMs });
      this.timer ??= setInterval(() => this.sweep(), SWEEP_MS);
      try {
        this.nc.publish(this.subject, message.data, {
          reply: `${this.prefix}.${token}`,
          headers: headersOf(message),
        });
      } catch (error) {
        this.settle(token)?.reject(unavailable(error));
      }
    });
  }

  /** Ends all waiting: the connection is gone, and with it the answers. */
  fail(reason: string): void {
    for (const token of this.waiting.keys()) this.settle(token)?.reject(new StreamTimeout(reason));
  }

  close(): void {
    this.fail('the connection was closed');
    clearInterval(this.timer);
    this.timer = undefined;
    this.subscription.unsubscribe();
  }

  private answer(message: Msg): void {
    const waiting = this.settle(message.subject.slice(this.prefix.length + 1));
    if (waiting === undefined) return;
    if (message.data.length === 0 && message.headers?.code === NO_RESPONDERS) {
      waiting.reject(new StreamUnavailable('no JetStream answers for the stream'));
      return;
    }
    const ack = message.json<PubAck>();
    if (ack.error !== undefined) waiting.reject(refusal(ack.error));
    else waiting.resolve({ sequence: ack.seq ?? 0, duplicate: ack.duplicate === true });
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

function headersOf(message: OutgoingMessage): ReturnType<typeof headers> {
  const list = headers();
  list.set('Nats-Msg-Id', message.id);
  list.set('HA-Version', WIRE_VERSION);
  if (message.chunk !== undefined) list.set('HA-Chunk', message.chunk);
  const { expect } = message;
  if (expect?.lastSubjectSequence !== undefined) {
    list.set('Nats-Expected-Last-Subject-Sequence', String(expect.lastSubjectSequence));
  }
  if (expect?.lastMessageId !== undefined) list.set('Nats-Expected-Last-Msg-Id', expect.lastMessageId);
  return list;
}

/** Errors of an expectation are refusals; 5xx say nothing about what was stored; all others say that it was not. */
function refusal(error: NonNullable<PubAck['error']>): Error {
  const description = error.description ?? `error ${error.err_code ?? error.code}`;
  if (/wrong last (sequence|msg id)/i.test(description)) {
    const last = /sequence: (\d+)/.exec(description)?.[1];
    return new StreamRefusal(description, last === undefined ? undefined : Number(last));
  }
  return error.code >= 500 ? new StreamTimeout(description) : new StreamUnavailable(description);
}

function unavailable(error: unknown): Error {
  return new StreamUnavailable(error instanceof Error ? error.message : String(error), { cause: error });
}

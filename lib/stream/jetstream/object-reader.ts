import { AckPolicy, DeliverPolicy, NatsError, nanos } from 'nats';
import type { Consumer } from 'nats';
import { HAError } from '../../common/ha-error.js';
import { sleep } from '../../common/timing.js';
import { ObjectDigest, viewOf } from '../object-digest.js';
import { ObjectGone } from '../object-store.js';
import type { ObjectInfo } from '../object-store.js';
import { connectError } from './connect-error.js';
import type { ObjectClient } from './object-store.js';

/** Pieces asked for at a time. */
const AT_ONCE = 32;
/** How long one request waits for them, ms. */
const EXPIRES_MS = 3_000;
/** How long nothing may come before reading fails, ms. */
const PATIENCE_MS = 30_000;
const PAUSE_MS = 250;
/** The server forgets a consumer that nobody asks for so long, ms. */
const FORGOTTEN_MS = 60_000;

/**
 * Reads the pieces of an object in order, a few at a time: the client's own continuous delivery would fill the memory where
 * the receiver is slow. It goes on by itself behind disconnects and restarts of the server, from where it stopped.
 */
export class ObjectReader {
  private last = 0;
  private count = 0;
  private heard = performance.now();
  private consumer: Consumer | undefined;
  /** Number of the last delivery of this consumer: one that is left out was lost on the way. */
  private delivery = 0;

  constructor(
    private readonly info: ObjectInfo,
    private readonly stream: string,
    private readonly subject: string,
    private readonly ask: <T>(request: (client: ObjectClient) => Promise<T>) => Promise<T>,
  ) {}

  async *read(): AsyncGenerator<Buffer> {
    const digest = new ObjectDigest();
    try {
      while (this.count < this.info.chunks) {
        const before = this.count;
        for await (const piece of this.next()) {
          digest.add(piece);
          yield piece;
        }
        if (this.count > before) this.heard = performance.now();
        else await this.wait();
      }
    } finally {
      await this.consumer?.delete().catch(() => undefined);
    }
    digest.verify(this.info);
  }

  /** The next pieces; none where the server does not answer. */
  private async *next(): AsyncGenerator<Buffer> {
    try {
      const consumer = (this.consumer ??= await this.subscribe());
      const batch = await consumer.fetch({ max_messages: this.missing, expires: EXPIRES_MS });
      for await (const { seq, data, info } of batch) {
        if (info.deliverySequence !== this.delivery + 1) break;
        this.delivery = info.deliverySequence;
        this.last = seq;
        this.count++;
        yield viewOf(data);
      }
      if (this.missing > 0 && batch.getProcessed() === 0) this.consumer = undefined;
    } catch (error) {
      if (error instanceof ObjectGone || !isAway(error)) throw error;
      this.consumer = undefined;
    }
  }

  private get missing(): number {
    return Math.min(AT_ONCE, this.info.chunks - this.count);
  }

  private async wait(): Promise<void> {
    // Made anew from the piece behind the last: it may have been lost on the way, or the server was started anew.
    this.consumer = undefined;
    if (performance.now() - this.heard < PATIENCE_MS) return sleep(PAUSE_MS);
    throw connectError(
      new Error(`'${this.info.name}' stopped coming after ${this.count} of ${this.info.chunks} pieces`),
      'its servers',
    );
  }

  private async subscribe(): Promise<Consumer> {
    const { stream, subject, info } = this;
    const there = await this.ask(async ({ jsm }) => {
      const { state } = await jsm.streams.info(stream, { subjects_filter: subject });
      return state.subjects?.[subject] ?? 0;
    });
    if (there < info.chunks) throw new ObjectGone(`'${info.name}' was replaced while it was read`);
    this.delivery = 0;
    return this.ask(async ({ js, jsm }) => {
      const { name } = await jsm.consumers.add(stream, {
        filter_subject: subject,
        ack_policy: AckPolicy.None,
        deliver_policy: DeliverPolicy.StartSequence,
        opt_start_seq: this.last + 1,
        inactive_threshold: nanos(FORGOTTEN_MS),
        mem_storage: true,
        num_replicas: 1,
      });
      return js.consumers.get(stream, name);
    });
  }
}

/** True where asking again may help. */
function isAway(error: unknown): boolean {
  return error instanceof HAError ? error.retryable : error instanceof NatsError;
}

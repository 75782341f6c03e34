import type { IncomingMessage, ReplicationStream, StreamSubscription } from '../stream/replication-stream.js';
import { gone, silent } from './history-errors.js';

/** Messages that may wait for the reader: the delivery is held back behind them, so memory stays flat. */
const MOST_WAITING = 512;
/** The same in bytes. */
const MOST_WAITING_BYTES = 8 * 1024 * 1024;

/** Reads a part of the past from a stream, from a delivery of its own. */
export class MessageReader {
  constructor(
    private readonly stream: ReplicationStream,
    /** A stream that is silent for so long, ms, is not waited for any longer. */
    private readonly patienceMs: number,
  ) {}

  /**
   * The messages behind `after`, up to and with `last`, in batches. There has to be a message at `last`.
   *
   * @param refusesGaps Whether it matters that none of them is forgotten before it is read.
   * @throws HAError `HA_UNAVAILABLE` (retryable) where the stream falls silent, `HA_HISTORY_GONE` where it forgot them meanwhile.
   */
  async *read(after: number, last: number, refusesGaps = false): AsyncGenerator<readonly IncomingMessage[], void> {
    if (last <= after) return;
    const inbox = new Inbox(last);
    let subscription: StreamSubscription | undefined;
    let reached = after;
    try {
      subscription = await this.stream.consume(after, (message) => inbox.take(message));
      while (reached < last) {
        const batch = await inbox.next(this.patienceMs);
        if (batch.length === 0) throw await this.why(reached, last);
        if (refusesGaps) await this.refuseForgotten(reached, batch);
        reached = batch.at(-1)?.sequence ?? reached;
        if (reached <= last) yield batch;
        else yield batch.filter(({ sequence }) => sequence <= last);
      }
    } finally {
      inbox.close();
      await subscription?.stop();
    }
  }

  /** Sequences that were not delivered are those of others, or were forgotten: that is so where the stream begins behind them. */
  private async refuseForgotten(reached: number, batch: readonly IncomingMessage[]): Promise<void> {
    let before = reached;
    for (const { sequence } of batch) {
      if (sequence > before + 1) break;
      before = sequence;
    }
    if (before === batch.at(-1)?.sequence) return;
    const { firstSequence } = await this.stream.state();
    if (firstSequence > before + 1) throw gone(`What lies behind sequence ${before}`, firstSequence);
  }

  private async why(reached: number, last: number): Promise<Error> {
    const { firstSequence } = await this.stream.state();
    return firstSequence > last ? gone(`Sequence ${last}`, firstSequence) : silent(reached, last);
  }
}

/** What was delivered and not read yet. */
class Inbox {
  private messages: IncomingMessage[] = [];
  private bytes = 0;
  private arrived: (() => void) | undefined;
  private emptied: (() => void) | undefined;
  private closed = false;

  constructor(private readonly last: number) {}

  take(message: IncomingMessage): void | Promise<void> {
    if (this.closed) return undefined;
    this.messages.push(message);
    this.bytes += message.data.length;
    // A batch that is not full yet is read all the same, as soon as the loop is free.
    this.arrived?.();
    const isFull = this.messages.length >= MOST_WAITING || this.bytes >= MOST_WAITING_BYTES;
    if (!isFull && message.sequence < this.last) return undefined;
    return new Promise((resolve) => {
      this.emptied = resolve;
    });
  }

  /** What has arrived; empty where nothing does in time. */
  async next(timeoutMs: number): Promise<readonly IncomingMessage[]> {
    if (this.messages.length === 0) await this.arrival(timeoutMs);
    const { messages } = this;
    this.messages = [];
    this.bytes = 0;
    this.emptied?.();
    return messages;
  }

  close(): void {
    this.closed = true;
    this.messages = [];
    this.emptied?.();
  }

  private arrival(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.arrived = () => {
        clearTimeout(timer);
        this.arrived = undefined;
        resolve();
      };
    });
  }
}

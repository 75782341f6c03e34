import type { IncomingMessage, MessageHandler, StreamSubscription } from '../replication-stream.js';

/** Where a {@link MemorySubscription} gets its messages from. */
export interface MessageSource {
  /** The first message behind a sequence, undefined where there is none or nothing can arrive now. */
  next(after: number): IncomingMessage | undefined;
  /** Told once when the handler failed, which ends the delivery. */
  failed(error: Error): void;
}

/** One delivery: hands over message by message, and waits for the handler in between. */
export class MemorySubscription implements StreamSubscription {
  private ended = false;
  private delivery: Promise<number> | undefined;

  constructor(
    private readonly source: MessageSource,
    private position: number,
    private readonly handler: MessageHandler,
  ) {}

  /**
   * Delivers up to `limit` messages, as far as there are any.
   *
   * @returns How many were delivered; 0 where a delivery is under way already.
   */
  async deliver(limit: number): Promise<number> {
    if (this.delivery !== undefined) return 0;
    this.delivery = this.run(limit);
    return this.delivery;
  }

  /** Ends the delivery. Resolves once a handler that is still running has finished. */
  async stop(): Promise<void> {
    this.ended = true;
    await this.delivery;
  }

  private async run(limit: number): Promise<number> {
    // The first step is taken behind the assignment of `delivery`.
    await Promise.resolve();
    let count = 0;
    try {
      while (count < limit && !this.ended) {
        const message = this.source.next(this.position);
        if (message === undefined) break;
        this.position = message.sequence;
        count++;
        const held = this.handler(message);
        if (held !== undefined) await held;
      }
    } catch (error) {
      this.ended = true;
      this.source.failed(error instanceof Error ? error : new Error(String(error)));
    } finally {
      // In the same turn as the last look for a message: whatever comes later starts a delivery of its own.
      this.delivery = undefined;
    }
    return count;
  }
}

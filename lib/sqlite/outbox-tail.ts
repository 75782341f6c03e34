import type { NumberedMessage } from './outbox-store.js';

/** Kept at most, bytes of messages. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * The end of the outbox that nobody has read yet, as it was written: where the relay keeps up, it need not read back from
 * the database what was in memory a moment ago.
 *
 * Each message is given out once. Whoever asks for one again, because an answer to it is missing, reads the outbox: what has
 * been delivered meanwhile has left that.
 */
export class OutboxTail {
  /** Every committed message behind this number is here. */
  private from: number;
  private messages: NumberedMessage[] = [];
  private head = 0;
  private bytes = 0;

  constructor(
    last: number,
    private readonly maxBytes = MAX_BYTES,
  ) {
    this.from = last;
  }

  /** Messages that were committed just now. */
  add(messages: readonly NumberedMessage[]): void {
    for (const message of messages) {
      if (message.n <= this.from) continue;
      this.messages.push(message);
      this.bytes += message.data.length;
    }
    const last = this.messages.at(-1);
    if (last !== undefined && this.bytes > this.maxBytes) this.clear(last.n);
  }

  /** The messages behind a number, in order; undefined where they have to be read from the outbox. */
  take(n: number, limit: number): NumberedMessage[] | undefined {
    if (n < this.from) return undefined;
    this.drop(n);
    const taken = this.messages.slice(this.head, this.head + limit);
    this.drop(taken.at(-1)?.n ?? n);
    return taken;
  }

  /** Messages up to a number were read from the outbox, or have left it. */
  drop(n: number): void {
    if (n <= this.from) return;
    this.from = n;
    let message: NumberedMessage | undefined;
    while ((message = this.messages[this.head]) !== undefined && message.n <= n) {
      this.bytes -= message.data.length;
      this.head++;
    }
    if (this.head === this.messages.length) this.clear(n);
  }

  /** Everything up to a number is to be read from the outbox. */
  private clear(n: number): void {
    this.from = n;
    this.messages = [];
    this.head = 0;
    this.bytes = 0;
  }
}

import type { IncomingMessage } from '../stream/replication-stream.js';

/** Above this many messages or bytes the stream is held back, so that a long backlog does not fill the memory. */
const HIGH_MESSAGES = 4_000;
const HIGH_BYTES = 64 * 1024 * 1024;

/** Messages that were delivered and wait to be applied. */
export class DeliveryQueue {
  private messages: IncomingMessage[] = [];
  private head = 0;
  private bytes = 0;
  private arrivals: (() => void)[] = [];
  private space: (() => void) | undefined;

  get length(): number {
    return this.messages.length - this.head;
  }

  /** Sequence of the newest message, 0 where there is none. */
  get lastSequence(): number {
    return this.messages.at(-1)?.sequence ?? 0;
  }

  /** Adds a message; the promise, if any, asks to be awaited before the next. */
  push(message: IncomingMessage): Promise<void> | undefined {
    this.messages.push(message);
    this.bytes += message.data.length;
    const { arrivals } = this;
    if (arrivals.length > 0) {
      this.arrivals = [];
      for (const wake of arrivals) wake();
    }
    if (this.length < HIGH_MESSAGES && this.bytes < HIGH_BYTES) return undefined;
    return new Promise((resolve) => {
      this.space = resolve;
    });
  }

  peek(index: number): IncomingMessage | undefined {
    return this.messages[this.head + index];
  }

  /** Removes the first `count` messages. */
  drop(count: number): void {
    for (let i = 0; i < count; i++) this.bytes -= this.messages[this.head + i]?.data.length ?? 0;
    this.head += count;
    if (this.head > 1_000 || this.head === this.messages.length) {
      this.messages = this.messages.slice(this.head);
      this.head = 0;
    }
    if (this.length < HIGH_MESSAGES / 2 && this.bytes < HIGH_BYTES / 2) this.makeSpace();
  }

  /** Drops what lies at or below a sequence: it is applied already. */
  dropUpTo(sequence: number): void {
    let count = 0;
    while ((this.peek(count)?.sequence ?? Infinity) <= sequence) count++;
    if (count > 0) this.drop(count);
  }

  /** Resolves with the next arrival. */
  arrival(): Promise<void> {
    return new Promise((resolve) => this.arrivals.push(resolve));
  }

  clear(): void {
    this.messages = [];
    this.head = 0;
    this.bytes = 0;
    this.makeSpace();
    const { arrivals } = this;
    this.arrivals = [];
    for (const wake of arrivals) wake();
  }

  private makeSpace(): void {
    this.space?.();
    this.space = undefined;
  }
}

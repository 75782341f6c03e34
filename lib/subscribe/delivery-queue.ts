import type { IncomingMessage } from '../stream/replication-stream.js';

/** Above this many messages or bytes the stream is held back, so that a long backlog does not fill the memory. */
const HIGH_MESSAGES = 4_000;
const HIGH_BYTES = 64 * 1024 * 1024;

/**
 * Messages that were delivered and wait to be applied: behind the position without a gap, or none. Whoever takes a message
 * passes over all in front of it, so a queue with a hole would lose what is missing for ever.
 */
export class DeliveryQueue {
  private messages: IncomingMessage[] = [];
  /** For each, the sequence that was delivered in front of it. */
  private fronts: number[] = [];
  private delivered = 0;
  private head = 0;
  private bytes = 0;
  private arrivals: (() => void)[] = [];
  private space: (() => void) | undefined;
  private isClosed = true;

  get length(): number {
    return this.messages.length - this.head;
  }

  /** Sequence of the newest message, 0 where there is none. */
  get lastSequence(): number {
    return this.messages.at(-1)?.sequence ?? 0;
  }

  /** Takes messages from now on, the first behind a position. Call where nobody reads what was in it before. */
  open(position: number): void {
    this.clear();
    this.delivered = position;
    this.isClosed = false;
  }

  /** Is empty from now on: what still comes is behind messages that were dropped. */
  close(): void {
    this.isClosed = true;
    this.clear();
  }

  /** Adds a message; the promise, if any, asks to be awaited before the next. */
  push(message: IncomingMessage): Promise<void> | undefined {
    if (this.isClosed) return undefined;
    this.messages.push(message);
    this.fronts.push(this.delivered);
    this.delivered = message.sequence;
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

  /** The sequence that was delivered in front of a message: who has not applied that has lost it. */
  inFrontOf(index: number): number {
    return this.fronts[this.head + index] ?? 0;
  }

  /** Removes the first `count` messages, as far as they are still there. */
  drop(count: number): void {
    if (count > this.length) {
      this.clear();
      return;
    }
    for (let i = 0; i < count; i++) this.bytes -= this.messages[this.head + i]?.data.length ?? 0;
    this.head += count;
    if (this.head > 1_000 || this.head === this.messages.length) {
      this.messages = this.messages.slice(this.head);
      this.fronts = this.fronts.slice(this.head);
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

  private clear(): void {
    this.messages = [];
    this.fronts = [];
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

import { HAError } from '../common/ha-error.js';
import { sleep } from '../common/timing.js';
import type { QueuedMember } from './member.js';
import type { OutboxPort } from './outbox-port.js';

/** How long other transactions are held back at a time, ms, so that what is on its way gets there. */
const HOLD_BACK_MS = 250;
const PAUSE_MS = 20;

/**
 * Where ordered transactions wait with asynchronous publishing. They need to know their place in the stream, so everything
 * of this node has to have got there first. While the stream is away they stay here, and all others go on.
 */
export class OrderedLane {
  private waiting: QueuedMember[] = [];

  constructor(
    private readonly outbox: OutboxPort,
    /** How long one waits, ms. */
    private readonly timeout: number,
  ) {}

  get length(): number {
    return this.waiting.length;
  }

  park(queued: QueuedMember): void {
    this.waiting.push(queued);
  }

  /** Takes out all that wait. */
  clear(): QueuedMember[] {
    return this.waiting.splice(0);
  }

  /** Call between groups. Returns those whose turn has come: they go in front of all others. */
  async turn(othersWait: boolean): Promise<QueuedMember[]> {
    if (this.waiting.length === 0) return [];
    const { outbox } = this;
    if (!outbox.canOrder) {
      if (outbox.isFlowing) await outbox.settled(HOLD_BACK_MS);
      else if (!othersWait) await sleep(PAUSE_MS);
    }
    if (outbox.canOrder) return this.clear();
    this.rejectOverdue();
    return [];
  }

  private rejectOverdue(): void {
    const due = performance.now() - this.timeout;
    const overdue = this.waiting.filter(({ member }) => member.enqueuedAt <= due);
    if (overdue.length === 0) return;
    this.waiting = this.waiting.filter((queued) => !overdue.includes(queued));
    for (const { member } of overdue) member.reject(unavailable(this.timeout));
  }
}

function unavailable(timeout: number): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    `The transaction was not run: it needs its place in the stream (DDL, virtual tables, serializable), and the stream did not take what this node had written before within ${timeout} ms. Run it again when the stream is back; transactions that only write rows go on.`,
    { retryable: true, details: { timeout } },
  );
}

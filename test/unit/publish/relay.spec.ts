import { jest } from '@jest/globals';
import { Relay } from '../../../lib/publish/relay.js';
import type { NumberedMessage } from '../../../lib/sqlite/outbox-store.js';
import type { Position } from '../../../lib/sqlite/position.js';
import type { OutgoingMessage, PublishReceipt, ReplicationStream } from '../../../lib/stream/replication-stream.js';

/** An outbox in memory, and a stream of one replica that answers when it is told. */
class Bench {
  readonly sent: string[] = [];
  last = 0;
  private unanswered: ((receipt: PublishReceipt) => void)[] = [];
  private sequence = 0;
  readonly relay = new Relay({
    stream: {
      isConnected: true,
      ordering: 'chained',
      lastSubjectSequence: async () => 0,
      publish: async ({ id }: OutgoingMessage) => {
        this.sent.push(id);
        return new Promise<PublishReceipt>((resolve) => this.unanswered.push(resolve));
      },
    } as unknown as ReplicationStream,
    source: this,
    position: { received: 0, published: 0 } as Position,
    pass: async () => undefined,
    lostStream: () => {
      throw new Error('not expected');
    },
    failed: (error) => {
      throw error;
    },
  });

  after(n: number, limit: number): NumberedMessage[] {
    const count = Math.max(0, Math.min(limit, this.last - n));
    return Array.from({ length: count }, (_, index) => ({
      n: n + index + 1,
      id: `m${n + index + 1}`,
      data: Buffer.alloc(1),
    }));
  }

  async add(count: number): Promise<void> {
    this.last += count;
    this.relay.kick();
    await jest.advanceTimersByTimeAsync(0);
  }

  async answerAll(): Promise<void> {
    for (const resolve of this.unanswered.splice(0)) resolve({ sequence: ++this.sequence, duplicate: false });
    await jest.advanceTimersByTimeAsync(0);
  }
}

describe('Relay', () => {
  let bench: Bench;

  beforeEach(async () => {
    jest.useFakeTimers();
    bench = new Bench();
    bench.relay.start();
    await jest.advanceTimersByTimeAsync(100);
  });

  afterEach(() => {
    bench.relay.stop();
    jest.useRealTimers();
  });

  it('sends the messages of a lone writer as they come', async () => {
    for (let n = 1; n <= 3; n++) {
      await bench.add(1);
      expect(bench.sent).toHaveLength(n);
      await bench.answerAll();
      await jest.advanceTimersByTimeAsync(1);
    }
  });

  it('lets the messages of many writers gather while it has just sent some', async () => {
    await bench.add(300);
    expect(bench.sent).toHaveLength(300);
    await bench.answerAll();
    await bench.add(64);
    expect(bench.sent).toHaveLength(300);
    await jest.advanceTimersByTimeAsync(40);
    expect(bench.sent).toHaveLength(364);
  });

  it('waits no longer where a whole window waits', async () => {
    await bench.add(300);
    await bench.answerAll();
    await bench.add(64);
    await bench.add(2_000);
    expect(bench.sent.length).toBeGreaterThan(364);
  });

  it('sends a backlog in pieces, all of it and in order', async () => {
    await bench.add(5_000);
    const sizes = [bench.sent.length];
    while (sizes.at(-1) !== 5_000) {
      await bench.answerAll();
      await jest.advanceTimersByTimeAsync(40);
      sizes.push(bench.sent.length);
      expect(sizes.at(-1)).toBeGreaterThan(sizes.at(-2) as number);
    }
    expect(Math.max(...sizes.map((size, index) => size - (sizes[index - 1] ?? 0)))).toBeLessThanOrEqual(1_024);
    expect(bench.sent).toEqual(Array.from({ length: 5_000 }, (_, index) => `m${index + 1}`));
  });
});

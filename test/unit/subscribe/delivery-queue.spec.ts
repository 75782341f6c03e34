import { DeliveryQueue } from '../../../lib/subscribe/delivery-queue.js';
import type { IncomingMessage } from '../../../lib/stream/replication-stream.js';

function message(sequence: number, bytes = 1): IncomingMessage {
  return { sequence, data: Buffer.alloc(bytes), id: undefined, version: undefined, chunk: undefined, time: '0' };
}

function filled(...sequences: number[]): DeliveryQueue {
  const queue = new DeliveryQueue();
  queue.open(0);
  for (const sequence of sequences) void queue.push(message(sequence));
  return queue;
}

const held = (queue: DeliveryQueue): (number | undefined)[] =>
  Array.from({ length: queue.length }, (_value, index) => queue.peek(index)?.sequence);

describe('the queue of what was delivered', () => {
  it('gives messages in order, and drops those that are applied', () => {
    const queue = filled(1, 2, 5, 6);
    queue.drop(1);
    expect(held(queue)).toEqual([2, 5, 6]);
    queue.dropUpTo(5);
    expect(held(queue)).toEqual([6]);
    expect(queue.lastSequence).toBe(6);
  });

  it('loses nothing that comes behind opening it anew, whatever is dropped late', () => {
    const queue = filled(1, 2, 3);
    queue.close();
    queue.drop(2);
    queue.open(1);
    for (const sequence of [2, 3, 4]) void queue.push(message(sequence));
    expect(held(queue)).toEqual([2, 3, 4]);
  });

  it('takes nothing once it is closed: it would be behind what was dropped', () => {
    const queue = filled(1, 2, 3);
    queue.close();
    void queue.push(message(4));
    expect(held(queue)).toEqual([]);
    expect(queue.peek(0)).toBeUndefined();
  });

  it('knows what was delivered in front of each', () => {
    const queue = new DeliveryQueue();
    queue.open(7);
    for (const sequence of [9, 10, 14]) void queue.push(message(sequence));
    expect([0, 1, 2].map((index) => queue.inFrontOf(index))).toEqual([7, 9, 10]);
    queue.drop(2);
    expect(queue.inFrontOf(0)).toBe(10);
  });

  it('holds the stream back where it is full, until half of it is gone or it is closed', async () => {
    const queue = filled();
    let pause: Promise<void> | undefined;
    for (let sequence = 1; pause === undefined; sequence++) pause = queue.push(message(sequence, 10_000_000));
    let isOver = false;
    void pause.then(() => (isOver = true));
    queue.drop(1);
    await Promise.resolve();
    expect(isOver).toBe(false);
    queue.drop(4);
    await pause;
    for (pause = undefined; pause === undefined;) pause = queue.push(message(100, 10_000_000));
    queue.close();
    await pause;
  });
});

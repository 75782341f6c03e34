import { RecentMessages } from '../../../lib/apply/recent-messages.js';
import type { RecentMessage } from '../../../lib/apply/recent-messages.js';

function message(sequence: number, origin = 'a', bytes = 10): RecentMessage {
  return { sequence, origin, node: origin, bytes, foreign: false, read: () => ({ changes: [], epoch: 0n }) };
}

function sequences(recent: RecentMessages, after = 0): number[] {
  return [...recent.newestFirst(after)].map(({ sequence }) => sequence);
}

describe('the recent messages', () => {
  it('are kept up to a number, and the floor says behind which all are known', () => {
    const recent = new RecentMessages(7, { messages: 3, bytes: 1_000 });
    expect(recent.floor).toBe(7);
    for (let sequence = 8; sequence < 1_000; sequence++) {
      recent.add(message(sequence));
      const oldest = Math.max(8, sequence - 2);
      expect(sequences(recent).at(-1)).toBe(oldest);
      expect(recent.floor).toBe(oldest - 1);
    }
    expect(sequences(recent)).toEqual([999, 998, 997]);
    expect(sequences(recent, 998)).toEqual([999]);
  });

  it('are kept up to a size; one that is larger takes all with it', () => {
    const recent = new RecentMessages(0, { messages: 100, bytes: 30 });
    for (const sequence of [1, 2, 3, 4]) recent.add(message(sequence));
    expect([sequences(recent), recent.floor]).toEqual([[4, 3, 2], 1]);
    recent.add(message(5, 'a', 31));
    expect([sequences(recent), recent.floor]).toEqual([[], 5]);
    recent.add(message(6));
    expect([sequences(recent), recent.floor]).toEqual([[6], 5]);
  });

  it('know whether somebody else wrote behind a sequence', () => {
    const recent = new RecentMessages(10);
    expect([recent.hasOthers('a', 10), recent.hasOthers('a', 9)]).toEqual([false, true]);
    recent.add(message(11, 'a'));
    recent.add(message(12, 'a'));
    expect([recent.hasOthers('a', 10), recent.hasOthers('b', 11), recent.hasOthers('b', 12)]).toEqual([
      false,
      true,
      false,
    ]);
    recent.add(message(15, 'b'));
    expect([recent.hasOthers('b', 11), recent.hasOthers('b', 12), recent.hasOthers('a', 14)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('forget what a batch added that is taken back, and keep what it pushed out', () => {
    const recent = new RecentMessages(0, { messages: 3, bytes: 1_000 });
    for (const sequence of [1, 2, 3]) recent.add(message(sequence));
    recent.begin();
    for (const sequence of [4, 5, 6, 7]) recent.add(message(sequence, 'b'));
    expect(sequences(recent)).toEqual([7, 6, 5]);
    recent.rollback();
    expect([sequences(recent), recent.floor, recent.hasOthers('a', 0)]).toEqual([[3, 2, 1], 0, false]);
    recent.begin();
    for (const sequence of [4, 5]) recent.add(message(sequence, 'b'));
    recent.commit();
    recent.rollback();
    expect([sequences(recent), recent.floor, recent.hasOthers('a', 4)]).toEqual([[5, 4, 3], 2, true]);
  });

  it('know nothing of what came while nobody wanted to know', () => {
    const recent = new RecentMessages(0);
    recent.add(message(1));
    recent.reset(2);
    expect([sequences(recent), recent.floor, recent.hasOthers('a', 1), recent.hasOthers('a', 2)]).toEqual([
      [],
      2,
      true,
      false,
    ]);
  });
});

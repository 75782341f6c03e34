import { RecentMessages } from '../../../lib/apply/recent-messages.js';
import type { RecentMessage } from '../../../lib/apply/recent-messages.js';

function message(sequence: number, origin = 'a', bytes = 10): RecentMessage {
  return { sequence, origin, node: origin, bytes, foreign: false, read: () => ({ changes: [], epoch: 0n }) };
}

function sequences(recent: RecentMessages, after = 0): number[] {
  return [...recent.newestFirst(after)].map(({ sequence }) => sequence);
}

/** Whether a message of an origin meets what its writer did not know; without ids it knew all of its own. */
function hasUnseen(recent: RecentMessages, origin: string, epoch: number, first?: number, behind = 0): boolean {
  return recent.hasUnseen({ origin, epoch, behind, ids: first === undefined ? undefined : { first, last: first } });
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
    expect([hasUnseen(recent, 'a', 10), hasUnseen(recent, 'a', 9)]).toEqual([false, true]);
    recent.add(message(11, 'a'));
    recent.add(message(12, 'a'));
    expect([hasUnseen(recent, 'a', 10), hasUnseen(recent, 'b', 11), hasUnseen(recent, 'b', 12)]).toEqual([
      false,
      true,
      false,
    ]);
    recent.add(message(15, 'b'));
    expect([hasUnseen(recent, 'b', 11), hasUnseen(recent, 'b', 12), hasUnseen(recent, 'a', 14)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('know whether a writer did not know of an own one, and find it among many', () => {
    const recent = new RecentMessages(0);
    for (let n = 1; n <= 9; n++) recent.add({ ...message(10 * n, 'a'), ids: { first: 2 * n, last: 2 * n + 1 } });
    const unseen = (epoch: number, first: number, behind: number): boolean =>
      hasUnseen(recent, 'a', epoch, first, behind);
    // Behind 40 there are 10 to 19.
    expect([unseen(40, 20, 10), unseen(40, 20, 9), unseen(49, 20, 10)]).toEqual([false, true, false]);
    expect([unseen(0, 20, 18), unseen(0, 20, 17), unseen(90, 20, 0), unseen(80, 20, 0)]).toEqual([
      false,
      true,
      false,
      true,
    ]);
    // One that was sent later, and came first.
    expect(unseen(80, 17, 3)).toBe(true);
  });

  it('forget what a batch added that is taken back, and keep what it pushed out', () => {
    const recent = new RecentMessages(0, { messages: 3, bytes: 1_000 });
    for (const sequence of [1, 2, 3]) recent.add(message(sequence));
    recent.begin();
    for (const sequence of [4, 5, 6, 7]) recent.add(message(sequence, 'b'));
    expect(sequences(recent)).toEqual([7, 6, 5]);
    recent.rollback();
    expect([sequences(recent), recent.floor, hasUnseen(recent, 'a', 0)]).toEqual([[3, 2, 1], 0, false]);
    recent.begin();
    for (const sequence of [4, 5]) recent.add(message(sequence, 'b'));
    recent.commit();
    recent.rollback();
    expect([sequences(recent), recent.floor, hasUnseen(recent, 'a', 4)]).toEqual([[5, 4, 3], 2, true]);
  });

  it('know nothing of what came while nobody wanted to know', () => {
    const recent = new RecentMessages(0);
    recent.add(message(1));
    recent.reset(2);
    expect([sequences(recent), recent.floor, hasUnseen(recent, 'a', 1), hasUnseen(recent, 'a', 2)]).toEqual([
      [],
      2,
      true,
      false,
    ]);
  });
});

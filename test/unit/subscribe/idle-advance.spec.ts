import BetterSqlite3 from 'better-sqlite3';
import type { Connection } from '../../../lib/sqlite/connection.js';
import type { ControlWrites } from '../../../lib/sqlite/control-writes.js';
import { createControlTables } from '../../../lib/sqlite/control-tables.js';
import { Position } from '../../../lib/sqlite/position.js';
import { SeenIds } from '../../../lib/sqlite/seen-ids.js';
import type { ReplicationStream } from '../../../lib/stream/replication-stream.js';
import { IdleAdvance } from '../../../lib/subscribe/idle-advance.js';

interface Asked {
  /** What the stream answers, one after the other; the last one stays. */
  readonly states: readonly (readonly [firstSequence: number, lastSequence: number])[];
  /** Last message on the subject. */
  readonly last: number;
}

/** A database that has applied up to 5, its own last message at 4. */
async function advanced({ states, last }: Asked): Promise<number> {
  const db = new BetterSqlite3(':memory:');
  createControlTables(db);
  const cursor = { received: 5, subjectSequence: 4, messageTime: '', messageId: null, streamCreated: 'x' };
  const position = new Position(cursor, new SeenIds(), 'o');
  const answers = [...states];
  const stream = {
    isConnected: true,
    state: async () => {
      const [firstSequence, lastSequence] = (answers.length > 1 ? answers.shift() : answers[0]) as [number, number];
      return { firstSequence, lastSequence, created: 'x' };
    },
    lastSubjectSequence: async () => last,
  } as unknown as ReplicationStream;
  const control = {
    run: async <R>(work: (on: Connection) => R, committed?: (result: R) => void): Promise<R> => {
      const result = work(db);
      committed?.(result);
      return result;
    },
  } as unknown as ControlWrites;
  const subscriber = { state: 'running', backlog: 0 } as const;
  const idle = new IdleAdvance({ stream, position, control, subscriber, subject: 's', maxAge: undefined });
  await idle.advance();
  await idle.stop();
  db.close();
  return position.received;
}

describe('the position of an idle database', () => {
  it('moves to the end of the stream where its last message is applied', async () => {
    expect(await advanced({ states: [[1, 20]], last: 4 })).toBe(20);
    expect(await advanced({ states: [[6, 20]], last: 0 })).toBe(20);
  });

  it('stays where a message of its own has not come yet', async () => {
    expect(await advanced({ states: [[1, 20]], last: 9 })).toBe(5);
  });

  it('stays where messages have gone that may have been its own', async () => {
    expect(await advanced({ states: [[8, 20]], last: 0 })).toBe(5);
    // A message at 7 goes between the two answers.
    expect(
      await advanced({
        states: [
          [6, 20],
          [8, 20],
        ],
        last: 0,
      }),
    ).toBe(5);
  });
});

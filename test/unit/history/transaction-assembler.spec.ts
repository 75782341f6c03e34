import { TransactionAssembler } from '../../../lib/history/transaction-assembler.js';
import type { StreamTransaction } from '../../../lib/history/transaction-assembler.js';
import type { IncomingMessage } from '../../../lib/stream/replication-stream.js';

interface Facts {
  /** What its writer had applied. */
  readonly epoch?: number;
  readonly behind?: number;
  readonly untold?: boolean;
  readonly tables?: readonly string[];
  readonly chunk?: string;
  readonly command?: string;
  readonly foreign?: boolean;
}

function message(sequence: number, id: string | undefined, facts: Facts = {}): IncomingMessage {
  const { epoch = sequence - 1, behind, untold, tables = ['t'], chunk, command, foreign = false } = facts;
  const changes =
    command === undefined
      ? tables.map((table) => ({ operation: 'INSERT', table, columns: ['x'], new_values: [sequence] }))
      : [{ operation: command.startsWith('ha.void') ? 'CUSTOM' : 'SQL', command }];
  const text = JSON.stringify({ node: id?.split('.')[0] ?? 'go', changes, epoch, behind, untold, timestamp_ns: 1 });
  return { sequence, id, chunk, version: foreign ? undefined : '1', data: Buffer.from(text), time: '5' };
}

function feed(messages: readonly IncomingMessage[], skips: readonly number[] = []): StreamTransaction[] {
  const assembler = new TransactionAssembler(new Set(skips));
  return messages.flatMap((one) => assembler.feed(one) ?? []);
}

/** What is said of the last one. */
function doubts(...messages: IncomingMessage[]): unknown {
  const said = feed(messages).at(-1)?.doubts;
  return said === 'all' ? said : [...(said ?? ['nothing was said'])];
}

describe('old values', () => {
  it('are sure where nobody came between', () => {
    expect(doubts(message(1, 'a.1'), message(2, 'b.1'), message(3, 'a.2'))).toEqual([]);
  });

  it('are sure where the writer ran behind its own, which took effect', () => {
    expect(doubts(message(1, 'a.1', { epoch: 0 }), message(2, 'a.2', { epoch: 0, behind: 1 }))).toEqual([]);
  });

  it('are doubtful in the tables that somebody else wrote to meanwhile', () => {
    const other = message(1, 'b.1', { tables: ['T', 'u'] });
    expect(doubts(other, message(2, 'a.1', { epoch: 0, tables: ['t', 'v'] }))).toEqual(['t']);
    expect(doubts(other, message(2, 'a.1', { epoch: 0, tables: ['v'] }))).toEqual([]);
    expect(doubts(other, message(2, 'a.1', { epoch: 1 }))).toEqual([]);
  });

  it('are doubtful where the other stands in front of another own one', () => {
    const messages = [message(1, 'b.1'), message(2, 'a.1', { epoch: 0 }), message(3, 'a.2', { epoch: 0, behind: 1 })];
    expect(doubts(...messages)).toEqual(['t']);
  });

  it.each<[string, IncomingMessage[]]>([
    ['what it ran behind was never stored', [message(1, 'a.2', { epoch: 0, behind: 1 })]],
    [
      'what it ran behind is void',
      [message(1, 'a.1', { epoch: 0, command: 'ha.void' }), message(2, 'a.2', { epoch: 0, behind: 1 })],
    ],
    ['it may have taken rows away', [message(1, 'a.1', { untold: true })]],
    ['go-ha wrote it', [message(1, undefined, { foreign: true })]],
    [
      'somebody else changed the schema meanwhile',
      [message(1, 'b.1', { command: 'CREATE TABLE u(x)' }), message(2, 'a.1', { epoch: 0 })],
    ],
  ])('are doubtful everywhere where %s', (_why, messages) => {
    expect(doubts(...messages)).toBe('all');
  });
});

describe('what becomes of messages', () => {
  const outcomes = (messages: readonly IncomingMessage[], skips?: readonly number[]): unknown =>
    feed(messages, skips).map(({ sequence, outcome, changeSet }) => [sequence, outcome, changeSet.changes.length]);

  it('an id counts once', () => {
    expect(outcomes([message(1, 'a.1'), message(2, 'b.1'), message(3, 'a.1', { epoch: 0 })])).toEqual([
      [1, 'committed', 1],
      [2, 'committed', 1],
      [3, 'duplicate', 1],
    ]);
  });

  it('a void id never counts', () => {
    expect(outcomes([message(1, 'a.1', { command: 'ha.void' }), message(2, 'a.1', { epoch: 0 })])).toEqual([
      [2, 'void', 1],
    ]);
  });

  it('an id that another message declares void never counts, unless it did before', () => {
    const isVoid = message(2, 'b.1', { command: 'ha.void a.1' });
    expect(outcomes([isVoid, message(3, 'a.1', { epoch: 0 })])).toEqual([[3, 'void', 1]]);
    expect(outcomes([message(1, 'a.1'), isVoid])).toEqual([[1, 'committed', 1]]);
  });

  it('parts count together, at the place of the last', () => {
    const parts = [1, 2, 4].map((sequence, index) =>
      message(sequence, `a.${index + 1}`, { epoch: 0, chunk: `a.1;${index + 1}/3` }),
    );
    expect(outcomes([...parts.slice(0, 2), message(3, 'b.1'), ...parts.slice(2)])).toEqual([
      [3, 'committed', 1],
      [4, 'committed', 3],
    ]);
  });

  it('parts that are aborted, or lack one, do not', () => {
    const part = (sequence: number, at: string): IncomingMessage =>
      message(sequence, `a.${sequence}`, { epoch: 0, chunk: `a.1;${at}` });
    expect(outcomes([part(1, '1/2'), part(2, 'abort'), part(3, '2/2')])).toEqual([[2, 'aborted', 2]]);
    expect(outcomes([part(1, '1/3'), part(2, '3/3')])).toEqual([[2, 'aborted', 2]]);
  });

  it('what an operator had left out is said to be', () => {
    const unreadable = { ...message(1, 'a.1'), data: Buffer.from('{') };
    expect(outcomes([unreadable, message(2, 'a.2')], [1])).toEqual([
      [1, 'skipped', 0],
      [2, 'committed', 1],
    ]);
    expect(() => feed([unreadable])).toThrow(expect.objectContaining({ code: 'HA_APPLY_HALTED' }));
  });
});

import { isHistoryStatement, parseHistoryStatement, runHistoryStatement } from '../../../lib/history/statements.js';
import type { HistoryDatabase } from '../../../lib/history/statements.js';

describe('statements of history', () => {
  it.each(['HISTORY', ' history 5m;', '-- why\nUNDO 7', 'undoe 7', 'UNDOT 1h', '/*+ db=a */ HISTORY'])(
    'are told: %s',
    (sql) => {
      expect(isHistoryStatement(sql)).toBe(true);
    },
  );

  it.each(['SELECT history(1)', 'SELECT 1; UNDO 7', 'UNDOX 1', 'CREATE TABLE history(x)', "'UNDO' 7", '"UNDO" 7', ''])(
    'are no other texts: %s',
    (sql) => {
      expect(isHistoryStatement(sql)).toBe(false);
    },
  );

  it.each([
    ['HISTORY', undefined],
    ['HISTORY 17', 17n],
    ['HISTORY 1h30m;', '1h30m'],
    ['HISTORY 1.5h', '1.5h'],
    ['HISTORY -3', -3n],
    ['HISTORY -5m', '-5m'],
  ])('%s begins at %s', (sql, from) => {
    expect(parseHistoryStatement(sql)).toEqual({ kind: 'history', from });
  });

  it.each([
    ['UNDO 17', { from: 17n, scope: 'all' }],
    ['UNDOE 5m', { from: '5m', scope: 'entities' }],
    ['UNDOT 17 WHERE t(1, -2,3)', { from: 17n, scope: 'transactions', rows: { t: [1n, -2n, 3n] } }],
    [
      `undo 17 where "a ""b"('it''s', x'00FF'), u(9)`,
      { from: 17n, scope: 'all', rows: { 'a "b': ["it's", Buffer.from([0, 255])], u: [9n] } },
    ],
    [
      `UNDO 17 WHERE pair(('a', 1), (X'00', -2.5)), pair('one')`,
      {
        from: 17n,
        scope: 'all',
        rows: {
          pair: [['a', 1n], [Buffer.from([0]), -2.5], 'one'],
        },
      },
    ],
    [
      'UNDO 17 WHERE constructor(1), toString(2);;',
      { from: 17n, scope: 'all', rows: { constructor: [1n], toString: [2n] } },
    ],
    ['UNDO 17 WHERE t(9223372036854775807)', { from: 17n, scope: 'all', rows: { t: [9223372036854775807n] } }],
  ])('%s is read', (sql, options) => {
    expect(parseHistoryStatement(sql)).toEqual({ kind: 'undo', options });
  });

  it.each([
    'UNDO',
    'UNDO WHERE t(1)',
    'UNDO 5 5',
    'HISTORY 5 WHERE t(1)',
    'UNDO 5 WHERE',
    'UNDO 5 WHERE t',
    'UNDO 5 WHERE t()',
    'UNDO 5 WHERE t(1',
    'UNDO 5 WHERE t(1) u(2)',
    'UNDO 5 WHERE t(1),',
    'UNDO 5 WHERE t(SELECT 1)',
    `UNDO 5 WHERE t(x'abc')`,
    'UNDO 5 WHERE t((1)',
    'UNDO 5 WHERE t(((1)))',
    'UNDO 5 WHERE t(1,)',
    'UNDO 5 WHERE t(-)',
    'UNDO 5 WHERE t(1) OR 1',
    'UNDO 5; DROP TABLE t',
    'HISTORY 5; UNDO 5',
  ])('%s is refused', (sql) => {
    expect(() => parseHistoryStatement(sql)).toThrow(expect.objectContaining({ code: 'HA_HISTORY_INVALID' }));
  });

  it('name tables whatever they are called', () => {
    const statement = parseHistoryStatement('UNDO 17 WHERE __proto__(1), "__proto__"(2)');
    const { rows } = (statement as { options: { rows: object } }).options;
    expect(Object.entries(rows)).toEqual([['__proto__', [1n, 2n]]]);
  });

  it('answer as the protocol says', async () => {
    const time = new Date('2026-01-02T03:04:05.678Z');
    const db: HistoryDatabase = {
      async *history() {
        yield { sequence: 3n, node: 'a', time, outcome: 'committed', changes: [], statements: [], sql: 'DELETE …;' };
      },
      undo: async () => ({
        sequence: 9n,
        transactions: 2,
        inserted: 1,
        updated: 2,
        deleted: 3,
        tables: ['t'],
        conflicts: [],
        changes: [],
      }),
    };
    const history = await runHistoryStatement(db, 'HISTORY');
    expect(history.columns).toEqual(['seq', 'sql', 'timestamp']);
    expect(await rowsOf(history.rows)).toEqual([[3n, 'DELETE …;', '2026-01-02T03:04:05.678Z']]);
    const undo = await runHistoryStatement(db, 'UNDO 3');
    expect(undo.columns).toEqual(['seq', 'transactions', 'inserted', 'updated', 'deleted']);
    expect(await rowsOf(undo.rows)).toEqual([[9n, 2n, 1n, 2n, 3n]]);
  });
});

async function rowsOf<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
}

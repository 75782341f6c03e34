import { volatilePart, volatileParts } from '../../../lib/sql/volatile.js';

it.each([
  ['SELECT random()', 'random()'],
  ['SELECT RandomBlob (4)', 'randomblob()'],
  ['SELECT "random"()', 'random()'],
  ['SELECT [ha_id]( )', 'ha_id()'],
  ['SELECT HA_UUID()', 'ha_uuid()'],
  [`SELECT datetime('NOW', 'utc')`, `'NOW'`],
  ['SELECT date()', 'date()'],
  ['SELECT current_timestamp', 'current_timestamp'],
  [`SELECT strftime('%s')`, 'strftime()'],
  ['SELECT last_insert_rowid()', 'last_insert_rowid()'],
])('finds what differs: %s', (sql, part) => {
  expect(volatilePart(sql)).toBe(part);
});

it.each([
  'SELECT ha_id, random FROM t',
  `SELECT 'random()', date('2026-01-01'), strftime('%s', 5)`,
  'SELECT 1 -- random()',
  'SELECT "current_timestamp"',
])('passes what does not: %s', (sql) => {
  expect(volatilePart(sql)).toBeUndefined();
});

it('tells where each part stands', () => {
  const sql = `ha_id() || strftime('%s') || randomblob(abs(-3)) || CURRENT_DATE || 'now'`;
  expect(volatileParts(sql).map(({ kind, start, end }) => `${kind} ${sql.slice(start, end)}`)).toEqual([
    'id ha_id()',
    `clock strftime('%s')`,
    'bytes randomblob(abs(-3))',
    'clock CURRENT_DATE',
    `clock 'now'`,
  ]);
});

import BetterSqlite3 from 'better-sqlite3';
import { settledDefault } from '../../../lib/apply/settled-defaults.js';

const db = new BetterSqlite3(':memory:');
const place = { sequence: 9, index: 3, time: Date.UTC(2026, 1, 3, 4, 5, 6, 789) };

function value(expression: string, at = place, column = 'c'): unknown {
  return db
    .prepare(`SELECT ${settledDefault(expression, column, at)}`)
    .safeIntegers()
    .pluck()
    .get();
}

it.each([
  ['CURRENT_TIMESTAMP', '2026-02-03 04:05:06'],
  ['current_date', '2026-02-03'],
  ['CURRENT_TIME', '04:05:06'],
  [`datetime('now', '+1 day')`, '2026-02-04 04:05:06'],
  ['date()', '2026-02-03'],
  ['unixepoch( )', BigInt(Math.floor(place.time / 1_000))],
  [`strftime('%Y|%f')`, '2026|06.789'],
  [`'on ' || date() || ' at ' || time('now')`, 'on 2026-02-03 at 04:05:06'],
  ['changes() + 5', 5n],
  ['5', 5n],
])('%s follows from the time of the transaction', (expression, expected) => {
  expect(value(expression)).toBe(expected);
});

it.each(['random()', 'hex(randomblob(20))', 'ha_id()', 'ha_uuid()'])(
  '%s is the same at one place, and another at every other',
  (expression) => {
    expect(value(expression)).toBe(value(expression));
    const others = [place, { ...place, sequence: 10 }, { ...place, index: 4 }].map((at) => value(expression, at));
    expect(new Set(others).size).toBe(3);
  },
);

it('gives what the functions give', () => {
  expect(
    db
      .prepare(`SELECT length(${settledDefault('randomblob(20)', 'c', place)})`)
      .pluck()
      .get(),
  ).toBe(20);
  expect(
    db
      .prepare(`SELECT length(${settledDefault('randomblob(0)', 'c', place)})`)
      .pluck()
      .get(),
  ).toBe(1);
  expect(value('ha_uuid()')).toMatch(/^019c[0-9a-f]{4}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(value('random()', place, 'a')).not.toBe(value('random()', place, 'b'));
  expect(value('random() = random()')).toBe(0n);
  expect(value('ha_id()')).toBeLessThan(2n ** 40n);
});

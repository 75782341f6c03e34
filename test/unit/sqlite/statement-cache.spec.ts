import BetterSqlite3 from 'better-sqlite3';
import { LONGEST_KEPT, MOST_TEXT, StatementCache } from '../../../lib/sqlite/statement-cache.js';
import { StatementInfos } from '../../../lib/write/statement-info.js';
import { PLAIN_SHAPE } from '../../../lib/write/executor.js';

const EXACT = { pluck: false, raw: true, safeIntegers: true };

function long(index: number, length: number): string {
  const text = `SELECT ${index} AS n, '`;
  return `${text}${'x'.repeat(length - text.length - 1)}'`;
}

describe('what is kept of statements', () => {
  it('is no long text of a caller', () => {
    const db = new BetterSqlite3(':memory:');
    const cache = new StatementCache(db);
    for (const shape of [PLAIN_SHAPE, EXACT]) {
      const kept = long(1, LONGEST_KEPT);
      const first = cache.shaped(kept, shape);
      const second = cache.shaped(kept, shape);
      expect(second).not.toBe(first);
      expect(cache.shaped(kept, shape)).toBe(second);
      const once = long(1, LONGEST_KEPT + 1);
      expect(cache.shaped(once, shape)).not.toBe(cache.shaped(once, shape));
      expect(cache.shaped(once, shape).get()).toBeDefined();
    }
    // Our own statements come again: those of a wide table are long.
    const own = long(1, LONGEST_KEPT * 2);
    expect(cache.exact(own)).toBe(cache.exact(own));
    expect(cache.get(own)).toBe(cache.get(own));
    db.close();
  });

  it('is not pushed out by what comes once', () => {
    const db = new BetterSqlite3(':memory:');
    const cache = new StatementCache(db, 10);
    cache.shaped('SELECT ?', PLAIN_SHAPE);
    const kept = cache.shaped('SELECT ?', PLAIN_SHAPE);
    for (let index = 0; index < 5_000; index++) {
      expect(cache.shaped(`SELECT ${index}`, PLAIN_SHAPE).pluck().get()).toBe(index);
    }
    expect(cache.shaped('SELECT ?', PLAIN_SHAPE)).toBe(kept);
    db.close();
  });

  it('is so much text at most', () => {
    const db = new BetterSqlite3(':memory:');
    const cache = new StatementCache(db, 100_000);
    const first = cache.get('SELECT 1');
    const most = Math.ceil(MOST_TEXT / LONGEST_KEPT);
    for (let index = 0; index < most; index++) cache.get(long(index, LONGEST_KEPT));
    expect(cache.get('SELECT 1')).not.toBe(first);
    const last = long(most - 1, LONGEST_KEPT);
    expect(cache.get(last)).toBe(cache.get(last));
    // One that is larger than everything is kept alone, and goes with the next.
    const huge = long(0, MOST_TEXT + 10);
    const kept = cache.exact(huge);
    expect(cache.exact(huge)).toBe(kept);
    cache.get('SELECT 2');
    expect(cache.exact(huge)).not.toBe(kept);
    db.close();
  });

  it('is the kind of short ones, within the same limits', () => {
    const infos = new StatementInfos();
    const kept = long(1, LONGEST_KEPT);
    expect(infos.of(kept)).toBe(infos.of(kept));
    const once = long(1, LONGEST_KEPT + 1);
    expect(infos.of(once)).not.toBe(infos.of(once));
    const first = infos.of('SELECT 1');
    for (let index = 0; index < Math.ceil(MOST_TEXT / LONGEST_KEPT); index++) infos.of(long(index, LONGEST_KEPT));
    expect(infos.of('SELECT 1')).not.toBe(first);
  });
});

import { bindable, boundNumbers } from '../../../lib/orm/typeorm/bound-numbers.js';

function isBound(sql: string): boolean {
  const { n } = boundNumbers(sql, { n: 5 });
  return bindable(n) === 5n;
}

describe('numbers in statements of TypeORM', () => {
  it('are bound in writes', () => {
    expect(isBound('INSERT INTO t(v) VALUES (:n)')).toBe(true);
    expect(isBound('UPDATE t SET v = :n')).toBe(true);
    expect(isBound('DELETE FROM t WHERE v = :n')).toBe(true);
    expect(isBound('INSERT INTO t(v) VALUES (:n) ON CONFLICT (v) DO UPDATE SET v = excluded.v')).toBe(true);
  });

  it('stay in the text where SQLite looks for an index by it', () => {
    expect(isBound('SELECT * FROM t WHERE v = :n')).toBe(false);
    expect(isBound('INSERT INTO t(v) VALUES (1) ON CONFLICT ("v") WHERE v > :n DO UPDATE SET v = 0')).toBe(false);
  });

  it('stay in long texts, which may have more values than SQLite binds', () => {
    expect(isBound(`INSERT INTO t(v) VALUES ${Array.from({ length: 40_000 }, () => '(:n)').join()}`)).toBe(false);
  });

  it('stay what they are where they are no integers', () => {
    const parameters = { real: 1.5, large: 2 ** 60, text: '5', nothing: null };
    expect(boundNumbers('INSERT INTO t VALUES (:real)', parameters)).toEqual(parameters);
  });
});

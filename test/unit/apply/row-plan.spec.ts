import BetterSqlite3 from 'better-sqlite3';
import { RowPlan } from '../../../lib/apply/row-plan.js';
import { readSchema } from '../../../lib/sqlite/schema.js';

function planOf(db: BetterSqlite3.Database, sql: string): RowPlan {
  db.exec(sql);
  const table = readSchema(db).tables.get('t');
  if (table === undefined) throw new Error('There is no table t.');
  return new RowPlan(
    table,
    table.columns.map(({ name }) => name),
  );
}

let db: BetterSqlite3.Database;

beforeEach(() => {
  db = new BetterSqlite3(':memory:');
});
afterEach(() => db.close());

describe('the condition for the row with a key', () => {
  it.each([
    ['CREATE TABLE t(k TEXT PRIMARY KEY, v)', '"k" = ?'],
    ['CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v)', '"k" = ?'],
    ['CREATE TABLE t(k TEXT COLLATE NOCASE, v COLLATE RTRIM, PRIMARY KEY(k DESC, v))', '"k" = ? AND "v" = ?'],
    ['CREATE TABLE t(k TEXT PRIMARY KEY, v CHECK (v COLLATE NOCASE > 1)) WITHOUT ROWID', '"k" = ?'],
    ['CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY))', '"k" = ? COLLATE "BINARY"'],
    ['CREATE TABLE t(k, v, PRIMARY KEY("k" collate "noCase")) WITHOUT ROWID', '"k" = ? COLLATE "NOCASE"'],
    [
      'CREATE TABLE t(k, v, PRIMARY /* ( */ KEY (v /* ) */, k COLLATE RTRIM))',
      '"k" = ? COLLATE "RTRIM" AND "v" = ? COLLATE "BINARY"',
    ],
    ['CREATE TABLE t(id INTEGER, v, PRIMARY KEY(id COLLATE NOCASE))', '"id" = ? COLLATE "BINARY"'],
  ])('%s: %s', (sql, expected) => {
    expect(planOf(db, sql).deleteByKey([1n, 2n])).toBe(`DELETE FROM main."t" WHERE ${expected}`);
  });

  it.each([
    'CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v)',
    'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY))',
    'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY)) WITHOUT ROWID',
    'CREATE TABLE t(k TEXT, v, PRIMARY KEY(k COLLATE NOCASE))',
    'CREATE TABLE t(k TEXT, v, PRIMARY KEY(k COLLATE RTRIM, k COLLATE NOCASE)) WITHOUT ROWID',
  ])('is looked up in the index of the key: %s', (sql) => {
    const plan = planOf(db, sql);
    const details = db
      .prepare(`EXPLAIN QUERY PLAN ${plan.selectByKey(['a'])}`)
      .all('a')
      .map((step) => (step as { detail: string }).detail);
    expect(details[0]).toMatch(/^SEARCH main\.t USING (INDEX sqlite_autoindex_t_1|PRIMARY KEY) \(k=\?/);
  });

  it('takes the affinity of the column all the same', () => {
    const plan = planOf(db, 'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE RTRIM, k COLLATE NOCASE))');
    db.exec(`INSERT INTO t VALUES('7', 'seven')`);
    expect(db.prepare(plan.selectByKey([7n])).get(7n)).toEqual({ k: '7', v: 'seven' });
  });
});

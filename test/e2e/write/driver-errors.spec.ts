import BetterSqlite3 from 'better-sqlite3';
import { failureOf, startCluster } from '../../helper/cluster.js';

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT NOT NULL, u UNIQUE CHECK(u <> 5), w INT) ';

describe('errors of better-sqlite3 come through as they are', () => {
  const cases: [sql: string, params?: unknown[] | Record<string, unknown>][] = [
    ['SELECT nothing'],
    ['INSERT INTO no_table VALUES(1)'],
    ['INSERT INTO t VALUES(1)'],
    ['INSERT INTO t(v) VALUES(NULL)'],
    ['INSERT INTO t(v, u) VALUES(1, 5)'],
    [`INSERT INTO t(id, v) VALUES('text', 1)`],
    ['not sql at all'],
    ['SELECT * FROM t; SELECT 2'],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, 2]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, 2, 3, 4, 5]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, undefined, 3, 4]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, true, 3, 4]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, new Date(0), 3, 4]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [1, Symbol('s'), 3, 4]],
    ['INSERT INTO t VALUES(?, ?, ?, ?)', [2n ** 64n, 2, 3, 4]],
    ['INSERT INTO t(v) VALUES(:v)', {}],
    ['INSERT INTO t(v) VALUES(:v)', []],
    ['INSERT INTO t(v) VALUES(:v)', ['x']],
    ['INSERT INTO t(v) VALUES(?)', { v: 1 }],
    ['INSERT INTO t(v) VALUES(?1)', ['x']],
    [''],
    ['-- comment'],
    ['CREATE TABLE t(x)'],
    ['ALTER TABLE t DROP COLUMN nothing_here'],
    ['SELECT abs(-9223372036854775808)'],
  ];

  it.each(cases.map(([sql, params], index) => [index, sql, params] as const))('%i %s', async (_index, sql, params) => {
    const plain = new BetterSqlite3(':memory:');
    plain.exec(SCHEMA);
    const args = params === undefined ? [] : Array.isArray(params) ? [params] : [params];
    let expected: { code?: unknown; name: string; message: string } | undefined;
    try {
      plain.prepare(sql).run(...args);
    } catch (error) {
      expected = error as { code?: unknown; name: string; message: string };
    }
    expect(expected).toBeDefined();
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const before = await cluster.lastSequence();
    for (const call of [
      () => cluster.a.run(sql, params),
      () => cluster.a.prepare(sql).run(...args),
      () => cluster.a.transaction((tx) => tx.run(sql, params)),
    ]) {
      const error = await failureOf(call);
      expect({ name: error.name, message: error.message, code: error.code }).toEqual({
        name: expected?.name,
        message: expected?.message,
        code: expected?.code,
      });
      expect(error.constructor.name).toBe((expected as object).constructor.name);
    }
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.expectEqual();
  });

  it('a NUL in the text of a statement is refused', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    for (const call of [
      () => cluster.a.run(`INSERT INTO t(v) VALUES('a\0b')`),
      () => cluster.a.exec(`INSERT INTO t(v) VALUES('a'); \0 DROP TABLE t`),
      () => cluster.a.all('SELECT 1\0'),
      () => cluster.a.iterate('SELECT 1\0').next(),
      () => cluster.a.transaction((tx) => tx.exec(`DELETE FROM t\0`)),
      () => cluster.a.transaction((tx) => tx.prepare(`DELETE FROM t\0`).run()),
    ]) {
      expect((await failureOf(call)).code).toBe('HA_INVALID_SQL');
    }
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
  });
});

import type { HAUndoOptions } from '../../../lib/write/history-port.js';
import { pairOn, settled } from './pairs.js';

const TABLES = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v);
  CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE s(k INTEGER NOT NULL PRIMARY KEY, r REAL, b BLOB, g INT AS (k * 2) STORED) STRICT;
  CREATE TABLE bl(k BLOB PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE re(k REAL PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE nk(k TEXT PRIMARY KEY, v);
  CREATE TABLE kl(x);
  CREATE TABLE constructor(id INTEGER PRIMARY KEY, v);`;

const ROWS = `
  INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
  INSERT INTO w VALUES('x', 1), ('y', 2), (1, 3), (x'00', 4), ('n' || char(0) || 'm', 5), (CAST(x'ff41' AS TEXT), 6), (CAST(x'fe41' AS TEXT), 7);
  INSERT INTO s(k, r, b) VALUES(9007199254740993, -0.0, x''), (2, 1.0, NULL);
  INSERT INTO bl VALUES(x'00ff', 1), ('text', 2);
  INSERT INTO re VALUES(1, 1), (0.0, 2), (1e300, 3);
  INSERT INTO nk VALUES('q', 1), (NULL, 2), (NULL, 3);
  INSERT INTO kl VALUES(1), (1), (2);
  INSERT INTO constructor VALUES(1, 1);`;

/** Each undoes all that its transactions did. */
const CASES: readonly (readonly [string, readonly string[], Omit<HAUndoOptions, 'from'>])[] = [
  [
    'unique values in a circle',
    [`UPDATE t SET u = 'tmp' WHERE id = 1; UPDATE t SET u = 'a' WHERE id = 2; UPDATE t SET u = 'b' WHERE id = 1`],
    { scope: 'entities' },
  ],
  [
    'keys in a circle, then others',
    [
      `UPDATE t SET id = 10 WHERE id = 1; UPDATE t SET id = 1 WHERE id = 2; UPDATE t SET id = 2 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 10`,
      'UPDATE t SET v = v + 1',
      'DELETE FROM t WHERE id = 2',
    ],
    { scope: 'entities' },
  ],
  [
    'keys WITHOUT ROWID in a circle',
    [`UPDATE w SET k = 'z' WHERE k = 'x'; UPDATE w SET k = 'x' WHERE k = 'y'; UPDATE w SET k = 'y' WHERE k = 'z'`],
    { scope: 'transactions' },
  ],
  ['text keys that are not UTF-8', [`UPDATE w SET v = v + 10`, `DELETE FROM w WHERE v > 15`], { scope: 'entities' }],
  [
    'a named key with a NUL in it',
    [`UPDATE w SET k = 'nn' WHERE v = 5`, `DELETE FROM w WHERE k = 'nn'`],
    { rows: { w: ['n\0m'] } },
  ],
  [
    'int64 keys, STRICT',
    [`UPDATE s SET r = 5, b = x'01'; DELETE FROM s WHERE k = 2`],
    { rows: { s: [9007199254740993n, 2] } },
  ],
  [
    'BLOB keys',
    [`UPDATE bl SET k = x'01' WHERE k = x'00ff'; DELETE FROM bl WHERE k = 'text'`],
    { rows: { bl: [Buffer.from([0, 255]), 'text'] } },
  ],
  ['REAL keys', ['UPDATE re SET v = 7', 'DELETE FROM re'], { rows: { re: [1, 0, 1e300] } }],
  [
    'a rowid that another row took',
    ['DELETE FROM kl WHERE rowid = 1', 'INSERT INTO kl(rowid, x) VALUES(1, 77)'],
    { rows: { kl: [1] } },
  ],
  [
    'a key that another row took',
    [`UPDATE nk SET v = 7 WHERE k = 'q'`, `UPDATE nk SET k = 'r' WHERE k = 'q'`, `INSERT INTO nk VALUES('q', 'new')`],
    { rows: { nk: ['q'] } },
  ],
  ['keys that are NULL', ['UPDATE nk SET v = 7', `UPDATE nk SET k = 'r' WHERE rowid = 2`], { scope: 'entities' }],
  ['a table called constructor', ['DELETE FROM constructor'], { rows: { constructor: [1] } }],
];

it.each(CASES)('a part is taken back exactly: %s', async (_name, transactions, options) => {
  const pair = await pairOn('memory');
  const { a, b } = pair;
  await a.exec(TABLES);
  await a.exec(ROWS);
  const before = await settled(pair);
  const from = a.position().received + 1n;
  for (const script of transactions) await a.exec(script);
  expect(await settled(pair)).not.toEqual(before);
  expect(await b.undo({ from, ...options })).toMatchObject({ conflicts: [] });
  expect(await settled(pair)).toEqual(before);
});

it('somebody else who changed a row and changed it back is a conflict', async () => {
  const pair = await pairOn('memory');
  const { a, b } = pair;
  await a.exec(TABLES);
  await a.exec(ROWS);
  const from = a.position().received + 1n;
  await a.exec(`UPDATE t SET v = 100 WHERE id = 1; UPDATE w SET v = 100 WHERE k = 'x'`);
  await a.run(`UPDATE w SET v = 200 WHERE k = 'x'`);
  await a.run(`UPDATE w SET v = 100 WHERE k = 'x'`);
  const wrong = await settled(pair);
  await expect(b.undo({ from, scope: 'transactions', rows: { t: [1] } })).rejects.toMatchObject({
    code: 'HA_UNDO_CONFLICT',
    details: {
      count: 1,
      conflicts: [{ reason: 'changed', table: 'w', sequence: from + 2n, restored: { k: 'x', v: 1 } }],
    },
  });
  expect(await settled(pair)).toEqual(wrong);
});

it('text that is not UTF-8 comes back where the rows of before are rebuilt', async () => {
  const pair = await pairOn('memory', '_pragma=recursive_triggers(0)');
  const { a, b } = pair;
  await a.exec(
    `CREATE TABLE w(k TEXT PRIMARY KEY, v UNIQUE) WITHOUT ROWID; CREATE TABLE hidden(rowid, _rowid_, oid UNIQUE)`,
  );
  await a.exec(`INSERT INTO w VALUES(CAST(x'ff41' AS TEXT), 1), (CAST(x'ff42' AS TEXT), 2), (char(65533) || 'A', 4);
    INSERT INTO hidden VALUES(CAST(x'ff41' AS TEXT), 1, 1), (CAST(x'fe41' AS TEXT), 1, 2)`);
  const before = await settled(pair);
  const from = a.position().received + 1n;
  await a.exec(`REPLACE INTO w VALUES(CAST(x'ff43' AS TEXT), 1); UPDATE w SET v = v + 10`);
  await a.exec(`REPLACE INTO hidden VALUES(CAST(x'fe41' AS TEXT), 1, 1)`);
  expect(await settled(pair)).not.toEqual(before);
  await b.undo({ from });
  expect(await settled(pair)).toEqual(before);
});

it.each([
  ['virtual', 'CREATE TABLE t(id INTEGER PRIMARY KEY, u, g AS (lower(u)) UNIQUE)'],
  ['stored', 'CREATE TABLE t(id INTEGER PRIMARY KEY, u, g AS (lower(u)) STORED); CREATE UNIQUE INDEX i ON t(g)'],
  [
    'in an expression',
    'CREATE TABLE t(id INTEGER PRIMARY KEY, u, G AS (lower(u))); CREATE UNIQUE INDEX i ON t(g || 1)',
  ],
  [
    'in a condition',
    'CREATE TABLE t(id INTEGER PRIMARY KEY, u COLLATE NOCASE, g AS (1)); CREATE UNIQUE INDEX i ON t(u) WHERE g',
  ],
  ['WITHOUT ROWID', 'CREATE TABLE t(id INTEGER PRIMARY KEY, u, g AS (lower(u)) UNIQUE) WITHOUT ROWID'],
])(
  'a row that would meet another one in a unique index on a generated column is a conflict: %s',
  async (_name, sql) => {
    const pair = await pairOn('memory');
    const { a, b } = pair;
    await a.exec(sql);
    await a.exec(`INSERT INTO t(id, u) VALUES(1, 'a'), (2, 'b')`);
    const from = a.position().received + 1n;
    await a.exec(`UPDATE t SET u = 'x' WHERE id = 1`);
    await a.exec(`INSERT INTO t(id, u) VALUES(5, 'A')`);
    const wrong = await settled(pair);
    await expect(b.undo({ from, scope: 'entities' })).rejects.toMatchObject({
      code: 'HA_UNDO_CONFLICT',
      details: { count: 1, conflicts: [{ reason: 'unique', current: { id: 5, u: 'A' } }] },
    });
    expect(await settled(pair)).toEqual(wrong);
    await a.exec('DELETE FROM t WHERE id = 5');
    expect(await b.undo({ from, scope: 'entities' })).toMatchObject({ updated: 1, conflicts: [] });
    await settled(pair);
    expect(await a.all('SELECT u FROM t')).toEqual([{ u: 'a' }, { u: 'b' }]);
  },
);

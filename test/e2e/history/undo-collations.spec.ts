import { pairOn, settled } from './pairs.js';
import { UNTOLD, undoesFromRebuiltRows, undoesWholeAndInPart } from './undo-rounds.js';

const TABLES = ['pk', 'rowid', 'full'].flatMap((identify) =>
  [
    'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY))',
    'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY)) WITHOUT ROWID',
    'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY, k COLLATE RTRIM)) WITHOUT ROWID',
    'CREATE TABLE t(k TEXT COLLATE NOCASE, rowid, oid, _rowid_, v, PRIMARY KEY(k COLLATE BINARY))',
  ].map((table) => ({ identify, table })),
);
const ROWS = `INSERT INTO t(k, v) VALUES('a', 1), ('A', 2), ('b', 3), ('B', 4)`;
const CHANGE = `DELETE FROM t WHERE v = 1; UPDATE t SET v = 5 WHERE v = 3; UPDATE t SET k = 'c' WHERE v = 4;
  UPDATE t SET k = 'a' WHERE v = 2; INSERT INTO t(k, v) VALUES('C', 6)`;

describe.each(TABLES)('rowIdentify=$identify, $table', ({ identify, table }) => {
  it('is taken back, whole and in part, and that too', () =>
    undoesWholeAndInPart({ identify, schema: table, rows: ROWS, change: CHANGE }));

  it('is taken back where the rows of before are rebuilt', () =>
    undoesFromRebuiltRows({ identify, schema: table, rows: ROWS, change: CHANGE }));
});

it.each([
  'PRIMARY KEY(k COLLATE BINARY)',
  'PRIMARY KEY(a, k COLLATE BINARY)',
  'PRIMARY KEY(k COLLATE RTRIM, k COLLATE NOCASE)',
])('rows that are equal to their column stand on two pages of a rebuilt table: %s', async (key) => {
  const pair = await pairOn('memory', '_pragma=recursive_triggers(0)');
  const { a, b } = pair;
  const column = key.includes('RTRIM') ? 'RTRIM' : 'NOCASE';
  const twin = key.includes('RTRIM') ? `'k' || n || 'X '` : `'K' || n || 'x'`;
  await a.exec(`CREATE TABLE t(a, k TEXT COLLATE ${column}, v, ${key}) WITHOUT ROWID;
    WITH c(n) AS (VALUES(1000) UNION ALL SELECT n + 1 FROM c WHERE n < 1600) INSERT INTO t SELECT 1, 'k' || n || 'x', n FROM c;
    INSERT INTO t SELECT 1, ${twin}, n FROM (SELECT v AS n FROM t); INSERT INTO t VALUES(1, '0', 0); ${UNTOLD}; INSERT INTO r VALUES('m', 1)`);
  const before = await settled(pair);
  const from = a.position().received + 1n;
  await a.exec(
    `UPDATE t SET v = v + 1; INSERT OR REPLACE INTO r VALUES('n', 1); INSERT OR REPLACE INTO t VALUES(1, '0', 5)`,
  );
  await b.undo({ from });
  expect(await settled(pair)).toEqual(before);
});

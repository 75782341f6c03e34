import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAHistoryChange } from '../../../lib/write/history-port.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { pairOn, settled } from './pairs.js';
import { undoesFromRebuiltRows, undoesWholeAndInPart } from './undo-rounds.js';

interface Case {
  readonly name: string;
  readonly schema: string;
  readonly rows: string;
  readonly change: string;
}

/** In each, what a row was is what another one is: taking one back must not take the other for it, nor remove it. */
const CASES: readonly Case[] = [
  {
    name: 'a key that went on to another row',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 2), ('c', 3)`,
    change: `UPDATE t SET k = 'd' WHERE v = 3; UPDATE t SET k = 'c' WHERE v = 2; UPDATE t SET k = 'b' WHERE v = 1`,
  },
  {
    name: 'keys that went on the other way round',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES('d', 3), ('c', 2), ('b', 1)`,
    change: `UPDATE t SET k = 'a' WHERE v = 1; UPDATE t SET k = 'b' WHERE v = 2; UPDATE t SET k = 'c' WHERE v = 3`,
  },
  {
    name: 'keys in a circle',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 2), ('c', 3)`,
    change: `UPDATE t SET k = 'x' WHERE v = 1; UPDATE t SET k = 'a' WHERE v = 2; UPDATE t SET k = 'b' WHERE v = 3; UPDATE t SET k = 'c' WHERE v = 1`,
  },
  {
    name: 'keys of two columns, one of them NULL',
    schema: 'CREATE TABLE t(a TEXT, b TEXT, v, PRIMARY KEY(b, a))',
    rows: `INSERT INTO t VALUES('b', 'y', 1), (NULL, 'y', 2), ('c', 'x', 3)`,
    change: `DELETE FROM t WHERE v = 1; UPDATE t SET a = 'b' WHERE v = 2; INSERT INTO t(rowid, a, b, v) VALUES(1, 'A', 'x', 4)`,
  },
  {
    name: 'a key that became NULL',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES(NULL, 1), ('a', 2)`,
    change: `UPDATE t SET k = 'z' WHERE v = 2; UPDATE t SET k = 'a' WHERE v = 1; UPDATE t SET k = NULL WHERE v = 2`,
  },
  {
    name: 'keys that differ in case only',
    schema: 'CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 2)`,
    change: `UPDATE t SET k = 'x' WHERE v = 1; UPDATE t SET k = 'A' WHERE v = 2; UPDATE t SET k = 'B' WHERE v = 1`,
  },
  {
    name: 'keys whose index takes more for equal than their column',
    schema: 'CREATE TABLE t(k TEXT, v, PRIMARY KEY(k COLLATE NOCASE))',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 2)`,
    change: `UPDATE t SET k = 'x' WHERE v = 1; UPDATE t SET k = 'A' WHERE v = 2; UPDATE t SET k = 'B' WHERE v = 1`,
  },
  {
    name: 'keys of any type, text that is not UTF-8 among them',
    schema: 'CREATE TABLE t(k PRIMARY KEY, v)',
    rows: `INSERT INTO t VALUES(CAST(x'ff41' AS TEXT), 1), (CAST(x'fe41' AS TEXT), 2), (2, 3), (2.5, 4), (x'00', 5)`,
    change: `UPDATE t SET k = 'x' WHERE v = 1; UPDATE t SET k = CAST(x'ff41' AS TEXT) WHERE v = 2; UPDATE t SET k = CAST(x'fe41' AS TEXT) WHERE v = 1;
      UPDATE t SET k = 'x' WHERE v = 3; UPDATE t SET k = 2.0 WHERE v = 4; UPDATE t SET k = 2.5 WHERE v = 5; UPDATE t SET k = x'00' WHERE v = 3`,
  },
  {
    name: 'a row without a key that is equal to what another one was',
    schema: 'CREATE TABLE t(u UNIQUE, v)',
    rows: 'INSERT INTO t VALUES(1, 7), (2, 7)',
    change: 'UPDATE t SET u = 3 WHERE u = 1; UPDATE t SET u = 1 WHERE u = 2; UPDATE t SET u = 2 WHERE u = 3',
  },
  {
    name: 'the same with keys that are NULL',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE)',
    rows: 'INSERT INTO t VALUES(NULL, 1), (NULL, 2)',
    change: 'UPDATE t SET u = 3 WHERE u = 1; UPDATE t SET u = 1 WHERE u = 2; UPDATE t SET u = 2 WHERE u = 3',
  },
  {
    name: 'unique values of rows with a key',
    schema: 'CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)',
    rows: 'INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)',
    change: 'UPDATE t SET u = u + 10; UPDATE t SET u = 4 - id',
  },
  {
    name: 'unique values WITHOUT ROWID',
    schema: 'CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE) WITHOUT ROWID',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 2)`,
    change: 'UPDATE t SET u = 3 WHERE u = 1; UPDATE t SET u = 1 WHERE u = 2; UPDATE t SET u = 2 WHERE u = 3',
  },
  {
    name: 'a partial index on an expression',
    schema: 'CREATE TABLE t(u, v); CREATE UNIQUE INDEX x ON t(lower(u)) WHERE v > 0',
    rows: `INSERT INTO t VALUES('a', 1), ('b', 1), ('A', 0)`,
    change: `UPDATE t SET u = 'x' WHERE rowid = 1; UPDATE t SET u = 'a' WHERE rowid = 2; UPDATE t SET u = 'b' WHERE rowid = 1`,
  },
  {
    name: 'a condition that another row meets now',
    schema: 'CREATE TABLE t(u, v); CREATE UNIQUE INDEX x ON t(u) WHERE v > 0',
    rows: `INSERT INTO t VALUES(1, 1), (1, 0)`,
    change: `UPDATE t SET v = -1 WHERE rowid = 1; UPDATE t SET v = 1 WHERE rowid = 2; UPDATE t SET v = 0 WHERE rowid = 1`,
  },
  {
    name: 'an index on a generated column',
    schema: 'CREATE TABLE t(u, v, g AS (u * 2)); CREATE UNIQUE INDEX x ON t(g)',
    rows: 'INSERT INTO t(u, v) VALUES(1, 7), (2, 7)',
    change: 'UPDATE t SET u = 3 WHERE u = 1; UPDATE t SET u = 1 WHERE u = 2; UPDATE t SET u = 2 WHERE u = 3',
  },
  {
    name: 'columns that hide every name of the rowid',
    schema: 'CREATE TABLE t(rowid TEXT PRIMARY KEY, oid UNIQUE, _rowid_)',
    rows: `INSERT INTO t VALUES('a', 1, 1), ('b', 2, 2), (NULL, 3, 3)`,
    change: `UPDATE t SET rowid = 'x' WHERE _rowid_ = 1; UPDATE t SET rowid = 'a', oid = 4 WHERE _rowid_ = 2; UPDATE t SET rowid = 'b', oid = 2 WHERE _rowid_ = 1`,
  },
];

const WAYS = ['pk', 'rowid', 'full'].flatMap((identify) => CASES.map((each) => ({ identify, ...each })));

async function changesAt(db: HADatabase, sequence: bigint): Promise<readonly HAHistoryChange[]> {
  for await (const each of db.history(sequence)) return each.changes;
  return [];
}

describe.each(WAYS)('rowIdentify=$identify, $name', ({ identify, schema, rows, change }) => {
  it('is taken back, whole and in part, and that too', () => undoesWholeAndInPart({ identify, schema, rows, change }));

  it('is taken back where the rows of before are rebuilt', () =>
    undoesFromRebuiltRows({ identify, schema, rows, change }));

  it('is taken back in a copy of a database whose beginning is gone', async () => {
    const pair = await pairOn('memory', `rowIdentify=${identify}`);
    const { a, broker, paths } = pair;
    await a.exec(schema);
    await a.exec(rows);
    await settled(pair);
    const before = dumpFile(paths[0]).tables;
    const { received } = a.position();
    await a.exec(change);
    await settled(pair);
    broker?.trim(Number(received) - 1, 's');
    const path = join(temporaryFolder(), 'copy.db');
    await a.restoreTo(received, path);
    expect(dumpFile(path).tables).toEqual(before);
  });

  it('is told as changes of which each meets one row, and none is in the way', async () => {
    const pair = await pairOn('memory', `rowIdentify=${identify}`);
    const { a } = pair;
    await a.exec(`${schema};${rows}`);
    const before = await a.all('SELECT * FROM t');
    const from = a.position().received + 1n;
    await a.exec(change);
    const path = join(temporaryFolder(), 'copy.db');
    await a.restoreTo(from, path);
    const { sequence } = await a.undo({ from });
    const copy = new BetterSqlite3(path);
    try {
      for (const { sql } of await changesAt(a, sequence as bigint)) expect(copy.prepare(sql).run().changes).toBe(1);
      expect(new Set(copy.prepare('SELECT * FROM t').all())).toEqual(new Set(before));
    } finally {
      copy.close();
    }
  });
});

it('what stands in the way of nobody changes in place', async () => {
  const { a } = await pairOn('memory');
  await a.exec(
    `CREATE TABLE t(k TEXT PRIMARY KEY, u UNIQUE, v); INSERT INTO t VALUES('a', 1, 1), ('b', 2, 2), ('c', 3, 3)`,
  );
  const from = a.position().received + 1n;
  await a.exec(`UPDATE t SET v = v + 1; UPDATE t SET k = 'd' WHERE k = 'a'; UPDATE t SET u = 4 WHERE k = 'b'`);
  expect(await a.undo({ from })).toMatchObject({ inserted: 0, updated: 3, deleted: 0 });
});

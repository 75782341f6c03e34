import BetterSqlite3 from 'better-sqlite3';
import { expectRows, meet, rows, scenario } from './scenario.js';
import type { World } from './world.js';

/**
 * A key may compare its columns otherwise than the columns do. SQLite takes the collation of the key's index for what is the
 * same key, and that of the column in a condition: a row has to be found by the former.
 */
const STRICTER = 'CREATE TABLE t(k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY))';
const LOOSER = 'CREATE TABLE t(k TEXT, v, PRIMARY KEY(k COLLATE NOCASE))';
const OTHER = 'CREATE TABLE t(k TEXT COLLATE rtrim, v, PRIMARY KEY(k COLLATE nocase))';
const PART = 'CREATE TABLE t(a INT, k TEXT COLLATE NOCASE, v, PRIMARY KEY(k COLLATE BINARY, a))';
const TWICE = 'CREATE TABLE t(k TEXT, v, PRIMARY KEY(k COLLATE NOCASE, k COLLATE RTRIM))';
const CROSSED =
  'CREATE TABLE t(a TEXT COLLATE NOCASE, k TEXT, v, PRIMARY KEY(k COLLATE NOCASE, a COLLATE "binary" DESC))';
const HIDDEN =
  'CREATE TABLE t(k TEXT COLLATE NOCASE, v, rowid, oid, _rowid_, PRIMARY KEY(k COLLATE BINARY, rowid COLLATE BINARY))';

interface Case {
  readonly name: string;
  readonly table: string;
  readonly row: string;
  readonly other: string;
}

const TABLES: readonly Case[] = [
  { name: 'a key that is stricter than its column', table: STRICTER, row: `'a'`, other: `'A'` },
  { name: 'a key that is looser than its column', table: LOOSER, row: `'a'`, other: `'b'` },
  { name: 'a key that is neither', table: OTHER, row: `'a'`, other: `'a '` },
  { name: 'a part of the key', table: PART, row: `1, 'a'`, other: `1, 'A'` },
  { name: 'a column twice in the key', table: TWICE, row: `'a'`, other: `'A '` },
  { name: 'parts that are looser and stricter', table: CROSSED, row: `'a', 'x'`, other: `'A', 'x'` },
  { name: 'columns that hide every name of the rowid', table: HIDDEN, row: `1, 2, 3, 'a'`, other: `1, 2, 3, 'A'` },
];

const columnsOf = ({ table }: Case): string =>
  table === HIDDEN ? 'rowid, oid, _rowid_, k' : table === PART || table === CROSSED ? 'a, k' : 'k';

/** On two rows, whose values are 1 and 2. */
const statements = (one: Case): string[] => {
  const into = `INTO t(${columnsOf(one)}, v)`;
  const key = one.table === CROSSED ? 'a' : 'k';
  const conflict = /PRIMARY KEY(\(.*?\))\)?$/.exec(one.table.replace(' DESC', ''))?.[1] ?? '';
  return [
    'DELETE FROM t WHERE v = 1',
    'DELETE FROM t WHERE v = 2',
    'UPDATE t SET v = 3 WHERE v = 1',
    'UPDATE t SET v = 3 WHERE v = 2',
    `UPDATE t SET ${key} = 'z' WHERE v = 2`,
    `UPDATE t SET ${key} = upper(${key}) || '!' WHERE v = 1`,
    `UPDATE OR REPLACE t SET ${key} = (SELECT ${key} FROM t WHERE v = 2) WHERE v = 1`,
    `UPDATE t SET ${key} = 'y' WHERE v = 1; UPDATE t SET ${key} = (SELECT 'a') WHERE v = 2; UPDATE t SET v = 5 WHERE v = 2`,
    `INSERT OR REPLACE ${into} VALUES(${one.row}, 3)`,
    `INSERT OR REPLACE ${into} VALUES(${one.other}, 3)`,
    `INSERT OR REPLACE ${into} VALUES(${one.row.replace(`'a'`, `'A'`)}, 3)`,
    `INSERT ${into} VALUES(${one.other}, 4) ON CONFLICT${conflict} DO UPDATE SET v = v + excluded.v`,
    `DELETE FROM t; INSERT ${into} VALUES(${one.other}, 3), (${one.row}, 4); DELETE FROM t WHERE v = 3`,
  ];
};

const KINDS = TABLES.flatMap((one) =>
  ['', ' WITHOUT ROWID'].map((without) => ({ ...one, table: `${one.table}${without}`, base: one })),
);
const RUNS = (['pk', 'rowid', 'full'] as const).flatMap((rowIdentify) =>
  KINDS.map((kind) => ({ rowIdentify, ...kind })),
);

const SELECT = 'SELECT * FROM t ORDER BY v, k COLLATE BINARY';
const ASYNC = { asyncNodes: [true, false], generatedIds: 'overwrite' } as const;

/** What SQLite itself makes of it. */
function alone(...sql: readonly string[]): string[] {
  const db = new BetterSqlite3(':memory:');
  db.pragma('foreign_keys = OFF');
  db.pragma('recursive_triggers = ON');
  db.exec(sql.join(';'));
  const found = db.prepare(SELECT).raw().all() as unknown[][];
  db.close();
  return found.map((row) => row.map(String).join('|'));
}

/** The two rows. */
const start = (one: Case): string =>
  `DELETE FROM t; INSERT INTO t(${columnsOf(one)}, v) VALUES(${one.row}, 1), (${one.other}, 2)`;

async function write(world: World, node: number, sql: string): Promise<void> {
  const made = world.exec(node, sql);
  await world.settle();
  expect({ sql, error: made.error }).toEqual({ sql, error: undefined });
}

function expectOn(world: World, sql: string, expected: readonly string[]): void {
  for (const { index } of world.nodes) {
    expect({ sql, node: index, rows: rows(world, index, SELECT) }).toEqual({ sql, node: index, rows: expected });
  }
}

describe('a key whose index compares otherwise than its columns', () => {
  it.each(RUNS)('$table, rowIdentify=$rowIdentify: every node holds what the writer does', (run) =>
    scenario(
      [run.table],
      async (world) => {
        for (const sql of statements(run.base)) {
          await write(world, 1, start(run.base));
          await write(world, 0, sql);
          expectOn(world, sql, alone(run.table, start(run.base), sql));
        }
      },
      { rowIdentify: run.rowIdentify },
    ),
  );

  it.each(KINDS)('$table: what waits for its place is taken back and done again', ({ table, base }) =>
    scenario(
      [table],
      async (world) => {
        const another = `INSERT INTO t(${columnsOf(base)}, v) VALUES(${base.row.replace(`'a'`, `'q'`)}, 9)`;
        for (const sql of statements(base)) {
          await write(world, 1, start(base));
          await hold(world, sql);
          expect({ sql, rows: rows(world, 0, SELECT) }).toEqual({ sql, rows: alone(table, start(base), sql) });
          await meet(world, another);
          const behind = sql.startsWith('DELETE FROM t;')
            ? sql.replace('DELETE FROM t;', 'DELETE FROM t WHERE v < 9;')
            : sql;
          const expected = alone(table, start(base), another, behind);
          expect({ sql, rows: rows(world, 0, SELECT) }).toEqual({ sql, rows: expected });
          await world.settle();
          expectOn(world, sql, expected);
        }
      },
      ASYNC,
    ),
  );
});

/** Node 0 writes, and what it writes does not reach the stream yet. */
async function hold(world: World, sql: string): Promise<void> {
  world.node(0).stream.disconnect();
  const held = world.exec(0, sql);
  await world.calm();
  expect({ sql, state: held.state, error: held.error }).toEqual({ sql, state: 'resolved', error: undefined });
}

describe.each(['', ' WITHOUT ROWID'])('concurrent writers of a table%s', (without) => {
  it('mean different rows where the key is stricter', () =>
    scenario(
      [`${STRICTER}${without}`, `INSERT INTO t VALUES('a', 1), ('A', 2)`],
      async (world) => {
        await hold(world, 'UPDATE t SET v = 3 WHERE v = 2');
        await meet(world, 'DELETE FROM t WHERE v = 1');
        await expectRows(world, 'SELECT k, v FROM t', ['A|3']);
        for (const { conflicts } of world.nodes) expect(conflicts).toEqual([]);
      },
      ASYNC,
    ));

  it('mean the same row where the key is looser, whatever its case', () =>
    scenario(
      [`${LOOSER}${without}`, `INSERT INTO t VALUES('a', 1)`],
      async (world) => {
        await hold(world, `DELETE FROM t WHERE k = 'a'`);
        await meet(world, `UPDATE t SET k = 'A' WHERE v = 1`);
        await expectRows(world, 'SELECT k, v FROM t', []);
        for (const { conflicts } of world.nodes) {
          expect(conflicts).toMatchObject([{ key: { k: 'A' }, operation: 'DELETE', lost: { k: 'A' } }]);
        }
      },
      ASYNC,
    ));

  it('insert one row where the key is looser', () =>
    scenario(
      [`${LOOSER}${without}`],
      async (world) => {
        await hold(world, `INSERT INTO t VALUES('A', 2)`);
        await meet(world, `INSERT INTO t VALUES('a', 1)`);
        await expectRows(world, 'SELECT k, v FROM t', ['A|2']);
      },
      ASYNC,
    ));
});

describe('foreign key actions of a parent WITHOUT ROWID', () => {
  const ACTIONS = 'REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE';
  const CHILD = `CREATE TABLE c(k TEXT ${ACTIONS})`;

  it.each([
    [STRICTER, CHILD, `('a', 1), ('A', 2)`],
    [LOOSER, CHILD, `('a', 1), ('b', 2)`],
    [TWICE, `CREATE TABLE c(a, b, FOREIGN KEY(a, b) ${ACTIONS})`, `('a', 1), ('a ', 2)`],
  ])('%s', (table, child, values) =>
    scenario(
      [`${table} WITHOUT ROWID`, child, `INSERT INTO t VALUES${values}`],
      async (world) => {
        const done = [`INSERT INTO t VALUES${values}`];
        for (const sql of [
          'UPDATE t SET v = 4 WHERE v = 1',
          'UPDATE t SET v = 5 WHERE v = 2',
          `UPDATE t SET k = 'B' WHERE v = 5`,
          `INSERT OR REPLACE INTO t VALUES('A', 6)`,
          'DELETE FROM t WHERE v = 6',
        ]) {
          done.push(sql);
          await write(world, 0, sql);
          expectOn(world, sql, alone(`${table} WITHOUT ROWID`, ...done));
        }
      },
      { foreignKeys: true },
    ),
  );
});

import BetterSqlite3 from 'better-sqlite3';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const SCHEMA = `CREATE TABLE t(a, b); INSERT INTO t VALUES ('one', 'two')`;
const UPDATE = 'UPDATE t SET a = ? WHERE b = ?';
const SELECT = 'SELECT * FROM t WHERE a = ? AND b = ?';
/** Spread, each of these would have bound other parameters than those that it stands for. */
const NO_VALUES: readonly unknown[][] = [
  [['one', 'two'], []],
  [[], ['one', 'two']],
  [['one', 'two']],
  ['one', ['two']],
  [['one'], 'two'],
  ['one', 'two', []],
  ['one', 'two', {}],
  ['one', { b: 'two' }],
  ['one', new Date(0)],
];

type Params = readonly unknown[];
type Call = (db: HADatabase, params: Params) => Promise<unknown>;

async function drain(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const row of rows) void row;
}

async function begun(
  db: HADatabase,
  work: (tx: Awaited<ReturnType<HADatabase['begin']>>) => Promise<unknown>,
): Promise<void> {
  const tx = await db.begin();
  try {
    await work(tx);
    await tx.commit();
  } finally {
    await tx.rollback();
  }
}

async function inSession(db: HADatabase, sql: string, params: Params, begin = false): Promise<void> {
  const session = db.connect();
  try {
    if (begin) await session.execute('BEGIN');
    await session.execute(sql, params);
    if (begin) await session.execute('COMMIT');
  } finally {
    await session.close();
  }
}

const CALLS: readonly [string, Call][] = [
  ['run', (db, params) => db.run(UPDATE, params)],
  ['get', (db, params) => db.get(SELECT, params)],
  ['all', (db, params) => db.all(SELECT, params)],
  ['iterate', (db, params) => drain(db.iterate(SELECT, params))],
  ['execute of a write', (db, params) => db.execute(UPDATE, params)],
  ['execute of a read', (db, params) => db.execute(SELECT, params)],
  ['a prepared statement that is given one array', (db, params) => db.prepare(UPDATE).run(params)],
  ['a transaction', (db, params) => db.transaction((tx) => tx.run(UPDATE, params))],
  ['a read in a transaction', (db, params) => db.transaction((tx) => tx.all(SELECT, params))],
  ['a transaction that its user ends', (db, params) => begun(db, (tx) => tx.execute(UPDATE, params))],
  ['a session', (db, params) => inSession(db, UPDATE, params)],
  ['a read of a session', (db, params) => inSession(db, SELECT, params)],
  ['a transaction of a session', (db, params) => inSession(db, UPDATE, params, true)],
];

/** What a call gives, or fails with, in a form that can be compared. */
async function outcomeOf(work: () => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
}

/** What better-sqlite3 says of them as one array, which is how the drivers of query builders hand them over. */
async function expected(sql: string): Promise<readonly unknown[]> {
  const file = new BetterSqlite3(':memory:');
  file.exec(SCHEMA);
  const statement = file.prepare(sql);
  const failures: unknown[] = [];
  for (const params of NO_VALUES) {
    failures.push(await outcomeOf(() => (statement.reader ? statement.all(params) : statement.run(params))));
  }
  file.close();
  return failures;
}

async function expectRefused(db: HADatabase, call: Call): Promise<void> {
  const failures: unknown[] = [];
  for (const params of NO_VALUES) failures.push(await outcomeOf(() => call(db, params)));
  expect(failures).toEqual(await expected(SELECT));
  expect(await db.all('SELECT * FROM t')).toEqual([{ a: 'one', b: 'two' }]);
}

describe('an array or an object among the values', () => {
  it('is an error of better-sqlite3', async () => {
    expect(await expected(UPDATE)).toEqual(await expected(SELECT));
    for (const failure of await expected(UPDATE)) {
      expect(failure).toMatch(/^TypeError: SQLite3 can only bind|^RangeError: Too many parameter values/);
    }
  });

  it.each(CALLS)('is never taken for several: %s', async (_name, call) => {
    const { a } = await startCluster();
    await a.exec(SCHEMA);
    await expectRefused(a, call);
  });

  it('is never taken for several by a follower', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const leads = cluster.nodes.findIndex(({ runtime }) => runtime.status().leader?.isLeader === true);
    const { db } = cluster.nodes[1 - leads]!;
    await db.exec(SCHEMA);
    for (const [, call] of CALLS) await expectRefused(db, call);
  });
});

describe('an object behind the values', () => {
  it('has the parameters with a name, here, in transactions and at the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const leads = cluster.nodes.findIndex(({ runtime }) => runtime.status().leader?.isLeader === true);
    const { db } = cluster.nodes[1 - leads]!;
    const sql = 'SELECT ? AS v, :a AS a';
    expect(await db.get(sql, [1, { a: 2 }])).toEqual({ v: 1, a: 2 });
    expect(await db.transaction((tx) => tx.get(sql, [1, { a: 2 }]))).toEqual({ v: 1, a: 2 });
    for (const given of [[1, { b: 2 }], [{ a: 1 }, { a: 2 }], [[1], { a: 2 }], [1, [2]], [[1, 2]]]) {
      await expect(db.get(sql, given)).rejects.toThrow(/named parameter|can only bind|parameter values/);
      await expect(db.transaction((tx) => tx.get(sql, given))).rejects.toThrow(
        /named parameter|can only bind|parameter values/,
      );
    }
  });
});

describe('a prepared statement', () => {
  const SQL = 'SELECT ?, :a, ?, @a';
  const GIVEN: readonly unknown[][] = [
    [1, 2, { a: 3 }],
    [{ a: 3 }, 1, 2],
    [[1, 2], { a: 3 }],
    [[1], { a: 3 }, [2]],
    [1, 2],
    [{ a: 3 }],
    [1, 2, { a: 3 }, { a: 4 }],
    [1, [[2]], { a: 3 }],
    [1, 2, new Date(0)],
    [1, 2, 3, { a: 4 }],
    [1, 2, { b: 4 }],
  ];

  it('takes what better-sqlite3 takes, here, in transactions and at the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const leads = cluster.nodes.findIndex(({ runtime }) => runtime.status().leader?.isLeader === true);
    const { db } = cluster.nodes[1 - leads]!;
    const file = new BetterSqlite3(':memory:');
    onCleanup(() => void file.close());
    for (const given of GIVEN) {
      const stock = await outcomeOf(async () =>
        file
          .prepare(SQL)
          .raw()
          .all(...given),
      );
      expect(
        await outcomeOf(() =>
          db
            .prepare(SQL)
            .raw()
            .all(...given),
        ),
      ).toEqual(stock);
      expect(
        await outcomeOf(() =>
          db.transaction((tx) =>
            tx
              .prepare(SQL)
              .raw()
              .all(...given),
          ),
        ),
      ).toEqual(stock);
    }
  });
});

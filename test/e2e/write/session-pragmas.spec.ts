import type { HADatabase } from '../../../lib/write/ha-database.js';
import type { ForeignKeyEnforcement } from '../../../lib/write/foreign-key-enforcement.js';
import type { HASession, HASessionOptions } from '../../../lib/write/session.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const FAMILY = `
  CREATE TABLE parent(id INTEGER PRIMARY KEY, v TEXT);
  CREATE TABLE child(id INTEGER PRIMARY KEY, p NOT NULL REFERENCES parent(id) ON DELETE CASCADE);
  CREATE TABLE grand(id INTEGER PRIMARY KEY, c REFERENCES child(id) ON DELETE CASCADE);
  CREATE TABLE note(id INTEGER PRIMARY KEY, p REFERENCES parent(id) ON DELETE SET NULL);
  INSERT INTO parent VALUES(1, 'a'), (2, 'b');
  INSERT INTO child VALUES(10, 1), (11, 1), (12, 2);
  INSERT INTO grand VALUES(20, 10), (21, 12);
  INSERT INTO note VALUES(30, 1), (31, 2);`;

/** Step 4 to 7 of https://www.sqlite.org/lang_altertable.html#otheralter */
const REBUILD = [
  'CREATE TABLE new_parent(id INTEGER PRIMARY KEY, v TEXT NOT NULL, w INTEGER DEFAULT 7)',
  'INSERT INTO new_parent(id, v) SELECT id, v FROM parent',
  'DROP TABLE parent',
  'ALTER TABLE new_parent RENAME TO parent',
];

const CHILDREN = `SELECT 'c', id, p FROM child UNION ALL SELECT 'g', id, c FROM grand UNION ALL SELECT 'n', id, p FROM note`;
const ALL_CHILDREN = [
  ['c', 10, 1],
  ['c', 11, 1],
  ['c', 12, 2],
  ['g', 20, 10],
  ['g', 21, 12],
  ['n', 30, 1],
  ['n', 31, 2],
];
const ORPHAN = 'INSERT INTO child VALUES(?, 99)';
const VIOLATION = 'SQLITE_CONSTRAINT_FOREIGNKEY';

function connect(db: HADatabase, options?: HASessionOptions): HASession {
  const session = db.connect({ rowMode: 'array', safeIntegers: true, columns: true, ...options });
  onCleanup(() => session.close());
  return session;
}

async function run(session: HASession, ...statements: string[]): Promise<unknown> {
  let rows: unknown;
  for (const sql of statements) ({ rows } = await session.execute(sql));
  return rows;
}

function childrenOf(db: HADatabase): unknown[] {
  return db.reader.prepare(CHILDREN).raw().all();
}

function enforcementOf({ runtime }: TestNode): ForeignKeyEnforcement {
  const { open } = runtime;
  if (open === undefined) throw new Error('The node is not started.');
  return open.runner.enforcement;
}

/** The rule of SQLite holds for everybody else on the node. */
async function expectEnforced(db: HADatabase): Promise<void> {
  const orphans = db.reader.prepare('SELECT count(*) FROM child WHERE p = 99').pluck();
  const before = orphans.get();
  expect((await failureOf(db.run(ORPHAN, [900]))).code).toBe(VIOLATION);
  const inside = db.transaction(async (tx) => tx.run(ORPHAN, [901]));
  expect((await failureOf(inside)).code).toBe(VIOLATION);
  expect((await failureOf(run(connect(db), ORPHAN.replace('?', '902')))).code).toBe(VIOLATION);
  expect(orphans.get()).toBe(before);
}

async function family(options = {}): Promise<Cluster> {
  const cluster = await startCluster({ options });
  await cluster.a.exec(FAMILY);
  await cluster.settle();
  return cluster;
}

describe.each([[{}], [{ asyncPublisher: true }]])('a session without foreign keys, with %j', (options) => {
  it.each([
    ['BEGIN … COMMIT', (session: HASession) => run(session, 'BEGIN', ...REBUILD, 'COMMIT')],
    ['a script', (session: HASession) => session.script(REBUILD.join(';\n'))],
    ['single statements', (session: HASession) => run(session, ...REBUILD)],
  ])('rebuilds a parent by %s, and no node loses its children', async (_how, rebuild) => {
    const cluster = await family(options);
    const session = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF');
    await rebuild(session);
    await run(session, 'PRAGMA foreign_keys = ON');
    await cluster.settle();
    for (const { db } of cluster.nodes) {
      expect(childrenOf(db)).toEqual(ALL_CHILDREN);
      expect(db.reader.prepare('SELECT * FROM parent').raw().all()).toEqual([
        [1, 'a', 7],
        [2, 'b', 7],
      ]);
      expect(db.reader.pragma('foreign_key_check')).toEqual([]);
    }
    for (const { db } of cluster.nodes) await expectEnforced(db);
    await cluster.expectEqual();
    await cluster.a.stop();
    await cluster.b.stop();
    await cluster.b.start();
    await cluster.a.start();
    expect(childrenOf(cluster.a)).toEqual(ALL_CHILDREN);
    await cluster.a.run('DELETE FROM parent WHERE id = 1');
    await cluster.settle();
    expect(childrenOf(cluster.b)).toEqual([
      ['c', 12, 2],
      ['g', 21, 12],
      ['n', 30, null],
      ['n', 31, 2],
    ]);
    await cluster.expectEqual();
  });

  it('takes the children along where they are enforced, on every node alike', async () => {
    const cluster = await family(options);
    await run(connect(cluster.a), 'BEGIN', 'DELETE FROM grand WHERE id = 21', 'DROP TABLE parent', 'COMMIT');
    await cluster.settle();
    for (const { db } of cluster.nodes) {
      expect(childrenOf(db)).toEqual([
        ['n', 30, null],
        ['n', 31, null],
      ]);
    }
    await cluster.expectEqual();
  });

  it('writes what violates them, deferred ones too, and others may not', async () => {
    const cluster = await family(options);
    await cluster.a.exec('CREATE TABLE late(id PRIMARY KEY, p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)');
    const session = connect(cluster.a);
    await run(
      session,
      'PRAGMA foreign_keys = OFF',
      'INSERT INTO child VALUES(40, 99)',
      'DELETE FROM parent WHERE id = 1',
    );
    await run(session, 'BEGIN', 'INSERT INTO late VALUES(1, 99)', 'PRAGMA defer_foreign_keys = ON', 'COMMIT');
    await session.script('INSERT INTO child VALUES(41, 99); INSERT INTO late VALUES(2, 99)');
    expect(childrenOf(cluster.a)).toEqual([
      ...ALL_CHILDREN.slice(0, 3),
      ['c', 40, 99],
      ['c', 41, 99],
      ...ALL_CHILDREN.slice(3),
    ]);
    await expectEnforced(cluster.a);
    expect((await failureOf(cluster.a.run('INSERT INTO late VALUES(3, 99)'))).code).toBe(VIOLATION);
    await cluster.a.run('INSERT INTO late VALUES(4, 2)');
    await cluster.expectEqual();
  });

  it('is nothing to the others that write beside it', async () => {
    const cluster = await family(options);
    const session = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF');
    const writes = Array.from({ length: 20 }, async (_each, index) => {
      const failures: unknown[] = [];
      for (let round = 0; round < 5; round++) {
        const id = 100 + index * 10 + round;
        await cluster.a.run('INSERT INTO child VALUES(?, 2)', [id]);
        failures.push((await failureOf(cluster.a.run(ORPHAN, [1_000 + id]))).code);
      }
      return failures;
    });
    for (let round = 0; round < 5; round++) {
      await run(session, `INSERT INTO child VALUES(${50 + round}, 99)`);
      await run(session, 'BEGIN', `INSERT INTO child VALUES(${60 + round}, 98)`, 'COMMIT');
    }
    for (const failures of await Promise.all(writes)) expect(failures).toEqual(Array(5).fill(VIOLATION));
    await cluster.settle();
    const count = cluster.b.reader.prepare('SELECT count(*) FROM child WHERE p = ?').pluck();
    expect([2, 99, 98].map((p) => count.get(p))).toEqual([101, 5, 5]);
    await cluster.expectEqual();
  });

  it('leaves the writer as it was, however its transaction ends', async () => {
    const cluster = await family(options);
    const start = async (limits?: HASessionOptions): Promise<HASession> => {
      const session = connect(cluster.a, limits);
      await run(session, 'PRAGMA foreign_keys = OFF', 'BEGIN', 'INSERT INTO child VALUES(40, 99)');
      expect(enforcementOf(cluster.node(0)).isOn).toBe(false);
      return session;
    };
    const slip = 'INSERT INTO child VALUES(10, 1)';
    const fails = async (session: HASession, sql: string, code: string): Promise<void> =>
      expect((await failureOf(run(session, sql))).code).toMatch(code);
    const ends: [string, () => Promise<unknown>][] = [
      ['ROLLBACK', async () => run(await start(), 'ROLLBACK')],
      ['OR ROLLBACK', async () => fails(await start(), 'INSERT OR ROLLBACK INTO child VALUES(10, 1)', 'PRIMARYKEY')],
      [
        'ROLLBACK behind a failure',
        async () => {
          const session = await start();
          await fails(session, slip, 'PRIMARYKEY');
          await run(session, 'ROLLBACK');
        },
      ],
      ['close', async () => (await start()).close()],
      [
        'idleness',
        async () => {
          const session = await start({ idleTimeout: 1_500 });
          await until(() => !cluster.node(0).runtime.open!.connections.writer.inTransaction);
          await fails(session, 'COMMIT', 'HA_TRANSACTION');
        },
      ],
      [
        'its time',
        async () => {
          const session = await start({ idleTimeout: 30_000, timeout: 1_500 });
          await until(() => !cluster.node(0).runtime.open!.connections.writer.inTransaction);
          await fails(session, 'SELECT 1', 'HA_TRANSACTION');
        },
      ],
      [
        'one statement that fails',
        async () => {
          const session = connect(cluster.a);
          await run(session, 'PRAGMA foreign_keys = 0');
          await fails(session, slip, 'PRIMARYKEY');
        },
      ],
    ];
    const { writer } = cluster.node(0).runtime.open!.connections;
    for (const [how, end] of ends) {
      await end();
      // Before anybody else writes.
      await until(() => writer.pragma('foreign_keys', { simple: true }) === 1).catch(() => {
        throw new Error(`The writer does not enforce foreign keys behind ${how}.`);
      });
      await expectEnforced(cluster.a);
    }
    await cluster.expectEqual();
  });
});

describe('a session without foreign keys', () => {
  it('keeps its state where its transaction is refused for the order and run again', async () => {
    const cluster = await family();
    const wanted: unknown[] = [];
    const enforcement = enforcementOf(cluster.node(0));
    const use = enforcement.use.bind(enforcement);
    enforcement.use = (value) => (wanted.push(value), use(value));
    const session = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF');
    let isOver = false;
    const others = (async () => {
      for (let id = 1_000; !isOver; id++) await cluster.b.run('INSERT INTO child VALUES(?, 2)', [id]);
    })();
    let rebuilds = 0;
    await until(async () => {
      await session.script(REBUILD.join(';').replace('DEFAULT 7', `DEFAULT ${++rebuilds}`));
      return wanted.filter((value) => value === false).length > rebuilds;
    }, 60_000);
    isOver = true;
    await others;
    await cluster.settle();
    for (const { db } of cluster.nodes) {
      expect(childrenOf(db).filter((row) => (row as number[])[1]! < 1_000)).toEqual(ALL_CHILDREN);
    }
    await expectEnforced(cluster.a);
    await cluster.expectEqual();
  });

  it('goes on without them where COMMIT was refused, and the writer with them', async () => {
    const cluster = await family();
    const session = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF', 'BEGIN', ...REBUILD);
    await cluster.b.run('INSERT INTO child VALUES(40, 2)');
    expect((await failureOf(run(session, 'COMMIT'))).code).toBe('SQLITE_BUSY');
    await expectEnforced(cluster.a);
    await run(session, 'ROLLBACK', 'BEGIN', ...REBUILD, 'COMMIT');
    await cluster.settle();
    for (const { db } of cluster.nodes) expect(childrenOf(db)).toHaveLength(ALL_CHILDREN.length + 1);
    await expectEnforced(cluster.a);
    await cluster.expectEqual();
  });

  it('can also switch them on where the database has them off', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=off' });
    await cluster.a.exec(FAMILY);
    const session = connect(cluster.a);
    expect(await run(session, 'PRAGMA foreign_keys')).toEqual([[0n]]);
    await run(session, 'PRAGMA foreign_keys = ON');
    expect((await failureOf(run(session, ORPHAN.replace('?', '40')))).code).toBe(VIOLATION);
    await run(session, 'DELETE FROM parent WHERE id = 1');
    await cluster.a.run(ORPHAN, [41]);
    expect(childrenOf(cluster.a)).toEqual([
      ['c', 12, 2],
      ['c', 41, 99],
      ['g', 21, 12],
      ['n', 30, null],
      ['n', 31, 2],
    ]);
    await cluster.expectEqual();
  });

  it('works without replication', async () => {
    const cluster = await startCluster({ options: { replicationURL: undefined }, nodes: 1 });
    expect(cluster.a.status().role).toBe('standalone');
    await cluster.a.exec(FAMILY);
    const session = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF', 'BEGIN', ...REBUILD, 'COMMIT');
    expect(childrenOf(cluster.a)).toEqual(ALL_CHILDREN);
    await expectEnforced(cluster.a);
  });
});

describe('PRAGMAs of a session', () => {
  it('are its own, and no PRAGMA of a transaction', async () => {
    const cluster = await family();
    const session = connect(cluster.a);
    const other = connect(cluster.a);
    expect(await session.execute('PRAGMA foreign_keys')).toMatchObject({
      reader: true,
      columns: [expect.objectContaining({ name: 'foreign_keys' })],
      rows: [[1n]],
    });
    expect(await session.execute('PRAGMA foreign_keys = OFF;')).toMatchObject({ reader: false, columns: [], rows: [] });
    expect(await run(session, 'PRAGMA foreign_keys')).toEqual([[0n]]);
    expect(await run(other, 'PRAGMA foreign_keys')).toEqual([[1n]]);
    await run(session, 'BEGIN', 'PRAGMA foreign_keys = ON', 'INSERT INTO child VALUES(40, 99)');
    expect(await run(session, 'PRAGMA foreign_keys')).toEqual([[0n]]);
    await run(session, 'COMMIT', 'PRAGMA foreign_keys(true)');
    expect(await run(session, 'PRAGMA main.foreign_keys')).toEqual([[1n]]);
    await run(session, 'BEGIN', 'PRAGMA foreign_keys = OFF');
    expect((await failureOf(run(session, ORPHAN.replace('?', '41')))).code).toBe(VIOLATION);
    await run(session, 'ROLLBACK');
    await cluster.expectEqual();
  });

  it('stand in scripts, which they cut', async () => {
    const cluster = await family();
    const session = connect(cluster.a);
    const before = await cluster.lastSequence();
    const { txseq } = await session.script(
      `PRAGMA foreign_keys=OFF; INSERT INTO child VALUES(40, 99); INSERT INTO child VALUES(41, 99);
       PRAGMA foreign_keys=ON; INSERT INTO child VALUES(42, 1); PRAGMA journal_mode = WAL`,
    );
    expect(txseq).toBe(BigInt(before + 2));
    const broken = session.script(
      'PRAGMA foreign_keys = OFF; INSERT INTO child VALUES(50, 99); INSERT INTO child VALUES(10, 1)',
    );
    expect((await failureOf(broken)).code).toMatch(/PRIMARYKEY/);
    expect(await run(session, 'PRAGMA foreign_keys')).toEqual([[0n]]);
    await session.script(
      'PRAGMA foreign_keys = ON; BEGIN; INSERT INTO child VALUES(43, 1); COMMIT; PRAGMA foreign_keys = OFF',
    );
    expect(await run(session, 'SELECT id FROM child WHERE id > 12')).toEqual([[40n], [41n], [42n], [43n]]);
    await cluster.expectEqual();
  });

  it('that say how connections work are answered, and change nothing', async () => {
    const cluster = await family();
    const session = connect(cluster.a);
    for (const begin of ['SELECT 1', 'BEGIN']) {
      await run(session, begin);
      expect(await session.execute('PRAGMA journal_mode = DELETE')).toMatchObject({
        columns: [expect.objectContaining({ name: 'journal_mode' })],
        rows: [['wal']],
      });
      expect(await run(session, 'PRAGMA main.locking_mode(exclusive)')).toEqual([['normal']]);
      expect(await session.execute('pragma busy_timeout=3000;')).toMatchObject({
        columns: [expect.objectContaining({ name: 'timeout' })],
        rows: [[3_000n]],
      });
      expect(await run(session, 'PRAGMA wal_autocheckpoint = 1000')).toEqual([[0n]]);
      expect(await session.execute('PRAGMA mmap_size = 1000')).toMatchObject({ reader: true });
      const before = await run(session, 'PRAGMA cache_size');
      for (const sql of ['PRAGMA synchronous = OFF', 'PRAGMA cache_size = 5', 'PRAGMA temp_store = FILE']) {
        expect(await session.execute(sql)).toMatchObject({ reader: false, columns: [], rows: [] });
      }
      expect(await run(session, 'PRAGMA cache_size')).toEqual(before);
      expect(await run(session, 'PRAGMA synchronous')).toEqual([[1n]]);
      expect(await run(session, 'PRAGMA temp_store')).toEqual([[2n]]);
    }
  });

  it.each([
    'PRAGMA foreign_keys = perhaps',
    'PRAGMA foreign_keys = OFF; DELETE FROM child',
    'PRAGMA foreign_keys(OFF); DELETE FROM child',
    'PRAGMA foreign_keys; DELETE FROM child',
    'PRAGMA journal_mode = WAL; DELETE FROM child',
    'PRAGMA journal_mode(WAL) DELETE',
    'PRAGMA recursive_triggers = OFF',
    'PRAGMA case_sensitive_like = ON',
    'PRAGMA ignore_check_constraints = ON',
    'PRAGMA legacy_alter_table = ON',
    'EXPLAIN PRAGMA foreign_keys = OFF',
    'EXPLAIN PRAGMA recursive_triggers = ON',
    'EXPLAIN QUERY PLAN PRAGMA defer_foreign_keys = ON',
  ])('%s is refused, in a transaction too', async (sql) => {
    const cluster = await family();
    const session = connect(cluster.a);
    for (const begin of ['SELECT 1', 'BEGIN']) {
      await run(session, begin);
      expect((await failureOf(session.execute(sql))).code).toBe('HA_STATEMENT_REFUSED');
      expect(await run(session, 'PRAGMA foreign_keys')).toEqual([[1n]]);
      expect(await run(session, 'PRAGMA recursive_triggers')).toEqual([[0n]]);
    }
    expect(await run(session, 'SELECT count(*) FROM child')).toEqual([[3n]]);
  });

  it('that ask for the schema see the transaction that is open', async () => {
    const cluster = await family();
    const session = connect(cluster.a);
    const other = connect(cluster.a);
    await run(session, 'PRAGMA foreign_keys = OFF', 'BEGIN');
    await run(
      session,
      'CREATE TABLE made(x INTEGER PRIMARY KEY, p REFERENCES parent(id), h AS (x))',
      'CREATE INDEX made_p ON made(p)',
    );
    await run(session, 'INSERT INTO made(p) VALUES(99)', 'DROP TABLE note');
    const asked: [string, number][] = [
      ['PRAGMA table_info(made)', 2],
      ['PRAGMA table_xinfo(made)', 3],
      ['PRAGMA main.index_list("made")', 1],
      ['PRAGMA index_info(made_p)', 1],
      ['PRAGMA index_xinfo(made_p)', 2],
      ['PRAGMA foreign_key_list(made)', 1],
      ['PRAGMA foreign_key_check', 1],
      ['PRAGMA foreign_key_check(made)', 1],
      ['PRAGMA table_info(note)', 0],
    ];
    for (const [sql, rows] of asked)
      expect([sql, ((await run(session, sql)) as unknown[]).length]).toEqual([sql, rows]);
    for (const [sql] of asked.slice(0, 7)) expect([sql, await run(other, sql)]).toEqual([sql, []]);
    expect((await failureOf(run(other, 'PRAGMA foreign_key_check(made)'))).message).toMatch(/no such table/);
    expect(await run(other, 'PRAGMA table_info(note)')).toHaveLength(2);
    await run(session, 'COMMIT');
    for (const [sql, rows] of asked) expect([sql, ((await run(other, sql)) as unknown[]).length]).toEqual([sql, rows]);
    await cluster.expectEqual();
  });
});

describe('a session of a follower', () => {
  it('has its state with it at the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const { db } = cluster.follower;
    const leader = await cluster.elected();
    await db.exec(FAMILY);
    const session = connect(db);
    await run(session, 'PRAGMA foreign_keys = OFF', 'BEGIN', ...REBUILD, 'COMMIT');
    expect(childrenOf(db)).toEqual(ALL_CHILDREN);
    await session.script(REBUILD.join(';'));
    await run(session, ...REBUILD);
    for (const node of cluster.nodes) expect(childrenOf(node.db)).toEqual(ALL_CHILDREN);
    await run(
      session,
      'INSERT INTO child VALUES(40, 99)',
      'SAVEPOINT s',
      'INSERT INTO child VALUES(41, 99)',
      'RELEASE s',
    );
    // The very connections that the session used are used again.
    for (const each of [db, leader.db]) await expectEnforced(each);
    await Promise.all(
      Array.from({ length: 20 }, async (_each, index) => {
        const orphan = index % 2 === 0 ? undefined : failureOf(db.run(ORPHAN, [500 + index]));
        if (orphan === undefined) await run(session, `INSERT INTO child VALUES(${100 + index}, 99)`);
        else expect((await orphan).code).toBe(VIOLATION);
      }),
    );
    await run(session, 'PRAGMA foreign_keys = ON');
    expect((await failureOf(run(session, ORPHAN.replace('?', '42')))).code).toBe(VIOLATION);
    await run(session, 'BEGIN');
    expect((await failureOf(run(session, ORPHAN.replace('?', '42')))).code).toBe(VIOLATION);
    expect(await run(session, 'CREATE TABLE made(x)', 'PRAGMA table_info(made)')).toHaveLength(1);
    await run(session, 'ROLLBACK');
    expect(db.reader.prepare('SELECT count(*) FROM child WHERE p = 99').pluck().get()).toBe(12);
    await cluster.expectEqual();
    await cluster.follower.db.stop();
    await cluster.follower.db.start();
    await cluster.expectEqual();
  });

  it('drops a table where they are enforced as the leader does', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const { db } = cluster.follower;
    await db.exec(FAMILY);
    await run(connect(db), 'DELETE FROM grand WHERE id = 21', 'BEGIN', 'DROP TABLE parent', 'COMMIT');
    for (const node of cluster.nodes) {
      expect(childrenOf(node.db)).toEqual([
        ['n', 30, null],
        ['n', 31, null],
      ]);
    }
    await cluster.expectEqual();
  });
});

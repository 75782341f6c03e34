import { isRetryable } from '../../../lib/common/retryable.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import type { RowCursor } from '../../../lib/write/result.js';
import type { HASession, HASessionOptions } from '../../../lib/write/session.js';
import { failureOf, onCleanup, pause, startCluster, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

const EXACT = { rowMode: 'array', safeIntegers: true, columns: true } as const;

function named(...names: string[]): unknown[] {
  return names.map((name) => expect.objectContaining({ name }) as unknown);
}

async function clusterWithTable(): Promise<Cluster> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await cluster.settle();
  return cluster;
}

function connect(db: HADatabase, options?: HASessionOptions): HASession {
  const session = db.connect({ ...EXACT, ...options });
  onCleanup(() => session.close());
  return session;
}

/** Runs statements one after another; gives the rows of the last. */
async function run(session: HASession, ...statements: string[]): Promise<unknown> {
  let rows: unknown;
  for (const sql of statements) ({ rows } = await session.execute(sql));
  return rows;
}

describe('a session', () => {
  it('tells what a statement did, without loss', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    const inserted = await session.execute('INSERT INTO t VALUES(?, ?), (2, 2.0)', [9_007_199_254_740_993n, 'a']);
    expect(inserted).toMatchObject({ reader: false, changes: 2 });
    expect(inserted.txseq).toBe(cluster.a.position().published);
    expect(await session.execute(`INSERT INTO t VALUES(3, x'00') RETURNING id, v, v`)).toEqual({
      reader: true,
      columns: named('id', 'v', 'v'),
      rows: [[3n, Buffer.from([0]), Buffer.from([0])]],
      changes: 1,
      lastInsertRowid: 3n,
      txseq: cluster.a.position().published,
    });
    expect(await session.execute('SELECT id, v FROM t ORDER BY id')).toMatchObject({
      columns: named('id', 'v'),
      rows: [
        [2n, 2],
        [3n, Buffer.from([0])],
        [9_007_199_254_740_993n, 'a'],
      ],
    });
    expect(await session.execute('SELECT * FROM t WHERE 0')).toMatchObject({ reader: true, columns: named('id', 'v') });
    expect(await session.execute('-- nothing')).toMatchObject({ reader: false, rows: [] });
    expect(await session.execute('PRAGMA no_such_pragma')).toMatchObject({ reader: false, rows: [] });
    expect(await session.execute('VACUUM')).toMatchObject({ reader: false });
    await cluster.expectEqual();
  });

  it('sees the columns that a table has now', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    await session.execute('SELECT * FROM t');
    await cluster.a.exec('ALTER TABLE t ADD COLUMN w');
    expect(await session.execute('SELECT * FROM t')).toMatchObject({ columns: named('id', 'v', 'w'), rows: [] });
  });

  it('commits what stands between BEGIN and COMMIT as one transaction, and says where', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    const before = await cluster.lastSequence();
    await run(session, 'BEGIN', `INSERT INTO t VALUES(1, 'a')`, `INSERT INTO t VALUES(2, 'b')`);
    expect(session.inTransaction).toBe(true);
    expect(await run(session, 'SELECT count(*) FROM t')).toEqual([[2n]]);
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
    expect(await session.execute('COMMIT')).toMatchObject({ txseq: BigInt(before + 1) });
    expect(session.inTransaction).toBe(false);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT v FROM t')).toEqual([{ v: 'a' }, { v: 'b' }]);
  });

  it.each(['ROLLBACK', 'rollback transaction', 'ROLLBACK TRANSACTION x'])('forgets it all at %s', async (sql) => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    const before = await cluster.lastSequence();
    await run(session, 'BEGIN IMMEDIATE', `INSERT INTO t VALUES(1, 'a')`, sql);
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
    expect(await cluster.lastSequence()).toBe(before);
  });

  it('goes back to savepoints, nested and of one name, and publishes only what is left', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    await run(session, 'BEGIN', 'INSERT INTO t VALUES(1, 1)', 'SAVEPOINT a', 'INSERT INTO t VALUES(2, 2)');
    await run(session, 'SAVEPOINT "A"', 'INSERT INTO t VALUES(3, 3)', 'ROLLBACK TO a', 'INSERT INTO t VALUES(4, 4)');
    await run(session, 'RELEASE a', 'ROLLBACK TRANSACTION TO SAVEPOINT a', 'INSERT INTO t VALUES(5, 5)', 'COMMIT');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 5 }]);
    await cluster.expectEqual();
  });

  it('undoes a change of the schema with its savepoint', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    await run(session, 'BEGIN', 'SAVEPOINT s', 'CREATE TABLE u(x)', 'INSERT INTO u VALUES(1)', 'ROLLBACK TO s');
    await run(session, 'CREATE TABLE w(x)', 'INSERT INTO w VALUES(2)', 'COMMIT');
    expect(await cluster.a.all(`SELECT name FROM sqlite_schema WHERE name IN ('u', 'w')`)).toEqual([{ name: 'w' }]);
    await cluster.expectEqual();
  });

  it('begins a transaction with SAVEPOINT, and commits it with its RELEASE', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    await run(session, 'SAVEPOINT s', 'INSERT INTO t VALUES(1, 1)', 'SAVEPOINT u', 'RELEASE u');
    expect(session.inTransaction).toBe(true);
    const { txseq } = await session.execute('RELEASE SAVEPOINT s');
    expect(txseq).toBe(cluster.a.position().published);
    expect(session.inTransaction).toBe(false);
    await cluster.expectEqual();
  });

  it.each([
    ['RELEASE nothing', 'HA_TRANSACTION_CONTROL'],
    ['ROLLBACK TO nothing', 'HA_TRANSACTION_CONTROL'],
    ['COMMIT and more', 'HA_TRANSACTION_CONTROL'],
    ['BEGIN CONCURRENT', 'HA_TRANSACTION_CONTROL'],
    ['SAVEPOINT a.b', 'HA_TRANSACTION_CONTROL'],
    ['SAVEPOINT', 'HA_TRANSACTION_CONTROL'],
    ['SELEC 1', 'SQLITE_ERROR'],
    ['SELECT * FROM missing', 'SQLITE_ERROR'],
    ["ATTACH 'x' AS y", 'HA_STATEMENT_REFUSED'],
    ['SELECT 1; SELECT 2', undefined],
  ])('refuses %s, and goes on', async (sql, code) => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    expect((await failureOf(session.execute(sql))).code).toBe(code);
    expect(await run(session, 'SELECT 1')).toEqual([[1n]]);
    await run(session, 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    expect((await failureOf(session.execute(sql))).code).toBe(code);
    expect((await failureOf(session.execute('BEGIN'))).code).toBe('HA_TRANSACTION_CONTROL');
    await run(session, 'COMMIT');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }]);
  });

  it('fails every statement behind one that has rolled the transaction back, until ROLLBACK', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    await run(session, 'INSERT INTO t VALUES(1, 1)', 'BEGIN', 'INSERT INTO t VALUES(2, 2)');
    expect((await failureOf(session.execute('INSERT OR ROLLBACK INTO t VALUES(1, 1)'))).code).toMatch(/^SQLITE_CONS/);
    for (const sql of ['INSERT INTO t VALUES(3, 3)', 'SELECT 1', 'BEGIN', 'SAVEPOINT s']) {
      expect((await failureOf(session.execute(sql))).code).toBe('HA_TRANSACTION_CLOSED');
    }
    await run(session, 'ROLLBACK', 'INSERT INTO t VALUES(4, 4)');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 4 }]);
    await cluster.expectEqual();
  });

  it('is rolled back where nothing comes, and lets others write', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a, { idleTimeout: 1_000 });
    await run(session, 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    await cluster.a.run('INSERT INTO t VALUES(2, 2)');
    expect((await failureOf(session.execute('INSERT INTO t VALUES(3, 3)'))).code).toBe('HA_TRANSACTION_TIMEOUT');
    expect((await failureOf(session.execute('COMMIT'))).code).toBe('HA_TRANSACTION_CLOSED');
    await run(session, 'INSERT INTO t VALUES(4, 4)');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 2 }, { id: 4 }]);
  });

  it('fails the COMMIT of a transaction that idled too long', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a, { idleTimeout: 1_000 });
    await run(session, 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    await cluster.a.run('INSERT INTO t VALUES(2, 2)');
    expect((await failureOf(session.execute('COMMIT'))).code).toBe('HA_TRANSACTION_TIMEOUT');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it('is rolled back at its time, although statements come', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a, { timeout: 100 });
    await session.execute('BEGIN');
    let error: Error & { code?: string };
    do {
      await pause(5);
      error = await failureOf(
        session.execute('INSERT INTO t(v) VALUES(1)').then(() => Promise.reject(new Error('ok'))),
      );
    } while (error.message === 'ok');
    expect(error.code).toBe('HA_TRANSACTION_TIMEOUT');
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
  });

  it('ends an open cursor before the writer goes on', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a, { idleTimeout: 1_000 });
    await run(session, 'INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)', 'BEGIN', 'DELETE FROM t WHERE id = 3');
    const answer = await session.stream('SELECT id FROM t');
    if (!('cursor' in answer)) throw new Error('no cursor');
    expect(answer.cursor.next()).toEqual([1n]);
    await cluster.a.run('INSERT INTO t VALUES(4, 4)');
    expect(() => answer.cursor.next()).toThrow(/no statement came/);
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }, { id: 2 }, { id: 3 }, { id: 4 }]);
  });

  it('rolls back when it is closed, also while it waits for its turn', async () => {
    const cluster = await clusterWithTable();
    const first = connect(cluster.a);
    const second = connect(cluster.a);
    await run(first, 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    const waiting = failureOf(second.execute('BEGIN'));
    await second.close();
    await first.close();
    expect((await waiting).code).toBe('HA_TRANSACTION_CLOSED');
    expect((await failureOf(first.execute('SELECT 1'))).code).toBe('HA_TRANSACTION_CLOSED');
    await cluster.a.run('INSERT INTO t VALUES(2, 2)');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it('never runs on behind stop()', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a, { idleTimeout: 200 });
    await run(session, 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    await cluster.a.stop();
    expect((await failureOf(session.execute('INSERT INTO t VALUES(2, 2)'))).code).toBe('HA_UNAVAILABLE');
    await cluster.a.start();
    expect((await failureOf(session.execute('COMMIT'))).code).toBe('HA_TRANSACTION_TIMEOUT');
    expect(await run(session, 'SELECT count(*) FROM t')).toEqual([[0n]]);
  });

  it('takes ROLLBACK where its database is stopped or closed: nothing is open there any more', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    const reading = connect(cluster.a);
    await run(session, 'INSERT INTO t VALUES(7, 7), (8, 8)', 'BEGIN', 'INSERT INTO t VALUES(1, 1)');
    const { cursor } = (await session.stream('SELECT id FROM t')) as { cursor: RowCursor };
    expect(cursor.next()).toEqual([1n]);
    await cluster.a.stop();
    expect((await failureOf(session.execute('SELECT 1'))).code).toBe('HA_UNAVAILABLE');
    expect(session.inTransaction).toBe(true);
    for (const sql of ['ROLLBACK', '; rollback transaction -- twice', 'ROLLBACK']) {
      expect(await session.execute(sql)).toMatchObject({ reader: false, rows: [] });
      expect(session.inTransaction).toBe(false);
    }
    for (const sql of ['COMMIT', 'ROLLBACK TO s', 'SELECT 1', 'BEGIN']) {
      expect((await failureOf(session.execute(sql))).code).toBe('HA_UNAVAILABLE');
    }
    expect((await failureOf(session.execute('ROLLBACK; DELETE FROM t'))).code).toBe('HA_TRANSACTION_CONTROL');
    expect(cluster.a.status().state).toBe('stopped');
    await cluster.a.start();
    expect(await run(session, 'BEGIN', 'SELECT count(*) FROM t')).toEqual([[2n]]);
    const read = (await reading.stream('SELECT id FROM t')) as { cursor: RowCursor };
    expect(read.cursor.next()).toEqual([7n]);
    await cluster.a.close();
    await session.close();
    await reading.execute('ROLLBACK');
    await reading.close();
    expect((await failureOf(reading.execute('ROLLBACK'))).code).toBe('HA_TRANSACTION_CLOSED');
  });

  it('fails COMMIT where an ordered transaction was not alone, and never runs it again', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    let conflicts = 0;
    for (let round = 0; conflicts === 0; round++) {
      await run(session, 'BEGIN', `INSERT INTO t(v) VALUES('generated ${round}')`);
      await cluster.b.run('INSERT INTO t VALUES(?, ?)', [1_000 + round, 'other']);
      const error = await failureOf(session.execute('COMMIT').then(() => Promise.reject(new Error('stored'))));
      if (error.message === 'stored') continue;
      expect(error).toMatchObject({ code: 'SQLITE_BUSY', retryable: true, cause: { code: 'HA_CONFLICT' } });
      expect(isRetryable(error)).toBe(true);
      conflicts++;
    }
    expect(session.inTransaction).toBe(false);
    await cluster.expectEqual();
  });

  it('runs a script as one transaction', async () => {
    const cluster = await clusterWithTable();
    const session = connect(cluster.a);
    const before = await cluster.lastSequence();
    expect(await session.script('INSERT INTO t VALUES(1, 1), (2, 2); DELETE FROM t WHERE id = 1;')).toMatchObject({
      changes: 1,
      txseq: BigInt(before + 1),
    });
    expect((await failureOf(session.script('INSERT INTO t VALUES(3, 3); INSERT INTO t VALUES(2, 2)'))).code).toMatch(
      /^SQLITE_CONSTRAINT/,
    );
    await session.script('BEGIN; INSERT INTO t VALUES(4, 4); COMMIT; BEGIN; INSERT INTO t VALUES(5, 5); ROLLBACK');
    expect(await session.script('')).toMatchObject({ changes: 0 });
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 2 }, { id: 4 }]);
    await cluster.expectEqual();
  });

  it('leaves nothing open where a thousand of them are dropped', async () => {
    const cluster = await clusterWithTable();
    for (let i = 0; i < 1_000; i++) {
      const session = cluster.a.connect();
      if (i % 3 === 0) await run(session, 'BEGIN', `INSERT INTO t VALUES(${i}, 1)`);
      else if (i % 3 === 1) await session.stream('SELECT * FROM sqlite_schema');
      await session.close();
    }
    await cluster.a.run('INSERT INTO t VALUES(1, 1)');
    expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }]);
    await until(() => cluster.a.status().waitingWrites === 0);
  });
});

import { AsyncLocalStorage } from 'node:async_hooks';
import type { HATransaction } from '../../../lib/write/executor.js';
import { failureOf, pause, startCluster, until } from '../../helper/cluster.js';
import { LazyQuery } from '../../helper/lazy-query.js';

describe('transaction', () => {
  it('is rolled back where the callback throws, and publishes nothing', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const before = await cluster.lastSequence();
    const reason = new Error('mine');
    expect(
      await failureOf(
        cluster.a.transaction(async (tx) => {
          await tx.run(`INSERT INTO t VALUES(1, 'a')`);
          throw reason;
        }),
      ),
    ).toBe(reason);
    expect(
      await failureOf(
        cluster.a.transaction(() => {
          throw reason;
        }),
      ),
    ).toBe(reason);
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
  });

  it('is rolled back after its time, and late calls are refused', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    let late: Promise<Error & { code?: string }> | undefined;
    let kept: HATransaction | undefined;
    let goOn = (): void => undefined;
    const isOver = new Promise<void>((resolve) => (goOn = resolve));
    const error = await failureOf(
      cluster.a.transaction(
        async (tx) => {
          kept = tx;
          await tx.run(`INSERT INTO t VALUES(1, 'a')`);
          await tx.savepoint(async () => {
            await isOver;
            late = failureOf(tx.run(`INSERT INTO t VALUES(2, 'late')`));
            await late;
          });
        },
        { timeout: 1_000 },
      ),
    );
    expect(error.code).toBe('HA_TRANSACTION_TIMEOUT');
    const next = cluster.a.run(`INSERT INTO t VALUES(3, 'next')`);
    goOn();
    await until(() => late !== undefined);
    expect((await late)?.code).toBe('HA_TRANSACTION_CLOSED');
    await next;
    expect(kept?.open).toBe(false);
    expect((await failureOf(() => kept?.exec('DELETE FROM t') ?? Promise.resolve())).code).toBe(
      'HA_TRANSACTION_CLOSED',
    );
    expect((await failureOf(() => kept?.savepoint(() => 1) ?? Promise.resolve())).code).toBe('HA_TRANSACTION_CLOSED');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id FROM t')).toEqual([{ id: 3 }]);
  });

  it('refuses the database inside its callback, in every way to call it', async () => {
    const cluster = await startCluster();
    const { a, b } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const codes: unknown[] = [];
    await a.transaction(async (tx) => {
      await tx.run('INSERT INTO t VALUES(1, 1)');
      const calls = [
        () => a.run('DELETE FROM t'),
        () => a.get('SELECT 1'),
        () => a.all('SELECT 1'),
        () => a.exec('DELETE FROM t'),
        () => a.prepare('SELECT 1').all(),
        () => a.iterate('SELECT 1').next(),
        () => a.transaction(() => 1),
        async () => {
          await pause(1);
          await a.run('DELETE FROM t');
        },
      ];
      for (const call of calls) codes.push((await failureOf(call)).code);
      expect(await b.get('SELECT 1 AS one')).toEqual({ one: 1 });
      expect(a.reader.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 0 });
    });
    expect(codes).toEqual(Array.from({ length: 8 }, () => 'HA_NESTED_TRANSACTION'));
    await cluster.expectEqual();
  });

  it('lets calls pass that a callback leaves for later', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    let later: Promise<unknown> = Promise.resolve();
    await cluster.a.transaction(async (tx) => {
      await tx.run('INSERT INTO t VALUES(1, 1)');
      later = pause(50).then(() => cluster.a.run('INSERT INTO t VALUES(2, 2)'));
    });
    await later;
    await cluster.expectEqual();
  });

  it('refuses transaction control as statements', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    for (const sql of [
      'BEGIN',
      'begin immediate',
      'COMMIT',
      'END',
      'ROLLBACK',
      'SAVEPOINT s',
      'RELEASE s',
      'ROLLBACK TO s',
      ' /* x */ COMMIT;',
    ]) {
      expect((await failureOf(cluster.a.run(sql))).code).toBe('HA_TRANSACTION_CONTROL');
      expect((await failureOf(cluster.a.prepare(sql).run())).code).toBe('HA_TRANSACTION_CONTROL');
      expect((await failureOf(cluster.a.transaction((tx) => tx.run(sql)))).code).toBe('HA_TRANSACTION_CONTROL');
      expect((await failureOf(cluster.a.transaction((tx) => tx.exec(`INSERT INTO t VALUES(1, 1); ${sql}`)))).code).toBe(
        'HA_TRANSACTION_CONTROL',
      );
    }
    for (const sql of [
      `ATTACH ':memory:' AS x`,
      'DETACH x',
      'PRAGMA foreign_keys = ON',
      'PRAGMA journal_mode = DELETE',
      'PRAGMA writable_schema = 1',
      'PRAGMA main.temp_store=2',
      'PRAGMA recursive_triggers(1)',
    ]) {
      expect((await failureOf(cluster.a.run(sql))).code).toBe('HA_STATEMENT_REFUSED');
    }
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([]);
  });

  it('waits for whatever can be awaited, as the builders and promises of other libraries', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const two = (tx: HATransaction, id: number, v: string | null) => async (): Promise<number> => {
      await tx.run('INSERT INTO t VALUES(?, ?)', [id, v]);
      await pause(1);
      return (await tx.run('UPDATE t SET v = upper(v) WHERE id = ?', [id])).changes;
    };
    expect(await cluster.a.transaction((tx) => new LazyQuery(two(tx, 1, 'a')))).toBe(1);
    expect(await cluster.a.transaction((tx) => tx.savepoint(() => new LazyQuery(two(tx, 2, 'b'))))).toBe(1);
    const failing = cluster.a.transaction(
      (tx) =>
        new LazyQuery(async () => {
          await two(tx, 3, 'c')();
          throw new Error('no');
        }),
    );
    expect((await failureOf(failing)).message).toBe('no');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 'A' },
      { id: 2, v: 'B' },
    ]);
  });

  it('rolls a savepoint back alone, and returns its value', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)');
    const value = await cluster.a.transaction(async (tx) => {
      const first = await tx.savepoint(
        async (inner) => (await inner.run(`INSERT INTO t(v) VALUES('kept')`)).lastInsertRowid,
      );
      const reason = await failureOf(
        tx.savepoint(async (inner) => {
          await inner.run(`INSERT INTO t(v) VALUES('gone')`);
          await inner.run('CREATE TABLE u(v)');
          await inner.run('no sql');
        }),
      );
      return [first, reason.name];
    });
    expect(value).toEqual([1, 'SqliteError']);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'kept' }]);
  });

  it('runs again where another node came first, and says how often', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0)');
    await cluster.settle();
    const attempts: number[] = [];
    const add = (db: typeof cluster.a): Promise<void> =>
      db.transaction(
        async (tx) => {
          attempts.push(tx.attempt);
          const row = await tx.get<{ v: number }>('SELECT v FROM t WHERE id = 1');
          await tx.run('UPDATE t SET v = ? WHERE id = 1', [(row?.v ?? 0) + 1]);
        },
        { serializable: true },
      );
    await Promise.all(Array.from({ length: 20 }, () => [add(cluster.a), add(cluster.b)]).flat());
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT v FROM t')).toEqual({ v: 40 });
    expect(Math.max(...attempts)).toBeGreaterThan(1);
  });

  it('fails with HA_CONFLICT where it may not run again', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0)');
    await cluster.settle();
    const run = (db: typeof cluster.a): Promise<void> =>
      db.transaction(async (tx) => void (await tx.run('UPDATE t SET v = v + 1')), { serializable: true, retry: false });
    let stored = 0;
    let conflicts = 0;
    for (let round = 0; round < 20; round++) {
      for (const result of await Promise.allSettled([run(cluster.a), run(cluster.b)])) {
        if (result.status === 'fulfilled') stored++;
        else {
          expect(result.reason).toMatchObject({ code: 'HA_CONFLICT', retryable: true });
          conflicts++;
        }
      }
    }
    expect(conflicts).toBeGreaterThan(0);
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT v FROM t')).toEqual({ v: stored });
  });

  it('refuses what is called behind the end without being awaited', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    let forgotten: Promise<Error & { code?: string }> | undefined;
    await cluster.a.transaction((tx) => {
      forgotten = failureOf(pause(10).then(() => tx.run('INSERT INTO t VALUES(1, 1)')));
    });
    expect((await forgotten)?.code).toBe('HA_TRANSACTION_CLOSED');
    await cluster.expectEqual();
  });

  it('of several callers do not mix', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 0)');
    await Promise.all(
      Array.from({ length: 30 }, (_value, index) =>
        cluster.a.transaction(async (tx) => {
          const row = await tx.get<{ v: number }>('SELECT v FROM t');
          await pause(index % 3);
          await tx.run('UPDATE t SET v = ?', [(row?.v ?? 0) + 1]);
        }),
      ),
    );
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT v FROM t')).toEqual({ v: 30 });
  });

  it('run in the context of their caller, in whose course they may come, and again', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    const request = new AsyncLocalStorage<number>();
    const seen: [caller: number, here: unknown][] = [];
    const write = (caller: number): Promise<void> =>
      request.run(caller, () =>
        (caller % 2 === 0 ? cluster.a : cluster.b).transaction(async (tx) => {
          seen.push([caller, request.getStore()]);
          // SQLite chooses the id: where the other node comes first it runs again.
          await tx.run('INSERT INTO t(v) VALUES(?)', [caller]);
          seen.push([caller, request.getStore()]);
          const nested = await failureOf((caller % 2 === 0 ? cluster.a : cluster.b).run('DELETE FROM t'));
          expect(nested.code).toBe('HA_NESTED_TRANSACTION');
        }),
      );
    await Promise.all(Array.from({ length: 20 }, (_value, caller) => write(caller)));
    expect(seen.length).toBeGreaterThanOrEqual(40);
    expect(seen.filter(([caller, here]) => caller !== here)).toEqual([]);
    await cluster.expectEqual();
  });
});

import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, pause, startCluster, until } from '../../helper/cluster.js';

const ROWS = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, i * 2 FROM n`;

describe('iterate', () => {
  it('sees one snapshot, while others write and read', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); ${ROWS}`);
    let rows = 0;
    for await (const row of cluster.a.iterate<{ id: number; v: number }>('SELECT * FROM t ORDER BY id')) {
      expect(row.v).toBe(row.id * 2);
      if (++rows === 1) await cluster.a.run('UPDATE t SET v = 0');
      if (rows === 2) expect(await cluster.a.get('SELECT max(v) AS v FROM t')).toEqual({ v: 0 });
    }
    expect(rows).toBe(2_000);
    await cluster.expectEqual();
  });

  it('can be left early and nested, many times over', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); ${ROWS}`);
    for (let round = 0; round < 30; round++) {
      for await (const outer of cluster.a.iterate<{ id: number }>('SELECT id FROM t')) {
        for await (const inner of cluster.a.iterate<{ id: number }>('SELECT id FROM t WHERE id > ?', [outer.id])) {
          expect(inner.id).toBe(outer.id + 1);
          break;
        }
        if (outer.id === 3) break;
      }
      await failureOf(async () => {
        for await (const _row of cluster.a.iterate('SELECT * FROM t')) throw new Error('left');
      });
    }
    await failureOf(() => cluster.a.iterate('SELECT nothing').next());
    await cluster.a.run('DELETE FROM t WHERE id > 1');
    await cluster.expectEqual();
  });

  it('runs a write with RETURNING once, and works in a transaction', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const ids: unknown[] = [];
    for await (const row of cluster.a.iterate('INSERT INTO t(v) VALUES(1), (2) RETURNING id')) ids.push(row);
    await cluster.a.transaction(async (tx) => {
      for await (const row of tx.iterate<{ id: number }>('SELECT id FROM t'))
        await tx.run('UPDATE t SET v = v + 10 WHERE id = ?', [row.id]);
      for await (const row of tx.prepare<number>('SELECT v FROM t').pluck().iterate()) ids.push(row);
    });
    expect(ids).toEqual([{ id: 1 }, { id: 2 }, 11, 12]);
    await cluster.expectEqual();
  });
});

describe('prepare', () => {
  it('returns rows as better-sqlite3 does: pluck, raw, safeIntegers', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(9007199254740993, 2.5)');
    const sql = 'SELECT id, v FROM t';
    expect(await cluster.a.prepare(sql).safeIntegers().get()).toEqual({ id: 9007199254740993n, v: 2.5 });
    expect(await cluster.a.prepare(sql).safeIntegers().raw().all()).toEqual([[9007199254740993n, 2.5]]);
    expect(await cluster.a.prepare(sql).safeIntegers().raw().pluck().get()).toBe(9007199254740993n);
    expect(await cluster.a.prepare(sql).pluck().raw().pluck(false).raw(false).all()).toEqual([
      { id: 9007199254740992, v: 2.5 },
    ]);
    expect(await cluster.a.prepare('SELECT 1 WHERE 0').get()).toBeUndefined();
    const insert = cluster.a.prepare('INSERT INTO t VALUES(?, :v) RETURNING id, v');
    expect(await insert.raw().get(5, { v: 'mixed' })).toEqual([5, 'mixed']);
    const run = cluster.a.prepare('INSERT INTO t(v) VALUES(?)').safeIntegers();
    expect((await run.run('big')).lastInsertRowid).toBe(9007199254740994n);
    expect(await cluster.a.prepare('SELECT @a AS a, $b AS b, ?1 AS one').all({ a: 1, b: 'x', 1: 'one' })).toEqual(
      [{ a: 1, b: 'x', one: 1 }].map((row) => ({ ...row, one: row.a })),
    );
    await cluster.expectEqual();
  });
});

describe('exec', () => {
  it('is one transaction: all of it or nothing', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const before = await cluster.lastSequence();
    await failureOf(
      cluster.a.exec(
        `INSERT INTO t VALUES(1, 1); CREATE TABLE u(v); INSERT INTO t VALUES(2, 2); INSERT INTO t VALUES(1, 'twice')`,
      ),
    );
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.a.exec(`INSERT INTO t VALUES(1, 1); SELECT * FROM t; INSERT INTO t VALUES(2, 'a;b'); -- end; \n ;;`);
    expect(await cluster.lastSequence()).toBe(before + 1);
    await cluster.a.exec('');
    await cluster.a.exec(' -- nothing\n');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 1 },
      { id: 2, v: 'a;b' },
    ]);
  });

  it('takes dumps with BEGIN and COMMIT, and refuses ROLLBACK and savepoints before anything runs', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `BEGIN TRANSACTION; CREATE TABLE t(v); INSERT INTO t VALUES(1); COMMIT; BEGIN; INSERT INTO t VALUES(2); END;`,
    );
    for (const sql of ['ROLLBACK', 'SAVEPOINT s', 'RELEASE s']) {
      expect((await failureOf(cluster.a.exec(`INSERT INTO t VALUES(3); ${sql}; INSERT INTO t VALUES(4)`))).code).toBe(
        'HA_TRANSACTION_CONTROL',
      );
    }
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ v: 1 }, { v: 2 }]);
  });
});

describe('waitFor', () => {
  it('resolves when the sequence is applied', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(v)');
    const { txseq } = await cluster.a.run('INSERT INTO t VALUES(1)');
    await cluster.b.waitFor(txseq ?? 0n, { timeout: 30_000 });
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ v: 1 }]);
    expect(cluster.b.position().received).toBe(txseq);
    expect(cluster.a.position()).toEqual({ received: txseq, published: txseq });
  });

  it('ends with HA_WAIT_TIMEOUT, or with the reason of the signal', async () => {
    const cluster = await startCluster({ nodes: 1 });
    expect(await failureOf(cluster.a.waitFor(99n, { timeout: 30 }))).toMatchObject({
      code: 'HA_WAIT_TIMEOUT',
      retryable: true,
    });
    const reason = new Error('enough');
    expect(await failureOf(cluster.a.waitFor(99n, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const controller = new AbortController();
    const waiting = failureOf(cluster.a.waitFor(99n, { signal: controller.signal }));
    setTimeout(() => controller.abort(reason), 10);
    expect(await waiting).toBe(reason);
    const stopped = failureOf(cluster.a.waitFor(99n));
    await pause(10);
    await cluster.a.stop();
    expect((await stopped).code).toBe('HA_UNAVAILABLE');
  });
});

describe('events', () => {
  it('tell what is applied, and complete on close', async () => {
    const cluster = await startCluster();
    let completed = false;
    cluster.b.events.subscribe({ complete: () => (completed = true) });
    await cluster.a.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1), (2)');
    await cluster.settle();
    expect(cluster.node(1).events).toContainEqual({ type: 'applied', sequence: 1n, node: 'n1', changes: 3 });
    await cluster.b.close();
    await cluster.b.close();
    expect(completed).toBe(true);
    expect((await failureOf(cluster.b.start())).code).toBe('HA_DATABASE_CLOSED');
    expect((await failureOf(cluster.b.get('SELECT 1'))).code).toMatch(/^HA_(DATABASE_CLOSED|UNAVAILABLE)$/);
  });
});

describe('start and stop', () => {
  it('autoStart false contacts nothing before start()', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const node = cluster.make({ url: 'nats://127.0.0.1:1', options: { autoStart: false } });
    expect((await failureOf(node.db.run('SELECT 1'))).code).toBe('HA_UNAVAILABLE');
    expect(node.db.status().state).toBe('stopped');
    expect(() => node.db.reader).toThrow(expect.objectContaining({ code: 'HA_UNAVAILABLE' }) as Error);
    await node.db.stop();
    await node.db.close();
  });

  it('many times over, at once and in any order', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    for (let round = 0; round < 5; round++) {
      await Promise.all([cluster.b.stop(), cluster.b.stop()]);
      await cluster.a.run('INSERT INTO t(v) VALUES(?)', [round]);
      await Promise.all([cluster.b.start(), cluster.b.start()]);
      await cluster.b.run('INSERT INTO t(v) VALUES(?)', [-round]);
    }
    const stopping = cluster.b.stop();
    const starting = cluster.b.start();
    await Promise.allSettled([stopping, starting]);
    await cluster.b.start();
    await until(() => cluster.b.status().state === 'running');
    await cluster.b.run('INSERT INTO t(v) VALUES(100)');
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 11 });
  });
});

describe('what configure registers', () => {
  it('functions and collations serve writes, triggers, indexes and the applier', async () => {
    const cluster = await startCluster({
      configure: (db) => {
        db.function('twice', { deterministic: true }, (value: unknown) => Number(value) * 2);
      },
    });
    await cluster.a
      .exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v, g AS (twice(v))); CREATE INDEX i ON t(twice(v)); CREATE TABLE log(v);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(twice(NEW.v)); END; INSERT INTO t(v) VALUES(21);`);
    await cluster.settle();
    await cluster.b.run('UPDATE t SET v = twice(v)');
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([{ id: 1, v: 42, g: 84 }]);
  });
});

describe('PRAGMAs that describe the schema', () => {
  const PRAGMAS = [
    'foreign_key_list(t)',
    'index_list(t)',
    'index_info(i)',
    'index_xinfo(i)',
    'table_info(t)',
    'foreign_key_check',
  ];

  it('describe it as it is, however it was read before', async () => {
    const cluster = await startCluster();
    const { a, b } = cluster;
    const ways: ((db: HADatabase, sql: string) => Promise<unknown[]>)[] = [
      (db, sql) => db.all(sql),
      (db, sql) => db.all(`-- why\n/* and\n how */ ${sql}`),
      async (db, sql) => (await db.execute(sql)).rows,
      async (db, sql) => {
        const rows = [];
        for await (const row of db.iterate(sql)) rows.push(row);
        return rows;
      },
      async (db, sql) => {
        const session = db.connect();
        const answer = await session.stream(sql);
        const rows = [];
        if ('cursor' in answer)
          for (let row = answer.cursor.next(); row !== undefined; row = answer.cursor.next()) rows.push(row);
        await session.close();
        return rows;
      },
    ];
    await a.exec('CREATE TABLE p(id PRIMARY KEY)');
    for (const way of ways) {
      await cluster.settle();
      for (const pragma of PRAGMAS) for (const db of [a, b]) await way(db, `PRAGMA ${pragma}`);
      await a.exec('PRAGMA defer_foreign_keys = ON; CREATE TABLE t(x REFERENCES p, y); CREATE INDEX i ON t(x)');
      await cluster.settle();
      for (const pragma of PRAGMAS.slice(0, -1)) {
        for (const db of [a, b]) {
          expect({ pragma, rows: (await way(db, `PRAGMA ${pragma}`)).length }).not.toEqual({ pragma, rows: 0 });
        }
      }
      const session = a.connect();
      await session.execute('PRAGMA foreign_keys = OFF');
      await session.execute('INSERT INTO t VALUES(9, 9)');
      await session.close();
      await cluster.settle();
      for (const db of [a, b]) expect(await way(db, 'PRAGMA foreign_key_check')).toHaveLength(1);
      await a.exec('DELETE FROM t; DROP TABLE t');
    }
    await cluster.expectEqual();
  });
});

describe('PRAGMAs that SQLite would answer with how capturing works', () => {
  const LIST = `SELECT schema, name, type FROM pragma_table_list WHERE name NOT LIKE 'ha\\_%' ESCAPE '\\' ORDER BY 1, 2`;

  it('table_list tells of no TEMP tables that the user has not made, inside of transactions and outside', async () => {
    const { a } = await startCluster();
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE VIEW w AS SELECT 1 AS x');
    const outside = await a.all('PRAGMA table_list');
    const table = [{ schema: 'main', name: 't', type: 'table', ncol: 2, wr: 0, strict: 0 }];
    expect(await a.all('PRAGMA table_list(t)')).toEqual(table);
    const temporary = { schema: 'temp', name: 'sqlite_temp_schema', type: 'table', ncol: 5, wr: 0, strict: 0 };
    expect(outside).toContainEqual(temporary);
    await a.transaction(async (tx) => {
      const byName = (rows: unknown): string[] => (rows as { name: string }[]).map(({ name }) => name).sort();
      expect(byName(await tx.all('PRAGMA table_list'))).toEqual(byName(outside));
      expect(await tx.all('pragma TEMP.table_list;')).toEqual([temporary]);
      expect(await tx.all('PRAGMA table_list("t")')).toEqual(table);
      expect(await tx.all('PRAGMA table_list(ha_log)')).toEqual([]);
      expect(await tx.all('PRAGMA main.table_list(w)')).toMatchObject([{ name: 'w', type: 'view' }]);
      expect((await failureOf(tx.all('PRAGMA missing.table_list'))).message).toBe('unknown database missing');
      await tx.run('CREATE TEMP TABLE mine(v)');
      expect(await tx.all('PRAGMA temp.table_list(mine)')).toMatchObject([{ schema: 'temp', name: 'mine' }]);
      expect(await tx.all('PRAGMA temp.table_list')).toHaveLength(2);
      expect(await tx.prepare('PRAGMA table_list(t)').raw().get()).toEqual(['main', 't', 'table', 2, 0, 0]);
    });
    const session = a.connect({ rowMode: 'array' });
    for (const begin of ['SELECT 1', 'BEGIN']) {
      await session.execute(begin);
      const { rows } = await session.execute<string[]>('PRAGMA table_list');
      expect(rows.map(([schema, name, type]) => ({ schema, name, type }))).toEqual(
        expect.arrayContaining(await a.all(LIST)),
      );
      expect(rows.filter(([schema, name]) => schema === 'temp' && name?.startsWith('ha_'))).toEqual([]);
    }
    await session.close();
  });

  it.each([
    ['', 5_000],
    ['_busy_timeout=250', 250],
  ])('busy_timeout tells how long writes wait, as the DSN says it: %s', async (query, timeout) => {
    const { a } = await startCluster({ nodes: 1, query });
    expect(await a.get('PRAGMA busy_timeout')).toEqual({ timeout });
    expect(await a.prepare('PRAGMA busy_timeout').pluck().all()).toEqual([timeout]);
    expect(await a.transaction((tx) => tx.get('PRAGMA busy_timeout'))).toEqual({ timeout });
    const [one, other] = [a.connect(), a.connect()];
    await one.execute('PRAGMA busy_timeout = 7');
    for (const begin of ['SELECT 1', 'BEGIN']) {
      await one.execute(begin);
      expect((await one.execute('PRAGMA busy_timeout')).rows).toEqual([{ timeout: 7 }]);
    }
    expect((await other.execute('PRAGMA busy_timeout')).rows).toEqual([{ timeout }]);
    await one.close();
    await other.close();
    expect((await failureOf(a.get('PRAGMA busy_timeout = 7'))).code).toBe('HA_STATEMENT_REFUSED');
  });
});

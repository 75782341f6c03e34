import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DynamicModule } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import { getHAToken } from '../../../lib/common/tokens.js';
import { HADatabaseRegistry } from '../../../lib/ha-database-registry.js';
import type { HAModuleOptionsWithDsn } from '../../../lib/ha-module-options.js';
import { HAModule } from '../../../lib/ha.module.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, temporaryFolder } from '../../helper/cluster.js';

async function started(module: DynamicModule): Promise<TestingModule> {
  const app = await Test.createTestingModule({ imports: [module] }).compile();
  await app.init();
  onCleanup(() => app.close());
  return app;
}

const database = (app: TestingModule, connection: string): HADatabase =>
  app.get(getHAToken(connection), { strict: false });

async function tenants(
  count: number,
  options: Partial<HAModuleOptionsWithDsn> = {},
): Promise<{ app: TestingModule; main: HADatabase; folder: string; all: HADatabase[] }> {
  const folder = temporaryFolder();
  const names = Array.from({ length: count }, (_, i) => `tenant-${i + 1}`);
  const app = await started(
    HAModule.forRoot([
      { connection: 'main', dsn: `file:${join(folder, 'main.db')}`, allowCrossDatabase: true, ...options },
      ...names.map((connection) => ({ connection, dsn: `file:${join(folder, `${connection}.db`)}` })),
    ]),
  );
  const all = names.map((name) => database(app, name));
  for (const [i, db] of all.entries()) {
    await db.exec(`CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT COLLATE NOCASE, cents INTEGER, note BLOB);
      INSERT INTO orders VALUES (1, 'ann', ${100 * (i + 1)}, x'0${i}'), (2, 'Bob', ${10 * (i + 1)}, NULL);`);
  }
  return { app, main: database(app, 'main'), folder, all };
}

describe('SELECT with the hint db=regex', () => {
  it('is answered as if all matching databases were one', async () => {
    const { main } = await tenants(3);
    expect(
      await main.get('/*+ db=tenant-.* */ SELECT count(*) AS n, sum(cents) AS s, avg(cents) AS a FROM orders'),
    ).toEqual({ n: 6, s: 660, a: 110 });
    expect(
      await main.all(
        'SELECT /*+ db=tenant-[12] */ lower(customer) AS c, max(cents) AS m FROM orders GROUP BY customer ORDER BY m DESC',
      ),
    ).toEqual([
      { c: 'ann', m: 200 },
      { c: 'bob', m: 20 },
    ]);
    expect(await main.all('/*+ db=tenant-.* */ SELECT cents FROM orders ORDER BY cents DESC LIMIT 2 OFFSET 1')).toEqual(
      [{ cents: 200 }, { cents: 100 }],
    );
    expect(
      await main.get('/*+ db=tenant-.* */ SELECT cents FROM orders WHERE customer = ? AND cents > :least', [
        'BOB',
        { least: 15 },
      ]),
    ).toEqual({ cents: 20 });
  });

  it('names the database of a row where the statement asks for it', async () => {
    const { main } = await tenants(2);
    const sql = '/*+ db=tenant-.* */ SELECT _ha_db, sum(cents) AS s FROM orders GROUP BY _ha_db ORDER BY 1';
    expect(await main.all(sql)).toEqual([
      { _ha_db: 'tenant-1', s: 110 },
      { _ha_db: 'tenant-2', s: 220 },
    ]);
  });

  it('gives rows in the form that was asked for', async () => {
    const { main } = await tenants(2);
    const statement = main.prepare('/*+ db=tenant-.* */ SELECT note, cents FROM orders WHERE note IS NOT NULL');
    expect(await statement.raw().all()).toEqual([
      [Buffer.from([0]), 100],
      [Buffer.from([1]), 200],
    ]);
    expect(await statement.pluck().get()).toEqual(Buffer.from([0]));
    const byNote = await main.all('/*+ db=tenant-.* */ SELECT cents FROM orders WHERE note = ?', [Buffer.from([1])]);
    expect(byNote).toEqual([{ cents: 200 }]);
    expect(await main.prepare('/*+ db=tenant-.* */ SELECT sum(cents) FROM orders').pluck().safeIntegers().get()).toBe(
      330n,
    );
    await expect(statement.run()).rejects.toThrow(TypeError);
    const session = main.connect({ rowMode: 'array', safeIntegers: true, columns: true });
    const { columns = [], rows } = await session.execute('/*+ db=tenant-.* */ SELECT count(*) AS n FROM orders');
    expect([columns.map(({ name }) => name), rows]).toEqual([['n'], [[4n]]]);
    await session.close();
  });

  it('streams, and stops where its reader does', async () => {
    const { main, all } = await tenants(3);
    const many =
      'WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c LIMIT 5000) INSERT INTO orders SELECT n, ?, 1, NULL FROM c';
    for (const db of all) await db.run(many, ['x']);
    let rows = 0;
    for await (const row of main.iterate<{ id: number }>(
      '/*+ db=tenant-.* */ SELECT id, cents FROM orders WHERE cents = 1',
    )) {
      expect(row.id).toBeGreaterThanOrEqual(10);
      if (++rows === 9_000) break;
    }
    expect(rows).toBe(9_000);
    expect(await main.all('/*+ db=tenant-.* */ SELECT id FROM orders LIMIT 5')).toHaveLength(5);
    expect(await main.get('/*+ db=tenant-.* */ SELECT count(*) AS n FROM orders')).toEqual({ n: 15_006 });
  });

  it('sees what was just written, and a schema that was just changed', async () => {
    const { main, all } = await tenants(2);
    for (let i = 0; i < 3; i++) {
      for (const db of all) await db.exec(`ALTER TABLE orders ADD COLUMN extra${i} DEFAULT ${i}`);
      await all[0]?.run(`UPDATE orders SET extra${i} = 7 WHERE id = 1`);
      expect(await main.get(`/*+ db=tenant-.* */ SELECT sum(extra${i}) AS s FROM orders`)).toEqual({ s: 7 + 3 * i });
    }
  });

  it('keeps the event loop free while it runs', async () => {
    const { main } = await tenants(1);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const slow =
      '/*+ db=tenant-1 */ WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000) SELECT max(n) AS m FROM c';
    expect(await main.get(slow)).toEqual({ m: 1_000_000 });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });

  it('does not count in strings and line comments', async () => {
    const { main } = await tenants(1);
    expect(await main.get(`SELECT '/*+ db=tenant-1 */' AS s -- /*+ db=tenant-1 */`)).toEqual({
      s: '/*+ db=tenant-1 */',
    });
  });
});

describe('what is refused', () => {
  it('does not read other databases unless allowCrossDatabase is set', async () => {
    const { main } = await tenants(1, { allowCrossDatabase: false });
    const refusals = [
      main.all('/*+ db=.* */ SELECT * FROM orders'),
      main.acrossDatabases('SELECT * FROM orders', [], { databases: '.*' }),
      main.prepare('/*+ db=.* */ SELECT * FROM orders').get(),
    ];
    for (const refusal of refusals) {
      expect(await failureOf(refusal)).toMatchObject({
        code: 'HA_CROSS_DATABASE_REFUSED',
        message: expect.stringContaining('allowCrossDatabase'),
      });
    }
  });

  it.each([
    ['no database matches', '/*+ db=tenant */ SELECT 1 FROM orders'],
    ['no regular expression', '/*+ db=( */ SELECT 1 FROM orders'],
    ['rowid', '/*+ db=tenant-.* */ SELECT rowid FROM orders'],
    ['changes', '/*+ db=tenant-.* */ SELECT changes() FROM orders'],
    ['sqlite_schema', '/*+ db=tenant-.* */ SELECT name FROM sqlite_schema'],
    ['pragma_table_info', "/*+ db=tenant-.* */ SELECT * FROM pragma_table_info('orders')"],
    ['INDEXED BY', '/*+ db=tenant-.* */ SELECT id FROM orders INDEXED BY ix'],
    ['main.', '/*+ db=tenant-.* */ SELECT id FROM main.orders'],
    ['virtual table', '/*+ db=tenant-.* */ SELECT * FROM f'],
    ['has no', '/*+ db=tenant-.* */ SELECT * FROM only_here'],
    ['another one', '/*+ db=tenant-.* */ SELECT * FROM differs'],
  ])('says why: %s', async (reason, sql) => {
    const { main, all } = await tenants(2);
    await all[0]?.exec(
      'CREATE TABLE only_here(a); CREATE TABLE differs(a INTEGER); CREATE VIRTUAL TABLE f USING fts5(a)',
    );
    await all[1]?.exec('CREATE TABLE differs(a TEXT); CREATE VIRTUAL TABLE f USING fts5(a)');
    expect(await failureOf(main.all(sql))).toMatchObject({
      code: 'HA_CROSS_DATABASE_REFUSED',
      message: expect.stringContaining(reason),
    });
  });

  it('refuses a function that the application registers', async () => {
    const { main } = await tenants(1);
    expect(await main.get('/*+ db=tenant-1 */ SELECT upper(customer) AS u FROM orders')).toEqual({ u: 'ANN' });
    const folder = temporaryFolder();
    const app = await started(
      HAModule.forRoot({
        dsn: `file:${join(folder, 'x.db')}`,
        allowCrossDatabase: true,
        configure: (db) => void db.function('upper', (text) => `my ${String(text)}`),
      }),
    );
    const db = database(app, 'default');
    await db.exec("CREATE TABLE t(a); INSERT INTO t VALUES ('a')");
    expect(await failureOf(db.all('/*+ db=default */ SELECT upper(a) FROM t'))).toMatchObject({
      code: 'HA_CROSS_DATABASE_REFUSED',
    });
    expect(await db.get('SELECT upper(a) AS u FROM t')).toEqual({ u: 'my a' });
  });

  it('refuses hints in writes and transactions instead of running them in one database', async () => {
    const { main } = await tenants(1);
    expect(await failureOf(main.run('/*+ db=tenant-1 */ DELETE FROM orders'))).toMatchObject({
      code: 'HA_CROSS_DATABASE_REFUSED',
    });
    const inside = main.transaction((tx) => tx.all('/*+ db=tenant-1 */ SELECT * FROM orders'));
    expect(await failureOf(inside)).toMatchObject({ code: 'HA_CROSS_DATABASE_REFUSED' });
  });

  it.each([
    '/*+ db=tenant-.* */ EXPLAIN SELECT * FROM orders',
    'EXPLAIN QUERY PLAN /*+ db=tenant-.* */ SELECT * FROM orders',
  ])('refuses to explain what several databases would do: %s', async (sql) => {
    const { main } = await tenants(1);
    expect(await failureOf(main.all(sql))).toMatchObject({
      code: 'HA_CROSS_DATABASE_REFUSED',
      message: expect.stringContaining('this is no SELECT'),
    });
  });

  it('refuses a promise that holds for one database alone', async () => {
    const { main } = await tenants(2);
    const sql = '/*+ db=tenant-.* */ SELECT count(*) AS n FROM orders';
    for (const consistency of ['session', 'leader'] as const) {
      const rows = main.iterate(sql, [], { consistency });
      for (const asked of [main.get(sql, [], { consistency }), main.all(sql, [], { consistency }), rows.next()]) {
        expect(await failureOf(asked)).toMatchObject({
          code: 'HA_CROSS_DATABASE_REFUSED',
          message: expect.stringContaining(consistency),
        });
      }
    }
    expect(await main.get(sql, [], { consistency: 'local' })).toEqual({ n: 4 });
  });

  it("passes SQLite's own errors on", async () => {
    const { main } = await tenants(2);
    // Errors of SQLite are of the realm that loaded it first: not always that of this suite.
    const failure = async (sql: string): Promise<string> => (await failureOf(main.all(sql))).message;
    expect(await failure('/*+ db=tenant-.* */ SELECT missing FROM orders')).toContain('no such column: missing');
    expect(await failure('/*+ db=tenant-.* */ SELECT sum(9223372036854775807) FROM orders')).toContain(
      'integer overflow',
    );
    expect(await failure('/*+ db=tenant-.* */ SELECT * FROM orders WHERE id = ?')).toContain(
      'Too few parameter values',
    );
  });
});

describe('queryRouter', () => {
  it('sends every SELECT to the databases that it matches, and writes nowhere else', async () => {
    const { main } = await tenants(2, { allowCrossDatabase: false, queryRouter: 'tenant-\\d+' });
    expect(await main.get('SELECT count(*) AS n FROM orders')).toEqual({ n: 4 });
    await main.exec('CREATE TABLE orders(id)');
    await main.run('INSERT INTO orders VALUES (1)');
    expect(await main.get('SELECT count(*) AS n FROM orders')).toEqual({ n: 4 });
    expect(await main.transaction((tx) => tx.get('SELECT count(*) AS n FROM orders'))).toEqual({ n: 1 });
  });
});

describe('a database that cannot be read', () => {
  it('fails the query, or is listed with partial: true', async () => {
    const { main, folder, all } = await tenants(3);
    await all[1]?.close();
    for (const end of ['', '-wal', '-shm']) rmSync(join(folder, `tenant-2.db${end}`), { force: true });
    const sql = 'SELECT customer, cents FROM orders WHERE id = 1';
    expect(await failureOf(main.all(`/*+ db=tenant-.* */ ${sql}`))).toMatchObject({
      code: 'HA_CROSS_DATABASE_FAILED',
      details: { connection: 'tenant-2' },
    });
    const answer = await main.acrossDatabases(sql, [], { databases: /tenant-.*/, partial: true });
    expect(answer).toMatchObject({
      columns: ['customer', 'cents'],
      databases: ['tenant-1', 'tenant-2', 'tenant-3'],
      rows: [
        { customer: 'ann', cents: 100 },
        { customer: 'ann', cents: 300 },
      ],
      failed: [{ connection: 'tenant-2' }],
    });
  });

  it('gives none of its rows where it is damaged in the middle', async () => {
    const { main, folder, all } = await tenants(2);
    await all[1]?.run(
      "WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c LIMIT 5000) INSERT INTO orders SELECT n, 'long text to fill pages', n, NULL FROM c",
    );
    await all[1]?.run('PRAGMA wal_checkpoint(TRUNCATE)');
    const path = join(folder, 'tenant-2.db');
    const { readFileSync } = await import('node:fs');
    const bytes = readFileSync(path);
    bytes.fill(0xff, 20 * 4096, 21 * 4096);
    writeFileSync(path, bytes);
    expect(await failureOf(main.all('/*+ db=tenant-.* */ SELECT id, customer FROM orders'))).toMatchObject({
      code: 'HA_CROSS_DATABASE_FAILED',
    });
    for (const sql of ['SELECT id, customer FROM orders', 'SELECT id, customer FROM orders ORDER BY id']) {
      const { rows, failed } = await main.acrossDatabases(sql, [], { databases: 'tenant-.*', partial: true });
      expect(rows).toHaveLength(2);
      expect(failed).toMatchObject([{ connection: 'tenant-2' }]);
    }
  });
});

describe('HADatabaseRegistry', () => {
  it('opens, lists and closes databases at run time', async () => {
    const folder = temporaryFolder();
    const app = await started(
      HAModule.forRoot([{ connection: 'main', dsn: `file:${join(folder, 'main.db')}`, allowCrossDatabase: true }], {
        databases: (name) => `file:${join(folder, `${name}.db`)}`,
      }),
    );
    const registry = app.get(HADatabaseRegistry, { strict: false });
    const [one, again] = await Promise.all([registry.open('tenant-1'), registry.open('tenant-1')]);
    expect(again).toBe(one);
    await one.exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
    const two = await registry.open('tenant-2', { dsn: `file:${join(folder, 'other.db')}` });
    await two.exec('CREATE TABLE t(a); INSERT INTO t VALUES (2)');
    expect(await registry.open('main')).toBe(database(app, 'main'));
    expect(registry.list().map(({ connection, isOpen }) => [connection, isOpen])).toEqual([
      ['main', true],
      ['tenant-1', true],
      ['tenant-2', true],
    ]);
    expect(await (await registry.open('main')).all('/*+ db=tenant-1|other */ SELECT a FROM t')).toEqual([
      { a: 1 },
      { a: 2 },
    ]);
    expect(await failureOf(registry.open('tenant-2', 'file:third.db'))).toMatchObject({
      code: 'HA_DUPLICATE_CONNECTION',
    });
    await registry.close('tenant-2');
    expect(registry.list()).toHaveLength(2);
    expect(await failureOf(registry.close('tenant-2'))).toMatchObject({ code: 'HA_UNKNOWN_DATABASE' });
    expect(await failureOf(two.get('SELECT 1'))).toMatchObject({ code: 'HA_UNAVAILABLE' });
  });

  it('reads a file once that is registered under several paths', async () => {
    const folder = temporaryFolder();
    const app = await started(
      HAModule.forRoot([
        { connection: 'main', dsn: `file:${join(folder, 'main.db')}`, allowCrossDatabase: true },
        { connection: 'one', dsn: `file:${join(folder, 'one.db')}` },
        { connection: 'two', dsn: `file:${folder}/./one.db` },
      ]),
    );
    await database(app, 'one').exec('CREATE TABLE t(a); INSERT INTO t VALUES (1)');
    const main = database(app, 'main');
    expect(await main.get('/*+ db=one|two */ SELECT count(*) AS n FROM t')).toEqual({ n: 1 });
    expect(await main.acrossDatabases('SELECT a FROM t', [], { databases: /one|two/ })).toMatchObject({
      rows: [{ a: 1 }],
      databases: ['one'],
    });
  });

  it('keeps no more than maxOpen files open, and opens one again that is used', async () => {
    const folder = temporaryFolder();
    const app = await started(
      HAModule.forRoot([{ connection: 'main', dsn: `file:${join(folder, 'main.db')}`, allowCrossDatabase: true }], {
        databases: (name) => `file:${join(folder, `${name}.db`)}`,
        maxOpen: 3,
      }),
    );
    const registry = app.get(HADatabaseRegistry, { strict: false });
    const names = Array.from({ length: 8 }, (_, i) => `t${i}`);
    const handles = new Map<string, HADatabase>();
    for (const name of names) {
      const db = await registry.open(name);
      handles.set(name, db);
      await db.exec(`CREATE TABLE t(a); INSERT INTO t VALUES ('${name}')`);
    }
    const open = (): number => registry.list().filter(({ isOpen }) => isOpen).length;
    await until(() => open() <= 3);
    expect(registry.list()).toHaveLength(9);
    for (const name of names) expect(await handles.get(name)?.get('SELECT a FROM t')).toEqual({ a: name });
    const main = await registry.open('main');
    expect(await main.get('/*+ db=t\\d */ SELECT count(*) AS n FROM t')).toEqual({ n: 8 });
    await Promise.all(names.map(async (name) => handles.get(name)?.run("INSERT INTO t VALUES ('more')")));
    expect(await main.get('/*+ db=t\\d */ SELECT count(*) AS n FROM t')).toEqual({ n: 16 });
    await until(() => open() <= 3);
  });

  it('says how to make a database that nobody knows', async () => {
    const app = await started(HAModule.forRoot([{ connection: 'main', dsn: ':memory:' }]));
    const failure = await failureOf(app.get(HADatabaseRegistry, { strict: false }).open('nobody'));
    expect(failure).toMatchObject({ code: 'HA_UNKNOWN_DATABASE' });
    expect(() => app.get(HADatabaseRegistry, { strict: false }).configure([], { maxOpen: 0 })).toThrow(/maxOpen/);
  });
});

async function until(done: () => boolean): Promise<void> {
  const end = Date.now() + 30_000;
  while (!done() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(done()).toBe(true);
}

import { Injectable, Scope } from '@nestjs/common';
import type { Provider } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import type { TestingModule } from '@nestjs/testing';
import type { HAChange } from '../../../lib/changeset/row-changes.js';
import { OnHAChange } from '../../../lib/common/on-change.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { HAModule } from '../../../lib/ha.module.js';
import { HATestingBroker, HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import type { HATestingOptions } from '../../../lib/testing/ha-testing.module.js';
import { HADatabase } from '../../../lib/write/ha-database.js';
import { collect, failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';

@Injectable()
class Listener {
  readonly all: HAChange[] = [];
  readonly removed: unknown[] = [];
  readonly orders: HAChange[] = [];

  @OnHAChange('*')
  onAny(change: HAChange): void {
    this.all.push(change);
  }

  @OnHAChange('T', 'delete')
  @OnHAChange('u', ['delete', 'update'])
  onRemoved({ table, operation, before }: HAChange): void {
    this.removed.push([table, operation, before]);
  }

  @OnHAChange('t', 'insert', { connection: 'orders' })
  onOrder(change: HAChange): void {
    this.orders.push(change);
  }
}

interface Node {
  readonly app: TestingModule;
  readonly db: HADatabase;
  readonly listener: Listener;
  readonly log: string[];
}

async function start(providers: Provider[], options: HATestingOptions = {}): Promise<Node> {
  const log: string[] = [];
  const app = await Test.createTestingModule({
    imports: [HATestingModule.forRoot(options), HATestingModule.forRoot({ ...options, connection: 'orders' })],
    providers,
  })
    .setLogger(collect(log))
    .compile();
  onCleanup(() => app.close());
  await app.init();
  const listener = app.get(Listener, { strict: false });
  return { app, db: app.get(HADatabase), listener, log };
}

const told = ({ all }: Listener): unknown[] =>
  all.map(({ table, operation, before, after, sequence, node }) => [
    Number(sequence),
    node,
    table,
    operation,
    before,
    after,
  ]);

it('tells every node of every row in stream order, own writes included', async () => {
  const broker = new HATestingBroker();
  const first = await start([Listener], { broker, name: 'a' });
  const second = await start([Listener], { broker, name: 'b' });
  await first.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v, w AS (v || '!')); CREATE TABLE u(v)`);
  const { txseq: inserted = 0n } = await first.db.run(`INSERT INTO t(id, v) VALUES(1, 'one')`);
  await second.db.waitFor(inserted, { timeout: 10_000 });
  await second.db.run(`UPDATE t SET v = 'uno' WHERE id = 1`);
  await second.db.transaction(async (tx) => {
    await tx.run('INSERT INTO u VALUES(?)', [2.5]);
    await tx.run('DELETE FROM t');
  });
  await first.db.waitFor(second.db.position().published, { timeout: 10_000 });
  const { txseq = 0n } = await first.db.run('DELETE FROM u');
  await second.db.waitFor(txseq, { timeout: 10_000 });
  const expected = [
    [2, 'a', 't', 'insert', null, { id: 1, v: 'one' }],
    [3, 'b', 't', 'update', { id: 1, v: 'one' }, { id: 1, v: 'uno' }],
    [4, 'b', 'u', 'insert', null, { v: 2.5 }],
    [4, 'b', 't', 'delete', { id: 1, v: 'uno' }, null],
    [5, 'a', 'u', 'delete', { v: 2.5 }, null],
  ];
  for (const { listener } of [first, second]) {
    await until(() => listener.all.length === expected.length);
    expect(told(listener)).toEqual(expected);
    expect(listener.removed).toEqual([
      ['t', 'delete', { id: 1, v: 'uno' }],
      ['u', 'delete', { v: 2.5 }],
    ]);
    expect(listener.orders).toEqual([]);
  }
});

it('tells the same order on all nodes that write at once', async () => {
  const broker = new HATestingBroker();
  const nodes = [await start([Listener], { broker }), await start([Listener], { broker })];
  const [first, second] = nodes as [Node, Node];
  await first.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await second.db.waitFor(1n, { timeout: 10_000 });
  const writes = Array.from({ length: 300 }, (_, n) =>
    (n % 2 === 0 ? first : second).db.run('INSERT INTO t VALUES(?, ?) ON CONFLICT DO UPDATE SET v = excluded.v', [
      n % 7,
      n,
    ]),
  );
  const sequences = (await Promise.all(writes)).map(({ txseq = 0n }) => Number(txseq));
  for (const { listener } of nodes) await until(() => listener.all.length >= 300);
  expect(told(second.listener)).toEqual(told(first.listener));
  expect(first.listener.all.map(({ sequence }) => Number(sequence))).toEqual(sequences.sort((a, b) => a - b));
});

it('gives values as they are, large integers too', async () => {
  const { db, listener } = await start([Listener]);
  await db.exec('CREATE TABLE v(i INTEGER, r REAL, t TEXT, b BLOB, n)');
  await db.run('INSERT INTO v VALUES(?, ?, ?, ?, ?)', [2n ** 53n + 1n, 0.1, 'é', Buffer.from([0, 255]), null]);
  await db.run('UPDATE v SET i = 7');
  await until(() => listener.all.length === 2);
  expect(listener.all[0]?.after).toEqual({ i: 2n ** 53n + 1n, r: 0.1, t: 'é', b: Buffer.from([0, 255]), n: null });
  expect(listener.all[1]?.after).toMatchObject({ i: 7 });
});

it('keeps the databases of an application apart', async () => {
  const { app, listener } = await start([Listener]);
  const orders = app.get<HADatabase>(getHAToken('orders'));
  await orders.exec('CREATE TABLE t(v)');
  await orders.run('INSERT INTO t VALUES(2)');
  await until(() => listener.orders.length === 1);
  expect(listener.orders[0]).toMatchObject({ operation: 'insert', after: { v: 2 } });
  expect(listener.all).toEqual([]);
});

it('logs what a handler throws, and goes on', async () => {
  @Injectable()
  class Failing {
    @OnHAChange('t')
    async rejects({ sequence }: HAChange): Promise<void> {
      await Promise.resolve();
      throw new Error(`no ${sequence}`);
    }

    @OnHAChange('t')
    throws(): void {
      throw new TypeError('not at all');
    }
  }
  const { db, listener, log } = await start([Failing, Listener]);
  await db.exec('CREATE TABLE t(v)');
  await db.run('INSERT INTO t VALUES(1)');
  await db.run('INSERT INTO t VALUES(2)');
  await until(() => listener.all.length === 2 && log.length >= 4);
  expect(log.filter((line) => line.startsWith('Failing.'))).toEqual(
    expect.arrayContaining([
      `Failing.rejects failed on the insert of a row of 't' at sequence 2: no 2`,
      `Failing.rejects failed on the insert of a row of 't' at sequence 3: no 3`,
      `Failing.throws failed on the insert of a row of 't' at sequence 2: not at all`,
    ]),
  );
  expect(await db.all('SELECT * FROM t')).toHaveLength(2);
});

it('waits for the promise of a handler before its next call', async () => {
  const steps: string[] = [];
  @Injectable()
  class Slow {
    @OnHAChange('t')
    async handle({ after }: HAChange): Promise<void> {
      steps.push(`begin ${String(after?.['v'])}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      steps.push(`end ${String(after?.['v'])}`);
    }
  }
  const { db } = await start([Slow, Listener]);
  await db.exec('CREATE TABLE t(v)');
  await Promise.all([1, 2, 3].map((v) => db.run('INSERT INTO t VALUES(?)', [BigInt(v)])));
  await until(() => steps.length === 6);
  expect(steps).toEqual(['begin 1', 'end 1', 'begin 2', 'end 2', 'begin 3', 'end 3']);
});

it('refuses a database that nobody registers, and warns where a handler cannot be called', async () => {
  @Injectable()
  class Wrong {
    @OnHAChange('t', undefined, { connection: 'oders' })
    handle(): void {}
  }
  const error = await failureOf(start([Wrong, Listener]));
  expect(error).toMatchObject({
    code: 'HA_OPTIONS_INVALID',
    message: expect.stringContaining(`Wrong.handle listens to the database 'oders'`) as string,
  });
  expect(error.message).toContain('default, orders');

  @Injectable({ scope: Scope.REQUEST })
  class PerRequest {
    @OnHAChange('t')
    handle(): void {}
  }
  const { log } = await start([PerRequest, Listener]);
  expect(log).toContainEqual(expect.stringContaining('PerRequest.handle is never called'));

  const lines: string[] = [];
  const alone = await Test.createTestingModule({
    imports: [HAModule.forRoot(':memory:'), HAModule.forRoot(':memory:', { connection: 'orders' })],
    providers: [Listener, { provide: 'alias', useExisting: Listener }],
  })
    .setLogger(collect(lines))
    .compile();
  onCleanup(() => alone.close());
  await alone.init();
  expect(lines.filter((line) => line.includes(`has no stream`))).toHaveLength(3);
});

it('calls a handler once, although its provider has an alias', async () => {
  const { db, listener } = await start([Listener, { provide: 'alias', useExisting: Listener }]);
  await db.exec('CREATE TABLE t(v)');
  await db.run('INSERT INTO t VALUES(1)');
  await db.run('DELETE FROM t');
  await until(() => listener.all.some(({ operation }) => operation === 'delete'));
  expect(listener.all).toHaveLength(2);
});

it('tells of transactions in chunks, and of overtaken groups, once each, on a real server', async () => {
  const cluster = await startCluster();
  const seen: HAChange[][] = [[], []];
  cluster.nodes.forEach(({ db }, index) => db.changes.subscribe((change) => seen[index]?.push(change)));
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await cluster.settle();
  const value = 'x'.repeat(400_000);
  const writes = [0, 1, 2, 3].map((n) =>
    (n % 2 === 0 ? cluster.a : cluster.b).transaction(async (tx) => {
      for (let i = 0; i < 6; i++) await tx.run('INSERT INTO t VALUES(?, ?)', [n * 10 + i, value]);
    }),
  );
  await Promise.all([
    ...writes,
    cluster.a.run('INSERT INTO t VALUES(100, 1)'),
    cluster.b.run('INSERT INTO t VALUES(200, 2)'),
  ]);
  await cluster.settle();
  await until(() => seen.every((changes) => changes.length === 26));
  expect(seen[0]).toEqual(seen[1]);
  expect(new Set(seen[0]?.map(({ after }) => after?.['id'])).size).toBe(26);
  const sequences = seen[0]?.map(({ sequence }) => Number(sequence)) ?? [];
  expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
  await cluster.expectEqual();
});

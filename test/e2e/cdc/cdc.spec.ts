import { CdcMirror } from '../../sim/cdc-mirror.js';
import { TestTarget, registered } from '../../helper/cdc-target.js';
import { pause, startCluster, until } from '../../helper/cluster.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';

/** Waits until the targets of a node have everything. */
async function delivered({ db }: TestNode): Promise<void> {
  await until(() => {
    const { cdc = [] } = db.status();
    const left = db.reader.prepare('SELECT count(*) FROM ha_cdc_log WHERE sequence > ?').pluck();
    return cdc.every(({ state, position }) => state === 'streaming' && left.get(position) === 0);
  });
}

async function begun({ db }: TestNode): Promise<void> {
  await until(() => (db.status().cdc ?? []).every(({ state }) => state === 'streaming'));
}

const withTarget = async (cluster: Cluster, target: TestTarget, settings = {}): Promise<TestNode> => {
  const node = await cluster.add({ cdc: [registered(target, settings)] });
  await begun(node);
  return node;
};

it('tells what transactions did, in stream order, with exact values', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const target = new TestTarget();
  const node = await withTarget(cluster, target);
  const { db } = node;
  await db.run('CREATE TABLE t(id INTEGER PRIMARY KEY, i INT, r REAL, x TEXT, b BLOB)');
  const big = 9_007_199_254_740_993n;
  await db.run('INSERT INTO t VALUES(1, ?, ?, ?, ?)', [big, -Infinity, "it's", Buffer.from([0, 255])]);
  await db.transaction(async (tx) => {
    await tx.run('UPDATE t SET i = -9223372036854775808, x = NULL WHERE id = 1');
    await tx.run('UPDATE t SET id = 7 WHERE id = 1');
    await tx.run('DELETE FROM t');
  });
  await delivered(node);
  const first = { id: 1n, i: big, r: -Infinity, x: "it's", b: Buffer.from([0, 255]) };
  const second = { ...first, i: -(2n ** 63n), x: null };
  expect(target.told).toEqual([
    ['c', 't', null, first],
    ['u', 't', first, second],
    ['d', 't', second, null],
    ['c', 't', null, { ...second, id: 7n }],
    ['d', 't', { ...second, id: 7n }, null],
  ]);
  expect(target.changes.map(({ key }) => key)).toEqual([{ id: 1n }, { id: 1n }, { id: 1n }, { id: 7n }, { id: 7n }]);
  const [made, , changed, ...others] = target.events;
  expect(made).toMatchObject({
    type: 'schema',
    topic: 'prefix',
    value: { ddl: expect.stringContaining('CREATE TABLE') },
  });
  expect(changed).toMatchObject({
    topic: 'prefix.db.t',
    value: {
      source: { connector: 'sqlite', db: 'db', table: 't', node: 'n1', snapshot: 'false' },
      transaction: { total_order: 1, data_collection_order: 1 },
    },
  });
  const ids = others.map(({ value }) => ('transaction' in value ? value.transaction?.id : ''));
  expect(new Set(ids)).toEqual(new Set([changed?.type === 'change' ? changed.value.transaction?.id : '']));
});

it('tells effects, not messages: folded, the events of concurrent writers are the rows', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const targets = [new TestTarget(), new TestTarget()];
  for (const target of targets) await cluster.add({ cdc: [registered(target, { maxBatchSize: 7 })] });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE bag(v)');
  await cluster.settle();
  await Promise.all(
    [cluster.a, cluster.b].flatMap((db, node) =>
      Array.from({ length: 60 }, async (_value, n) => {
        const id = (n * 7) % 5;
        if (n % 4 === 0) await db.run('DELETE FROM t WHERE id = ?', [id]);
        else if (n % 4 === 1) await db.run('UPDATE t SET v = ? WHERE id = ?', [`${node}:${n}`, id]);
        else if (n % 4 === 2) await db.run('INSERT OR REPLACE INTO t VALUES(?, ?, ?)', [id, n % 3, n]);
        else await db.exec(`INSERT INTO bag VALUES(${n % 3}); DELETE FROM bag WHERE v = ${n % 2}`);
      }),
    ),
  );
  await cluster.settle();
  for (const [index, target] of targets.entries()) {
    const node = cluster.node(index);
    await delivered(node);
    const mirror = new CdcMirror();
    mirror.apply(target.events);
    mirror.check(`n${index}`, node.db.reader);
    expect(mirror.events).toBeGreaterThan(60);
    mirror.close();
  }
  await cluster.expectEqual();
});

it('begins with all rows, and exactly behind them; or with what comes next', async () => {
  const cluster = await startCluster({ nodes: 1 });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  for (let id = 1; id <= 5; id++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, `v${id}`]);
  const [all, none] = [new TestTarget(), new TestTarget()];
  const cdc = [
    registered(all, { name: 'all', maxBatchSize: 2 }),
    registered(none, { name: 'none', snapshot: 'never' }),
  ];
  const node = await cluster.add({ cdc });
  await begun(node);
  await cluster.a.run('UPDATE t SET v = NULL WHERE id = 3');
  await cluster.settle();
  await delivered(node);
  expect(all.told).toEqual([
    ...[1n, 2n, 3n, 4n, 5n].map((id) => ['r', 't', null, { id, v: `v${id}` }]),
    ['u', 't', { id: 3n, v: 'v3' }, { id: 3n, v: null }],
  ]);
  expect(all.events.map(({ value }) => value.source.snapshot)).toEqual([
    'first',
    ...Array.from({ length: 4 }, () => 'true'),
    'last',
    'false',
  ]);
  expect(none.told).toEqual([['u', 't', { id: 3n, v: 'v3' }, { id: 3n, v: null }]]);
});

it('tells what is gone of a snapshot that was interrupted', async () => {
  const cluster = await startCluster({ nodes: 1 });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  for (let id = 1; id <= 4; id++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [id, 'old']);
  const target = new TestTarget();
  target.stuckAfter = 2;
  const settings = { maxBatchSize: 1, shutdownTimeout: 50, includeSchemaChanges: false };
  const node = await cluster.add({ cdc: [registered(target, settings)] });
  await until(() => target.batches.length === 2 && target.open === 1);
  await node.db.stop();
  await cluster.a.exec(
    `DELETE FROM t WHERE id = 1; UPDATE t SET v = 'new' WHERE id = 4; INSERT INTO t VALUES(5, 'new')`,
  );
  target.stuckAfter = Number.POSITIVE_INFINITY;
  await node.db.start();
  await delivered(node);
  const rows = new Map<unknown, unknown>();
  for (const { key, value } of target.changes) {
    if (value.op === 'd') rows.delete(key?.['id']);
    else rows.set(key?.['id'], value.after?.['v']);
  }
  expect(target.told[0]).toEqual(['r', 't', null, { id: 1n, v: 'old' }]);
  expect(target.changes.filter(({ value }) => value.source.snapshot === 'first')).toHaveLength(2);
  expect([...rows].sort(([a], [b]) => Number(a) - Number(b))).toEqual([
    [2n, 'old'],
    [3n, 'old'],
    [4n, 'new'],
    [5n, 'new'],
  ]);
});

it('goes on where it was when the node starts again, with all that came meanwhile', async () => {
  const cluster = await startCluster({ nodes: 1 });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  const target = new TestTarget();
  const node = await withTarget(cluster, target, { snapshot: 'never' });
  await node.db.run('INSERT INTO t VALUES(1)');
  await delivered(node);
  await node.db.stop();
  await cluster.a.run('INSERT INTO t VALUES(2)');
  await node.db.start();
  await node.db.run('INSERT INTO t VALUES(3)');
  await delivered(node);
  expect(target.told).toEqual([1n, 2n, 3n].map((id) => ['c', 't', null, { id }]));
});

it('goes on behind a resync, without what it told before', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const target = new TestTarget();
  const node = await withTarget(cluster, target);
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await node.db.run('INSERT INTO t VALUES(1)');
  await delivered(node);
  await node.db.resync();
  await node.db.run('INSERT INTO t VALUES(2)');
  await delivered(node);
  expect(target.told).toEqual([1n, 2n].map((id) => ['c', 't', null, { id }]));
});

it('tries a target again that is down, and keeps nobody else waiting', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const [down, healthy] = [new TestTarget(), new TestTarget()];
  const node = await cluster.add({
    cdc: [registered(down, { name: 'down' }), registered(healthy, { name: 'healthy' })],
  });
  await begun(node);
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await delivered(node);
  down.failure = new Error('connection refused');
  for (let id = 1; id <= 20; id++) await node.db.run('INSERT INTO t VALUES(?)', [id]);
  await until(() => healthy.told.length === 20);
  await until(() => (node.db.status().cdc?.[0]?.failures ?? 0) > 2);
  expect(node.db.status()).toMatchObject({
    healthy: true,
    cdc: [{ name: 'down', state: 'failing', lastError: { message: 'connection refused' } }, { name: 'healthy' }],
  });
  expect(node.log.filter((line) => line.includes('connection refused'))).toHaveLength(1);
  expect(node.events).toContainEqual({ type: 'error', error: expect.objectContaining({ code: 'HA_CDC_DELIVERY' }) });
  expect(down.told).toEqual([]);
  down.failure = undefined;
  await delivered(node);
  expect(down.told).toEqual(healthy.told);
  expect(node.log.filter((line) => line.includes("'down' takes events again"))).toHaveLength(1);
  // Nothing is kept for long.
  expect(node.db.reader.prepare('SELECT count(*) FROM ha_cdc_log').pluck().get()).toBe(0);
});

it('hands over the next batch when the one before is done', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const target = new TestTarget();
  const node = await withTarget(cluster, target);
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await delivered(node);
  const before = target.batches.length;
  let open: () => void = () => undefined;
  target.gate = new Promise((resolve) => {
    open = resolve;
  });
  for (let id = 1; id <= 50; id++) await node.db.run('INSERT INTO t VALUES(?)', [id]);
  await until(() => target.open === 1);
  await pause(200);
  expect(target.open).toBe(1);
  expect(target.batches).toHaveLength(before);
  open();
  await delivered(node);
  expect(target.mostOpen).toBe(1);
  expect(target.told).toHaveLength(50);
});

it('cuts a large transaction into batches, and says where it ends', async () => {
  const cluster = await startCluster({ nodes: 2 });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const target = new TestTarget();
  const node = await withTarget(cluster, target, { snapshot: 'never' });
  const rows = 30_000;
  const insert = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO t SELECT i, hex(randomblob(40)) FROM n`;
  // One is applied here, the other one runs here.
  await cluster.a.run(insert);
  await cluster.settle();
  await delivered(node);
  await node.db.run('UPDATE t SET v = id');
  await delivered(node);
  expect(Math.max(...target.batches.map(({ events }) => events.length))).toBeLessThanOrEqual(1_000);
  expect(target.batches.filter(({ context }) => context.endsTransaction)).toHaveLength(2);
  expect(target.batches.at(-1)?.context.endsTransaction).toBe(true);
  const places = target.changes.map(({ value }) => value.transaction?.total_order);
  const numbers = Array.from({ length: rows }, (_value, index) => index + 1);
  expect(places).toEqual([...numbers, ...numbers]);
}, 120_000);

it('does not wait for a target for ever when it stops; what was not done comes again', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const target = new TestTarget();
  const node = await withTarget(cluster, target, { shutdownTimeout: 50 });
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await delivered(node);
  target.gate = new Promise(() => undefined);
  await node.db.run('INSERT INTO t VALUES(1)');
  await until(() => target.open === 1);
  await node.db.stop();
  target.gate = Promise.resolve();
  await node.db.start();
  await delivered(node);
  expect(target.told).toEqual([['c', 't', null, { id: 1n }]]);
});

it('forgets a target that is registered no more, and keeps nothing for it', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const target = new TestTarget();
  const node = await withTarget(cluster, target);
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await delivered(node);
  await node.db.close();
  const without = await cluster.add({ path: node.path });
  await without.db.run('INSERT INTO t VALUES(1)');
  expect(without.log).toContainEqual(expect.stringContaining('registered no more are forgotten'));
  expect(without.db.reader.prepare('SELECT count(*) FROM ha_cdc_log').pluck().get()).toBe(0);
  await without.db.close();
  const again = await cluster.add({ path: node.path, cdc: [registered(target)] });
  await begun(again);
  expect(target.told).toEqual([['r', 't', null, { id: 1n }]]);
});

it('tells only what has its place in the stream where a node publishes later', async () => {
  const cluster = await startCluster({ nodes: 0, proxy: true });
  const target = new TestTarget();
  const options = { asyncPublisher: true };
  const node = await cluster.add({ cdc: [registered(target)], url: cluster.proxy.url, options });
  await begun(node);
  await node.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await cluster.settle();
  await delivered(node);
  cluster.proxy.cut();
  await node.db.run('INSERT INTO t VALUES(1, 1)');
  await node.db.run('UPDATE t SET v = 2');
  expect(target.told).toEqual([]);
  cluster.proxy.restore();
  await cluster.settle();
  await delivered(node);
  expect(target.told).toEqual([
    ['c', 't', null, { id: 1n, v: 1n }],
    ['u', 't', { id: 1n, v: 1n }, { id: 1n, v: 2n }],
  ]);
});

import { statSync } from 'node:fs';
import { connect } from 'nats';
import { TestTarget, registered } from '../../helper/cdc-target.js';
import type { Cluster } from '../../helper/cluster.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import { NatsProxy } from '../../helper/nats-proxy.js';

/** The stream forgets everything. */
async function forget(cluster: Cluster): Promise<void> {
  const nc = await connect({ servers: cluster.url });
  onCleanup(() => nc.close());
  const manager = await nc.jetstreamManager();
  await manager.streams.purge(cluster.stream, { seq: (await cluster.lastSequence()) + 1 });
}

const values = (target: TestTarget): unknown[] =>
  target.changes.map(({ value: { op, before, after } }) => [op, (after ?? before)?.['v']]);

describe('a node with targets that a snapshot takes the file of', () => {
  it('tells the rows of the snapshot, and goes on; who wants no snapshot is told of the hole', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const { a } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const all = new TestTarget();
    const rest = new TestTarget();
    const cdc = [registered(all, { name: 'all' }), registered(rest, { name: 'rest', snapshot: 'never' })];
    const first = await cluster.add({ cdc });
    await a.run(`INSERT INTO t(v) VALUES('known')`);
    await until(() => all.changes.length === 1 && rest.changes.length === 1);
    await first.db.close();
    await a.run(`INSERT INTO t(v) VALUES('meanwhile')`);
    await a.snapshot();
    await forget(cluster);
    const again = await cluster.add({ path: first.path, cdc });
    await a.run(`INSERT INTO t(v) VALUES('later')`);
    await until(() => all.changes.length === 4 && rest.changes.length === 2);
    expect(values(all)).toEqual([
      ['c', 'known'],
      ['r', 'known'],
      ['r', 'meanwhile'],
      ['c', 'later'],
    ]);
    expect(values(rest)).toEqual([
      ['c', 'known'],
      ['c', 'later'],
    ]);
    const told = again.events.filter((event) => event.type === 'error');
    expect(told.map(({ error }) => error)).toMatchObject([
      {
        code: 'HA_CDC_DELIVERY',
        details: { target: 'all' },
        message: expect.stringMatching(/deleted before/) as unknown,
      },
      { code: 'HA_CDC_DELIVERY', details: { target: 'rest' } },
    ]);
    await cluster.expectEqual();
  });

  it('gives a new node nothing of the targets of another', async () => {
    const cluster = await startCluster({ nodes: 0 });
    const first = new TestTarget();
    const { db: a } = await cluster.add({ cdc: [registered(first)] });
    await a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES('x')`);
    await until(() => first.changes.length === 1);
    await a.snapshot();
    await forget(cluster);
    const second = new TestTarget();
    const { db: b } = await cluster.add({ cdc: [registered(second)] });
    await until(() => second.changes.length === 1);
    expect(values(second)).toEqual([['r', 'x']]);
    expect(await b.prepare('SELECT count(*) FROM ha_cdc').pluck().get()).toBe(1);
    await a.run(`INSERT INTO t(v) VALUES('y')`);
    await until(() => first.changes.length === 2 && second.changes.length === 2);
    await cluster.expectEqual();
  });

  it('keeps the places of targets where the start behind the swap fails', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const { a } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const all = new TestTarget();
    const rest = new TestTarget();
    const cdc = [registered(all, { name: 'all' }), registered(rest, { name: 'rest', snapshot: 'never' })];
    const proxy = await NatsProxy.start(cluster.url);
    onCleanup(() => proxy.close());
    const node = await cluster.add({ cdc, url: proxy.url });
    await a.run(`INSERT INTO t(v) VALUES('known')`);
    await until(() => all.changes.length === 1 && rest.changes.length === 1);
    const origins = node.db.prepare('SELECT count(*) FROM ha_origins').pluck();
    const before = (await origins.get()) as number;
    await node.db.stop();
    await a.run(`INSERT INTO t(v) VALUES('meanwhile')`);
    await a.snapshot();
    const file = statSync(node.path).ino;
    node.runtime.events.subscribe((event) => {
      // The last thing that happens while the old file is there.
      if (event.type === 'error' && statSync(node.path).ino === file) proxy.cut();
    });
    await failureOf(node.db.resync({ from: 'snapshot' }));
    expect(statSync(node.path).ino).not.toBe(file);
    node.events.length = 0;
    proxy.restore();
    await node.db.start();
    await a.run(`INSERT INTO t(v) VALUES('later')`);
    await until(() => all.changes.length === 4 && rest.changes.length === 2);
    expect(values(all).slice(1)).toEqual([
      ['r', 'known'],
      ['r', 'meanwhile'],
      ['c', 'later'],
    ]);
    expect(values(rest)).toEqual([
      ['c', 'known'],
      ['c', 'later'],
    ]);
    expect(await origins.get()).toBeGreaterThan(before);
  });

  it('tells what was recorded and not told yet where its own rows become those of all', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const target = new TestTarget();
    const { db, events } = await cluster.add({ cdc: [registered(target)] });
    await db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    for (const v of ['a', 'b', 'c']) await db.run('INSERT INTO t(v) VALUES(?)', [v]);
    await until(() => target.changes.length === 3);
    target.failure = new Error('away');
    await db.run(`DELETE FROM t WHERE v = 'b'`);
    await db.run(`UPDATE t SET v = 'd' WHERE v = 'c'`);
    await db.resync({ from: 'this-node' });
    expect(events.filter((event) => event.type === 'error' && /deleted before/.test(event.error.message))).toEqual([]);
    await db.run(`INSERT INTO t(v) VALUES('e')`);
    target.failure = undefined;
    const rows = new Map<unknown, unknown>();
    await until(() => {
      rows.clear();
      for (const { key, value } of target.changes) {
        if (value.op === 'd') rows.delete(key?.['id']);
        else rows.set(key?.['id'], value.after?.['v']);
      }
      return [...rows.values()].includes('e');
    });
    expect(new Set(rows.values())).toEqual(new Set(['a', 'd', 'e']));
  });
});

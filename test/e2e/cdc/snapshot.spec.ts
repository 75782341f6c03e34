import { connect } from 'nats';
import { TestTarget, registered } from '../../helper/cdc-target.js';
import type { Cluster } from '../../helper/cluster.js';
import { onCleanup, startCluster, until } from '../../helper/cluster.js';

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
    expect(told.map(({ error }) => error)).toMatchObject([{ code: 'HA_CDC_DELIVERY', details: { target: 'rest' } }]);
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
});

import type { HAChange } from '../../../lib/changeset/row-changes.js';
import { TestTarget, registered } from '../../helper/cdc-target.js';
import { startCluster, until } from '../../helper/cluster.js';

it('an undo is told to targets and listeners of every node as the transaction that it is', async () => {
  const cluster = await startCluster({ nodes: 0 });
  const targets = [new TestTarget(), new TestTarget()];
  for (const target of targets) await cluster.add({ cdc: [registered(target)] });
  await until(() => cluster.nodes.every(({ db }) => db.status().cdc?.every(({ state }) => state === 'streaming')));
  const feeds: HAChange[][] = cluster.nodes.map(({ db }) => {
    const feed: HAChange[] = [];
    db.changes.subscribe((change) => feed.push(change));
    return feed;
  });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(v)');
  await cluster.a.exec('CREATE TRIGGER noted AFTER DELETE ON t BEGIN INSERT INTO log VALUES(OLD.id); END');
  await cluster.a.exec(`INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
  await cluster.settle();
  await cluster.b.transaction(async (tx) => {
    await tx.run(`UPDATE t SET v = 'wrong' WHERE id = 1`);
    await tx.run('INSERT INTO t VALUES(3, NULL)');
    await tx.run('DELETE FROM t WHERE id = 2');
  });
  const { published: txseq } = cluster.b.position();
  await cluster.settle();
  const before = 6;
  await until(() => targets.every(({ changes }) => changes.length === before));
  const { sequence } = await cluster.a.undo({ from: txseq });
  await cluster.settle();
  const one = { id: 1n, v: 'a' };
  const wrong = { id: 1n, v: 'wrong' };
  await until(() => targets.every(({ changes }) => changes.length >= before + 4));
  for (const target of targets) {
    expect(new Set(target.told.slice(before).map((each) => text(each)))).toEqual(
      new Set(
        [
          ['u', 't', wrong, one],
          ['d', 't', { id: 3n, v: null }, null],
          ['c', 't', null, { id: 2n, v: 'b' }],
          ['d', 'log', { v: 2n }, null],
        ].map((each) => text(each)),
      ),
    );
    expect(target.changes).toHaveLength(before + 4);
    const undone = target.changes.slice(before).map(({ value }) => value);
    expect(new Set(undone.map(({ transaction }) => transaction?.id)).size).toBe(1);
    expect(new Set(undone.map(({ source }) => source.node))).toEqual(new Set(['n1']));
  }
  for (const feed of feeds) {
    const undone = feed.filter((change) => change.sequence === sequence);
    expect(undone.map(({ table, operation }) => `${operation} ${table}`).sort()).toEqual([
      'delete log',
      'delete t',
      'insert t',
      'update t',
    ]);
    expect(new Set(undone.map(({ node }) => node))).toEqual(new Set(['n1']));
  }
});

function text(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each));
}

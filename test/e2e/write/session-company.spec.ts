import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { isRetryable } from '../../../lib/common/retryable.js';
import type { CommitGroup } from '../../../lib/write/commit-group.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';
import { failureOf, startCluster } from '../../helper/cluster.js';

const ROWS = 40;

/** Sizes of the groups that a node commits from here on. */
function groupsOf({ db }: { db: unknown }): number[] {
  const { committer } = (db as { lifecycle: { open: { committer: { commit: (group: CommitGroup) => unknown } } } })
    .lifecycle.open;
  const sizes: number[] = [];
  const commit = committer.commit.bind(committer);
  committer.commit = (group) => {
    sizes.push(group.published.length);
    return commit(group);
  };
  return sizes;
}

async function counters(cluster: Cluster): Promise<void> {
  await cluster.a.exec('CREATE TABLE c(k TEXT PRIMARY KEY, v INT); CREATE TABLE log(id INTEGER PRIMARY KEY, k TEXT)');
  for (let k = 0; k < ROWS; k++) await cluster.a.run('INSERT INTO c VALUES(?, 0)', [`k${k}`]);
  await cluster.settle();
}

/** Reads, writes what it has read, one more; `ids`: and inserts a row whose id SQLite chooses. */
async function increment(db: TestNode['db'], k: string, ids: boolean): Promise<void> {
  const session = db.connect();
  try {
    await session.execute('BEGIN');
    const { rows } = await session.execute<{ v: number }>('SELECT v FROM c WHERE k = ?', [k]);
    await session.execute('UPDATE c SET v = ? WHERE k = ?', [(rows[0]?.v ?? NaN) + 1, k]);
    if (ids) await session.execute('INSERT INTO log(k) VALUES(?)', [k]);
    await session.execute('COMMIT');
  } finally {
    await session.close();
  }
}

async function again(work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (!isRetryable(error)) throw error;
      await pause(Math.random() * 20);
    }
  }
}

describe('sessions that commit at once', () => {
  it('share a commit', async () => {
    const cluster = await startCluster();
    await counters(cluster);
    const sizes = groupsOf({ db: cluster.a });
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 60 }, (_value, n) => increment(cluster.a, `k${n % 3}`, false)));
    }
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(300);
    expect(Math.max(...sizes)).toBeGreaterThan(1);
    expect(await cluster.a.all(`SELECT v FROM c WHERE v > 0`)).toEqual([{ v: 100 }, { v: 100 }, { v: 100 }]);
    await cluster.expectEqual();
  });

  it('keep their order where one needs its place behind others that do not', async () => {
    const cluster = await startCluster();
    await counters(cluster);
    const sizes = groupsOf({ db: cluster.a });
    for (let round = 0; round < 10; round++) {
      // Nobody else writes: so nothing is refused, and nothing has to run again.
      await Promise.all(Array.from({ length: 24 }, (_value, n) => increment(cluster.a, 'k1', n % 4 === round % 4)));
    }
    expect(Math.max(...sizes)).toBeGreaterThan(1);
    expect(await cluster.a.get(`SELECT v FROM c WHERE k = 'k1'`)).toEqual({ v: 240 });
    expect(await cluster.a.get('SELECT count(*) AS n, max(id) AS id FROM log')).toEqual({ n: 60, id: 60 });
    await cluster.expectEqual();
  });

  it('lose nothing where other nodes write in between', async () => {
    const cluster = await startCluster();
    await counters(cluster);
    let writing = true;
    const other = (async () => {
      for (let n = 0; writing; n++) {
        await cluster.b.run('INSERT INTO log(k) VALUES(?)', [`b${n}`]);
        if (n % 20 === 0) await pause(5);
      }
    })();
    const ids: boolean[] = Array.from(randomBytes(160), (byte) => byte < 60);
    await Promise.all(ids.map((withId, n) => again(() => increment(cluster.a, `own${n % 2}`, withId))));
    writing = false;
    await other;
    await cluster.settle();
    const logged = await cluster.b.get(`SELECT count(*) AS n FROM log WHERE k LIKE 'own%'`);
    expect(logged).toEqual({ n: ids.filter(Boolean).length });
    await cluster.expectEqual();
  });

  it('each count on from those in front of them, while another node writes to other rows', async () => {
    const cluster = await startCluster();
    await counters(cluster);
    const sizes = groupsOf({ db: cluster.a });
    let isDone = false;
    const other = (async () => {
      for (let n = 0; !isDone; n++) {
        await cluster.b.run('UPDATE c SET v = ? WHERE k = ?', [n, `k${n % 2}`]);
        if (n % 5 === 0) await pause(1);
      }
    })();
    for (let round = 0; round < 6; round++) {
      await Promise.all(Array.from({ length: 50 }, () => again(() => increment(cluster.a, 'k9', false))));
    }
    isDone = true;
    await other;
    expect(Math.max(...sizes)).toBeGreaterThan(1);
    await cluster.expectEqual();
    expect(await cluster.b.get(`SELECT v FROM c WHERE k = 'k9'`)).toEqual({ v: 300 });
  });

  it('do not wait for ever for one that waits for them', async () => {
    const cluster = await startCluster();
    await counters(cluster);
    // One is fast: so the next may join.
    await increment(cluster.a, 'k0', false);
    const [first, second] = [cluster.a.connect(), cluster.a.connect()];
    await first.execute('BEGIN');
    const begun = second.execute('BEGIN');
    await first.execute(`UPDATE c SET v = 10 WHERE k = 'k1'`);
    const committed = first.execute('COMMIT');
    await begun;
    await second.execute(`UPDATE c SET v = 20 WHERE k = 'k2'`);
    // As with a lock that the first holds until it is answered.
    await committed;
    const late = await second.execute('COMMIT').then(
      () => undefined,
      (error: Error) => error,
    );
    if (late === undefined) {
      // They did not share a commit this time.
      expect(await cluster.a.get(`SELECT v FROM c WHERE k = 'k2'`)).toEqual({ v: 20 });
    } else {
      expect(isRetryable(late)).toBe(true);
      expect(await cluster.a.get(`SELECT v FROM c WHERE k = 'k2'`)).toEqual({ v: 0 });
      await second.execute('ROLLBACK');
      await increment(cluster.a, 'k2', false);
    }
    expect(await cluster.a.get(`SELECT v FROM c WHERE k = 'k1'`)).toEqual({ v: 10 });
    expect((await failureOf(second.execute('COMMIT'))).code).toBe('HA_TRANSACTION_CONTROL');
    await Promise.all([first.close(), second.close()]);
    await cluster.expectEqual();
  });
});

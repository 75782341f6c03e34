import { setImmediate as immediate } from 'node:timers/promises';
import { startCluster, until } from '../../helper/cluster.js';

describe('stop and start while a batch is applied', () => {
  it.each([0, 1, 5, 25])('lose no message; stopped %d turns of the loop behind its beginning', async (turns) => {
    const cluster = await startCluster();
    const { a, b } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE n(v)');
    await cluster.settle();
    const insert = (v: string): Promise<unknown> => a.run('INSERT INTO n VALUES(?)', [v]);
    let release = (): void => undefined;
    // Messages wait while somebody else writes, and are one batch then.
    const held = b.transaction(async (tx) => {
      await tx.get('SELECT 1');
      await new Promise<void>((resolve) => (release = resolve));
    });
    for (const v of ['a', 'b', 'c']) await insert(v);
    const rows = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)';
    await a.run(`INSERT INTO t ${rows} SELECT x, x FROM c`);
    for (const v of ['d', 'e', 'f']) await insert(v);
    const last = a.position().published;
    await until(() => b.status().backlog > 6);
    release();
    await held;
    for (let turn = 0; turn < turns; turn++) await immediate();
    const stopped = b.stop();
    for (const v of ['g', 'h', 'i']) await insert(v);
    await stopped;
    for (const v of ['j', 'k', 'l']) await insert(v);
    await b.start();
    await b.waitFor(last);
    await cluster.expectEqual();
  });
});

import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import type { TestNode } from '../../helper/cluster.js';

describe('two databases on one stream', () => {
  it('do not see each other, and both converge under load', async () => {
    const cluster = await startCluster();
    const others: TestNode[] = [];
    for (let index = 0; index < 2; index++) {
      const node = cluster.make({ options: { replicationID: 'other' } });
      onCleanup(() => node.db.close());
      await node.db.start();
      others.push(node);
    }
    const [c, d] = others.map(({ db }) => db);
    await Promise.all(
      [cluster.a, c].map((db) => db?.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)')),
    );
    const nodes = [cluster.a, cluster.b, c, d].map((db) => db ?? cluster.a);
    await cluster.settle();
    await until(async () => (await d?.get(`SELECT 1 FROM sqlite_schema WHERE name = 'bag'`)) !== undefined);
    await Promise.all(
      nodes.map(async (db, node) => {
        for (let round = 0; round < 15; round++) {
          await Promise.all([
            db.run('INSERT INTO t(v) VALUES(?)', [`${node} ${round}`]),
            db.run('INSERT INTO t(v) VALUES(?)', [`${node} ${round} again`]),
            db.run('INSERT INTO bag VALUES(?)', [`${node} ${round}`]),
            db.run('UPDATE bag SET v = v || ? WHERE rowid = 1', [node]),
          ]);
        }
      }),
    );
    await cluster.expectEqual();
    const dumpOf = async (db: HADatabase | undefined): Promise<unknown> => [
      await db?.all('SELECT * FROM t'),
      await db?.all('SELECT rowid, v FROM bag'),
    ];
    await until(async () => JSON.stringify(await dumpOf(c)) === JSON.stringify(await dumpOf(d)));
    for (const db of nodes) expect(await db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 60 });
  });
});

describe('two databases in one process', () => {
  it('change their schemas at once', async () => {
    const first = await startCluster();
    const second = await startCluster();
    await Promise.all(
      [first, second].map(async (cluster) => {
        for (let round = 0; round < 10; round++) {
          await cluster.a.exec(
            `CREATE TABLE t${round}(id INTEGER PRIMARY KEY, v); INSERT INTO t${round} VALUES(1, '${cluster.stream}')`,
          );
          await failureOf(cluster.a.exec(`CREATE TABLE t${round}(x)`));
        }
      }),
    );
    await first.expectEqual();
    await second.expectEqual();
  });
});

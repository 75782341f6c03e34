import type { HADatabase } from '../../../lib/write/ha-database.js';
import { connect } from 'nats';
import { takesBatches } from '../../../lib/stream/jetstream/server-version.js';
import { failureOf, onCleanup, pause, startCluster, until } from '../../helper/cluster.js';
import type { Cluster, TestNode } from '../../helper/cluster.js';

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
      [cluster.a, c ?? cluster.a].map((db) =>
        db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)'),
      ),
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

describe('an ordered group on a stream whose other subjects are busy', () => {
  /** Publishes on another subject all the time. Returns the function that ends it. */
  async function makeNoise(cluster: Cluster): Promise<() => Promise<void>> {
    const connection = await connect({ servers: cluster.url });
    let ended = false;
    const noise = (async () => {
      while (!ended) {
        for (let i = 0; i < 3; i++) connection.publish(`${cluster.stream}.noise`, 'x');
        await connection.flush();
        await pause(1);
      }
    })();
    return async () => {
      ended = true;
      await noise;
      await connection.close();
    };
  }

  /** How many atomic batches a database's messages were stored in. */
  async function countBatches(cluster: Cluster): Promise<number> {
    const connection = await connect({ servers: cluster.url });
    const manager = await connection.jetstreamManager();
    const batches = new Set<string>();
    for (const { sequence } of await cluster.messages()) {
      const { header } = await manager.streams.getMessage(cluster.stream, { seq: sequence });
      batches.add(header.get('Nats-Batch-Id'));
    }
    await connection.close();
    batches.delete('');
    return batches.size;
  }

  async function versionOf(cluster: Cluster): Promise<string | undefined> {
    const connection = await connect({ servers: cluster.url });
    const version = connection.info?.version;
    await connection.close();
    return version;
  }

  it('is not chained by message ids once they have broken a chain', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const end = await makeNoise(cluster);
    const rounds = 30;
    for (let round = 0; round < rounds; round++) {
      const writes = Array.from({ length: 40 }, (_value, index) =>
        cluster.a.run('INSERT INTO t(v) VALUES(?)', [`${round} ${index}`]),
      );
      await Promise.all(writes);
    }
    await end();
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 40 * rounds });
    expect((await countBatches(cluster)) > 0).toBe(takesBatches(await versionOf(cluster)));
  }, 60_000);

  it('stores a transaction of many messages', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const end = await makeNoise(cluster);
    for (let round = 0; round < 5; round++) {
      await cluster.a.transaction(async (tx) => {
        for (let row = 0; row < 40; row++) await tx.run('INSERT INTO t(v) VALUES(?)', ['x'.repeat(200_000)]);
      });
    }
    await end();
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 200 });
  }, 60_000);
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

import type { MsgHdrs } from 'nats';
import { mayBreakExpectations, takesBatches } from '../../../lib/stream/jetstream/server-version.js';
import type { Cluster } from '../../helper/cluster.js';
import { startCluster, until } from '../../helper/cluster.js';
import { NatsCluster } from '../../helper/nats-cluster.js';

// Ordered transactions on a stream of three replicas.
let servers: NatsCluster;

beforeAll(async () => {
  servers = await NatsCluster.start();
}, 90_000);
afterAll(() => servers.close());

/** An election takes a few seconds, and longer where the machine is busy. */
const start = (nodes: number): Promise<Cluster> =>
  startCluster({ nodes, at: servers, options: { replicas: 3, publisherTimeout: '60s' } });

async function headersOf(cluster: Cluster): Promise<MsgHdrs[]> {
  const manager = await servers.manager();
  const last = await cluster.lastSequence();
  return Promise.all(
    Array.from({ length: last }, async (_value, index) => {
      return (await manager.streams.getMessage(cluster.stream, { seq: index + 1 })).header;
    }),
  );
}

async function countUp(cluster: Cluster, node: number, rounds: number, writers: number): Promise<void> {
  const { db } = cluster.node(node);
  await Promise.all(
    Array.from({ length: writers }, async (_value, writer) => {
      for (let round = 0; round < rounds; round++) {
        await db.transaction(
          async (tx) => {
            const row = await tx.get<{ n: number }>('SELECT n FROM counters WHERE id = ?', [writer % 4]);
            await tx.run('UPDATE counters SET n = ? WHERE id = ?', [(row?.n ?? 0) + 1, writer % 4]);
            await tx.run('INSERT INTO log(node, writer, round) VALUES(?, ?, ?)', [node, writer, round]);
          },
          { serializable: true },
        );
      }
    }),
  );
}

/** Old servers lose increments, for they store two messages that expect the same; the nodes are equal all the same. */
async function expectSums(cluster: Cluster, increments: number, lines: number): Promise<void> {
  if (mayBreakExpectations(servers.connection.info?.version)) return;
  expect(await cluster.c.get('SELECT sum(n) AS n FROM counters')).toEqual({ n: increments });
  expect(await cluster.c.get('SELECT count(*) AS n FROM log')).toEqual({ n: lines });
}

const SCHEMA = `
  CREATE TABLE counters(id INTEGER PRIMARY KEY, n);
  INSERT INTO counters VALUES(0, 0), (1, 0), (2, 0), (3, 0);
  CREATE TABLE log(id INTEGER PRIMARY KEY, node, writer, round)`;

it('serializable counters of three nodes lose nothing', async () => {
  const cluster = await start(3);
  await cluster.a.exec(SCHEMA);
  await cluster.settle();
  await Promise.all([0, 1, 2].map((node) => countUp(cluster, node, 10, 8)));
  const ids = Array.from({ length: 30 }, (_value, id) => id);
  await Promise.all(ids.map((id) => cluster.a.run('INSERT INTO log(node, writer, round) VALUES(0, 99, ?)', [id])));
  await cluster.expectEqual();
  await expectSums(cluster, 240, 270);
  const headers = await headersOf(cluster);
  const usesBatches = takesBatches(servers.connection.info?.version);
  expect(headers.some((header) => header.has('Nats-Batch-Id'))).toBe(usesBatches);
  expect(headers.filter((header) => header.has('Nats-Expected-Last-Msg-Id'))).toEqual([]);
}, 120_000);

it('serializable counters lose nothing although the leader of the stream dies', async () => {
  const cluster = await start(3);
  await cluster.a.exec(SCHEMA);
  await cluster.settle();
  const work = Promise.all([0, 1, 2].map((node) => countUp(cluster, node, 40, 4)));
  await until(async () => ((await cluster.a.get<{ n: number }>('SELECT count(*) AS n FROM log'))?.n ?? 0) > 50);
  const restart = await servers.killLeader(cluster.stream);
  await work;
  await restart();
  await cluster.expectEqual();
  await expectSums(cluster, 480, 480);
}, 180_000);

it('an ordered transaction of many messages is stored whole while others write', async () => {
  const cluster = await start(2);
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE noise(id INTEGER PRIMARY KEY, v)');
  await cluster.settle();
  let ended = false;
  const noise = (async () => {
    for (let round = 0; !ended; round++) await cluster.b.run('INSERT OR REPLACE INTO noise VALUES(1, ?)', [round]);
  })();
  const { n } = await cluster.a.transaction(async (tx) => {
    for (let row = 0; row < 30; row++) await tx.run('INSERT INTO t(v) VALUES(?)', ['x'.repeat(200_000)]);
    return { n: 30 };
  });
  ended = true;
  await noise;
  await cluster.expectEqual();
  expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n });
}, 120_000);

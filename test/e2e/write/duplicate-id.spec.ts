import { connect } from 'nats';
import { failureOf, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)';
const EMPTY = JSON.stringify({ node: 'x', process_id: 1, filename: 'db', changes: [], timestamp_ns: 1 });

/** Publishes what stands in the stream under an id that the first node has yet to use: `ahead` messages from now. */
async function takeId(cluster: Cluster, ahead: number, subject: string): Promise<string> {
  const { origin = '' } = cluster.node(0).runtime.publisher;
  const used = (await cluster.messages()).filter(({ id }) => id.startsWith(`${origin}.`)).length;
  const id = `${origin}.${used + ahead}`;
  const connection = await connect({ servers: cluster.url });
  try {
    const ack = await connection.jetstream().publish(subject, EMPTY, { msgID: id });
    expect(ack.duplicate).toBe(false);
  } finally {
    await connection.close();
  }
  return id;
}

async function start(): Promise<Cluster> {
  const cluster = await startCluster();
  await cluster.a.exec(SCHEMA);
  await cluster.settle();
  return cluster;
}

describe('a message whose id is in the stream before it is sent', () => {
  it.each([
    ['a plain transaction', (n: number) => `INSERT INTO bag VALUES('w${n}')`],
    ['an ordered one', (n: number) => `INSERT INTO t(v) VALUES('w${n}')`],
  ])('fails alone: %s in the middle of a group', async (_kind, sql) => {
    const cluster = await start();
    const id = await takeId(cluster, 2, `${cluster.stream}.elsewhere`);
    const results = await Promise.allSettled([1, 2, 3].map((n) => cluster.a.run(sql(n))));
    expect(results).toMatchObject([
      { status: 'fulfilled' },
      {
        status: 'rejected',
        reason: { code: 'HA_PUBLISH_FAILED', cause: { code: 'HA_DUPLICATE_ID', details: { id } } },
      },
      { status: 'fulfilled' },
    ]);
    await cluster.a.run(sql(4));
    await cluster.expectEqual();
    const table = sql(0).includes('bag') ? 'bag' : 't';
    const rows = await cluster.b.prepare(`SELECT v FROM ${table} ORDER BY v`).pluck().all();
    expect(rows).toEqual(['w1', 'w3', 'w4']);
  });

  it('fails a lone transaction at once, and the next one succeeds', async () => {
    const cluster = await start();
    await takeId(cluster, 1, `${cluster.stream}.elsewhere`);
    expect(await failureOf(cluster.a.run('INSERT INTO bag VALUES(1)'))).toMatchObject({
      code: 'HA_PUBLISH_FAILED',
      cause: { code: 'HA_DUPLICATE_ID' },
    });
    await cluster.a.run('INSERT INTO bag VALUES(2)');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT v FROM bag')).toEqual([{ v: 2 }]);
  });

  it('fails a transaction whose id was applied here, without sending it', async () => {
    const cluster = await start();
    await takeId(cluster, 1, cluster.subject);
    await cluster.settle();
    const before = await cluster.lastSequence();
    expect(await failureOf(cluster.a.run('INSERT INTO bag VALUES(1)'))).toMatchObject({
      code: 'HA_PUBLISH_FAILED',
      cause: { code: 'HA_DUPLICATE_ID' },
    });
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.a.run('INSERT INTO bag VALUES(2)');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT v FROM bag')).toEqual([{ v: 2 }]);
  });
});

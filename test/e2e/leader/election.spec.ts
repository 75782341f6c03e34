import { jest } from '@jest/globals';
import type { KeyValueBucket } from '../../../lib/stream/key-value.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { failureOf, pause, until } from '../../helper/cluster.js';
import { LeaderCluster, QUICK } from '../../helper/leader-cluster.js';

const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';
const BUCKET = 's_db';

/** The bucket as another program has it. */
async function bucketOf(cluster: LeaderCluster, ttlMs = 60_000): Promise<KeyValueBucket> {
  const stream = new MemoryStream({ broker: cluster.broker, stream: 's', subject: 's.other' });
  await stream.open();
  return stream.keyValue(BUCKET, { ttlMs });
}

describe('The key of the leader', () => {
  it('holds its addresses as plain text, stored again and again', async () => {
    const cluster = await LeaderCluster.start({
      nodes: 2,
      optionsOf: (_index, addresses) => ({
        leaderProvider: `dynamic:${addresses.at(-1)},http://127.0.0.1:1`,
      }),
    });
    const leader = await cluster.elected();
    const bucket = await bucketOf(cluster);
    const entry = await bucket.get('redirect');
    expect(entry?.value).toBe(`${leader.address},http://127.0.0.1:1`);
    await until(async () => (await bucket.get('redirect'))?.revision !== entry?.revision);
    expect(cluster.follower.leader.target()).toEqual({
      text: `${leader.address},http://127.0.0.1:1`,
      grpc: leader.address,
      http: 'http://127.0.0.1:1',
    });
    expect(cluster.follower.leader.state.node).toBe(leader.name);
    await leader.db.stop();
    await until(async () => (await bucket.get('redirect'))?.value !== entry?.value);
  });

  it('is left to a node of go-ha as long as its value stays', async () => {
    const cluster = new LeaderCluster({ timings: QUICK });
    const bucket = await bucketOf(cluster);
    const revision = (await bucket.create('redirect', 'http://go:8080')) as number;
    const node = await cluster.make();
    await cluster.launch(node);
    expect(await node.leader.known(1_000)).toEqual({
      isLeader: false,
      target: { text: 'http://go:8080', http: 'http://go:8080' },
    });
    expect(await failureOf(node.db.exec(TABLE))).toMatchObject({
      code: 'HA_LEADER_NO_GRPC',
      message: expect.stringContaining('http://go:8080'),
    });
    await pause(QUICK.takeover + 5 * QUICK.look);
    expect(node.leader.isLeader()).toBe(false);
    // go-ha's key ends with its time to live.
    await bucket.delete('redirect', revision);
    await cluster.elected();
    await node.db.exec(TABLE);
    // It stores its own without asking, when it believes that it leads.
    await until(async () => {
      const current = await bucket.get('redirect');
      return (await bucket.update('redirect', 'go:5001', current?.revision ?? 0)) !== undefined;
    });
    await until(() => node.leader.target()?.text === 'go:5001');
    expect(node.leader.isLeader()).toBe(false);
    expect(node.leader.target()).toEqual({ text: 'go:5001', grpc: 'go:5001' });
    expect(node.leader.state.node).toBeUndefined();
  });

  it('may have another time to live, and may be deleted: one leads all the same', async () => {
    const cluster = new LeaderCluster({ timings: QUICK });
    const bucket = await bucketOf(cluster, 100);
    await bucket.create('x', 'y');
    for (let i = 0; i < 3; i++) await cluster.launch(await cluster.make());
    for (let round = 0; round < 5; round++) {
      const leader = await cluster.elected();
      await leader.db.exec(`CREATE TABLE t${round}(x)`);
      await bucket.delete('redirect');
      await pause(QUICK.renew);
    }
    await cluster.elected();
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
  });

  it('is not given up when wall clocks jump', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const leader = await cluster.elected();
    await leader.db.exec(TABLE);
    const seen: boolean[] = [];
    const watching = leader.leader.changes.subscribe(({ isLeader }) => seen.push(isLeader));
    const clock = jest.spyOn(Date, 'now');
    try {
      for (const jump of [86_400_000, -86_400_000, 3_600_000]) {
        const real = performance.timeOrigin;
        clock.mockImplementation(() => Math.round(real + performance.now() + jump));
        await pause(2 * QUICK.renew);
        await cluster.follower.db.run('INSERT INTO t(v) VALUES(?)', [jump]);
      }
    } finally {
      clock.mockRestore();
      watching.unsubscribe();
    }
    expect(seen).toEqual([true]);
    await cluster.expectEqual();
  });

  it('that nobody may have keeps the node from starting, with what to do', async () => {
    const cluster = new LeaderCluster({
      streamOf: (_index, broker) => {
        const stream = new MemoryStream({ broker, stream: 's', subject: 's.db' });
        return Object.assign(stream, { keyValue: undefined });
      },
    });
    const node = await cluster.make();
    expect(await failureOf(node.db.start())).toMatchObject({
      code: 'HA_STREAM_CONFIG',
      message: expect.stringContaining(`'${BUCKET}'`),
    });
  });
});

describe('A leader that is named', () => {
  it('leads where its gRPC address is that of this node; the others forward to it', async () => {
    const cluster = await LeaderCluster.start({
      nodes: 2,
      optionsOf: (index, addresses) => ({
        leaderProvider: `static:${index === 0 ? `localhost:${cluster0Port(addresses)}` : addresses[0]}`,
        ...(index === 0 ? { grpcPort: Number(cluster0Port(addresses)) } : {}),
      }),
      elect: false,
    });
    const [leader, follower] = cluster.nodes as [LeaderCluster['nodes'][0], LeaderCluster['nodes'][0]];
    await until(() => leader.leader.isLeader());
    await follower.db.exec(TABLE);
    await cluster.expectEqual();
    expect(new Set(cluster.messages().map(({ node }) => node))).toEqual(new Set([leader.name]));
    expect(await failureOf(leader.leader.resign())).toMatchObject({ code: 'HA_UNIMPLEMENTED' });
    await follower.leader.resign();
  });

  it('is found out where two nodes name each other: nothing goes round', async () => {
    const addresses: string[] = [];
    const cluster = new LeaderCluster({ optionsOf: () => ({ leaderProvider: `static:${addresses.shift()}` }) });
    addresses.push('127.0.0.1:1');
    const first = await cluster.make();
    addresses.push(first.address);
    const second = await cluster.make();
    // Made before the other one had its address.
    const again = cluster.nodes.shift() as LeaderCluster['nodes'][0];
    addresses.push(second.address);
    const third = await cluster.make();
    expect(again).toBe(first);
    await cluster.launch(second);
    await third.server.start();
    await third.db.start();
    const proxied = await failureOf(third.db.exec(TABLE));
    // `second` names `first`, whose address nobody listens at; `third` names `second`.
    expect(proxied).toMatchObject({ code: 'HA_LEADER_LOOP', retryable: false });
    const session = third.db.connect();
    expect(await failureOf(session.execute('BEGIN'))).toMatchObject({ code: 'HA_LEADER_LOOP' });
    await session.close();
    expect(cluster.messages()).toEqual([]);
  });
});

/** The node itself listens behind a line that has another port; it is named by that of the line. */
function cluster0Port(addresses: readonly string[]): string {
  return addresses[0]?.split(':')[1] ?? '';
}

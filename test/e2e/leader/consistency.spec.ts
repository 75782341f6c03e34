import { jest } from '@jest/globals';
import { HARemoteDatabase } from '../../../lib/grpc/client/remote-database.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';

const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';

/** The second node gets nothing from the stream before it is told to. */
async function slowFollower(): Promise<{ cluster: LeaderCluster; slow: LeaderCluster['nodes'][0]; flow: () => void }> {
  let held = false;
  let kept: MemoryStream | undefined;
  class Held extends MemoryStream {
    override async deliver(count?: number): Promise<number> {
      return held ? 0 : super.deliver(count);
    }
  }
  const cluster = await LeaderCluster.start({
    nodes: 2,
    options: { grpcTimeout: 1_000 },
    streamOf: (index, broker) =>
      index === 1 ? (kept = new Held({ broker, stream: 's', subject: 's.db' })) : undefined,
  });
  const slow = cluster.nodes[1] as LeaderCluster['nodes'][0];
  await cluster.nodes[0]?.db.exec(TABLE);
  await cluster.expectEqual();
  held = true;
  return {
    cluster,
    slow,
    flow: () => {
      held = false;
      void kept?.deliver();
    },
  };
}

describe('A read', () => {
  it('with consistency leader sees what the leader has, and with session what was written before', async () => {
    const { cluster, slow, flow } = await slowFollower();
    const { txseq = 0n } = await (cluster.leader as LeaderCluster['nodes'][0]).db.run("INSERT INTO t(v) VALUES('new')");
    const sql = 'SELECT v FROM t WHERE v = ?';
    expect(await slow.db.get(sql, ['new'])).toBeUndefined();
    expect(await slow.db.get(sql, ['new'], { consistency: 'leader' })).toEqual({ v: 'new' });
    expect(await slow.db.all(sql, ['new'], { consistency: 'leader' })).toEqual([{ v: 'new' }]);
    const rows = [];
    for await (const row of slow.db.iterate(sql, ['new'], { consistency: 'leader' })) rows.push(row);
    expect(rows).toEqual([{ v: 'new' }]);
    // Its own last write is there already.
    expect(await slow.db.get(sql, ['new'], { consistency: 'session' })).toBeUndefined();
    const late = slow.db.withSession(() => slow.db.get(sql, ['new'], { consistency: 'session' }), { after: txseq });
    expect(await failureOf(late)).toMatchObject({ code: 'HA_WAIT_TIMEOUT' });
    const inTime = slow.db.withSession(() => slow.db.get(sql, ['new'], { consistency: 'session' }), { after: txseq });
    flow();
    expect(await inTime).toEqual({ v: 'new' });
  });

  it('with consistency session waits for a forwarded write that was late', async () => {
    const { cluster, slow, flow } = await slowFollower();
    const error = await failureOf(slow.db.run("INSERT INTO t(v) VALUES('late')"));
    expect(error).toMatchObject({ code: 'HA_WAIT_TIMEOUT', retryable: false, details: { written: true } });
    expect(slow.db.lastWrite()).toBe(BigInt((error as unknown as { details: { sequence: number } }).details.sequence));
    const read = slow.db.get('SELECT v FROM t', [], { consistency: 'session' });
    flow();
    expect(await read).toEqual({ v: 'late' });
    await cluster.expectEqual();
  });

  it('remembers writes of each part of a program by itself', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const { db } = cluster.follower;
    await db.exec(TABLE);
    const before = db.lastWrite();
    await db.withSession(async () => {
      expect(db.lastWrite()).toBe(0n);
      const { txseq } = await db.run('INSERT INTO t(v) VALUES(1)');
      expect(db.lastWrite()).toBe(txseq);
      await db.withSession(async () => expect(db.lastWrite()).toBe(txseq));
    });
    expect(db.lastWrite()).toBeGreaterThan(before);
  });

  it('with consistency leader applies what the stream holds, in a cluster without one', async () => {
    const cluster = await startCluster({ nodes: 2 });
    await cluster.a.exec(TABLE);
    for (let i = 0; i < 20; i++) {
      await cluster.a.run('INSERT INTO t(v) VALUES(?)', [i]);
      expect(await cluster.b.get('SELECT max(v) AS v FROM t', [], { consistency: 'leader' })).toEqual({ v: i });
    }
    expect(cluster.b.status().leader).toBeUndefined();
  });
});

describe('The gRPC server of a follower', () => {
  it('sends what its callers write to the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const remote = new HARemoteDatabase({ url: `http://${cluster.follower.address}` });
    onCleanup(() => remote.close());
    await remote.exec(TABLE);
    expect(await remote.run('INSERT INTO t(v) VALUES(?)', [1])).toMatchObject({ changes: 1, lastInsertRowid: 1 });
    await remote.transaction(async (tx) => {
      await tx.run('INSERT INTO t(v) VALUES(2)');
      expect(await tx.all('SELECT v FROM t')).toEqual([{ v: 1 }, { v: 2 }]);
    });
    expect(await remote.all('SELECT v FROM t')).toEqual([{ v: 1 }, { v: 2 }]);
    await cluster.expectEqual();
    expect(new Set(cluster.messages().map(({ node }) => node))).toEqual(new Set([cluster.leader?.name]));
  });

  it('does not send on what another node has sent to it as to the leader', async () => {
    const cluster = await LeaderCluster.start({ nodes: 3, options: { grpcTimeout: 700 } });
    const [one, other] = cluster.followers as [LeaderCluster['nodes'][0], LeaderCluster['nodes'][0]];
    await one.db.exec(TABLE);
    // It takes the other follower for the leader.
    jest.spyOn(one.leader, 'target').mockReturnValue({ text: other.address, grpc: other.address });
    expect(await failureOf(one.db.run('INSERT INTO t(v) VALUES(1)'))).toMatchObject({
      code: 'HA_LEADER_UNKNOWN',
      retryable: true,
    });
    jest.restoreAllMocks();
    await until(async () => (await one.db.run('INSERT INTO t(v) VALUES(2)')).changes === 1);
    expect(await one.db.all('SELECT v FROM t')).toEqual([{ v: 2 }]);
  });
});

import { jest } from '@jest/globals';
import type { Position } from '../../../lib/sqlite/position.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { failureOf, pause, until } from '../../helper/cluster.js';
import { LeaderCluster, QUICK } from '../../helper/leader-cluster.js';

const TABLE = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)';

const rowsOf = (node: { db: { reader: import('better-sqlite3').Database } }): unknown[] =>
  node.db.reader.prepare('SELECT v FROM t ORDER BY v').pluck().all();

function countOf(outcomes: ReadonlyMap<string, string>, wanted: string): number {
  return [...outcomes.values()].filter((outcome) => outcome === wanted).length;
}

describe('When the leader changes', () => {
  it('another node leads at once where it stops in good order, or resigns', async () => {
    const cluster = await LeaderCluster.start();
    const first = await cluster.elected();
    await first.db.exec(TABLE);
    await first.leader.resign();
    expect(first.leader.isLeader()).toBe(false);
    const second = await cluster.elected();
    expect(second).not.toBe(first);
    await first.db.run("INSERT INTO t(v) VALUES('behind the first')");
    await second.db.stop();
    const third = await cluster.elected();
    await third.db.run("INSERT INTO t(v) VALUES('behind the second')");
    await second.db.start();
    await second.db.run("INSERT INTO t(v) VALUES('by the second')");
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
    expect(rowsOf(first)).toEqual(['behind the first', 'behind the second', 'by the second']);
    const [event] = third.events.filter((each) => each.type === 'leader').slice(-1);
    expect(event).toMatchObject({ isLeader: true, node: third.name, target: third.address });
  });

  it('it has stopped before another leads, where it is cut off from NATS, and nothing is lost or doubled', async () => {
    const cluster = await LeaderCluster.start({ timings: QUICK, options: { publisherTimeout: 300 } });
    const first = await cluster.elected();
    await first.db.exec(TABLE);
    const outcomes = new Map<string, string>();
    let stopped = false;
    const writers = cluster.nodes.map(async (node) => {
      for (let i = 0; !stopped; i++) {
        const name = `${node.name}-${i}`;
        try {
          await node.db.run('INSERT INTO t(v) VALUES(?)', [name]);
          outcomes.set(name, 'done');
        } catch (error) {
          const { code, retryable } = error as { code: string; retryable: boolean };
          outcomes.set(name, retryable ? 'retryable' : code);
        }
      }
    });
    for (let round = 0; round < 3; round++) {
      const before = await cluster.elected();
      const done = countOf(outcomes, 'done');
      await until(() => countOf(outcomes, 'done') >= done + 10);
      before.stream.disconnect();
      // `leader` fails where two lead.
      await until(() => cluster.leader !== undefined && cluster.leader !== before);
      await before.stream.connect();
      await cluster.elected();
    }
    stopped = true;
    await Promise.all(writers);
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
    const rows = new Set(rowsOf(first));
    for (const [name, outcome] of outcomes) {
      if (outcome === 'done') expect(rows).toContain(name);
      else if (outcome === 'retryable') expect(rows).not.toContain(name);
      else expect(['HA_PUBLISH_UNKNOWN', 'HA_WAIT_TIMEOUT']).toContain(outcome);
    }
    expect(countOf(outcomes, 'done')).toBeGreaterThanOrEqual(30);
  });

  it('one that slept through it, its clock too, gets nothing into the stream', async () => {
    let slept = 0;
    let asleepAt: number | undefined;
    const clock = (): number => (asleepAt ?? performance.now()) - slept;
    const streams: StillStream[] = [];
    const cluster = await LeaderCluster.start({
      nodes: 2,
      timings: QUICK,
      clockOf: (index) => (index === 0 ? clock : undefined),
      streamOf: (index, broker) => {
        if (index > 0) return undefined;
        streams.push(new StillStream(broker));
        return streams[0];
      },
    });
    const [sleeper, other] = cluster.nodes as [LeaderCluster['nodes'][0], LeaderCluster['nodes'][0]];
    expect(await cluster.elected()).toBe(sleeper);
    await sleeper.db.exec(TABLE);
    const still = streams[0] as StillStream;
    // It renews nothing, and hears nothing.
    asleepAt = performance.now();
    still.still = true;
    await until(() => other.leader.isLeader());
    await other.db.run("INSERT INTO t(v) VALUES('by the new one')");
    expect(sleeper.leader.isLeader()).toBe(true);
    const write = failureOf(sleeper.db.transaction((tx) => tx.run("INSERT INTO t(v) VALUES('by the old one')")));
    await until(() => still.refusals > 0);
    still.still = false;
    void still.deliver();
    expect(await write).toMatchObject({ code: 'HA_LEADER_CHANGED', retryable: true });
    expect(sleeper.leader.isLeader()).toBe(false);
    slept = performance.now() - asleepAt;
    asleepAt = undefined;
    await sleeper.db.run("INSERT INTO t(v) VALUES('forwarded')");
    await cluster.expectEqual();
    cluster.expectOneWriterAtATime();
    expect(rowsOf(sleeper)).toEqual(['by the new one', 'forwarded']);
  });

  it('a forwarded transaction that was under way fails as a whole, and says that it may run again', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2 });
    const first = await cluster.elected();
    await first.db.exec(TABLE);
    const { db } = cluster.follower;
    const inside = failureOf(
      db.transaction(async (tx) => {
        await tx.run("INSERT INTO t(v) VALUES('half')");
        await first.leader.resign();
        await tx.run("INSERT INTO t(v) VALUES('other half')");
      }),
    );
    expect(await inside).toMatchObject({ code: 'HA_LEADER_CHANGED', retryable: true });
    const second = await cluster.elected();
    expect(second.db).toBe(db);
    const session = first.db.connect();
    await session.execute('BEGIN');
    await session.execute("INSERT INTO t(v) VALUES('half')");
    second.line.cut();
    expect(await failureOf(session.execute('COMMIT'))).toMatchObject({ retryable: true });
    second.line.restore();
    await session.close();
    await first.db.run("INSERT INTO t(v) VALUES('whole')");
    await cluster.expectEqual();
    expect(rowsOf(first)).toEqual(['whole']);
  });
});

describe('Where the answer of the leader is lost', () => {
  it('a write that was done has its result all the same, and is done once', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2, options: { grpcTimeout: 2_000 } });
    const leader = await cluster.elected();
    await leader.db.exec(TABLE);
    const { db } = cluster.follower;
    const { txseq: warm } = await db.run("INSERT INTO t(v) VALUES('warm')");
    const lose = async <T>(call: () => Promise<T>): Promise<T> => {
      leader.line.muteServer();
      try {
        return await call();
      } finally {
        leader.line.cut();
        leader.line.restore();
        // Sessions have to be made anew.
        await db.run('UPDATE t SET v = v');
      }
    };
    expect(await lose(() => db.run("INSERT INTO t(v) VALUES('lost')"))).toEqual({
      changes: 1,
      lastInsertRowid: 2,
      txseq: expect.any(BigInt),
    });
    await lose(() => db.exec("INSERT INTO t(v) VALUES('s1'); INSERT INTO t(v) VALUES('s2')"));
    expect(await lose(() => failureOf(db.get("INSERT INTO t(v) VALUES('rows') RETURNING id")))).toMatchObject({
      code: 'HA_RESULT_LOST',
      retryable: false,
    });
    // Its place is not known any more: what another one was answered is not taken for its own.
    const { position } = (cluster.follower.runtime as unknown as { replication: { position: Position } }).replication;
    const forget = jest.spyOn(position, 'sequenceOf').mockReturnValue(Number(warm));
    const confused = await lose(() => failureOf(db.run("INSERT INTO t(v) VALUES('s3')")));
    expect(confused).toMatchObject({ code: 'HA_RESULT_LOST' });
    forget.mockRestore();
    const value = db.transaction(async (tx) => {
      await tx.run("INSERT INTO t(v) VALUES('tx')");
      leader.line.muteServer();
      return 'value';
    });
    expect(await value).toBe('value');
    leader.line.restore();
    await cluster.expectEqual();
    expect(rowsOf(leader)).toEqual(['lost', 'rows', 's1', 's2', 's3', 'tx', 'warm']);
  });

  it('one that never arrived is not done, now or later', async () => {
    const cluster = await LeaderCluster.start({ nodes: 2, options: { grpcTimeout: 2_000 } });
    const leader = await cluster.elected();
    await leader.db.exec(TABLE);
    const { db } = cluster.follower;
    await db.run("INSERT INTO t(v) VALUES('warm')");
    leader.line.muteClients();
    const error = await failureOf(db.run("INSERT INTO t(v) VALUES('lost')"));
    expect(error).toMatchObject({ code: 'HA_LEADER_UNKNOWN', retryable: true });
    leader.line.cut();
    leader.line.restore();
    await db.run("INSERT INTO t(v) VALUES('next')");
    await cluster.expectEqual();
    expect(rowsOf(leader)).toEqual(['next', 'warm']);
  });
});

describe('Where no leader is known', () => {
  it('a write waits for one, up to grpcTimeout, and is never done here', async () => {
    const cluster = await LeaderCluster.start({
      nodes: 1,
      elect: false,
      timings: QUICK,
      options: { clusterSize: 3, grpcTimeout: 300 },
    });
    const node = cluster.nodes[0] as LeaderCluster['nodes'][0];
    expect(await failureOf(node.db.exec(TABLE))).toMatchObject({
      code: 'HA_LEADER_UNKNOWN',
      retryable: true,
      message: expect.stringContaining('1 of 3 nodes'),
    });
    expect(await failureOf(node.db.transaction((tx) => tx.run('SELECT 1')))).toMatchObject({
      code: 'HA_LEADER_UNKNOWN',
    });
    expect(await failureOf(node.leader.known(50))).toMatchObject({ code: 'HA_LEADER_UNKNOWN', retryable: true });
    expect(node.db.status()).toMatchObject({ role: 'follower', leader: { isLeader: false, target: undefined } });
    expect(cluster.messages()).toEqual([]);
    const waiting = Promise.race([until(() => node.leader.isLeader()), pause(400)]);
    await waiting;
    expect(node.leader.isLeader()).toBe(false);
    // Two of three may elect one.
    await cluster.launch(await cluster.make());
    await cluster.elected();
    await node.db.exec(TABLE);
    await cluster.expectEqual();
  });

  it('nobody is elected by nodes that are gone', async () => {
    const cluster = await LeaderCluster.start({
      nodes: 2,
      timings: QUICK,
      options: { clusterSize: 2, grpcTimeout: 500 },
    });
    const leader = await cluster.elected();
    const { follower } = cluster;
    leader.stream.disconnect();
    await until(() => !leader.leader.isLeader());
    // Longer than it takes to take over.
    await pause(3 * QUICK.takeover);
    expect(follower.leader.isLeader()).toBe(false);
    expect(await failureOf(follower.db.exec(TABLE))).toMatchObject({ code: 'HA_LEADER_UNKNOWN' });
    await leader.stream.connect();
    await cluster.elected();
  });
});

/** A node that neither hears nor renews anything while it stands still; what it publishes is sent. */
class StillStream extends MemoryStream {
  still = false;
  refusals = 0;

  constructor(broker: MemoryBroker) {
    super({ broker, stream: 's', subject: 's.db' });
  }

  override async keyValue(...args: Parameters<MemoryStream['keyValue']>): ReturnType<MemoryStream['keyValue']> {
    const bucket = await super.keyValue(...args);
    const awake = async (): Promise<void> => {
      if (this.still) throw new Error('asleep');
    };
    return {
      ...bucket,
      get: (key) => awake().then(() => bucket.get(key)),
      update: (key, value, revision) => awake().then(() => bucket.update(key, value, revision)),
    };
  }

  override async deliver(count?: number): Promise<number> {
    return this.still ? 0 : super.deliver(count);
  }

  override async publish(...args: Parameters<MemoryStream['publish']>): ReturnType<MemoryStream['publish']> {
    try {
      return await super.publish(...args);
    } catch (error) {
      this.refusals++;
      throw error;
    }
  }
}

import { jest } from '@jest/globals';
import type { HAOptions } from '../../../lib/config/options.js';
import { failureOf, until } from '../../helper/cluster.js';
import { holdTurn, LeaderCluster } from '../../helper/leader-cluster.js';
import type { LeaderNode } from '../../helper/leader-cluster.js';

/** A follower whose leader has no leaderProvider: it is named by the follower alone. */
async function namedLeader(options: HAOptions = {}): Promise<{ cluster: LeaderCluster; nodes: LeaderNode[] }> {
  const cluster = await LeaderCluster.start({
    nodes: 2,
    elect: false,
    options: { grpcTimeout: 2_000 },
    optionsOf: (index, [first = '']) =>
      index === 0 ? { leaderProvider: undefined, ...options } : { leaderProvider: `static:${first}` },
  });
  return { cluster, nodes: cluster.nodes };
}

it('nothing counts that ran behind a write which was given up in the meantime', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const leader = await cluster.elected();
  const { follower } = cluster;
  await leader.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, n)');
  await follower.db.run('INSERT INTO t(n) VALUES(0)');
  // The leader is about to publish the write of the follower, and one of its own behind it, when the follower gives it up.
  const origin = follower.runtime.publisher.origin ?? '';
  const publish = leader.stream.publish.bind(leader.stream);
  const last = (): number => cluster.broker.log('s')?.state().lastSequence ?? 0;
  let outcome: Promise<unknown> | undefined;
  let given: Promise<void> | undefined;
  jest.spyOn(leader.stream, 'publish').mockImplementation(async (message) => {
    if (given === undefined && message.id.startsWith(origin)) {
      const before = last();
      outcome = follower.db.outcome(message.id);
      given = until(() => last() > before);
    }
    await given;
    return publish(message);
  });
  const turn = await holdTurn(leader.db);
  const theirs = failureOf(follower.db.run('UPDATE t SET n = n + 1'));
  await until(() => leader.db.status().waitingWrites === turn.waiting + 1);
  const own = leader.db.run('UPDATE t SET n = n + 10');
  await until(() => leader.db.status().waitingWrites === turn.waiting + 2);
  await Promise.all([turn.end(), theirs, own]);
  expect(await outcome).toEqual({ state: 'not_committed' });
  jest.restoreAllMocks();
  await cluster.expectEqual();
  expect(follower.db.reader.prepare('SELECT n FROM t').pluck().all()).toEqual([10]);
  const history = [];
  for await (const { sequence } of follower.db.history()) history.push(sequence);
  expect(history).toHaveLength(3);
});

it('a write is done once at a leader that has no leaderProvider', async () => {
  const { cluster, nodes } = await namedLeader();
  const [leader, follower] = nodes as [LeaderNode, LeaderNode];
  await leader.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await follower.db.run("INSERT INTO t(v) VALUES('warm')");
  leader.line.muteServer();
  expect(await follower.db.run("INSERT INTO t(v) VALUES('lost')")).toMatchObject({ changes: 1, lastInsertRowid: 2 });
  leader.line.cut();
  leader.line.restore();
  leader.line.muteClients();
  expect(await failureOf(follower.db.run("INSERT INTO t(v) VALUES('never')"))).toMatchObject({ retryable: true });
  leader.line.cut();
  leader.line.restore();
  await follower.db.run("INSERT INTO t(v) VALUES('next')");
  await cluster.expectEqual();
  expect(leader.db.reader.prepare('SELECT v FROM t ORDER BY id').pluck().all()).toEqual(['warm', 'lost', 'next']);
});

it('a node that publishes behind its commit is no leader', async () => {
  const { cluster, nodes } = await namedLeader({ asyncPublisher: true });
  const [leader, follower] = nodes as [LeaderNode, LeaderNode];
  await leader.db.exec('CREATE TABLE t(v)');
  expect(await failureOf(follower.db.run('INSERT INTO t VALUES(1)'))).toMatchObject({ code: 'HA_UNIMPLEMENTED' });
  await leader.db.run('INSERT INTO t VALUES(2)');
  await follower.db.waitFor(1n, { timeout: 20_000 });
  await until(() => follower.db.reader.prepare('SELECT v FROM t').pluck().get() === 2);
  await cluster.expectEqual();
});

import { jest } from '@jest/globals';
import { failureOf, pause, until } from '../../helper/cluster.js';
import { holdTurn, LeaderCluster } from '../../helper/leader-cluster.js';

it('a follower that stops has its writes answered which the leader has been given', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const leader = await cluster.elected();
  const { db, runtime } = cluster.follower;
  await leader.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await db.run("INSERT INTO t(v) VALUES('warm')");
  const turn = await holdTurn(leader.db);
  const given = db.run("INSERT INTO t(v) VALUES('given')");
  await until(() => leader.db.status().waitingWrites === turn.waiting + 1);
  const stopping = db.stop();
  await until(() => runtime.open?.committer.closing !== undefined);
  expect(await failureOf(db.run("INSERT INTO t(v) VALUES('late')"))).toMatchObject({ code: 'HA_UNAVAILABLE' });
  await turn.end();
  expect(await given).toEqual({ changes: 1, lastInsertRowid: 2, txseq: expect.any(BigInt) });
  await stopping;
  await db.start();
  await cluster.expectEqual();
  expect(db.reader.prepare('SELECT v FROM t ORDER BY id').pluck().all()).toEqual(['warm', 'given']);
});

it('a follower that stops has the COMMIT of a session answered which the leader has been given', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2, options: { publisherTimeout: 30_000 } });
  const leader = await cluster.elected();
  const { db } = cluster.follower;
  await leader.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const session = db.connect();
  await session.execute('BEGIN');
  await session.execute("INSERT INTO t(v) VALUES('given')");
  const publish = leader.stream.publish.bind(leader.stream);
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const spy = jest.spyOn(leader.stream, 'publish').mockImplementation(async (message) => {
    await released;
    return publish(message);
  });
  const committed = session.execute('COMMIT');
  await until(() => spy.mock.calls.length > 0);
  let isAnswered = false;
  void committed.finally(() => (isAnswered = true)).catch(() => undefined);
  const stopping = db.stop().then(() => isAnswered);
  await pause(300);
  release();
  expect(await committed).toMatchObject({ txseq: expect.any(BigInt) as bigint });
  expect(await stopping).toBe(true);
  spy.mockRestore();
  await session.close();
  await db.start();
  await cluster.expectEqual();
  expect(db.reader.prepare('SELECT v FROM t').pluck().all()).toEqual(['given']);
});

it('a write that looks for a leader ends with the database', async () => {
  const cluster = await LeaderCluster.start({
    nodes: 1,
    elect: false,
    options: { clusterSize: 3, grpcTimeout: 120_000 },
  });
  const { db } = cluster.nodes[0] as LeaderCluster['nodes'][0];
  let isOver = false;
  const waiting = failureOf(db.exec('CREATE TABLE t(v)')).finally(() => (isOver = true));
  await pause(50);
  await db.stop();
  await until(() => isOver);
  expect(await waiting).toMatchObject({ code: 'HA_UNAVAILABLE' });
});

import { failureOf, pause, startCluster, until } from '../helper/cluster.js';
import { connect } from 'nats';

/** The stream is made anew while nodes run: the nodes must not go on as if nothing had happened. */
describe('a stream that was made anew while nodes run', () => {
  it('halts the nodes, and no write is acknowledged that the nodes do not have', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(k TEXT PRIMARY KEY)');
    for (let n = 0; n < 5; n++) await cluster.a.run('INSERT INTO t VALUES(?)', [`before ${n}`]);
    await cluster.settle();
    const [stream = ''] = cluster.subject.split('.');
    const nc = await connect({ servers: cluster.url });
    const manager = await nc.jetstreamManager();
    await manager.streams.delete(stream);
    await manager.streams.add({ name: stream, subjects: [stream, `${stream}.>`] });
    await nc.close();
    const error = await failureOf(cluster.a.run(`INSERT INTO t VALUES('after')`));
    expect(error.code).toBe('HA_STREAM_RESET');
    expect(cluster.a.status().state).toBe('halted');
    expect(await cluster.a.get(`SELECT count(*) AS n FROM t WHERE k = 'after'`)).toEqual({ n: 0 });
    expect((await failureOf(cluster.a.run(`INSERT INTO t VALUES('later')`))).code).toBe('HA_STREAM_RESET');
    await until(() => cluster.b.status().state === 'halted');
    expect((await failureOf(cluster.b.run(`INSERT INTO t VALUES('other')`))).code).toBe('HA_STREAM_RESET');
    await pause(50);
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 5 });
  });
});

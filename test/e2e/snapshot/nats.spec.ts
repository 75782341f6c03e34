import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { connect, headers } from 'nats';
import type { NatsConnection, StreamInfo } from 'nats';
import type { TestNode } from '../../helper/cluster.js';
import { failureOf, onCleanup, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';

const quiet = { disableDBSnapshotter: true } as const;

async function client(cluster: Cluster): Promise<NatsConnection> {
  const nc = await connect({ servers: cluster.url });
  onCleanup(() => nc.close());
  return nc;
}

const wasRestored = ({ events }: TestNode): boolean =>
  events.some((event) => event.type === 'snapshot' && event.action === 'restored');

describe('snapshots and go-ha', () => {
  it('one that go-ha stored is what a node starts from', async () => {
    const cluster = await startCluster({ nodes: 0 });
    const nc = await client(cluster);
    const manager = await nc.jetstreamManager();
    const subject = `${cluster.stream}.my_db`;
    await manager.streams.add({ name: cluster.stream, subjects: [cluster.stream, `${cluster.stream}.>`] });
    for (let n = 0; n < 2; n++) await nc.jetstream().publish(subject, '{}');
    const change = {
      database: 'main',
      table: 't',
      columns: ['id', 'a'],
      pk_columns: ['id'],
      operation: 'INSERT',
      new_rowid: 900_001,
      new_values: [900_001, 'behind the snapshot'],
    };
    await nc
      .jetstream()
      .publish(subject, JSON.stringify({ node: 'go', process_id: 1, filename: 'my.db', changes: [change] }));
    await manager.streams.purge(cluster.stream, { seq: 3 });
    // Its file, as its snapshotter stored it, but of this stream.
    const path = join(temporaryFolder(), 'go.db');
    copyFileSync('test/data/golden/snapshot.db', path);
    const go = new BetterSqlite3(path);
    go.prepare('UPDATE ha_stats SET subject = ?').run(subject);
    const rows = go.prepare('SELECT count(*) FROM t').pluck().get() as number;
    go.close();
    const store = await nc.jetstream().views.os(`${cluster.stream}_SNAPSHOTS`);
    const seq = headers();
    seq.set('seq', '2');
    await store.putBlob({ name: 'my.db', headers: seq }, readFileSync(path));
    const node = cluster.make({ options: { replicationID: 'my.db', ...quiet } });
    onCleanup(() => node.db.close());
    await node.db.start();
    expect(wasRestored(node)).toBe(true);
    expect(await node.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: rows + 1 });
    expect(await node.db.get('SELECT a FROM t WHERE id = 900001')).toEqual({ a: 'behind the snapshot' });
  });

  it('one of ours is a plain SQLite file with the header and the table that go-ha reads', async () => {
    const cluster = await startCluster({ nodes: 1, options: quiet });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)');
    for (let n = 0; n < 5; n++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [n, 'x'.repeat(100_000)]);
    const taken = await cluster.a.snapshot();
    const store = await (await client(cluster)).jetstream().views.os(`${cluster.stream}_SNAPSHOTS`);
    const info = await store.info('db');
    expect(info?.headers?.get('seq')).toBe(String(taken.sequence));
    expect(info).toMatchObject({ size: taken.size, digest: taken.digest, options: { max_chunk_size: 131_072 } });
    const bytes = Buffer.from((await store.getBlob('db')) as Uint8Array);
    expect(bytes.subarray(0, 15).toString()).toBe('SQLite format 3');
    const path = join(temporaryFolder(), 'ours.db');
    writeFileSync(path, bytes);
    const db = new BetterSqlite3(path);
    expect(db.prepare('SELECT subject, received_seq FROM ha_stats').raw().all()).toEqual([
      [cluster.subject, Number(taken.sequence)],
    ]);
    db.close();
    expect(dumpFile(path)).toEqual(cluster.dump(0));
  });

  it('something that is none is told, keeps no node away, and is replaced', async () => {
    const cluster = await startCluster({ nodes: 1, options: quiet });
    await cluster.a.exec('CREATE TABLE t(v)');
    await cluster.a.snapshot();
    const nc = await client(cluster);
    const name = `$O.${cluster.stream}_SNAPSHOTS.M.${Buffer.from('db').toString('base64')}`;
    const manager = await nc.jetstreamManager();
    const good = (await manager.streams.getMessage(`OBJ_${cluster.stream}_SNAPSHOTS`, { last_by_subj: name })).json();
    const hostile = [
      '{{{',
      'null',
      '[]',
      '{}',
      JSON.stringify({ ...(good as object), nuid: '>' }),
      JSON.stringify({ ...(good as object), size: -5 }),
      JSON.stringify({ ...(good as object), chunks: 7 }),
      JSON.stringify({ ...(good as object), options: { link: { bucket: 'b', name: 'n' } } }),
      JSON.stringify({ ...(good as object), headers: { seq: ['999999'] } }),
    ];
    for (const text of hostile) {
      const rollup = headers();
      rollup.set('Nats-Rollup', 'sub');
      await nc.jetstream().publish(name, text, { headers: rollup });
      const node = await cluster.add({ options: quiet });
      const told = node.events.flatMap((event) => (event.type === 'error' ? [event.error] : []));
      expect({ text, told }).toMatchObject({ text, told: [{ code: 'HA_SNAPSHOT_INVALID' }] });
    }
    await cluster.a.run('INSERT INTO t VALUES(1)');
    await cluster.a.snapshot();
    const last = await cluster.add({ options: quiet });
    expect(wasRestored(last)).toBe(true);
    await cluster.expectEqual();
  });

  it('one without its header, as go-ha leaves it where it fails, is not used, and is replaced', async () => {
    const cluster = await startCluster({ nodes: 1, options: quiet });
    await cluster.a.exec('CREATE TABLE t(v)');
    const store = await (await client(cluster)).jetstream().views.os(`${cluster.stream}_SNAPSHOTS`);
    await store.putBlob({ name: 'db' }, readFileSync('test/data/golden/snapshot.db'));
    const b = await cluster.add({ options: quiet });
    expect(wasRestored(b)).toBe(false);
    await cluster.a.snapshot();
    const c = await cluster.add({ options: quiet });
    expect(wasRestored(c)).toBe(true);
    await cluster.expectEqual();
  });
});

describe('two nodes that take snapshots at once', () => {
  it('leave the newest of them, whole', async () => {
    const cluster = await startCluster({ nodes: 2, options: quiet });
    const { a, b } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const store = await (await client(cluster)).jetstream().views.os(`${cluster.stream}_SNAPSHOTS`);
    let last = 0n;
    for (let round = 0; round < 8; round++) {
      await (round % 2 === 0 ? a : b).run('INSERT INTO t VALUES(?, randomblob(300000))', [round]);
      const taken = await Promise.all([a.snapshot({ replace: true }), b.snapshot(), a.snapshot()]);
      const stored = BigInt((await store.info('db'))?.headers?.get('seq') ?? 0);
      expect(stored).toBeGreaterThanOrEqual(last);
      for (const { sequence } of taken) expect(stored).toBeGreaterThanOrEqual(sequence);
      last = stored;
    }
    await cluster.settle();
    const c = await cluster.add({ options: quiet });
    expect(wasRestored(c)).toBe(true);
    await cluster.expectEqual();
    // Of the losers nothing is left: the last one and the one in front of it.
    const ids = Object.keys((await bucket(cluster)).state.subjects ?? {});
    expect(ids.length).toBeLessThanOrEqual(2);
  });
});

async function bucket(cluster: Cluster): Promise<StreamInfo> {
  const manager = await (await client(cluster)).jetstreamManager();
  const name = `${cluster.stream}_SNAPSHOTS`;
  return manager.streams.info(`OBJ_${name}`, { subjects_filter: `$O.${name}.C.>` });
}

describe('a stream that forgets', () => {
  it('has the size that the option says, and drops the oldest', async () => {
    const options = { ...quiet, streamMaxBytes: '1MB' };
    const cluster = await startCluster({ nodes: 1, options });
    const manager = await (await client(cluster)).jetstreamManager();
    expect((await manager.streams.info(cluster.stream)).config).toMatchObject({ max_bytes: 1_048_576, discard: 'old' });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    for (let n = 0; n < 30; n++) await cluster.a.run('INSERT INTO t VALUES(?, ?)', [n, 'x'.repeat(60_000)]);
    expect((await manager.streams.info(cluster.stream)).state.first_seq).toBeGreaterThan(1);
    const lost = cluster.make({ options });
    onCleanup(() => lost.db.close());
    expect(await failureOf(lost.db.start())).toMatchObject({ code: 'HA_STREAM_GAP' });
    await cluster.a.snapshot();
    const b = await cluster.add({ options });
    expect(wasRestored(b)).toBe(true);
    await cluster.a.run('DELETE FROM t WHERE id < 5');
    await cluster.settle();
    expect(cluster.dump(1)).toEqual(cluster.dump(0));
  });

  it('is noticed behind a reconnect, and the node comes back by itself', async () => {
    const options = { ...quiet, snapshotInterval: '300ms', publisherTimeout: '2s' };
    const cluster = await startCluster({ nodes: 2, options, proxy: true });
    const [far, near] = [cluster.a, cluster.b];
    await near.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !far.status().connected);
    for (let n = 0; n < 6; n++) await near.run('INSERT INTO t VALUES(?, ?)', [n, 'x']);
    const manager = await (await client(cluster)).jetstreamManager();
    await manager.streams.purge(cluster.stream, { seq: (await cluster.lastSequence()) - 1 });
    cluster.proxy.restore();
    await until(() => far.status().state === 'halted');
    expect(far.status().lastError).toMatchObject({ code: 'HA_STREAM_GAP' });
    // What it holds is old, but has no hole: it can be read.
    expect(await far.get('SELECT count(*) AS n FROM t')).toEqual({ n: 0 });
    await near.snapshot();
    await until(() => wasRestored(cluster.node(0)) && far.status().state === 'running', 60_000);
    await far.run(`INSERT INTO t VALUES(100, 'of the one that was away')`);
    await cluster.settle();
    expect(cluster.dump(0)).toEqual(cluster.dump(1));
  }, 180_000);

  it('made anew, or shorter than what was applied, is never taken for the same', async () => {
    const cluster = await startCluster({ nodes: 1, options: quiet });
    await cluster.a.exec('CREATE TABLE t(v)');
    for (let n = 0; n < 3; n++) await cluster.a.run('INSERT INTO t VALUES(?)', [n]);
    await cluster.a.snapshot();
    await cluster.a.stop();
    const nc = await client(cluster);
    const manager = await nc.jetstreamManager();
    await manager.streams.delete(cluster.stream);
    await manager.streams.add({ name: cluster.stream, subjects: [cluster.stream, `${cluster.stream}.>`] });
    for (let n = 0; n < 9; n++) await nc.jetstream().publish(cluster.subject, '{"changes":[]}');
    expect(await failureOf(cluster.a.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    // Nor does a new node mix the snapshot of the old stream with the new one.
    const fresh = cluster.make({ options: quiet });
    onCleanup(() => fresh.db.close());
    expect(await failureOf(fresh.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    expect(existsSync(`${fresh.path}-ha-restore`)).toBe(false);
    await cluster.a.resync({ from: 'this-node' });
    await fresh.db.start();
    expect(await fresh.db.all('SELECT v FROM t')).toEqual([{ v: 0 }, { v: 1 }, { v: 2 }]);
  });
});

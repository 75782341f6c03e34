import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { failureOf, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)';

describe('the line to NATS', () => {
  it.each([1, 20])(
    'cut mid-write: %d write(s) fail with a code after publisherTimeout, reads go on, all resumes',
    async (writers) => {
      const cluster = await startCluster({ proxy: true, options: { publisherTimeout: '1s' } });
      await cluster.a.exec(SCHEMA);
      await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
      await cluster.settle();
      cluster.proxy.cut();
      // One after the other they would take 20 s.
      const started = Date.now();
      const results = await Promise.all(
        Array.from({ length: writers }, (_value, index) =>
          failureOf(cluster.a.run('INSERT INTO t VALUES(?, ?)', [100 + index, 'lost?'])),
        ),
      );
      expect(Date.now() - started).toBeLessThan(12_000);
      for (const error of results) expect(error.code).toMatch(/^HA_PUBLISH_(FAILED|UNKNOWN)$/);
      expect(await cluster.a.all('SELECT id FROM t')).toEqual([{ id: 1 }]);
      expect(cluster.a.status().connected).toBe(false);
      await cluster.b.run(`INSERT INTO t VALUES(2, 'b')`);
      cluster.proxy.restore();
      await until(() => cluster.a.status().connected);
      await cluster.a.run(`INSERT INTO t VALUES(3, 'c')`);
      await cluster.expectEqual();
      const ids = await cluster.a.prepare('SELECT id FROM t WHERE id < 100').pluck().all();
      expect(ids).toEqual([1, 2, 3]);
      for (const [index, error] of results.entries()) {
        const row = await cluster.b.get('SELECT 1 FROM t WHERE id = ?', [100 + index]);
        if (error.code === 'HA_PUBLISH_FAILED') expect(row).toBeUndefined();
      }
      expect(cluster.node(0).events.map(({ type }) => type)).toEqual(
        expect.arrayContaining(['disconnected', 'connected']),
      );
    },
  );

  it('cut for a moment: the write waits, and succeeds', async () => {
    const cluster = await startCluster({ proxy: true });
    await cluster.a.exec(SCHEMA);
    cluster.proxy.cut();
    const write = cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    const generated = cluster.a.run(`INSERT INTO t(v) VALUES('generated')`);
    await pause(300);
    cluster.proxy.restore();
    await Promise.all([write, generated]);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
  });

  it.each(['plain', 'generated id', 'DDL'])(
    'loses the acknowledgement (%s): the write is everywhere, once',
    async (kind) => {
      const cluster = await startCluster({ proxy: true });
      await cluster.a.exec(SCHEMA);
      await cluster.settle();
      const sql =
        kind === 'plain'
          ? `INSERT INTO bag VALUES('x')`
          : kind === 'DDL'
            ? 'CREATE TABLE u AS SELECT 1 AS one'
            : `INSERT INTO t(v) VALUES('x')`;
      const before = await cluster.lastSequence();
      cluster.proxy.muteServer();
      const write = cluster.a.run(sql);
      await until(async () => (await cluster.lastSequence()) > before);
      cluster.proxy.cut();
      await cluster.b.run(`INSERT INTO bag VALUES('between')`);
      cluster.proxy.restore();
      await write;
      await cluster.expectEqual();
      expect(await cluster.messages()).toHaveLength(before + 2);
    },
  );

  it('loses the acknowledgement for good: the caller is told that nobody knows, and the row comes back', async () => {
    const cluster = await startCluster({ proxy: true, options: { publisherTimeout: '1s' } });
    await cluster.a.exec(SCHEMA);
    const before = await cluster.lastSequence();
    cluster.proxy.muteServer();
    const write = failureOf(cluster.a.run(`INSERT INTO bag VALUES('x')`));
    await until(async () => (await cluster.lastSequence()) > before);
    cluster.proxy.cut();
    expect((await write).code).toBe('HA_PUBLISH_UNKNOWN');
    expect(await cluster.a.all('SELECT * FROM bag')).toEqual([]);
    cluster.proxy.restore();
    await until(async () => (await cluster.a.all('SELECT * FROM bag')).length === 1);
    await cluster.expectEqual();
  });

  it('cut again and again under load: every acknowledged write is there, none twice', async () => {
    const cluster = await startCluster({ proxy: true, options: { publisherTimeout: '1s' } });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const stop = new AbortController();
    const acknowledged: string[] = [];
    const failed: string[] = [];
    const writer = async (name: string): Promise<void> => {
      for (let n = 0; !stop.signal.aborted; n++) {
        const v = `${name} ${n}`;
        await cluster.a.run('INSERT INTO bag VALUES(?)', [v]).then(
          () => acknowledged.push(v),
          (error: { code?: string }) => failed.push(`${error.code} ${v}`),
        );
        await pause(1);
      }
    };
    const other = async (): Promise<void> => {
      for (let n = 0; !stop.signal.aborted; n++) {
        await cluster.b.run('INSERT INTO bag VALUES(?)', [`b ${n}`]);
        await pause(3);
      }
    };
    const running = [...Array.from({ length: 8 }, (_value, index) => writer(`w${index}`)), other()];
    for (let round = 0; round < 6; round++) {
      await pause(150);
      if (round % 2 === 0) cluster.proxy.muteServer();
      await pause(30);
      cluster.proxy.cut();
      await pause(round === 3 ? 1_500 : 100);
      cluster.proxy.restore();
      await until(() => cluster.a.status().connected);
    }
    stop.abort();
    await Promise.all(running);
    await cluster.expectEqual();
    const rows = (await cluster.b.prepare(`SELECT v FROM bag WHERE v LIKE 'w%'`).pluck().all()) as string[];
    expect(new Set(rows).size).toBe(rows.length);
    expect(acknowledged.filter((v) => !rows.includes(v))).toEqual([]);
    const surely = failed.filter((line) => line.startsWith('HA_PUBLISH_FAILED')).map((line) => line.slice(18));
    expect(surely.filter((v) => rows.includes(v))).toEqual([]);
    expect(failed.filter((line) => !/^HA_PUBLISH_(FAILED|UNKNOWN) /.test(line))).toEqual([]);
  });
});

describe('a nats-server', () => {
  it('that is killed comes back, and all resumes with nothing lost', async () => {
    const cluster = await startCluster({ server: {} });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    for (let round = 0; round < 3; round++) {
      const writes = Array.from({ length: 20 }, (_value, index) =>
        cluster.a.run('INSERT INTO bag VALUES(?)', [`${round} ${index}`]),
      );
      process.kill(cluster.server.pid, 'SIGKILL');
      writes.push(cluster.b.run('INSERT INTO bag VALUES(?)', [`b ${round}`]));
      await Promise.all(writes);
    }
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n, count(DISTINCT v) AS d FROM bag')).toEqual({ n: 63, d: 63 });
  });

  it('that cannot be reached at start is named', async () => {
    const cluster = await startCluster({ nodes: 1 });
    const node = cluster.make({ url: 'nats://127.0.0.1:1' });
    const error = await failureOf(node.db.start());
    expect(error).toMatchObject({
      code: 'HA_STREAM_CONNECT',
      message: expect.stringContaining('127.0.0.1:1') as string,
    });
    expect(node.db.status().state).toBe('stopped');
    await node.db.close();
  });
});

describe('a node', () => {
  it('that is stopped and started goes on at its position', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`${SCHEMA}; INSERT INTO t VALUES(1, 'a')`);
    await cluster.settle();
    await cluster.b.stop();
    expect(cluster.b.status().state).toBe('stopped');
    await cluster.a.run(`INSERT INTO bag VALUES('while b is away')`);
    await cluster.a.exec('ALTER TABLE t ADD COLUMN w');
    await cluster.b.start();
    expect(await cluster.b.all('SELECT * FROM bag')).toEqual([{ v: 'while b is away' }]);
    const applied = cluster.node(1).events.flatMap((event) => (event.type === 'applied' ? [event.sequence] : []));
    expect(new Set(applied).size).toBe(applied.length);
    await cluster.b.run(`INSERT INTO t VALUES(2, 'b', 'w')`);
    await cluster.expectEqual();
    const types = cluster
      .node(1)
      .events.map(({ type }) => type)
      .filter((type) => type === 'started' || type === 'stopped');
    expect(types).toEqual(['started', 'stopped', 'started']);
  });

  it('whose file is copied while it writes goes on from the copy, as behind a crash', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const folder = temporaryFolder();
    const writes: Promise<unknown>[] = [];
    for (let round = 0; round < 4; round++) {
      for (let index = 0; index < 30; index++) {
        writes.push(cluster.a.run('INSERT INTO bag VALUES(?)', [`${round} ${index}`]));
        writes.push(cluster.b.run('INSERT OR REPLACE INTO t VALUES(?, ?)', [index, round]));
      }
      await pause(round * 3);
      const copy = join(folder, `copy${round}.db`);
      for (const suffix of ['-wal', '']) {
        const from = cluster.node(0).path + suffix;
        if (existsSync(from)) copyFileSync(from, copy + suffix);
      }
    }
    await Promise.all(writes);
    for (let round = 0; round < 4; round++) {
      const node = await cluster.add({ path: join(folder, `copy${round}.db`) });
      await node.db.run('INSERT INTO bag VALUES(?)', [`from copy ${round}`]);
    }
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT count(*) AS n, count(DISTINCT v) AS d FROM bag')).toEqual({ n: 124, d: 124 });
  });

  it('recognises its own messages', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    await cluster.a.run(`INSERT INTO bag VALUES('x')`);
    await Promise.all(
      Array.from({ length: 50 }, (_value, index) =>
        (index % 2 ? cluster.a : cluster.b).run(`INSERT INTO bag VALUES('same')`),
      ),
    );
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT count(*) AS n FROM bag')).toEqual({ n: 51 });
  });

  it('can be closed while rows are being read', async () => {
    const cluster = await startCluster({ nodes: 1 });
    await cluster.a.exec(`${SCHEMA}; INSERT INTO bag VALUES(1), (2), (3)`);
    const rows = cluster.a.iterate('SELECT * FROM bag');
    await rows.next();
    cluster.a.reader.prepare('SELECT * FROM bag').iterate().next();
    await cluster.a.close();
    expect(cluster.a.status().state).toBe('closed');
  });

  it('finishes the writes that wait when it is stopped', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(SCHEMA);
    const writes = Array.from({ length: 100 }, (_value, index) => cluster.a.run('INSERT INTO bag VALUES(?)', [index]));
    await pause(0);
    await cluster.a.stop();
    await Promise.all(writes);
    await cluster.a.start();
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM bag')).toEqual({ n: 100 });
  });
});

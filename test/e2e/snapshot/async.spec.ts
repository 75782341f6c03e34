import { copyFileSync, cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAOptions } from '../../../lib/config/options.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { dumpFile } from '../../helper/dump.js';
import type { Dump } from '../../helper/dump.js';
import { temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

const SCHEMA = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v);
CREATE TABLE counted(n INTEGER PRIMARY KEY AUTOINCREMENT, v);`;

type Node = MemoryNode<MemoryStream>;

/** A node that publishes asynchronously holds the fold, and over it what waits in the outbox. */
describe.each(['in the database', 'in a file of its own'])('with the outbox %s', (place) => {
  let broker: MemoryBroker;
  let dir: string;
  let outbox: string;

  beforeEach(() => {
    broker = new MemoryBroker();
    dir = temporaryFolder();
    outbox = temporaryFolder();
  });

  const make = (name: string, options: HAOptions = {}): Node =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }), {
      disableDBSnapshotter: true,
      generatedIds: 'overwrite',
      ...options,
    });
  const makeAsync = (name: string): Node =>
    make(name, {
      asyncPublisher: true,
      ...(place === 'in the database' ? {} : { asyncPublisherOutboxDir: join(outbox, name) }),
    });

  async function storedFile(): Promise<string> {
    const store = broker.objects('s_SNAPSHOTS');
    const chunks: Buffer[] = [];
    for await (const piece of store.read(store.info('db') as never, async () => undefined)) chunks.push(piece);
    const path = join(dir, 'stored.db');
    writeFileSync(path, Buffer.concat(chunks));
    return path;
  }

  async function fold(): Promise<Dump> {
    const node = make(`fold${Math.random()}`, { bootstrap: 'never', disablePublisher: true });
    await node.db.start();
    await node.db.close();
    return dumpFile(node.path);
  }

  const settled = (...nodes: Node[]): Promise<void> =>
    until(async () => {
      const last = BigInt(await (nodes[0] as Node).stream.lastSubjectSequence());
      return nodes.every(({ db }) => (db.status().outbox?.size ?? 0) === 0 && db.position().received >= last);
    });

  it('a snapshot is the fold, without what only waits', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    for (let n = 1; n <= 5; n++) {
      await a.db.run('INSERT INTO t VALUES(?, ?)', [n, `old ${n}`]);
      await a.db.run('INSERT INTO bag VALUES(?)', [n % 2]);
    }
    await settled(a, b);
    const before = dumpFile(a.path);
    // Everything is refused from now on, and so it waits; the connection is there.
    a.stream.refuseNext(1_000_000);
    a.stream.dropNext(1_000_000);
    await a.db.transaction(async (tx) => {
      await tx.run(`UPDATE t SET v = 'new' WHERE id < 3`);
      await tx.run('DELETE FROM bag WHERE v = 1');
      await tx.run(`INSERT INTO t VALUES(9, 'nine')`);
      await tx.run('INSERT INTO counted(v) VALUES(1), (2)');
    });
    await a.db.run(`INSERT OR REPLACE INTO t VALUES(4, 'replaced')`);
    expect(a.db.status().outbox?.size).toBe(2);
    await a.db.snapshot();
    expect(a.db.status().outbox?.size).toBe(2);
    const path = await storedFile();
    expect(dumpFile(path)).toEqual(before);
    expect(dumpFile(path)).toEqual(await fold());
    const db = new BetterSqlite3(path);
    const left = ['ha_outbox', 'ha_undo', 'ha_outbox_file', 'ha_origins'].map((table) =>
      db.prepare(`SELECT count(*) FROM ${table}`).pluck().get(),
    );
    db.close();
    expect(left).toEqual([0, 0, 0, 0]);
    const c = make('c');
    await c.db.start();
    a.stream.refuseNext(0);
    a.stream.dropNext(0);
    await settled(a, b, c);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect(dumpFile(c.path)).toEqual(dumpFile(b.path));
  });

  it('snapshots are the fold also while transactions are written, published and met', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    let writing = true;
    const writes = (async () => {
      for (let n = 1; writing; n++) {
        await a.db.run('INSERT INTO bag VALUES(?)', [n]);
        if (n % 5 === 0) await b.db.run('INSERT OR REPLACE INTO t VALUES(?, ?)', [n % 7, n]);
        await a.db.run('UPDATE t SET v = v + 1 WHERE id = ?', [n % 7]);
      }
    })();
    for (let round = 0; round < 6; round++) {
      await a.db.snapshot({ replace: true });
      const path = await storedFile();
      const db = new BetterSqlite3(path);
      const sequence = db.prepare('SELECT received_seq FROM ha_stats').pluck().get() as number;
      db.close();
      // The fold up to that place: a replica that sees no more of the stream.
      const short = new MemoryBroker();
      short.ensure('s', 1);
      for (let at = 1; at <= sequence; at++) short.append(broker.log('s')?.at(at) as never, 's');
      const stream = new MemoryStream({ broker: short, ...MEMORY_STREAM });
      const replica = memoryNode(`r${round}`, dir, stream, { disablePublisher: true, bootstrap: 'never' });
      await replica.db.start();
      await replica.db.close();
      expect(dumpFile(path)).toEqual(dumpFile(replica.path));
    }
    writing = false;
    await writes;
    await settled(a, b);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
  });

  it('what waits is carried over a restore', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    await a.db.run(`INSERT INTO t VALUES(1, 'first')`);
    await settled(a, b);
    a.stream.disconnect();
    for (let n = 10; n < 15; n++) await a.db.run('INSERT INTO bag VALUES(?)', [n]);
    await a.db.run(`UPDATE t SET v = 'of a' WHERE id = 1`);
    await a.db.stop();
    for (let n = 20; n < 26; n++) await b.db.run('INSERT INTO bag VALUES(?)', [n]);
    const { sequence } = await b.db.snapshot();
    await b.db.run('INSERT INTO bag VALUES(30)');
    broker.trim(Number(sequence));
    await a.stream.connect();
    await a.db.start();
    expect(a.events).toContainEqual(expect.objectContaining({ type: 'snapshot', action: 'restored' }));
    await settled(a, b);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect(await b.db.all('SELECT v FROM bag ORDER BY v')).toEqual(
      [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 30].map((v) => ({ v })),
    );
    expect(await b.db.get('SELECT v FROM t WHERE id = 1')).toEqual({ v: 'of a' });
    await a.db.run('INSERT INTO bag VALUES(31)');
    await settled(a, b);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    if (place !== 'in the database')
      expect(readdirSync(join(outbox, 'a')).filter((f) => f.endsWith('.outbox'))).toHaveLength(1);
  });

  it('what waits, but is in the stream already, does not count twice behind a restore', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    await settled(a, b);
    a.stream.disconnect();
    for (let n = 0; n < 4; n++) await a.db.run('INSERT INTO bag VALUES(?)', [n]);
    await a.db.stop();
    const saved = join(temporaryFolder(), 'a.db');
    copyFileSync(a.path, saved);
    cpSync(outbox, `${saved}-outbox`, { recursive: true });
    await a.stream.connect();
    await a.db.start();
    await settled(a, b);
    await a.db.stop();
    // The disk loses the last seconds.
    copyFileSync(saved, a.path);
    rmSync(outbox, { recursive: true });
    cpSync(`${saved}-outbox`, outbox, { recursive: true });
    const { sequence } = await b.db.snapshot();
    broker.trim(Number(sequence));
    broker.forgetIds();
    await b.db.run('INSERT INTO bag VALUES(30)');
    await a.db.start();
    expect(a.events).toContainEqual(expect.objectContaining({ type: 'snapshot', action: 'restored' }));
    expect(await a.stream.lastSubjectSequence()).toBeGreaterThan(Number(sequence) + 4);
    await settled(a, b);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect(await b.db.all('SELECT v FROM bag ORDER BY v')).toEqual([0, 1, 2, 3, 30].map((v) => ({ v })));
  });

  it('a backup holds what waits, and publishes it where a node is started on it', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    await settled(a, b);
    a.stream.disconnect();
    for (let n = 0; n < 4; n++) await a.db.run('INSERT INTO bag VALUES(?)', [n]);
    const target = join(dir, 'saved.bak');
    await a.db.backup(target);
    expect(dumpFile(target).tables['bag']).toEqual(dumpFile(a.path).tables['bag']);
    // The machine of a is lost, and its file with it.
    await a.db.close();
    copyFileSync(target, join(dir, 'again.db'));
    const again = make('again', { asyncPublisher: true });
    await again.db.start();
    await settled(again, b);
    expect(await b.db.all('SELECT v FROM bag ORDER BY v')).toEqual([0, 1, 2, 3].map((v) => ({ v })));
    expect(dumpFile(again.path)).toEqual(dumpFile(b.path));
  });

  it('makes its rows those of all, with what waits in them', async () => {
    const [a, b] = [makeAsync('a'), make('b')];
    await b.db.exec(SCHEMA);
    await a.db.start();
    await a.db.run(`INSERT INTO t VALUES(1, 'first')`);
    await settled(a, b);
    a.stream.dropNext(1_000_000);
    for (let n = 0; n < 4; n++) await a.db.run('INSERT INTO bag VALUES(?)', [n]);
    a.stream.dropNext(0);
    await a.db.resync({ from: 'this-node' });
    await until(() => b.events.some((event) => event.type === 'snapshot' && event.action === 'restored'));
    await until(() => b.db.status().state === 'running');
    await b.db.run('INSERT INTO bag VALUES(9)');
    await settled(a, b);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect(await b.db.all('SELECT v FROM bag ORDER BY v')).toEqual([0, 1, 2, 3, 9].map((v) => ({ v })));
  });
});

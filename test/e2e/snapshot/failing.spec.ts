import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { HAOptions } from '../../../lib/config/options.js';
import { SnapshotStore } from '../../../lib/snapshot/snapshot-store.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { ObjectGone } from '../../../lib/stream/object-store.js';
import { failureOf, temporaryFolder, until } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

type Node = MemoryNode<MemoryStream>;

interface Nodes {
  readonly broker: MemoryBroker;
  make(name: string, options?: HAOptions): Node;
}

function nodes(): Nodes {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string, options: HAOptions = {}): Node =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }), { disableDBSnapshotter: true, ...options });
  return { broker, make };
}

/** Snapshots cannot be read, until the returned function is called. */
function unreadable({ stream }: Node): () => void {
  const objects = stream.objects.bind(stream);
  stream.objects = async (bucket) => ({
    ...(await objects(bucket)),
    read: () => {
      throw new Error('EIO: i/o error');
    },
  });
  return () => (stream.objects = objects);
}

async function fill({ db }: Node, from: number, to: number): Promise<void> {
  for (let id = from; id <= to; id++) await db.run('INSERT INTO t VALUES(?, ?)', [id, `row ${id}`]);
}

const applied = (node: Node, by: Node): Promise<void> =>
  until(async () => node.db.position().received >= BigInt(await by.stream.lastSubjectSequence()));

describe.each([false, true])('db.resync with asyncPublisher=%s', (asyncPublisher) => {
  async function pair(): Promise<readonly [Node, Node]> {
    const { make } = nodes();
    const options = { asyncPublisher, generatedIds: 'overwrite' } as const;
    const [a, b] = [make('a', options), make('b', options)];
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    await b.db.start();
    await until(() => (a.db.status().outbox?.size ?? 0) === 0);
    await applied(b, a);
    return [a, b];
  }

  it('fails where the snapshot cannot be read, and the node goes on', async () => {
    const [a, b] = await pair();
    await a.db.snapshot();
    const readable = unreadable(b);
    expect(await failureOf(b.db.resync({ from: 'snapshot' }))).toMatchObject({ code: 'HA_SNAPSHOT_FAILED' });
    expect(b.events.filter(({ type }) => type === 'resynced')).toEqual([]);
    expect(b.db.status().state).toBe('running');
    readable();
    await b.db.resync({ from: 'snapshot' });
    expect(b.events.filter(({ type }) => type === 'resynced')).toHaveLength(1);
  });

  it('fails where the rows of this node cannot be published', async () => {
    const [, b] = await pair();
    b.stream.publish = () => Promise.reject(new Error('no answer'));
    expect(await failureOf(b.db.resync({ from: 'this-node' }))).toMatchObject({ code: 'HA_STREAM_CONNECT' });
    expect(b.events.filter(({ type }) => type === 'resynced')).toEqual([]);
  });
});

describe('a node that was started without the stream', () => {
  it('gives its name back where it is stopped while it joins', async () => {
    const { make } = nodes();
    const a = make('a', { asyncPublisher: true, generatedIds: 'overwrite' });
    a.stream.disconnect();
    await a.db.start();
    const keyValue = a.stream.keyValue.bind(a.stream);
    let asked = false;
    let answer: () => void = () => undefined;
    const answered = new Promise<void>((resolve) => (answer = resolve));
    a.stream.keyValue = async (bucket, settings) => {
      asked = true;
      await answered;
      return keyValue(bucket, settings);
    };
    await a.stream.connect();
    await until(() => asked);
    const stopping = a.db.stop();
    await new Promise((resolve) => setTimeout(resolve, 50));
    answer();
    await stopping;
    await a.db.start();
    await a.db.stop();
    const again = make('a');
    await again.db.start();
  });
});

describe('a node that comes back by itself', () => {
  it.each([false, true])(
    'serves what it had where that fails, and tries again (asyncPublisher=%s)',
    async (asyncPublisher) => {
      const { broker, make } = nodes();
      const options = { asyncPublisher, generatedIds: 'overwrite', snapshotInterval: 100 } as const;
      const [a, b] = [make('a'), make('b', options)];
      await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
      await b.db.start();
      await fill(a, 1, 3);
      await applied(b, a);
      b.stream.disconnect();
      await fill(a, 4, 9);
      await a.db.snapshot();
      broker.trim(Number(a.db.position().received) - 2);
      const readable = unreadable(b);
      await b.stream.connect();
      const failed = (): number =>
        b.events.filter((event) => event.type === 'error' && /EIO/.test(event.error.message)).length;
      await until(() => failed() > 1);
      expect(await b.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 3 });
      await until(() => b.db.status().state === 'halted');
      expect(b.db.status().lastError).toMatchObject({ code: 'HA_STREAM_GAP' });
      expect(await failureOf(b.db.run(`INSERT INTO t VALUES(50, 'lost')`))).toMatchObject({
        code: expect.stringMatching(/^HA_/) as unknown,
      });
      readable();
      await until(() => b.db.status().state === 'running');
      await b.db.run(`INSERT INTO t VALUES(60, 'of b')`);
      await applied(a, b);
      await applied(b, a);
      expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
      expect(await b.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 10 });
    },
  );

  it('does so also where the rows that all were told to take over cannot be read', async () => {
    const { make } = nodes();
    const [a, b] = [make('a'), make('b', { snapshotInterval: 100 })];
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    await b.db.start();
    await applied(b, a);
    const readable = unreadable(b);
    await a.db.resync({ from: 'this-node' });
    await until(() => b.events.some((event) => event.type === 'error' && /EIO/.test(event.error.message)));
    expect(await b.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 3 });
    await b.db.stop();
    expect(b.db.status().state).toBe('stopped');
    readable();
    await b.db.start();
    await fill(a, 4, 5);
    await applied(b, a);
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
  });
});

describe('a snapshot in the store', () => {
  it('that is of a history that is no more is replaced', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 9);
    await a.db.snapshot();
    await a.db.stop();
    // The stream is restored from an older copy, the store is not.
    broker.truncate(3);
    expect(await failureOf(a.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    await a.db.resync({ from: 'this-node' });
    const [b, c] = [make('b'), make('c')];
    await b.db.start();
    await fill(a, 20, 30);
    await c.db.start();
    await applied(b, a);
    await applied(c, a);
    for (const { path } of [b, c]) expect(dumpFile(path)).toEqual(dumpFile(a.path));
  });

  it('is replaced where that is asked for, whatever it says', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    const { sequence } = await a.db.snapshot();
    const store = await SnapshotStore.open(a.stream, 's', 'db');
    const { created } = await a.stream.state();
    await fill(a, 4, 5);
    const b = make('b');
    await b.db.start();
    await fill(b, 6, 7);
    await applied(a, b);
    const wrong = (await a.stream.state()).lastSequence + 5;
    await store?.put(a.path, { sequence: wrong, created, base: '' }, () => undefined);
    expect(broker.objects('s_SNAPSHOTS').info('db')?.headers['seq']).toBe(String(wrong));
    const replaced = await a.db.snapshot({ replace: true });
    expect(broker.objects('s_SNAPSHOTS').info('db')?.headers['seq']).toBe(String(replaced.sequence));
    expect(replaced.sequence).toBeGreaterThan(sequence);
    const c = make('c');
    await c.db.start();
    expect(dumpFile(c.path)).toEqual(dumpFile(a.path));
  });

  it('that is outdated when it is here gives way to the next', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    await a.db.snapshot();
    const b = make('b');
    const objects = b.stream.objects.bind(b.stream);
    let downloads = 0;
    b.stream.objects = async (bucket) => {
      const store = await objects(bucket);
      return {
        ...store,
        read: async function* (info) {
          yield* store.read(info);
          if (downloads++ > 0) return;
          await fill(a, 4, 9);
          await a.db.snapshot();
          broker.trim(8);
        },
      };
    };
    await b.db.start();
    expect(downloads).toBe(2);
    await applied(b, a);
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
  });

  it('whose pieces are missing is damaged, and no reason to stay away where the stream holds everything', async () => {
    const { make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    await a.db.snapshot();
    const b = make('b');
    const objects = b.stream.objects.bind(b.stream);
    b.stream.objects = async (bucket) => ({
      ...(await objects(bucket)),
      read: () => {
        throw new ObjectGone('it was replaced');
      },
    });
    await b.db.start();
    await applied(b, a);
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
    expect(b.events).toContainEqual(
      expect.objectContaining({ type: 'error', error: expect.objectContaining({ code: 'HA_SNAPSHOT_INVALID' }) }),
    );
  });
});

describe('a start that is stopped', () => {
  it.each(['stop', 'close'] as const)('does not wait for the rest of a snapshot: %s', async (how) => {
    const { make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await fill(a, 1, 3);
    await a.db.snapshot();
    const b = make('b');
    const objects = b.stream.objects.bind(b.stream);
    let isRead = false;
    b.stream.objects = async (bucket) => ({
      ...(await objects(bucket)),
      read: async function* () {
        isRead = true;
        yield Buffer.alloc(10);
        await new Promise(() => undefined);
      },
    });
    const starting = failureOf(b.db.start());
    await until(() => isRead);
    await b.db[how]();
    expect(await starting).toMatchObject({ code: 'HA_UNAVAILABLE' });
    expect(readdirSync(dirname(b.path)).filter((name) => /-ha-restore/.test(name))).toEqual([]);
    if (how === 'close') return;
    b.stream.objects = objects;
    await b.db.start();
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
  });
});

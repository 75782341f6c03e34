import type { HAOptions } from '../../../lib/config/options.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { dumpFile } from '../../helper/dump.js';
import { failureOf, temporaryFolder, until } from '../../helper/cluster.js';
import { memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

/** Messages of other databases on the stream, which come and go. */
describe('a database on a stream that others write to', () => {
  const broker = (): { broker: MemoryBroker; others: (count: number) => void; make: typeof node } => {
    const made = new MemoryBroker();
    made.ensure('s', 1);
    const others = (count: number): void => {
      for (let n = 0; n < count; n++) {
        made.append({
          subject: 's.other',
          data: Buffer.from('{}'),
          id: undefined,
          version: undefined,
          chunk: undefined,
        });
      }
    };
    const dir = temporaryFolder();
    function node(name: string, options: HAOptions = {}): MemoryNode<MemoryStream> {
      const stream = new MemoryStream({ broker: made, stream: 's', subject: 's.db' });
      return memoryNode(name, dir, stream, { disableDBSnapshotter: true, ...options }, 50);
    }
    return { broker: made, others, make: node };
  };
  const halts = ({ events }: MemoryNode<MemoryStream>): unknown[] => events.filter(({ type }) => type === 'halted');

  it('begins where the beginning of the stream is gone', async () => {
    const { broker: made, others, make } = broker();
    others(20);
    made.trim(15);
    const [a, b] = [make('a'), make('b')];
    await a.db.start();
    await b.db.start();
    await a.db.exec('CREATE TABLE t(v)');
    await b.db.waitFor(a.db.position().received);
    await b.db.run('INSERT INTO t VALUES(1)');
    await a.db.waitFor(b.db.position().received);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect([...halts(a), ...halts(b)]).toEqual([]);
  });

  it('moves its position while it is idle, so that what goes of others is no gap', async () => {
    const { broker: made, others, make } = broker();
    const options = { streamMaxAge: '400ms' };
    const [a, b] = [make('a', options), make('b', options)];
    await a.db.exec('CREATE TABLE t(v)');
    await b.db.start();
    for (let round = 0; round < 3; round++) {
      others(30);
      const end = BigInt(made.log('s')?.state().lastSequence ?? 0);
      await until(() => a.db.position().received === end && b.db.position().received === end);
      made.trim(Number(end));
    }
    await b.db.run('INSERT INTO t VALUES(1)');
    await a.db.waitFor(b.db.position().received);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    await a.db.stop();
    await a.db.start();
    expect([...halts(a), ...halts(b)]).toEqual([]);
    expect(await a.db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
  });

  it('is not moved behind a message that it has not applied', async () => {
    const { broker: made, others, make } = broker();
    const a = make('a', { streamMaxAge: '400ms' });
    await a.db.exec('CREATE TABLE t(v)');
    const stream = new MemoryStream({ broker: made, stream: 's', subject: 's.db', manual: true });
    const b = memoryNode('b', temporaryFolder(), stream, { disableDBSnapshotter: true, streamMaxAge: '400ms' });
    const starting = b.db.start();
    for (let open = false; !open; open = b.runtime.open !== undefined) {
      await stream.deliver();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await starting;
    const before = b.db.position().received;
    others(3);
    await a.db.run('INSERT INTO t VALUES(1)');
    others(3);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(b.db.position().received).toBe(before);
    await stream.deliver();
    await until(() => b.db.position().received > before);
    expect(await b.db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
  });

  it('notices that its own messages went with those of others', async () => {
    const { broker: made, others, make } = broker();
    const [a, b] = [make('a', { streamMaxAge: '400ms' }), make('b')];
    await a.db.exec('CREATE TABLE t(v)');
    await b.db.start();
    await b.db.waitFor(1n);
    await b.db.stop();
    others(5);
    await a.db.run('INSERT INTO t VALUES(1)');
    others(5);
    const end = BigInt(made.log('s')?.state().lastSequence ?? 0);
    await until(() => a.db.position().received === end);
    made.trim(9);
    await expect(b.db.start()).rejects.toMatchObject({ code: 'HA_STREAM_GAP' });
    await a.db.snapshot();
    await b.db.start();
    expect(await b.db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
  });

  it('notices that its own messages were removed, although the stream still has its beginning', async () => {
    const { broker: made, others, make } = broker();
    others(1);
    const [a, b] = [make('a'), make('b')];
    await a.db.exec('CREATE TABLE t(v)');
    await b.db.start();
    await b.db.stop();
    await a.db.run('INSERT INTO t VALUES(1)');
    made.purge('s.db');
    await a.db.run('INSERT INTO t VALUES(2)');
    const before = dumpFile(b.path);
    const error = await failureOf(b.db.start());
    expect(error).toMatchObject({ code: 'HA_STREAM_GAP' });
    expect(error.message).toContain('was removed from the stream');
    expect(dumpFile(b.path)).toEqual(before);
    await a.db.snapshot();
    await b.db.start();
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
    await a.db.stop();
    await a.db.start();
    expect([...halts(a), ...halts(b)]).toEqual([]);
  });

  describe('of whose history nothing is left in the stream', () => {
    type Expired = ReturnType<typeof broker> & Record<'a' | 'early', MemoryNode<MemoryStream>>;

    async function expired(): Promise<Expired> {
      const nodes = broker();
      const options = { streamMaxAge: '400ms' };
      const [a, early] = [nodes.make('a', options), nodes.make('early', options)];
      await early.db.start();
      await early.db.stop();
      await a.db.exec('CREATE TABLE t(v)');
      await a.db.run('INSERT INTO t VALUES(1)');
      nodes.others(5);
      const end = nodes.broker.log('s')?.state().lastSequence ?? 0;
      await until(() => a.db.position().received === BigInt(end));
      nodes.broker.trim(end);
      return { ...nodes, a, early };
    }

    it('lets no new node begin empty', async () => {
      const { a, make } = await expired();
      const b = make('b');
      // The others tell with their next heartbeat what they have applied.
      let error: unknown;
      await until(async () => {
        error = await b.db.start().catch((reason: unknown) => reason);
        if (error === undefined) throw new Error('It began empty.');
        return true;
      });
      expect(error).toMatchObject({ code: 'HA_STREAM_GAP' });
      await a.db.snapshot();
      await b.db.start();
      expect(await b.db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
    });

    it('lets no node go on that had applied nothing', async () => {
      const { a, early } = await expired();
      await a.db.close();
      await expect(early.db.start()).rejects.toMatchObject({ code: 'HA_STREAM_GAP' });
    });

    it('is not built anew from the stream', async () => {
      const { a } = await expired();
      await expect(a.db.resync()).rejects.toMatchObject({ code: 'HA_STREAM_GAP' });
      expect(await a.db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
    });

    it('keeps a snapshot that new nodes can go on from', async () => {
      const { broker: made, others, make } = broker();
      const options = { streamMaxAge: '400ms', snapshotInterval: 100, disableDBSnapshotter: false };
      const a = make('a', options);
      await a.db.exec('CREATE TABLE t(v)');
      const stored = (): number => Number(made.objects('s_SNAPSHOTS').info('db')?.headers['seq'] ?? 0);
      await until(() => stored() > 0);
      for (let round = 0; round < 3; round++) {
        const before = stored();
        others(20);
        // Half of what the stream holds lies in front of it: it is taken anew before it is left behind.
        await until(() => stored() > before);
        made.trim(stored() - 1);
      }
      const settled = stored();
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(stored()).toBe(settled);
      const b = make('b');
      await b.db.start();
      expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
    });
  });
});

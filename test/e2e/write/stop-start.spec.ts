import { setImmediate as immediate } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';

describe('stop and start while a batch is applied', () => {
  it.each([0, 1, 5, 25])('lose no message; stopped %d turns of the loop behind its beginning', async (turns) => {
    const cluster = await startCluster();
    const { a, b } = cluster;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE n(v)');
    await cluster.settle();
    const insert = (v: string): Promise<unknown> => a.run('INSERT INTO n VALUES(?)', [v]);
    let release = (): void => undefined;
    // Messages wait while somebody else writes, and are one batch then.
    const held = b.transaction(async (tx) => {
      await tx.get('SELECT 1');
      await new Promise<void>((resolve) => (release = resolve));
    });
    for (const v of ['a', 'b', 'c']) await insert(v);
    const rows = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 20000)';
    await a.run(`INSERT INTO t ${rows} SELECT x, x FROM c`);
    for (const v of ['d', 'e', 'f']) await insert(v);
    const last = a.position().published;
    await until(() => b.status().backlog > 6);
    release();
    await held;
    for (let turn = 0; turn < turns; turn++) await immediate();
    const stopped = b.stop();
    for (const v of ['g', 'h', 'i']) await insert(v);
    await stopped;
    for (const v of ['j', 'k', 'l']) await insert(v);
    await b.start();
    await b.waitFor(last);
    await cluster.expectEqual();
  });
});

describe('a pause while the database starts', () => {
  const steps = ['from the beginning', 'when calls are taken already'] as const;
  it.each(steps)('ends in a closed file, and calls open it again: %s', async (when) => {
    const stream = new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM });
    const { db, runtime, events } = memoryNode('a', temporaryFolder(), stream);
    let paused: Promise<void> | undefined;
    const attach = runtime.snapshotter.attach.bind(runtime.snapshotter);
    const spy = jest.spyOn(runtime.snapshotter, 'attach').mockImplementation((ports) => {
      attach(ports);
      expect(runtime.open).toBeDefined();
      paused ??= runtime.pause();
    });
    const started = runtime.start();
    if (when === 'from the beginning') paused = runtime.pause();
    expect((await started).readOnly).toBe(false);
    expect(spy).toHaveBeenCalledTimes(1);
    await paused;
    expect(runtime.open === undefined).toBe(true);
    expect(db.status().state).toBe('stopped');
    expect(events.map(({ type }) => type).filter((type) => /^(started|stopped)$/.test(type))).toEqual([
      'started',
      'stopped',
    ]);
    await db.exec('CREATE TABLE t(v); INSERT INTO t VALUES(1)');
    expect(await db.all('SELECT v FROM t')).toEqual([{ v: 1 }]);
  });

  it('ends with a start that fails', async () => {
    const stream = new MemoryStream({ broker: new MemoryBroker(), ...MEMORY_STREAM });
    const { db, runtime } = memoryNode('a', `${temporaryFolder()}/missing`, stream);
    const started = runtime.start();
    const paused = runtime.pause();
    await expect(started).rejects.toMatchObject({ code: 'HA_DATABASE_OPEN' });
    await paused;
    expect(db.status().state).toBe('stopped');
  });
});

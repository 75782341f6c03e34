import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { temporaryFolder } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import { SteeredStream } from '../../helper/steered-stream.js';

it('a node that asks where the stream ends, and is ahead when it is told, does not take the stream for another one', async () => {
  const broker = new MemoryBroker();
  const folder = temporaryFolder();
  const a = memoryNode('a', folder, new SteeredStream({ broker, ...MEMORY_STREAM }), { publisherTimeout: 10_000 });
  const b = memoryNode('b', folder, new MemoryStream({ broker, ...MEMORY_STREAM }));
  await a.db.exec('CREATE TABLE t(k PRIMARY KEY, v)');
  const { txseq: first = 0n } = await a.db.run(`INSERT INTO t VALUES('a', 0)`);
  await b.db.waitFor(first);
  let asked = 0;
  a.stream.answering = async () => {
    if (asked++ > 0) return;
    // The answer is on its way; what b writes meanwhile comes first.
    const { txseq = 0n } = await b.db.run(`INSERT INTO t VALUES('c', 0)`);
    await a.db.waitFor(txseq);
  };
  const attempts = await a.db.transaction(
    async (tx) => {
      if (tx.attempt === 1) await b.db.run(`INSERT INTO t VALUES('b', 0)`);
      else {
        a.stream.disconnect();
        await a.stream.connect();
      }
      await tx.run(`UPDATE t SET v = v + 1 WHERE k = 'a'`);
      return tx.attempt;
    },
    { serializable: true },
  );
  expect([asked, attempts]).toEqual([1, 2]);
  expect(a.db.status().state).toBe('running');
  await b.db.waitFor((await a.db.run(`UPDATE t SET v = v + 1 WHERE k = 'a'`)).txseq ?? 0n);
  expect(await b.db.get(`SELECT v FROM t WHERE k = 'a'`)).toEqual({ v: 2 });
});

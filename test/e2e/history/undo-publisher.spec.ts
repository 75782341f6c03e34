import BetterSqlite3 from 'better-sqlite3';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { HARunResult } from '../../../lib/write/executor.js';
import { failureOf, temporaryFolder } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';

const SCHEMA = 'CREATE TABLE t(k INTEGER PRIMARY KEY, v)';

it('what a node that follows no stream wrote is undone as it was, also where it had taken an own one back', async () => {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const stream = (): MemoryStream => new MemoryStream({ broker, ...MEMORY_STREAM });
  const follower = memoryNode('a', dir, stream());
  const publisher = memoryNode('p', dir, stream(), { disableSubscriber: true });
  await follower.db.start();
  await publisher.db.start();
  // It takes no DDL of others, and publishes none.
  const made = new BetterSqlite3(publisher.path);
  made.exec(SCHEMA);
  made.close();
  await follower.db.exec(SCHEMA);
  const write = (v: number): Promise<HARunResult> =>
    publisher.db.run('INSERT INTO t VALUES(1, ?) ON CONFLICT DO UPDATE SET v = excluded.v', [v]);
  await write(1);
  await write(2);
  publisher.stream.loseAcks(Number.POSITIVE_INFINITY);
  expect((await failureOf(write(3))).code).toBe('HA_PUBLISH_UNKNOWN');
  publisher.stream.loseAcks(0);
  expect(await publisher.db.get('SELECT v FROM t')).toEqual({ v: 2 });
  const unseeing = await write(4);
  await write(5);
  const log = broker.log(MEMORY_STREAM.stream);
  const texts = Array.from({ length: log?.state().lastSequence ?? 0 }, (_value, index) =>
    Buffer.from(log?.at(index + 1)?.data ?? '').toString('utf8'),
  ).filter((text) => text.includes('"node":"p"'));
  expect(texts.map((text) => decodeChangeSet(text).behind ?? 0)).toEqual([0, 1, 2, 0, 1]);
  await follower.db.waitFor(unseeing.txseq as bigint);
  await follower.db.undo({ from: unseeing.txseq as bigint });
  expect(await follower.db.get('SELECT v FROM t')).toEqual({ v: 3 });
});

import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import type { MemoryStreamSettings } from '../../lib/stream/memory/memory-stream.js';
import type { HADatabase } from '../../lib/write/ha-database.js';
import { temporaryFolder } from './cluster.js';
import { MEMORY_STREAM, memoryNode } from './memory-node.js';

export interface CounterNodes<S extends MemoryStream> {
  readonly db: HADatabase;
  /** Follows the same stream. */
  readonly other: HADatabase;
  /** That of `db`. */
  readonly stream: S;
}

/** Two nodes that have a counter `c(k, v)` of value 0 under the key `k`; the stream of the first is of a class of the test. */
export async function counterNodes<S extends MemoryStream>(
  Stream: new (settings: MemoryStreamSettings) => S,
  publisherTimeout: number,
): Promise<CounterNodes<S>> {
  const settings = { broker: new MemoryBroker(), ...MEMORY_STREAM };
  const folder = temporaryFolder();
  const stream = new Stream(settings);
  const { db } = memoryNode('a', folder, stream, { publisherTimeout });
  const other = memoryNode('b', folder, new MemoryStream(settings)).db;
  await db.exec('CREATE TABLE c(k TEXT PRIMARY KEY, v INT)');
  await db.run(`INSERT INTO c VALUES('k', 0)`);
  return { db, other, stream };
}

import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { HAHistoryTransaction, HAUndoResult } from '../../../lib/write/history-port.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { startCluster, temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import type { Dump } from '../../helper/dump.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';

/** Two nodes on one stream. */
export interface Pair {
  readonly a: HADatabase;
  readonly b: HADatabase;
  readonly paths: readonly [string, string];
  /** Absent on a real stream. */
  readonly broker: MemoryBroker | undefined;
}

export const BACKENDS = ['memory', 'NATS'] as const;

/** Two nodes, started. `query` are parameters of their DSN. */
export async function pairOn(
  backend: (typeof BACKENDS)[number],
  query = '_foreign_keys=on',
  maxPayload?: number,
): Promise<Pair> {
  if (backend === 'NATS') {
    const cluster = await startCluster({ nodes: 2, query });
    return { a: cluster.a, b: cluster.b, paths: [cluster.node(0).path, cluster.node(1).path], broker: undefined };
  }
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const size = maxPayload === undefined ? {} : { maxPayload };
  const stream = (): MemoryStream => new MemoryStream({ broker, ...MEMORY_STREAM, ...size });
  const nodes = ['a', 'b'].map((name) => memoryNode(name, dir, stream(), {}, undefined, query));
  const [a, b] = nodes as [(typeof nodes)[0], (typeof nodes)[0]];
  await a.db.start();
  await b.db.start();
  return { a: a.db, b: b.db, paths: [a.path, b.path], broker };
}

/** Waits until a node has applied what another one has, and returns what both hold, which has to be the same. */
export async function settled({ a, b, paths }: Pair): Promise<Omit<Dump, 'sequences'>> {
  const last = [a, b].reduce((most, db) => (db.position().received > most ? db.position().received : most), 0n);
  await Promise.all([a.waitFor(last, { timeout: 30_000 }), b.waitFor(last, { timeout: 30_000 })]);
  const dumps = paths.map((path) => dumpFile(path));
  expect(dumps[1]).toEqual(dumps[0]);
  // AUTOINCREMENT counters never go back.
  const { sequences: _counters, ...rest } = dumps[0] as Dump;
  return rest;
}

export async function listOf(transactions: AsyncIterable<HAHistoryTransaction>): Promise<HAHistoryTransaction[]> {
  const list: HAHistoryTransaction[] = [];
  for await (const transaction of transactions) list.push(transaction);
  return list;
}

/** What an undo says that it did. */
export function summary({ transactions, inserted, updated, deleted, conflicts }: HAUndoResult): object {
  return { transactions, inserted, updated, deleted, conflicts: conflicts.map(({ reason }) => reason) };
}

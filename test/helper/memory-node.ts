import { join } from 'node:path';
import type { HAEvent } from '../../lib/common/events.js';
import type { HAOptions } from '../../lib/config/options.js';
import { resolveOptions } from '../../lib/config/resolve.js';
import { HARuntime } from '../../lib/ha-runtime.js';
import type { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import { HADatabase } from '../../lib/write/ha-database.js';
import { collect, onCleanup } from './cluster.js';

/** Stream and subject of all nodes on streams in memory. */
export const MEMORY_STREAM = { stream: 's', subject: 's.db' } as const;

export interface MemoryNode<S extends MemoryStream> {
  readonly db: HADatabase;
  readonly stream: S;
  readonly runtime: HARuntime;
  readonly path: string;
  readonly events: HAEvent[];
  readonly log: string[];
}

/** A node on a stream in memory; closed behind the test. The folder may be `:memory:`. */
export function memoryNode<S extends MemoryStream>(
  name: string,
  dir: string,
  stream: S,
  options: HAOptions = {},
  heartbeatMs?: number,
  query = '',
): MemoryNode<S> {
  const path = dir === ':memory:' ? dir : join(dir, `${name}.db`);
  const resolved = resolveOptions(
    dir === ':memory:' ? dir : `file:${path}${query === '' ? '' : `?${query}`}`,
    { name, replicationID: 'db', replicationStream: 's', publisherTimeout: 1_000, ...options },
    {},
  );
  const log: string[] = [];
  const runtime = new HARuntime(resolved, {
    logger: collect(log),
    retryAttempts: 5,
    retryDelay: 10,
    stream,
    heartbeatMs,
  });
  const events: HAEvent[] = [];
  runtime.events.subscribe((event) => events.push(event));
  const db = new HADatabase(runtime);
  onCleanup(() => db.close());
  return { db, stream, runtime, path, events, log };
}

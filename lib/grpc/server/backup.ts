import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';

/** Bytes in one message of a download. */
export const CHUNK_BYTES = 64 * 1024;

/**
 * Runs in the worker. CommonJS and self-contained, so that it runs from sources, bundles and dist alike. All pages in one
 * step: SQLite would begin anew whenever another connection writes in between
 * (https://www.sqlite.org/backup.html#concurrent_usage_of_database_connections).
 */
const WORKER = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.driver);
const db = new Database(workerData.path, { readonly: true, timeout: 5000 });
db.backup(workerData.target, { progress: () => 0x7fffffff })
  .then(() => null, (error) => String(error && error.message))
  .then((error) => { db.close(); parentPort.postMessage(error); });`;

/**
 * A consistent copy of a database as it is now, in chunks. It is made beside the database in a worker thread, while writes go
 * on, and removed when the chunks are taken or nobody wants them any more.
 */
export async function* backup(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const folder = await mkdtemp(join(dirname(path), '.ha-download-'));
  try {
    const copy = join(folder, 'copy.db');
    await copyTo(path, copy, signal);
    for await (const chunk of createReadStream(copy, { highWaterMark: CHUNK_BYTES, signal })) yield chunk as Buffer;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function copyTo(path: string, target: string, signal: AbortSignal): Promise<void> {
  const driver = createRequire(import.meta.url).resolve('better-sqlite3');
  const worker = new Worker(WORKER, { eval: true, workerData: { driver, path, target } });
  return new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    worker.once('message', (error: string | null) =>
      error === null ? resolve() : reject(new Error(`The database '${path}' cannot be copied: ${error}`)),
    );
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error(`The copy of '${path}' was not finished.`)));
  }).finally(() => worker.terminate());
}

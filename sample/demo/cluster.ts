import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { LagMeter } from './lag.js';
import type { Command, NodeConfig, NodeResult, NodeState, Report, Role } from './messages.js';

/** How long a node may take to close before it is killed, ms. */
const CLOSE_MS = 5_000;

/** A node: its process, and what it said last. */
export class DemoNode {
  state: NodeState = { rows: 0, loaded: 0, total: 0, commits: 0, received: 0, probes: [], applied: [] };
  private readonly process: ChildProcess;
  private readonly waiting = new Map<Report['type'], (report: Report) => void>();
  private isReady = false;
  private closing = false;
  private failed: (error: Error) => void = () => undefined;
  /** Rejects when the node fails; never resolves. */
  readonly failure = new Promise<never>((_resolve, reject) => {
    this.failed = reject;
  });

  constructor(
    readonly config: NodeConfig,
    readonly file: string,
    print: (line: string) => void,
    private readonly onState: (node: DemoNode) => void,
  ) {
    this.failure.catch(() => undefined);
    const env = { ...process.env, DEMO_NODE: JSON.stringify(config), NO_COLOR: '1' };
    this.process = fork(join(import.meta.dirname, 'node.js'), { env, silent: true, serialization: 'advanced' });
    for (const output of [this.process.stdout, this.process.stderr]) {
      output?.on('data', (chunk: Buffer) => print(`${config.name}: ${chunk.toString().trimEnd()}`));
    }
    this.process.on('message', (report: Report) => this.receive(report));
    this.process.on('exit', (code, signal) => {
      if (!this.closing) this.failed(new Error(`${config.name} ended unexpectedly (${signal ?? code}).`));
    });
  }

  async ready(): Promise<void> {
    await this.next('ready');
    this.isReady = true;
  }

  /** Starts the work; resolves with the last sequence of this node once it is done. */
  async work(): Promise<bigint> {
    this.send({ type: 'work' });
    return BigInt((await this.next('done')).sequence);
  }

  finish(): void {
    this.send({ type: 'finish' });
  }

  async result(sequence: bigint): Promise<NodeResult> {
    this.send({ type: 'result', sequence: `${sequence}` });
    return (await this.next('result')).result;
  }

  /** Closes the application and waits for the end of its process. */
  async close(): Promise<void> {
    this.closing = true;
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exited = once(this.process, 'exit');
    if (this.isReady) this.send({ type: 'close' });
    else this.process.kill();
    const timer = setTimeout(() => this.process.kill('SIGKILL'), CLOSE_MS);
    await exited;
    clearTimeout(timer);
  }

  private send(command: Command): void {
    if (this.process.connected) this.process.send(command);
  }

  private next<T extends Report['type']>(type: T): Promise<Extract<Report, { type: T }>> {
    const answer = new Promise<Report>((resolve) => this.waiting.set(type, resolve));
    return Promise.race([answer as Promise<Extract<Report, { type: T }>>, this.failure]);
  }

  private receive(report: Report): void {
    if (report.type === 'state') {
      this.state = report.state;
      this.onState(this);
    } else if (report.type === 'failed') this.failed(new Error(`${this.config.name}: ${report.error}`));
    else this.waiting.get(report.type)?.(report);
  }
}

/** Three nodes, of which the first runs the NATS server that all of them replicate through. */
export class Cluster {
  readonly nodes: DemoNode[] = [];
  readonly lag = new LagMeter();

  constructor(
    private readonly folder: string,
    private readonly print: (line: string) => void,
  ) {}

  async start(): Promise<void> {
    const port = await freePort();
    const store = encodeURIComponent(join(this.folder, 'nats'));
    await this.add('node1', 'loader', `natsPort=${port}&natsStoreDir=${store}`).ready();
    const toNode1 = `replicationURL=${encodeURIComponent(`nats://127.0.0.1:${port}`)}`;
    await Promise.all(['node2', 'node3'].map((name) => this.add(name, 'editor', toNode1).ready()));
  }

  /** Loads and edits at the same time; resolves with the last sequence of all. */
  async work(): Promise<bigint> {
    const loaders = this.nodes.filter(({ config }) => config.role === 'loader');
    const editors = this.nodes.filter(({ config }) => config.role === 'editor');
    const editing = Promise.all(editors.map((node) => node.work()));
    editing.catch(() => undefined);
    const loaded = await Promise.race([Promise.all(loaders.map((node) => node.work())), ...this.failures()]);
    for (const editor of editors) editor.finish();
    return [...loaded, ...(await editing)].reduce((last, sequence) => (sequence > last ? sequence : last), 0n);
  }

  results(sequence: bigint): Promise<NodeResult[]> {
    return Promise.all(this.nodes.map((node) => node.result(sequence)));
  }

  /** The node that runs the NATS server is closed last. */
  async close(): Promise<void> {
    for (const node of this.nodes.toReversed()) await node.close();
  }

  private failures(): Promise<never>[] {
    return this.nodes.map(({ failure }) => failure);
  }

  private add(name: string, role: Role, stream: string): DemoNode {
    const file = join(this.folder, `${name}.db`);
    const dsn = `file:${encodeURI(file)}?name=${name}&replicationID=demo&${stream}`;
    const node = new DemoNode({ name, role, dsn }, file, this.print, ({ state }) => this.lag.add(name, state));
    this.nodes.push(node);
    return node;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

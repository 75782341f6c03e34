import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'nats';
import type { JetStreamManager, NatsConnection } from 'nats';
import { findNatsServer } from '../../lib/stream/embedded/binary.js';
import { Broker } from './broker.js';
import { LineProxy } from './line-proxy.js';
import type { NodeConfig } from './messages.js';
import { NodeProcess } from './node-process.js';
import { freePorts } from './ports.js';
import { NODES } from './schedule.js';

export const STREAM = 'chaos';
const PUBLISHER_TIMEOUT_MS = 4_000;

/** Servers, nodes and the lines between them. */
export class Cluster {
  readonly brokers: Broker[] = [];
  readonly nodes: NodeProcess[] = [];
  /** Lines of each node to each server. */
  readonly lines: LineProxy[][] = [];
  /** In a cluster with a leader: what others reach each node by. */
  readonly doors: LineProxy[] = [];
  private connection: NatsConnection | undefined;

  constructor(
    readonly folder: string,
    readonly replicas: number,
    private readonly hasLeader: boolean,
    private readonly print: (line: string) => void,
  ) {}

  async start(): Promise<void> {
    const { path } = await findNatsServer({ log: this.print });
    const ports = await freePorts(2 * this.replicas);
    const routes = ports.slice(this.replicas);
    for (let i = 0; i < this.replicas; i++) {
      const name = `server${i + 1}`;
      const settings = { binary: path, folder: join(this.folder, name), name, port: ports[i] ?? 0 };
      this.brokers.push(new Broker({ ...settings, routePort: routes[i] ?? 0, routes }));
    }
    await Promise.all(this.brokers.map((broker) => broker.start()));
    await this.whenHealthy();
    await mkdir(join(this.folder, 'nodes'), { recursive: true });
    for (let i = 0; i < NODES; i++) {
      this.lines.push(await Promise.all(this.brokers.map(({ settings }) => LineProxy.start(settings.port))));
      const urls = this.lines.at(-1)?.map(({ url }) => url) ?? [];
      this.nodes.push(this.makeNode(`n${i + 1}`, urls, false, await this.openDoor()));
    }
    // One after another: the first makes the stream.
    for (const node of this.nodes) {
      node.spawn();
      await node.whenReady();
    }
  }

  /** A node that is not connected through lines; `fold` applies the stream and writes nothing. */
  makeNode(name: string, urls: readonly string[], fold: boolean, leader?: NodeConfig['leader']): NodeProcess {
    const config = {
      name,
      file: join(this.folder, 'nodes', `${name}.db`),
      urls: urls.join(','),
      stream: STREAM,
      replicas: this.replicas,
      publisherTimeout: PUBLISHER_TIMEOUT_MS,
      fold,
      ...(leader === undefined ? {} : { leader }),
    };
    return new NodeProcess(config, this.folder, this.print);
  }

  /** Index of the node that leads; waits until there is one. */
  async leadingNode(): Promise<number> {
    for (;;) {
      const states = await Promise.all(this.nodes.map((node) => node.state()));
      const index = states.findIndex((state) => state?.leads === true);
      if (index >= 0) return index;
      await sleep(50);
    }
  }

  private async openDoor(): Promise<NodeConfig['leader']> {
    if (!this.hasLeader) return undefined;
    const [port = 0] = await freePorts(1);
    const door = await LineProxy.start(port);
    this.doors.push(door);
    return { port, target: new URL(door.url).host };
  }

  get urls(): string[] {
    return this.brokers.map(({ url }) => url);
  }

  /** The harness's own connection, which has no proxy in between. */
  async connect(): Promise<NatsConnection> {
    this.connection ??= await connect({
      servers: this.urls,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      waitOnFirstConnect: true,
      pingInterval: 2_000,
    });
    return this.connection;
  }

  async manager(): Promise<JetStreamManager> {
    return (await this.connect()).jetstreamManager({ checkAPI: false, timeout: 2_000 });
  }

  /** Name of the server that leads the stream; undefined where nobody says. */
  async leader(): Promise<string | undefined> {
    try {
      return (await (await this.manager()).streams.info(STREAM)).cluster?.leader;
    } catch {
      return undefined;
    }
  }

  /** Waits until JetStream answers, and all replicas of the stream are current. */
  async whenHealthy(timeoutMs = 60_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; await sleep(100)) {
      if (await this.isHealthy()) return;
      if (performance.now() > deadline) throw new Error(`The servers are not healthy after ${timeoutMs} ms.`);
    }
  }

  async lastSequence(): Promise<number> {
    return (await (await this.manager()).streams.info(STREAM)).state.last_seq;
  }

  /** Ends everything that was started, whatever state it is in. */
  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.close(0)));
    await Promise.all([...this.lines.flat(), ...this.doors].map((line) => line.close()));
    const { connection } = this;
    this.connection = undefined;
    await connection?.close();
    await Promise.all(this.brokers.map((broker) => broker.close()));
  }

  private async isHealthy(): Promise<boolean> {
    try {
      const manager = await this.manager();
      const account = await manager.getAccountInfo();
      if (account.streams === 0) return await this.hasMetaLeader();
      const { cluster } = await manager.streams.info(STREAM);
      const others = cluster?.replicas ?? [];
      if (this.replicas === 1) return true;
      return cluster?.leader !== undefined && others.length === this.replicas - 1 && others.every((r) => r.current);
    } catch {
      return false;
    }
  }

  /** A stream of three replicas needs all three servers in the meta group. */
  private async hasMetaLeader(): Promise<boolean> {
    if (this.replicas === 1) return true;
    const manager = await this.manager();
    try {
      await manager.streams.add({ name: 'probe', subjects: ['probe'], num_replicas: this.replicas });
      await manager.streams.delete('probe');
      return true;
    } catch {
      return false;
    }
  }
}

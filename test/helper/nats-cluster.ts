import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'nats';
import type { JetStreamManager, NatsConnection } from 'nats';
import { findNatsServer } from '../../lib/stream/embedded/binary.js';
import { isOlder } from '../../lib/stream/embedded/binary-check.js';
import { Broker } from '../chaos/broker.js';
import { freePorts } from '../chaos/ports.js';

const SERVERS = 3;

/** Three servers that replicate their streams. */
export class NatsCluster {
  private constructor(
    private readonly folder: string,
    private readonly servers: readonly Broker[],
    /** The administrator's connection. */
    readonly connection: NatsConnection,
  ) {}

  static async start(): Promise<NatsCluster> {
    const { path: binary, version } = await findNatsServer({ log: () => undefined });
    const folder = await mkdtemp(join(tmpdir(), 'ha-nats-cluster-'));
    const ports = await freePorts(2 * SERVERS);
    const routes = ports.slice(SERVERS);
    const isOld = isOlder(version, '2.10.0');
    const servers = routes.map((routePort, index) => {
      const name = `server${index}`;
      const port = ports[index] ?? 0;
      return new Broker({ binary, folder: join(folder, name), name, port, routePort, routes, isOld });
    });
    await Promise.all(servers.map((server) => server.start()));
    const connection = await connect({
      servers: servers.map(({ url }) => url),
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      waitOnFirstConnect: true,
    });
    const cluster = new NatsCluster(folder, servers, connection);
    await cluster.whenHealthy();
    return cluster;
  }

  get urls(): string[] {
    return this.servers.map(({ url }) => url);
  }

  /** All addresses, as the option `replicationURL` takes them. */
  get url(): string {
    return this.urls.join(',');
  }

  manager(): Promise<JetStreamManager> {
    return this.connection.jetstreamManager({ checkAPI: false, timeout: 2_000 });
  }

  /** Kills the server that leads a stream; see {@link kill}. */
  async killLeader(stream: string): Promise<() => Promise<void>> {
    const leader = (await (await this.manager()).streams.info(stream)).cluster?.leader;
    return this.kill(leader ?? '', stream);
  }

  /** Kills a server. Returns the function that starts it again and waits until all have all of a stream. */
  async kill(name: string, stream: string): Promise<() => Promise<void>> {
    const server = this.servers.find(({ settings }) => settings.name === name);
    if (server === undefined) throw new Error(`There is no server '${name}'.`);
    await server.kill();
    return async () => {
      await server.start();
      await until(async () => {
        const { cluster } = await (await this.manager()).streams.info(stream);
        return cluster?.leader !== undefined && (cluster.replicas ?? []).every(({ current }) => current);
      });
    };
  }

  async close(): Promise<void> {
    await this.connection.close();
    await Promise.all(this.servers.map((server) => server.close()));
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Waits until a stream on all servers can be made. */
  private async whenHealthy(): Promise<void> {
    await until(async () => {
      const manager = await this.manager();
      await manager.streams.add({ name: 'probe', subjects: ['probe'], num_replicas: SERVERS });
      return manager.streams.delete('probe');
    });
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 60_000; !(await holds().catch(() => false)); await sleep(100)) {
    if (Date.now() > deadline) throw new Error('The servers are not healthy after 60 s.');
  }
}

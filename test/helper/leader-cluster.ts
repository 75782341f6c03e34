import { Logger } from '@nestjs/common';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import type { HAEvent } from '../../lib/common/events.js';
import type { HAOptions } from '../../lib/config/options.js';
import { resolveOptions } from '../../lib/config/resolve.js';
import { HAGrpcServer } from '../../lib/grpc/server/grpc-server.js';
import { HARuntime } from '../../lib/ha-runtime.js';
import type { Leadership } from '../../lib/leader/leadership.js';
import type { LeaderTimings } from '../../lib/leader/timings.js';
import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import { HADatabase } from '../../lib/write/ha-database.js';
import { dumpFile } from './dump.js';
import { collect, onCleanup, temporaryFolder, until } from './cluster.js';
import { NatsProxy } from './nats-proxy.js';

Logger.overrideLogger(['error']);

/** Elections that tests can wait for. A leader that gets no processor for `lease` loses its place: only for tests that bear it. */
export const QUICK: LeaderTimings = {
  renew: 150,
  lease: 900,
  takeover: 1_300,
  look: 60,
  foreign: 2_500,
  abstain: 2_000,
};

/** Nobody takes over by waiting: who leads, leads until it resigns or stops. */
export const PATIENT: LeaderTimings = { ...QUICK, lease: 50_000, takeover: 60_000 };

export interface LeaderNode {
  readonly name: string;
  readonly db: HADatabase;
  readonly runtime: HARuntime;
  readonly leader: Leadership;
  readonly stream: MemoryStream;
  readonly server: HAGrpcServer;
  /** What others reach it by. */
  readonly address: string;
  /** Between the others and its gRPC server. */
  readonly line: NatsProxy;
  readonly path: string;
  readonly events: HAEvent[];
  readonly log: string[];
}

export interface LeaderClusterSettings {
  readonly nodes?: number;
  readonly options?: HAOptions;
  readonly optionsOf?: (index: number, addresses: readonly string[]) => HAOptions;
  /** Default {@link PATIENT}. */
  readonly timings?: LeaderTimings;
  readonly heartbeatMs?: number;
  /** Clock of a node's leadership, ms. */
  readonly clockOf?: (index: number) => (() => number) | undefined;
  readonly streamOf?: (index: number, broker: MemoryBroker) => MemoryStream | undefined;
  /** Wait until one leads. Default true. */
  readonly elect?: boolean;
}

/** Nodes on a stream in memory, each with its gRPC server, that elect a leader. */
export class LeaderCluster {
  readonly broker = new MemoryBroker();
  readonly nodes: LeaderNode[] = [];
  private readonly dir = temporaryFolder();
  private count = 0;

  constructor(private readonly settings: LeaderClusterSettings) {}

  static async start(settings: LeaderClusterSettings = {}): Promise<LeaderCluster> {
    const cluster = new LeaderCluster(settings);
    const made = [];
    for (let index = 0; index < (settings.nodes ?? 3); index++) made.push(await cluster.make());
    for (const node of made) await cluster.launch(node);
    if (settings.elect !== false) await cluster.elected();
    return cluster;
  }

  /** A node that is not started. */
  async make(path?: string): Promise<LeaderNode> {
    const { settings, broker } = this;
    const index = this.count++;
    const name = `n${index + 1}`;
    const port = await freePort();
    const line = await NatsProxy.start(`nats://127.0.0.1:${port}`);
    onCleanup(() => line.close());
    const address = new URL(line.url).host;
    const file = path ?? join(this.dir, `${name}.db`);
    const addresses = [...this.nodes.map((node) => node.address), address];
    const options = resolveOptions(
      `file:${file}`,
      {
        name,
        replicationID: 'db',
        replicationStream: 's',
        publisherTimeout: 2_000,
        leaderProvider: `dynamic:${address}`,
        grpcPort: port,
        grpcHost: '127.0.0.1',
        ...settings.options,
        ...settings.optionsOf?.(index, addresses),
      },
      {},
    );
    const log: string[] = [];
    const stream = settings.streamOf?.(index, broker) ?? new MemoryStream({ broker, stream: 's', subject: 's.db' });
    const runtime = new HARuntime(options, {
      logger: collect(log),
      retryAttempts: 5,
      retryDelay: 10,
      stream,
      heartbeatMs: settings.heartbeatMs ?? 200,
      leaderTimings: settings.timings ?? PATIENT,
      leaderClock: settings.clockOf?.(index),
    });
    const events: HAEvent[] = [];
    runtime.events.subscribe((event) => events.push(event));
    const db = new HADatabase(runtime);
    const server = new HAGrpcServer({ host: '127.0.0.1', port, token: options.grpcToken }, collect(log));
    server.databases.add({ replicationID: 'db', dsn: file, path: () => file, database: db, timeout: 5_000 });
    const node = { name, db, runtime, leader: runtime.leader, stream, server, address, line, path: file, events, log };
    this.nodes.push(node);
    onCleanup(async () => {
      await server.close();
      await db.close();
    });
    return node;
  }

  async launch({ server, db }: LeaderNode): Promise<void> {
    await server.start();
    await db.start();
  }

  /** The node that leads, as soon as there is one that all who are connected know. */
  async elected(): Promise<LeaderNode> {
    await until(() => {
      const { leader } = this;
      if (leader === undefined) return false;
      return this.nodes.every(
        (node) => !node.stream.isConnected || node.leader.target()?.text === leader.leader.target()?.text,
      );
    });
    return this.leader as LeaderNode;
  }

  get leader(): LeaderNode | undefined {
    const leaders = this.nodes.filter(({ leader, runtime }) => runtime.open !== undefined && leader.isLeader());
    expect(leaders.length).toBeLessThanOrEqual(1);
    return leaders[0];
  }

  get followers(): LeaderNode[] {
    return this.nodes.filter((node) => node !== this.leader);
  }

  get follower(): LeaderNode {
    return this.followers[0] as LeaderNode;
  }

  /** Every message that has rows or statements: who wrote it, and by which term. */
  messages(): { sequence: number; node: string; term: number | undefined; commands: string[] }[] {
    const log = this.broker.log('s');
    const list = [];
    for (let sequence = 1; sequence <= (log?.state().lastSequence ?? 0); sequence++) {
      const message = log?.at(sequence);
      if (message === undefined || message.subject !== 's.db') continue;
      const { node, term, changes } = JSON.parse(Buffer.from(message.data).toString()) as {
        node: string;
        term?: number;
        changes: { operation: string; command?: string }[];
      };
      const commands = changes.flatMap((change) => (change.operation === 'CUSTOM' ? [change.command ?? ''] : []));
      list.push({ sequence, node, term, commands });
    }
    return list;
  }

  /** No message lies behind the announcement of a leader that is not its own. */
  expectOneWriterAtATime(): void {
    let leader: { node: string; term: number } | undefined;
    const wrong: unknown[] = [];
    for (const message of this.messages()) {
      const [name, term] = message.commands[0]?.split(' ') ?? [];
      if (name === 'ha.leader') leader = { node: message.node, term: Number(term) };
      else if (message.commands.length === 0 && (message.node !== leader?.node || message.term !== leader.term)) {
        wrong.push({ ...message, leader });
      }
    }
    expect(wrong).toEqual([]);
  }

  /** Waits until all have everything, and compares their rows. */
  async expectEqual(): Promise<void> {
    const last = this.broker.log('s')?.lastOn('s.db') ?? 0;
    for (const { db } of this.nodes) await db.waitFor(BigInt(last), { timeout: 20_000 });
    const [first, ...others] = this.nodes.map(({ path }) => dumpFile(path));
    for (const other of others) expect(other).toEqual(first);
  }
}

/** Has the turn to write until it is ended, so that other writes queue. */
export async function holdTurn(db: HADatabase): Promise<{ waiting: number; end: () => Promise<void> }> {
  let release = (): void => undefined;
  let begin = (): void => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const held = db.transaction(() => {
    begin();
    return new Promise<void>((resolve) => (release = resolve));
  });
  await Promise.race([begun, held]);
  return {
    waiting: db.status().waitingWrites,
    end: () => {
      release();
      return held;
    },
  };
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

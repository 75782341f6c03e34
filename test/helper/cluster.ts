import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { Logger } from '@nestjs/common';
import { connect } from 'nats';
import type { Subscription } from 'rxjs';
import type { JetStreamManager } from 'nats';
import type { Registration } from '../../lib/cdc/target-runner.js';
import type { HAInterceptor } from '../../lib/changeset/interceptor.js';
import type { HAEvent } from '../../lib/common/events.js';
import type { HAOptions } from '../../lib/config/options.js';
import { subjectOf } from '../../lib/config/normalize.js';
import { resolveOptions } from '../../lib/config/resolve.js';
import { HARuntime } from '../../lib/ha-runtime.js';
import type { ConfigureConnection } from '../../lib/sqlite/connection.js';
import type { RowIdentify } from '../../lib/sqlite/schema.js';
import type { IdSlot } from '../../lib/sqlite/id-generator.js';
import { EmbeddedNatsServer } from '../../lib/stream/embedded/server.js';
import type { EmbeddedNatsSettings } from '../../lib/stream/embedded/settings.js';
import { HADatabase } from '../../lib/write/ha-database.js';
import type { Dump } from './dump.js';
import { dumpFile } from './dump.js';
import { NatsProxy } from './nats-proxy.js';

const SETTLE_MS = 30_000;

/** Where a NATS server listens, or several that form a cluster. */
export interface NatsServer {
  /** Addresses with commas in between. */
  readonly url: string;
}

export interface ClusterSettings {
  /** Default 2. */
  nodes?: number;
  /** Options of every node. */
  options?: HAOptions;
  /** Options of one node, over those of all. */
  optionsOf?: (index: number) => HAOptions;
  /** PRAGMAs and other parameters of the DSN, such as `_foreign_keys=on`. */
  query?: string;
  configure?: ConfigureConnection;
  /** Interceptors of each node; the one that is the fold is the next behind them. */
  interceptorsOf?: (index: number) => readonly HAInterceptor[];
  /** Where each node has the slot of its ids from. */
  idSlotOf?: (index: number) => IdSlot;
  /** Put a proxy between the first node and the server. */
  proxy?: boolean;
  /** A server that the test has started. */
  at?: NatsServer;
  /** Settings of the server, which is then not shared with other clusters of the file. */
  server?: EmbeddedNatsSettings;
}

export interface NodeSettings {
  options?: HAOptions;
  query?: string;
  configure?: ConfigureConnection | undefined;
  cdc?: readonly Registration[];
  url?: string;
  path?: string;
  /** Milliseconds. */
  heartbeatMs?: number;
}

/** A node as tests use it: the database, and what lies behind it. */
export interface TestNode {
  readonly db: HADatabase;
  readonly runtime: HARuntime;
  readonly path: string;
  readonly events: HAEvent[];
  readonly log: string[];
  /** What fills `events`. */
  readonly watching: Subscription;
}

const cleanups: (() => Promise<void> | void)[] = [];
let rowIdentify: RowIdentify = 'pk';
let shared: { server: EmbeddedNatsServer; dir: string } | undefined;

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  await shared?.server.release();
  if (shared !== undefined) rmSync(shared.dir, { recursive: true, force: true });
  shared = undefined;
});

/** Describes what has to hold in every row identity: clusters that are started inside have it as an option. */
export function describeInEveryIdentity(name: string, tests: (identity: RowIdentify) => void): void {
  describe.each(['pk', 'rowid', 'full'] as const)(`with rowIdentify=%s: ${name}`, (identity) => {
    beforeAll(() => {
      rowIdentify = identity;
    });
    afterAll(() => {
      rowIdentify = 'pk';
    });
    tests(identity);
  });
}

/** A folder that is removed behind the test. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'ha-test-'));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Runs something behind the test, the last given first. */
export function onCleanup(work: () => Promise<void> | void): void {
  cleanups.push(work);
}

async function sharedServer(): Promise<EmbeddedNatsServer> {
  if (shared === undefined) {
    const dir = mkdtempSync(join(tmpdir(), 'ha-test-nats-'));
    shared = { dir, server: await EmbeddedNatsServer.acquire({ port: 0, storeDir: dir }) };
  }
  return shared.server;
}

async function serverFor(settings: EmbeddedNatsSettings | undefined): Promise<EmbeddedNatsServer> {
  if (settings === undefined) return sharedServer();
  const server = await EmbeddedNatsServer.acquire({ port: 0, storeDir: temporaryFolder(), ...settings });
  cleanups.push(() => server.release());
  return server;
}

/** Makes and starts nodes on a new stream; all is closed and removed behind the test. */
export async function startCluster(settings: ClusterSettings = {}): Promise<Cluster> {
  const server = settings.at ?? (await serverFor(settings.server));
  const proxy = settings.proxy === true ? await NatsProxy.start(server.url) : undefined;
  const cluster = new Cluster(server, settings, proxy);
  if (proxy !== undefined) cleanups.push(() => proxy.close());
  cleanups.push(() => cluster.close());
  for (let index = 0; index < (settings.nodes ?? 2); index++) {
    const options = { ...settings.options, ...settings.optionsOf?.(index) };
    await cluster.add({ options, ...(index === 0 && proxy !== undefined ? { url: proxy.url } : {}) });
  }
  return cluster;
}

/** Nodes that replicate one database. */
export class Cluster {
  readonly nodes: TestNode[] = [];
  readonly stream = `t${randomBytes(6).toString('hex')}`;
  private readonly dir = temporaryFolder();
  private count = 0;

  constructor(
    private readonly at: NatsServer,
    private readonly settings: ClusterSettings,
    private readonly line: NatsProxy | undefined,
  ) {}

  /** The proxy of the first node. */
  get proxy(): NatsProxy {
    if (this.line === undefined) throw new Error('Ask for a proxy when the cluster is made.');
    return this.line;
  }

  get a(): HADatabase {
    return this.node(0).db;
  }

  get b(): HADatabase {
    return this.node(1).db;
  }

  get c(): HADatabase {
    return this.node(2).db;
  }

  /** The server, where the test has not brought its own. */
  get server(): EmbeddedNatsServer {
    if (this.at instanceof EmbeddedNatsServer) return this.at;
    throw new Error('The test has started its servers itself.');
  }

  /** Where the NATS server listens. */
  get url(): string {
    return this.at.url;
  }

  get subject(): string {
    return subjectOf(this.stream, 'db');
  }

  node(index: number): TestNode {
    const node = this.nodes[index];
    if (node === undefined) throw new Error(`There is no node ${index}.`);
    return node;
  }

  /** Makes a node without starting it. */
  make(node: NodeSettings = {}): TestNode {
    const name = `n${++this.count}`;
    const path = node.path ?? join(this.dir, `${name}.db`);
    const query = [this.settings.query, node.query].filter((part) => part !== undefined && part !== '').join('&');
    const log: string[] = [];
    const options = resolveOptions(
      `file:${path}${query === '' ? '' : `?${query}`}`,
      {
        name,
        replicationID: 'db',
        replicationStream: this.stream,
        replicationURL: node.url ?? this.url,
        rowIdentify,
        ...node.options,
      },
      {},
    );
    const configure = node.configure ?? this.settings.configure;
    const idSlot = this.settings.idSlotOf?.(this.count - 1);
    const runtime = new HARuntime(options, {
      logger: collect(log),
      retryAttempts: 2,
      retryDelay: 50,
      idSlot,
      heartbeatMs: node.heartbeatMs,
      cdc: node.cdc,
      interceptors: this.settings.interceptorsOf?.(this.count - 1),
      ...(configure === undefined ? {} : { configure }),
    });
    const events: HAEvent[] = [];
    const watching = runtime.events.subscribe((event) => events.push(event));
    return { db: new HADatabase(runtime), runtime, path, events, log, watching };
  }

  /** Makes a node, starts it and makes it a part of the cluster. */
  async add(node: NodeSettings = {}): Promise<TestNode> {
    const made = this.make(node);
    cleanups.push(() => made.db.close());
    await made.db.start();
    this.nodes.push(made);
    return made;
  }

  /** Sequence of the last message on the subject, as the server says; 0 where it has none. */
  async lastSequence(): Promise<number> {
    return this.ask(async (manager) => {
      try {
        return (await manager.streams.getMessage(this.stream, { last_by_subj: this.subject })).seq;
      } catch (error) {
        if (/no message found/.test(String(error))) return 0;
        throw error;
      }
    });
  }

  /** All messages on the subject. */
  async messages(): Promise<{ sequence: number; text: string; id: string }[]> {
    return this.ask(async (manager) => {
      const { state } = await manager.streams.info(this.stream);
      const list: { sequence: number; text: string; id: string }[] = [];
      for (let seq = state.first_seq; seq <= state.last_seq && state.messages > 0; seq++) {
        const message = await manager.streams.getMessage(this.stream, { seq });
        if (message.subject !== this.subject) continue;
        list.push({ sequence: message.seq, text: message.string(), id: message.header.get('Nats-Msg-Id') });
      }
      return list;
    });
  }

  /** Waits until every node has applied the last message on the subject. */
  async settle(): Promise<void> {
    for (const { runtime, events, log } of this.nodes) {
      if (runtime.open === undefined) continue;
      await until(() => (runtime.status().outbox?.size ?? 0) === 0, SETTLE_MS).catch((error: Error) => {
        const { foreignWrite, ...status } = runtime.status();
        const last = events.slice(-5).map(({ type }) => type);
        throw new Error(
          `${error.message} ${inspect({ foreignWrite: foreignWrite?.message, ...status, last, log: log.slice(-10) }, { depth: 5 })}`,
        );
      });
    }
    const last = await this.lastSequence();
    for (const { db, runtime } of this.nodes) {
      if (runtime.options.disableSubscriber || runtime.open === undefined) continue;
      await db.waitFor(BigInt(last), { timeout: SETTLE_MS });
    }
  }

  private async ask<R>(question: (manager: JetStreamManager) => Promise<R>): Promise<R> {
    const connection = await connect({ servers: this.url.split(',') });
    try {
      return await question(await connection.jetstreamManager());
    } finally {
      await connection.close();
    }
  }

  dump(index: number): Dump {
    return dumpFile(this.node(index).path, (db) => this.settings.configure?.(db, 'reader'));
  }

  /** A new node that takes nothing but the stream, from its start. */
  async fold(): Promise<Dump> {
    const node = this.make({ options: { ...this.settings.options, disablePublisher: true, disableSubscriber: false } });
    await node.db.start();
    await node.db.close();
    return dumpFile(node.path, (db) => this.settings.configure?.(db, 'reader'));
  }

  /** Compares all nodes with the fold of the stream, and says that nothing was left out anywhere. */
  async expectEqual(): Promise<void> {
    await this.settle();
    const fold = await this.fold();
    this.nodes.forEach((_node, index) =>
      expect({ node: index, ...this.dump(index) }).toEqual({ node: index, ...fold }),
    );
    const skipped = this.nodes.flatMap(({ events }) => events.filter((event) => event.type === 'skipped'));
    expect(skipped).toEqual([]);
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(({ db }) => db.close()));
  }
}

/** A logger that keeps its lines. */
export function collect(lines: string[]): Logger {
  const add = (line: unknown): void => void lines.push(String(line));
  return { log: add, warn: add, error: add, debug: add, verbose: add, fatal: add } as unknown as Logger;
}

/** Waits until something holds. */
export async function until(holds: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  for (const deadline = Date.now() + ms; !(await holds()); await pause(20)) {
    if (Date.now() > deadline) throw new Error(`It did not come true within ${ms} ms.`);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The error that a call ends with; fails where it ends well. */
export async function failureOf(call: Promise<unknown> | (() => Promise<unknown>)): Promise<Error & { code?: string }> {
  try {
    await (typeof call === 'function' ? call() : call);
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error('The call did not fail.');
}

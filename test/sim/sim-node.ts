import { copyFileSync, cpSync, existsSync } from 'node:fs';
import type { Logger } from '@nestjs/common';
import type { HAInterceptor } from '../../lib/changeset/interceptor.js';
import type { HAConflict, HAEvent } from '../../lib/common/events.js';
import type { ResolvedHAOptions } from '../../lib/config/resolved.js';
import { resolveOptions } from '../../lib/config/resolve.js';
import { HARuntime } from '../../lib/ha-runtime.js';
import type { OutboxMessage, OutboxStore } from '../../lib/sqlite/outbox-store.js';
import type { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import type { ConfigureConnection, Connection } from '../../lib/sqlite/connection.js';
import type { RowIdentify } from '../../lib/sqlite/schema.js';
import { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import type { Registration } from '../../lib/cdc/target-runner.js';
import { HADatabase } from '../../lib/write/ha-database.js';
import { CdcMirror, mirrorTarget } from './cdc-mirror.js';
import { dump } from './dump.js';
import { slowly } from './interceptors.js';
import { NodeStream } from './node-stream.js';
import type { SimRandom } from './random.js';
import { watchTransactions } from './steps.js';
import type { StepListener } from './steps.js';

export const STREAM = 'sim';
export const SUBJECT = 'sim.db';

/** What all nodes of a world have in common. */
export interface NodeSettings {
  readonly foreignKeys: boolean;
  readonly recursiveTriggers: boolean;
  /** Bytes; small ones cut transactions into chunks. */
  readonly maxPayload: number;
  readonly generatedIds: 'ordered' | 'overwrite';
  readonly serializable: boolean;
  readonly replicas: number;
  /** Most messages in an atomic batch; 1 where the stream takes none. */
  readonly batchLimit: number;
  readonly rowIdentify: RowIdentify;
  /** Which nodes publish asynchronously. */
  readonly asyncNodes: readonly boolean[];
  /** Their outbox is a file of its own. */
  readonly outboxFile: boolean;
  /** Interceptors of all nodes, made anew for each start. */
  readonly interceptors: () => readonly HAInterceptor[];
  /** Each transaction waits for one of them. */
  readonly waitsForInterceptors: boolean;
  /** Each node has a target of change data capture. */
  readonly cdc: boolean;
}

/** What a node's runtime keeps to itself. */
interface WithOutbox {
  readonly replication: { readonly async: { readonly outbox: OutboxStore } | undefined } | undefined;
}

/** Where the outbox of a database is, where that is a file of its own. */
function outboxOf(path: string): string {
  return `${path}.outbox`;
}

const resolved = new Map<string, ResolvedHAOptions>();

const quiet = (): void => undefined;
const logger = { log: quiet, warn: quiet, error: quiet, debug: quiet, verbose: quiet } as unknown as Logger;

/** One node of a world: the real database and runtime on a file of its own, and the ways to harm it. */
export class SimNode {
  readonly skipped: Extract<HAEvent, { type: 'skipped' }>[] = [];
  readonly conflicts: HAConflict[] = [];
  readonly intercepted: Extract<HAEvent, { type: 'intercepted' }>[] = [];
  /** What failed and is tried again by itself. */
  readonly errors: Error[] = [];
  halted: Error | undefined;
  /** Told of every step that reaches file or stream; it may kill the node there and then. */
  onStep: StepListener = () => undefined;
  /** It was there from the start, without a restart in between. */
  isUnbroken = true;
  /** What its target of change data capture makes of the events. */
  readonly mirror: CdcMirror | undefined;
  /** How likely that fails at each step. */
  targetFailure = 0;
  private life: { stream: NodeStream; runtime: HARuntime; db: HADatabase; ready: Promise<unknown> };
  private readonly dead: HARuntime[] = [];
  private restarting: Promise<void> | undefined;
  private generation = 0;
  private restarts = 0;

  constructor(
    readonly index: number,
    private readonly path: string,
    private readonly broker: MemoryBroker,
    private readonly settings: NodeSettings,
    private readonly random: SimRandom,
  ) {
    this.mirror = settings.cdc ? new CdcMirror() : undefined;
    this.life = this.live(path, false);
  }

  get db(): HADatabase {
    return this.life.db;
  }

  /** The stream as this node sees it: faults, connection, delivery. */
  get stream(): MemoryStream {
    return this.life.stream.inner;
  }

  /** Says what happens to the next publishes of this node, one by one. */
  planPublishes(plan: NodeStream['plan']): void {
    this.life.stream.plan = plan;
  }

  get isOpen(): boolean {
    return this.restarting === undefined && this.life.runtime.open !== undefined;
  }

  /** True where its target has all there is. */
  get isTold(): boolean {
    if (this.mirror === undefined || this.mirror.broken !== undefined) return true;
    const [target] = this.db.status().cdc ?? [];
    if (target === undefined || target.position === undefined) return false;
    const sql =
      'SELECT (SELECT count(*) FROM ha_cdc WHERE snapshot) + (SELECT count(*) FROM ha_cdc_log WHERE sequence > ?)';
    return this.db.reader.prepare(sql).pluck().get(target.position) === 0;
  }

  /** Settled when the node runs. */
  get ready(): Promise<unknown> {
    return this.restarting ?? this.life.ready;
  }

  /** Position and contents in one snapshot. */
  state(): { readonly received: number; readonly text: string; readonly inFlight: readonly OutboxMessage[] } {
    const { reader } = this.db;
    reader.exec('BEGIN');
    try {
      const received = reader.prepare('SELECT received_seq FROM ha_stats').pluck().get() as number;
      return { received, text: dump(reader), inFlight: this.inFlight(reader) };
    } finally {
      reader.exec('COMMIT');
    }
  }

  /** What lies over the fold. */
  private inFlight(reader: Connection): OutboxMessage[] {
    if (!this.isAsync) return [];
    const { replication } = this.life.runtime as unknown as WithOutbox;
    const db = replication?.async?.outbox.file?.db ?? reader;
    return db.prepare('SELECT id, chunk, data FROM ha_outbox ORDER BY n').all() as OutboxMessage[];
  }

  private get isAsync(): boolean {
    return this.settings.asyncNodes[this.index] === true;
  }

  /** The process dies at this instant, with whatever it was doing, and starts again on the file as it is. */
  kill(offline = false): void {
    if (!this.isOpen) return;
    this.isUnbroken = false;
    const { runtime, stream } = this.life;
    const from = runtime.open?.connections.path ?? '';
    const to = `${this.path}.${++this.generation}`;
    copyFileSync(from, to);
    if (existsSync(`${from}-wal`)) copyFileSync(`${from}-wal`, `${to}-wal`);
    if (existsSync(outboxOf(from))) cpSync(outboxOf(from), outboxOf(to), { recursive: true });
    stream.kill();
    this.dead.push(runtime);
    this.life = this.live(to, offline);
  }

  /** The node ends in an orderly way, and starts again: each second time in the same process. */
  restart(offline = false): void {
    if (!this.isOpen) return;
    this.isUnbroken = false;
    this.restarting = (this.restarts++ % 2 === 0 ? this.startAgain(offline) : this.startAnew(offline)).finally(() => {
      this.restarting = undefined;
    });
  }

  private async startAgain(offline: boolean): Promise<void> {
    const { db } = this.life;
    await db.stop();
    if (offline && this.isAsync) this.stream.disconnect();
    else void this.stream.connect();
    await db.start().catch(async (error: unknown) => {
      // Cut meanwhile.
      if ((error as { code?: string }).code !== 'HA_STREAM_CONNECT') throw error;
      void this.stream.connect();
      await db.start();
    });
  }

  private async startAnew(offline: boolean): Promise<void> {
    const { runtime, db } = this.life;
    const path = runtime.open?.connections.path ?? '';
    await db.close();
    this.life = this.live(path, offline);
    await this.life.ready;
  }

  /** Ends all harm, so that the node can catch up. */
  heal(): void {
    this.targetFailure = 0;
    const { stream } = this;
    this.planPublishes([]);
    stream.loseAcks(0);
    stream.dropNext(0);
    stream.refuseNext(0);
    stream.breakBatches(0);
    void stream.connect();
  }

  closeFiles(): void {
    this.mirror?.close();
    for (const runtime of [...this.dead, this.life.runtime]) {
      runtime.open?.connections.close();
      (runtime as unknown as WithOutbox).replication?.async?.outbox.close();
    }
  }

  /** The options are read once: that takes longer than all else at the start of a node. */
  private get options(): ResolvedHAOptions {
    const { foreignKeys, recursiveTriggers, generatedIds, serializable, rowIdentify } = this.settings;
    const { isAsync } = this;
    const key = JSON.stringify([foreignKeys, recursiveTriggers, generatedIds, serializable, rowIdentify, isAsync]);
    const known = resolved.get(key);
    if (known !== undefined) return known;
    const dsn = [
      'file:sim.db?_synchronous=off',
      `_foreign_keys=${foreignKeys ? 'on' : 'off'}`,
      `_pragma=recursive_triggers(${recursiveTriggers ? 1 : 0})`,
    ].join('&');
    const options = resolveOptions(
      dsn,
      {
        replicationID: 'db',
        replicationStream: STREAM,
        publisherTimeout: '300ms',
        transactionTimeout: '60s',
        generatedIds,
        rowIdentify,
        asyncPublisher: isAsync,
        concurrency: serializable ? 'serializable' : 'lww',
      },
      {},
    );
    resolved.set(key, options);
    return options;
  }

  private targets(isDead: () => boolean): Registration[] {
    const { mirror, random, index } = this;
    if (mirror === undefined) return [];
    const mayFail = (): boolean => random.chance(this.targetFailure);
    const settings = {
      name: 'mirror',
      snapshot: 'initial',
      topicPrefix: `n${index}`,
      includeSchemaChanges: true,
      maxBatchSize: 1 + random.below(6),
      shutdownTimeout: 100,
    } as const;
    return [{ settings, resolve: () => mirrorTarget(mirror, mayFail, isDead) }];
  }

  private live(path: string, offline: boolean): SimNode['life'] {
    const { settings, broker } = this;
    const { maxPayload, replicas, batchLimit } = settings;
    const onStep: StepListener = (step) => {
      if (!stream.isKilled) this.onStep(step);
    };
    const stream = new NodeStream(
      new MemoryStream({ broker, stream: STREAM, subject: SUBJECT, manual: true, maxPayload, replicas, batchLimit }),
      new MemoryStream({ broker, stream: STREAM, subject: SUBJECT, replicas }),
      onStep,
    );
    // Only who publishes later can do without the stream.
    if (offline && this.isAsync) stream.inner.disconnect();
    const asyncPublisherOutboxDir = this.isAsync && settings.outboxFile ? outboxOf(path) : undefined;
    const options = { ...this.options, asyncPublisherOutboxDir, filename: path, name: `n${this.index}` };
    const configure: ConfigureConnection = (db, role) => {
      if (role !== 'reader') watchTransactions(db, role, onStep);
    };
    const runtime = new HARuntime(options, {
      logger,
      retryAttempts: 0,
      retryDelay: 1,
      stream,
      configure,
      interceptors: settings.waitsForInterceptors ? slowly(settings.interceptors()) : settings.interceptors(),
      cdc: this.targets(() => stream.isKilled),
      idSlot: { slot: () => this.index },
    });
    runtime.events.subscribe((event) => {
      if (stream.isKilled) return;
      // Nobody but the node itself writes to its file.
      if (event.type === 'halted' || event.type === 'foreignWrite') this.halted = event.error;
      if (event.type === 'skipped') this.skipped.push(event);
      if (event.type === 'intercepted') this.intercepted.push(event);
      if (event.type === 'error') this.errors.push(event.error);
      if (event.type === 'conflict') this.conflicts.push(event);
    });
    const db = new HADatabase(runtime);
    return { stream, runtime, db, ready: db.start() };
  }
}

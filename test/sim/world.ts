import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { createControlTables } from '../../lib/sqlite/control-tables.js';
import { MemoryBroker } from '../../lib/stream/memory/memory-broker.js';
import type { MemoryLog } from '../../lib/stream/memory/memory-log.js';
import type { HATransaction } from '../../lib/write/executor.js';
import type { HAUndoResult } from '../../lib/write/history-port.js';
import type { UndoScope } from './history.js';
import type { HAOutcome } from '../../lib/write/outcome.js';
import type { HADatabase } from '../../lib/write/ha-database.js';
import { difference } from './dump.js';
import { Oracle } from './oracle.js';
import { SimRandom } from './random.js';
import { Scheduler } from './scheduler.js';
import { STREAM, SUBJECT, SimNode } from './sim-node.js';
import type { NodeSettings } from './sim-node.js';

const DEFAULTS: NodeSettings = {
  foreignKeys: false,
  recursiveTriggers: true,
  maxPayload: 1_048_576,
  generatedIds: 'ordered',
  serializable: false,
  replicas: 1,
  batchLimit: 1_000,
  rowIdentify: 'pk',
  asyncNodes: [],
  outboxFile: false,
  interceptors: () => [],
  waitsForInterceptors: false,
  cdc: false,
};

/** A file system in memory, where there is one: nothing here has to survive. */
const BASE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

let empty: Buffer | undefined;

/** A database that has our control tables and nothing else: making them anew for each node takes long. */
function emptyFile(): Buffer {
  if (empty !== undefined) return empty;
  const db = new BetterSqlite3(':memory:');
  createControlTables(db);
  empty = db.serialize();
  db.close();
  return empty;
}

/** A write under way, and what became of it. */
export interface Write {
  readonly node: number;
  /** Text that occurs in its message and nowhere else. */
  readonly mark: string | undefined;
  readonly done: Promise<void>;
  state: 'pending' | 'resolved' | 'rejected';
  sequence: bigint | undefined;
  error: (Error & { code?: string; details?: Readonly<Record<string, unknown>> }) | undefined;
  /** Answers to the question what became of it, asked where it ended without one. */
  readonly outcomes: HAOutcome[];
  /** Questions that are not answered yet. */
  asked: number;
  /** True where its node was killed before it was answered. */
  orphaned: boolean;
}

function isEmpty(db: HADatabase): boolean {
  return (db.status().outbox?.size ?? 0) === 0;
}

/** An undo, and what became of it. */
export interface Undo {
  readonly write: Write;
  readonly from: number;
  readonly scope: UndoScope;
  readonly force: boolean;
  result: HAUndoResult | undefined;
}

/** A contradiction between what the library promises and what it does. */
export class Divergence extends Error {}

/** Nodes on one stream, in one process, under a clock of our own. Nothing arrives unless it is delivered. */
export class World {
  readonly nodes: SimNode[] = [];
  readonly writes: Write[] = [];
  readonly undos: Undo[] = [];
  readonly random: SimRandom;
  readonly scheduler: Scheduler;
  readonly broker: MemoryBroker;
  readonly oracle: Oracle;
  checks = 0;
  /** Undos that were compared with what was there before. */
  undone = 0;
  private readonly dir = mkdtempSync(join(BASE, 'ha-sim-'));

  private constructor(
    seed: number,
    private readonly settings: NodeSettings,
    slowness: number | undefined,
  ) {
    this.random = new SimRandom(seed);
    this.scheduler = new Scheduler(this.random, slowness);
    const time = 1_700_000_000_000;
    this.broker = new MemoryBroker({ now: () => time, defer: this.scheduler.defer });
    const pragma = `recursive_triggers = ${settings.recursiveTriggers ? 1 : 0}`;
    this.oracle = new Oracle(() => this.log, [pragma], settings.rowIdentify, settings.interceptors());
  }

  /** Starts nodes with a schema that every node has applied. Call {@link close} at the end, whatever happens. */
  static async open(
    nodes: number,
    schema: readonly string[],
    options: Partial<NodeSettings> & { seed?: number; slowness?: number } = {},
  ): Promise<World> {
    const { seed = 1, slowness, ...others } = options;
    const settings = { ...DEFAULTS, ...others };
    const world = new World(seed, settings, slowness);
    world.scheduler.install();
    try {
      for (let index = 0; index < nodes; index++) {
        const path = join(world.dir, `${index}.db`);
        writeFileSync(path, emptyFile());
        const node = new SimNode(index, path, world.broker, settings, world.random);
        world.nodes.push(node);
        await world.scheduler.until(node.ready);
      }
      const made = world.exec(0, ...schema);
      await world.settle();
      if (made.error !== undefined) throw made.error;
      return world;
    } catch (error) {
      world.close();
      throw error;
    }
  }

  get log(): MemoryLog {
    const log = this.broker.log(STREAM);
    if (log === undefined) throw new Error('There is no stream yet.');
    return log;
  }

  /**
   * False where rows are known by their values alone, or where the stream changed the columns or the name of a table: there
   * the naive search for conflicts does not know every row again.
   */
  get knowsRows(): boolean {
    if (this.settings.rowIdentify === 'full') return false;
    const { firstSequence, lastSequence } = this.log.state();
    for (let sequence = firstSequence; sequence <= lastSequence; sequence++) {
      if (/"command":"[^"]*ALTER TABLE/.test(Buffer.from(this.log.at(sequence)?.data ?? '').toString('utf8')))
        return false;
    }
    return true;
  }

  node(index: number): SimNode {
    return this.nodes[index % this.nodes.length] as SimNode;
  }

  /** Starts a write; `call` is run at once. */
  write(node: number, call: (node: SimNode) => Promise<unknown>, mark?: string): Write {
    const target = this.node(node);
    const write: Write = {
      node: target.index,
      mark,
      state: 'pending',
      sequence: undefined,
      error: undefined,
      outcomes: [],
      asked: 0,
      orphaned: false,
      done: call(target).then(
        (result) => {
          // A killed node goes on in this process, on a file that nobody has any more.
          if (write.orphaned) return;
          write.state = 'resolved';
          write.sequence = (result as { txseq?: bigint } | undefined)?.txseq;
        },
        (error: Error) => {
          if (write.orphaned) return;
          write.state = 'rejected';
          write.error = error;
          if (this.random.chance(0.5)) this.ask(write);
        },
      ),
    };
    this.writes.push(write);
    return write;
  }

  /** Asks what became of a write, where it ended without an answer. */
  ask(write: Write): void {
    const node = this.node(write.node);
    const id = write.error?.details?.['id'];
    if (write.error?.code !== 'HA_PUBLISH_UNKNOWN' || typeof id !== 'string' || !node.isOpen) return;
    const { db } = node;
    write.asked++;
    const ended = (): void => {
      if (node.db === db) write.asked--;
    };
    db.outcome(id).then(
      (outcome) => {
        write.outcomes.push(outcome);
        ended();
      },
      (error: Error & { code?: string }) => {
        // Stopped while it was asked.
        if (error.code !== 'HA_UNAVAILABLE') write.error = error;
        ended();
      },
    );
  }

  /** Starts a transaction of statements, all or nothing. */
  exec(node: number, ...statements: string[]): Write {
    return this.write(node, ({ db }) => db.exec(statements.join(';\n')));
  }

  /** Takes back what was written from the message on that lies so many in front of the last one. */
  undo(node: number, back: number, scope: UndoScope, force: boolean): void {
    const { firstSequence, lastSequence } = this.log.state();
    const own: number[] = [];
    // The first ones make the schema.
    for (let at = lastSequence; at > firstSequence + 1 && own.length <= back; at--) {
      if (this.log.at(at)?.subject === SUBJECT) own.push(at);
    }
    const from = own.at(-1);
    if (from === undefined || !this.node(node).isOpen) return;
    const undo: { -readonly [K in keyof Undo]: Undo[K] } = {
      write: undefined as never,
      from,
      scope,
      force,
      result: undefined,
    };
    // It waits until everything is applied, and the clock would run out where nothing else happens.
    void this.node(node).stream.deliver();
    undo.write = this.write(node, async ({ db }) => {
      undo.result = await db.undo({ from: BigInt(from), scope, force });
      return { txseq: undo.result.sequence };
    });
    this.undos.push(undo);
  }

  transaction(
    node: number,
    run: (tx: HATransaction) => Promise<unknown>,
    options: { serializable?: boolean; retry?: boolean } = {},
  ): Write {
    return this.write(node, ({ db }) => db.transaction(run, options));
  }

  /** Lets everything run that can, without time passing. */
  async calm(): Promise<void> {
    await this.scheduler.run(Number.POSITIVE_INFINITY, false);
  }

  /** Runs on until a write is answered. */
  async answered(write: Write): Promise<Write> {
    await this.scheduler.until(write.done);
    return write;
  }

  /** Lets so many messages arrive at a node, and be applied. */
  async deliver(node: number, count = Number.POSITIVE_INFINITY): Promise<void> {
    void this.node(node).stream.deliver(count);
    await this.calm();
  }

  /** Another database on the same stream writes messages. */
  foreign(count: number): void {
    const message = {
      subject: `${STREAM}.other`,
      data: Buffer.from('x'),
      id: undefined,
      version: '1',
      chunk: undefined,
    };
    for (let i = 0; i < count; i++) this.broker.append(message);
  }

  /** Everything arrives at a node, and nothing that it sends reaches the stream. */
  async receive(node: number): Promise<void> {
    const { stream } = this.node(node);
    stream.dropNext(Number.POSITIVE_INFINITY);
    void stream.connect();
    await this.calm();
    await this.deliver(node);
    stream.disconnect();
    stream.dropNext(0);
  }

  /** Goes on until the writes of a node are answered. */
  async finish(node: number): Promise<void> {
    const waits = (): boolean => this.writes.some((write) => write.node === node && write.state === 'pending');
    for (let round = 0; round < 50 && (round === 0 || waits()); round++) await this.deliver(node);
  }

  kill(node: number, offline = false): void {
    const target = this.node(node);
    if (!target.isOpen) return;
    for (const write of this.writes) {
      if (write.node !== target.index) continue;
      if (write.state === 'pending') write.orphaned = true;
      write.asked = 0;
    }
    target.kill(offline);
  }

  /** Heals the network, and goes on until every write is answered and every node has everything. */
  async settle(): Promise<void> {
    let still = 0;
    for (let round = 0; round < 5_000; round++) {
      for (const node of this.nodes) node.heal();
      const last = this.log.state().lastSequence;
      const arrived = this.nodes.map((node) => node.stream.deliver());
      await this.calm();
      if (this.isQuiet()) return;
      const moved = (await Promise.all(arrived)).some((count) => count > 0) || last !== this.log.state().lastSequence;
      // Time passes only where nothing else can happen.
      still = moved ? 0 : still + 1;
      if (still > 1) await this.scheduler.run(1);
    }
    throw new Divergence(`No peace: ${this.unrest()}`);
  }

  /** Compares a node, as it is now, with the fold of the stream up to its position. */
  check(index: number): void {
    const node = this.node(index);
    if (!node.isOpen) return;
    if (node.halted !== undefined) throw new Divergence(`n${node.index} halted: ${node.halted.message}`);
    this.checks++;
    const { received, text, inFlight } = node.state();
    const fold = this.oracle.over(received, inFlight);
    if (text === fold) return;
    const over = inFlight.length === 0 ? '' : ` and ${inFlight.length} message(s) in flight`;
    throw new Divergence(`n${node.index} differs from the fold at ${received}${over}:\n${difference(text, fold)}`);
  }

  close(): void {
    for (const node of this.nodes) node.closeFiles();
    this.oracle.close();
    this.scheduler.uninstall();
    rmSync(this.dir, { recursive: true, force: true });
  }

  private isQuiet(): boolean {
    const last = this.log.lastOn(SUBJECT);
    return (
      this.writes.every(({ state, orphaned, asked }) => (state !== 'pending' || orphaned) && asked === 0) &&
      this.nodes.every(({ isOpen, db }) => isOpen && Number(db.position().received) >= last && isEmpty(db)) &&
      this.nodes.every((node) => node.isTold)
    );
  }

  private unrest(): string {
    const nodes = this.nodes.map((node) => {
      const { state, position, lastError, outbox } = node.db.status();
      const waiting = outbox === undefined ? '' : ` with ${outbox.size} in flight (${outbox.lastError?.message ?? ''})`;
      return `n${node.index} ${state} at ${position.received}${waiting}${lastError === undefined ? '' : ` (${lastError.message})`}`;
    });
    const waiting = this.writes.filter(({ state, orphaned }) => state === 'pending' && !orphaned).length;
    return `${nodes.join(', ')}; the stream ends at ${this.log.state().lastSequence}; ${waiting} writes wait`;
  }
}

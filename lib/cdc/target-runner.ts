import { HAError } from '../common/ha-error.js';
import { backOff, within } from '../common/timing.js';
import type { Connection } from '../sqlite/connection.js';
import { BatchReader } from './batch-reader.js';
import type { Batch } from './batch-reader.js';
import type { ColumnTypes } from './column-types.js';
import { EffectLogReader, prune, startOf, writeTarget } from './effect-log.js';
import type { CdcPosition, StoredTarget } from './effect-log.js';
import { EventMaker } from './envelopes.js';
import type { EventNames } from './envelopes.js';
import { pin, release, snapshotBatches } from './snapshot.js';
import type { HACDCStatus } from '../write/status.js';
import type { HACDCEvent, HACDCSettings, HACDCTarget } from './target.js';

/** A target as it was registered. */
export interface Registration {
  readonly settings: Required<HACDCSettings>;
  /** Gives the target once the application is up. */
  readonly resolve: () => HACDCTarget | Promise<HACDCTarget>;
}

/** What a runner needs of its database. */
export interface RunnerPorts {
  readonly names: Pick<EventNames, 'db' | 'node'>;
  readonly types: ColumnTypes;
  /** Reads what is committed. */
  readonly reader: Connection;
  readonly leaseReader: () => Connection;
  readonly releaseReader: (db: Connection) => void;
  /** Runs a transaction of its own on a connection that may write, while nobody else writes. */
  readonly control: <R>(work: (db: Connection) => R) => Promise<R>;
  /** Up to where the stream is applied. */
  readonly received: () => number;
  /** False while rows are in the file that have no place in the stream yet. */
  readonly isSettled: () => boolean;
  readonly settled: () => Promise<void>;
  /** From this place on effects have to be recorded for a target. */
  readonly begun: (sequence: number) => void;
  /** A target has moved. */
  readonly moved: () => void;
  readonly failed: (error: HAError) => void;
  readonly recovered: (target: string) => void;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;
/** A snapshot whose target fails for longer, ms, is given up and begun again: its read transaction keeps the WAL long. */
const SNAPSHOT_HOLD_MS = 60_000;

/** Where a target begins. */
interface Begun {
  /** The place in the stream that the rows of its snapshot belong to. */
  readonly received: number;
  readonly stored: StoredTarget;
}

/** Thrown where the database stops. */
const STOPPED = new Error('stopped');
/** Thrown where a snapshot has to begin again. */
const AGAIN = new Error('again');

/**
 * Serves one target.
 *
 * ```
 * waiting ──new──▶ snapshot ──all rows──▶ streaming ──delivered──▶ position stored ─▶ next batch
 *    └──known──────────────────────────────▲   └──rejected──▶ failing ──pause──▶ the same batch
 * ```
 */
export class TargetRunner {
  private state: HACDCStatus['state'] = 'waiting';
  private failures = 0;
  private lastError: Error | undefined;
  private delivered = 0;
  private target: HACDCTarget | undefined;
  private running: Promise<void> | undefined;
  private readonly maker: EventMaker;
  private readonly batches: BatchReader;
  private readonly halt = new AbortController();
  private readonly patience = new AbortController();
  private readonly stopped: Promise<void>;
  private isWoken = false;
  private wakeUp: () => void = () => undefined;

  constructor(
    private readonly registration: Registration,
    private readonly ports: RunnerPorts,
    /** As it is stored; undefined for a new one. */
    public stored: StoredTarget | undefined,
  ) {
    const { settings } = registration;
    const { topicPrefix, includeSchemaChanges, maxBatchSize } = settings;
    const typesOf = (table: string): Readonly<Record<string, string>> => ports.types.of(table);
    this.maker = new EventMaker({ ...ports.names, topicPrefix, includeSchemaChanges, typesOf });
    this.batches = new BatchReader(new EffectLogReader(ports.reader), this.maker, maxBatchSize);
    this.stopped = new Promise((resolve) => this.halt.signal.addEventListener('abort', () => resolve()));
  }

  get name(): string {
    return this.registration.settings.name;
  }

  get status(): HACDCStatus {
    const { name, stored, delivered, failures, lastError } = this;
    const state = failures > 0 && this.state !== 'stopped' ? 'failing' : this.state;
    const position = stored === undefined ? undefined : BigInt(stored.sequence - 1);
    return { name, state, position, delivered, failures, lastError };
  }

  start(): void {
    this.running ??= this.run();
  }

  /** Something may have been committed. */
  wake(): void {
    this.isWoken = true;
    this.wakeUp();
  }

  /** Ends behind the batch under way, or without it where that takes too long. */
  async stop(): Promise<void> {
    this.halt.abort();
    this.wake();
    if (this.running === undefined) return;
    const done = await within(
      this.registration.settings.shutdownTimeout,
      this.running.then(() => true),
    );
    if (done !== true) this.patience.abort();
    await this.running;
    this.state = 'stopped';
  }

  private async run(): Promise<void> {
    while (!this.halt.signal.aborted) {
      try {
        await this.serve();
      } catch (error) {
        if (error !== STOPPED) await this.failed(error);
      }
    }
  }

  private async serve(): Promise<void> {
    const target = await Promise.race([this.registration.resolve(), this.stopped]);
    if (target === undefined) throw STOPPED;
    this.target = target;
    if (this.stored === undefined || this.stored.snapshot) await this.begin();
    this.state = 'streaming';
    for (;;) await this.next();
  }

  /** Delivers the next batch, or waits for one. */
  private async next(): Promise<void> {
    this.refuseStopped();
    this.isWoken = false;
    const stored = this.stored as StoredTarget;
    const batch = await this.persist(async () => this.read(stored));
    if (batch === undefined) {
      await this.untilWoken();
      return;
    }
    if (batch.events.length > 0) await this.deliver(batch.events, batch.endsTransaction);
    await this.store(batch.next);
  }

  private read(from: CdcPosition): Batch | undefined {
    this.ports.types.refresh();
    return this.batches.read(from);
  }

  private async untilWoken(): Promise<void> {
    if (this.isWoken) return;
    await new Promise<void>((resolve) => {
      this.wakeUp = resolve;
    });
  }

  /** Where a new target begins: at one place of the stream, with all rows as they are there. */
  private async begin(): Promise<void> {
    this.state = 'snapshot';
    const { ports } = this;
    const hasSnapshot = this.stored?.snapshot ?? this.registration.settings.snapshot === 'initial';
    for (let isDone = false; !isDone;) {
      this.refuseStopped();
      const view = hasSnapshot ? ports.leaseReader() : undefined;
      try {
        const begun = await this.persist(() => ports.control((db) => this.openView(db, view)));
        this.stored = begun?.stored ?? this.stored;
        if (begun === undefined) await Promise.race([ports.settled(), this.stopped]);
        else isDone = view === undefined || (await this.readAll(view, begun.received));
      } finally {
        if (view !== undefined) {
          release(view);
          ports.releaseReader(view);
        }
      }
    }
    if (this.stored?.snapshot === true) await this.store(this.stored);
  }

  /**
   * Fixes the place in the stream that a snapshot belongs to. Where one was begun before, what came since then is told
   * again behind it: rows that were told and are gone have to be told gone.
   */
  private openView(db: Connection, view: Connection | undefined): Begun | undefined {
    const { ports, name } = this;
    const received = ports.received();
    if (view !== undefined) {
      if (!ports.isSettled()) return undefined;
      release(view);
      pin(view);
    }
    const stored = this.stored ?? { ...startOf(received + 1), target: name, snapshot: view !== undefined };
    writeTarget(db, stored);
    // Inside the transaction: what is committed behind it is recorded already.
    ports.begun(stored.sequence);
    return { received, stored };
  }

  /** False where the target failed for so long that the snapshot has to begin again. */
  private async readAll(view: Connection, sequence: number): Promise<boolean> {
    this.ports.types.refresh();
    const { maxBatchSize } = this.registration.settings;
    try {
      for (const events of snapshotBatches(view, this.maker, sequence, maxBatchSize)) {
        this.refuseStopped();
        await this.deliver(events, false, SNAPSHOT_HOLD_MS);
      }
      return true;
    } catch (error) {
      if (error === AGAIN) return false;
      throw error;
    }
  }

  private async deliver(events: readonly HACDCEvent[], endsTransaction: boolean, patienceMs = Infinity): Promise<void> {
    const started = performance.now();
    await this.persist(async (failures) => {
      if (failures > 0 && performance.now() - started > patienceMs) throw AGAIN;
      const { name, target, patience, ports } = this;
      const context = { target: name, node: ports.names.node, endsTransaction, failures, signal: patience.signal };
      await unlessAborted(patience.signal, async () => target?.deliver(events, context));
      this.delivered += events.length;
      this.recovered();
    });
  }

  private async store(position: CdcPosition): Promise<void> {
    const stored = { ...position, target: this.name, snapshot: false };
    await this.persist(() =>
      this.ports.control((db) => {
        writeTarget(db, stored);
        prune(db);
      }),
    );
    this.stored = stored;
    this.ports.moved();
  }

  /** Tries until it succeeds, or the database stops. */
  private async persist<R>(work: (failures: number) => Promise<R>): Promise<R> {
    for (let failed = false; ;) {
      try {
        const result = await work(this.failures);
        if (failed) this.recovered();
        return result;
      } catch (error) {
        if (error === STOPPED || error === AGAIN) throw error;
        failed = true;
        await this.failed(error);
        this.refuseStopped();
      }
    }
  }

  /** Notes a failure, and waits: longer each time in a row. Only the first of them is told. */
  private async failed(error: unknown): Promise<void> {
    this.lastError = error instanceof Error ? error : new Error(String(error));
    if (++this.failures === 1) this.ports.failed(this.failure(error));
    await this.pause();
  }

  private recovered(): void {
    if (this.failures === 0) return;
    this.failures = 0;
    this.lastError = undefined;
    this.ports.recovered(this.name);
  }

  private async pause(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const over = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, backOff(this.failures, FIRST_PAUSE_MS, LONGEST_PAUSE_MS));
    });
    await Promise.race([over, this.stopped]);
    clearTimeout(timer);
  }

  private refuseStopped(): void {
    if (this.halt.signal.aborted) throw STOPPED;
  }

  private failure(cause: unknown): HAError {
    const { name } = this;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const position = this.status.position;
    return new HAError(
      'HA_CDC_DELIVERY',
      `The CDC target '${name}' failed: ${reason}. It is tried again until it succeeds; what it has not got is kept in the database meanwhile. Nothing else waits for it.`,
      { cause, retryable: true, details: { target: name, position } },
    );
  }
}

/** Waits for work, but no longer than until a signal. */
async function unlessAborted(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  if (signal.aborted) throw STOPPED;
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(STOPPED);
    signal.addEventListener('abort', onAbort);
  });
  try {
    await Promise.race([work(), aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

import type { Applier } from '../apply/applier.js';
import type { Step } from '../apply/interception.js';
import { Overlay } from '../apply/overlay.js';
import { Capture } from '../capture/capture.js';
import { parseMessageId } from '../changeset/message-id.js';
import { HAError } from '../common/ha-error.js';
import { immediate, retry, sleep } from '../common/timing.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { Relay } from '../publish/relay.js';
import type { RelayPorts } from '../publish/relay.js';
import type { Connection } from '../sqlite/connection.js';
import { isBusy } from '../sqlite/connections.js';
import type { Connections } from '../sqlite/connections.js';
import type { ForeignWrites } from '../sqlite/foreign-writes.js';
import { OutboxFile } from '../sqlite/outbox-file.js';
import { OutboxStore } from '../sqlite/outbox-store.js';
import type { InFlight, OutboxTransaction } from '../sqlite/outbox-store.js';
import { createOutboxTables, pendingMessages } from '../sqlite/outbox-tables.js';
import type { RowIdentify } from '../sqlite/schema.js';
import type { SeenIds } from '../sqlite/seen-ids.js';
import type { OutboxPort } from '../write/outbox-port.js';
import type { OutboxStatus } from '../write/status.js';

/** Undone and applied again without a break for this long, ms. */
const SLICE_MS = 4;
/** Effects of one redo are read in pieces of this size. */
const PIECE_BYTES = 1024 * 1024;
const BUSY_PAUSE_MS = 5;

interface ApplierPorts {
  readonly foreign: ForeignWrites;
  /** How long to wait for other processes that write to the file, ms. */
  readonly busyTimeout: number;
}

/**
 * Asynchronous publishing of one database, assembled: the outbox, the overlay over the fold, and the relay.
 */
export class AsyncPublishing implements OutboxPort {
  readonly overlay: Overlay;
  private readonly outbox: OutboxStore;
  private readonly relay: Relay;
  private added: readonly InFlight[] = [];
  private settledWaiters: (() => void)[] = [];
  /** Since when an interceptor is waited for; a time of `performance.now()`, undefined where none is. */
  askedAt: number | undefined;
  private isAbandoned = false;
  private wakeAbandoned: () => void = () => undefined;
  private readonly abandoned = new Promise<void>((resolve) => {
    this.wakeAbandoned = resolve;
  });

  constructor(
    private readonly applierConnection: Connection,
    private readonly applier: Applier,
    capture: Capture,
    store: OutboxStore,
    node: string,
    private readonly ports: Omit<RelayPorts, 'source'> & ApplierPorts,
  ) {
    this.outbox = store;
    this.overlay = new Overlay(applierConnection, applier, capture, store, node);
    this.overlay.onEmpty = () => this.wakeSettled();
    this.overlay.onDeferred = (error) => ports.failed(error);
    this.relay = new Relay({ ...ports, source: store });
  }

  /** Opens the outbox of a database. Inside the database, or in a file of its own where the options say so. */
  static openStore(connections: Connections, options: ResolvedHAOptions, seen: SeenIds): OutboxStore {
    const { applier, reader } = connections;
    createOutboxTables(applier);
    const { asyncPublisherOutboxDir: dir } = options;
    if (dir !== undefined) return new OutboxStore(applier, reader, OutboxFile.open(dir, applier, seen));
    const { path: file, count } = pendingMessages(applier);
    if (file !== undefined) throw leftInFile(file, count);
    return new OutboxStore(applier, reader, undefined);
  }

  /** Triggers that capture what the applier does, and only while they are asked to. */
  static capture(connections: Connections, rowIdentify: RowIdentify): Capture {
    return new Capture(connections.applier, {
      markGeneratedIds: 'once',
      rowIdentify,
      gated: true,
      pieceBytes: () => PIECE_BYTES,
    });
  }

  /** Where the messages are, if that is not the database. */
  get file(): OutboxFile | undefined {
    return this.outbox.file;
  }

  get isSettled(): boolean {
    return this.overlay.isEmpty;
  }

  get canOrder(): boolean {
    return this.overlay.isEmpty && this.ports.stream.isConnected;
  }

  get isFlowing(): boolean {
    return this.relay.isFlowing;
  }

  get status(): OutboxStatus {
    const { list } = this.overlay;
    const head = list.at(0);
    return {
      size: list.size,
      oldestAge: head === undefined ? 0 : Math.max(0, Date.now() - head.storedAt),
      lastError: this.relay.lastError,
    };
  }

  /** Begins to publish. */
  start(): void {
    this.relay.start();
  }

  store(db: Connection, transactions: readonly OutboxTransaction[]): void {
    this.added = this.outbox.add(db, transactions);
  }

  committed(): void {
    this.outbox.confirm();
    this.overlay.list.add(this.added);
    this.added = [];
    this.relay.kick();
  }

  discarded(): void {
    this.added = [];
    this.outbox.discard();
  }

  async canonicalise(transaction: OutboxTransaction): Promise<void> {
    const { applierConnection: db, overlay } = this;
    const { foreign } = this.ports;
    await this.begin();
    try {
      foreign.begun(db);
      this.added = await this.inSlices(overlay.canonicalise(transaction));
      db.exec('COMMIT');
      foreign.committed(db);
    } catch (error) {
      if (db.inTransaction) db.exec('ROLLBACK');
      else foreign.interrupted(db);
      this.discarded();
      this.applier.reset();
      overlay.rolledBack();
      throw error;
    }
    this.committed();
  }

  firstInFlight(origin: string): number | undefined {
    const head = this.overlay.list.at(0);
    const id = head && parseMessageId(head.id);
    if (head === undefined || id === undefined) return undefined;
    // Behind what an earlier start left, all of this one wait.
    return id.origin === origin ? id.n - (head.last - head.first) : 1;
  }

  holds(id: string): boolean {
    return this.outbox.holds(id);
  }

  async settled(ms: number): Promise<void> {
    if (this.overlay.isEmpty) return;
    const empty = new Promise<void>((resolve) => this.settledWaiters.push(resolve));
    await Promise.race([empty, sleep(ms)]);
  }

  /** Publishes what waits, for at most so many milliseconds, and for as long as the stream can be reached. */
  async flush(ms: number): Promise<void> {
    const deadline = performance.now() + ms;
    const canPublish = (): boolean => this.relay.isRunning && this.ports.stream.isConnected;
    while (!this.isFlushed && canPublish() && performance.now() < deadline) await sleep(5);
  }

  /** Waits for no interceptor any more: a transaction that does is taken back, and its caller told so. */
  abandon(): void {
    this.isAbandoned = true;
    this.wakeAbandoned();
  }

  /** Publishes nothing more. */
  stop(): void {
    this.abandon();
    this.relay.stop();
    this.wakeSettled();
  }

  /** Call behind {@link stop}, and where nothing is applied any more. */
  close(): void {
    this.outbox.close();
  }

  /** The connection has changed. */
  kick(): void {
    this.relay.kick();
  }

  /** Waits for other processes without blocking the loop. */
  private async begin(): Promise<void> {
    const deadline = performance.now() + this.ports.busyTimeout;
    await retry(
      async () => this.applierConnection.exec('BEGIN IMMEDIATE'),
      (error) => isBusy(error) && performance.now() < deadline,
      BUSY_PAUSE_MS,
    );
  }

  private async inSlices<R>(steps: Generator<Step, R>): Promise<R> {
    let until = performance.now() + SLICE_MS;
    try {
      for (;;) {
        const step = steps.next();
        if (step.done === true) return step.value;
        if (step.value !== undefined) await this.unlessAbandoned(step.value);
        else if (performance.now() < until) continue;
        else await immediate();
        until = performance.now() + SLICE_MS;
      }
    } finally {
      // Where it is given up half-way it has something to put back.
      steps.return(undefined as R);
    }
  }

  private async unlessAbandoned(answer: Promise<void>): Promise<void> {
    this.askedAt = performance.now();
    try {
      await Promise.race([answer, this.abandoned]);
    } finally {
      this.askedAt = undefined;
    }
    if (!this.isAbandoned) return;
    throw new HAError(
      'HA_UNAVAILABLE',
      'Stopped while an interceptor was waited for; the transaction was not written.',
      {
        retryable: true,
      },
    );
  }

  private get isFlushed(): boolean {
    const { list } = this.overlay;
    const last = list.at(list.size - 1);
    return last === undefined || this.relay.isStored(last.last);
  }

  private wakeSettled(): void {
    for (const wake of this.settledWaiters.splice(0)) wake();
  }
}

/**
 * Refuses to start without asynchronous publishing where transactions of an earlier start still wait: they lie over the fold.
 *
 * @throws HAError `HA_OPTIONS_INVALID`.
 */
export function refusePending(db: Connection): void {
  const { count, path } = pendingMessages(db);
  if (count === 0) return;
  throw new HAError(
    'HA_OPTIONS_INVALID',
    `${count} message(s) of an earlier start with asyncPublisher=true wait in the outbox${path === undefined ? '' : ` '${path}'`}. Start with it once more, and stop when status().outbox.size is 0.`,
    { details: { count, path } },
  );
}

function leftInFile(path: string, count: number): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    `${count} message(s) wait in the outbox '${path}'. Start once more with asyncPublisherOutboxDir, and leave it out when status().outbox.size was 0.`,
    { details: { count, path } },
  );
}

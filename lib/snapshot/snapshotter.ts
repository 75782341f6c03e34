import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { verifyCursor } from '../subscribe/establish-cursor.js';
import type { HASnapshot, HAStatus } from '../write/status.js';
import { copyFold, removeLarge } from './database-copy.js';
import type { CopySource } from './database-copy.js';
import { Pace } from './pace.js';
import { Progress } from './progress.js';
import { SnapshotLease } from './snapshot-lease.js';
import { SnapshotStore } from './snapshot-store.js';
import type { StoredSnapshot } from './snapshot-store.js';

/** How {@link HASnapshotter.take} goes about it. */
export interface SnapshotOptions {
  /** Stores it whatever the store has: that one is damaged, or comes out of another history. Default false. */
  readonly replace?: boolean;
}

export interface SnapshotterPorts extends CopySource {
  readonly subject: string;
  readonly stream: ReplicationStream;
  /** Option `replicationStream`. */
  readonly streamName: string;
  readonly replicationID: string;
  /** Milliseconds between two snapshots that are taken by themselves; undefined takes none. */
  readonly interval: number | undefined;
  readonly cursor: () => StreamCursor;
  /** The state that the cluster has taken over last; ''. */
  readonly base: string;
  /** Why what this node holds may not be what all hold; undefined where it is. */
  readonly doubt: () => string | undefined;
  readonly emit: EventSink;
  /** Moves the position behind messages of other subjects: the snapshot then covers them too. */
  readonly advance: () => Promise<void>;
}

/** A node that takes long to take a snapshot rests for so many times as long. */
const REST_FACTOR = 10;
/** Nodes that were started at once do not ask at once. */
const JITTER = 0.1;

/**
 * Takes snapshots: copies the database in a thread of its own, and stores the copy where other nodes, and go-ha, find it. By
 * itself every `snapshotInterval` when the stream has brought something new; one node of the cluster does it, and the others
 * see that it is done.
 */
export class HASnapshotter {
  private ports: SnapshotterPorts | undefined;
  private lease: SnapshotLease | undefined;
  private store: Promise<SnapshotStore | undefined> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private abort = new AbortController();
  private running: Promise<StoredSnapshot> | undefined;
  private ticking: Promise<void> | undefined;
  private known: StoredSnapshot | undefined;
  private knownSince = 0;
  private lastMs = 0;
  private failed = '';

  /** The snapshot in the store, as far as this node knows. */
  get status(): HAStatus['snapshot'] {
    if (this.known === undefined) return undefined;
    const { sequence, size, stored } = this.known;
    return { sequence: BigInt(sequence), size, age: Math.max(0, Date.now() - stored) };
  }

  /**
   * Takes a snapshot now, unless the store has one that is as new. A snapshot that is being taken is waited for.
   *
   * @throws HAError `HA_UNAVAILABLE` where there is no stream that has snapshots, `HA_SNAPSHOT_STORE` where the server has no
   * room or permits it not, `HA_SNAPSHOT_FAILED` where the disk refuses, `HA_STREAM_CONNECT`.
   */
  async take({ replace = false }: SnapshotOptions = {}): Promise<HASnapshot> {
    await this.running?.catch(() => undefined);
    return publicOf(await this.run(replace));
  }

  /** The snapshot in the store, undefined where there is none. */
  async latest(): Promise<HASnapshot | undefined> {
    const latest = await (await this.opened()).latest();
    this.note(latest);
    return latest && publicOf(latest);
  }

  /** Bytes of the snapshot in the store, an SQLite file; undefined where there is none. */
  async read(): Promise<AsyncIterable<Buffer> | undefined> {
    const store = await this.opened();
    const latest = await store.latest();
    this.note(latest);
    return latest && store.read(latest);
  }

  /** Begins to take snapshots of a database. @internal */
  attach(ports: SnapshotterPorts): void {
    this.ports = ports;
    this.abort = new AbortController();
    this.lease = new SnapshotLease(ports.stream, ports.streamName, ports.replicationID);
    this.known = undefined;
    this.schedule();
  }

  /** Ends the snapshot that is being taken. @internal */
  async detach(): Promise<void> {
    clearTimeout(this.timer);
    this.abort.abort();
    this.ports = undefined;
    this.store = undefined;
    await this.ticking;
    await this.running?.catch(() => undefined);
  }

  private schedule(): void {
    const interval = this.ports?.interval;
    if (interval === undefined || this.abort.signal.aborted) return;
    const pause = Math.max(interval, REST_FACTOR * this.lastMs) * (1 + JITTER * (2 * Math.random() - 1));
    this.timer = setTimeout(() => {
      this.ticking = this.tick().finally(() => {
        this.ticking = undefined;
        this.schedule();
      });
    }, pause).unref();
  }

  /** What fails is told once, and tried again. */
  private async tick(): Promise<void> {
    const { ports, lease } = this;
    if (ports === undefined || lease === undefined || !ports.stream.isConnected) return;
    try {
      this.note(await (await this.opened()).known());
      if (!(await this.isDue(ports))) return;
      const doubt = ports.doubt();
      if (doubt !== undefined) throw doubtful(doubt);
      if (!(await lease.take())) return;
      try {
        // Whoever had the lease until now may have stored it.
        this.note(await (await this.opened()).known());
        if (await this.isDue(ports)) await this.run(false);
        this.failed = '';
      } finally {
        await lease.release();
      }
    } catch (error) {
      this.tell(error);
    }
  }

  private async isDue({ cursor, interval = 0, stream }: SnapshotterPorts): Promise<boolean> {
    const { known } = this;
    const { received, subjectSequence, streamCreated } = cursor();
    if (received === 0) return false;
    if (known === undefined || (known.created !== undefined && known.created !== streamCreated)) return true;
    // Somebody has just stored it: the cluster's snapshots are one interval apart, not each node's.
    const isYoung = performance.now() - this.knownSince < (1 - 2 * JITTER) * interval;
    if (isYoung || known.sequence >= received) return false;
    if (known.sequence < subjectSequence) return true;
    // Only others wrote to the stream: a snapshot that it has left behind could not be followed any more.
    const { firstSequence, lastSequence } = await stream.state();
    return known.sequence - firstSequence < (lastSequence - firstSequence) / 2;
  }

  private run(replace: boolean): Promise<StoredSnapshot> {
    this.running ??= this.takeNow(replace).finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  private async takeNow(replace: boolean): Promise<StoredSnapshot> {
    const store = await this.opened();
    const { ports, abort } = this;
    if (ports === undefined) throw noStore();
    const target = `${ports.path}-ha-snapshot`;
    const started = performance.now();
    await ports.advance().catch(() => undefined);
    // One of another stream, or of a place that nobody can go on from, must not take the place of a good one.
    await verifyCursor(ports.cursor(), ports.stream, ports.subject);
    const copy = await copyFold({ ...ports, gently: true }, target, abort.signal);
    try {
      const { sequence, size } = copy;
      const { streamCreated: created } = ports.cursor();
      const { count } = new Progress('store', size, ports.emit);
      const pace = new Pace();
      const counted = (bytes: number): void | Promise<void> => {
        abort.signal.throwIfAborted();
        count(bytes);
        return pace.passed(bytes);
      };
      const { snapshot, isNew } = await store.put(target, { sequence, created, base: ports.base }, counted, replace);
      this.note(snapshot);
      this.lastMs = performance.now() - started;
      if (isNew) {
        // Whoever still needs it finds its rows in this one.
        if (ports.base !== '') await store.deleteBase(ports.base);
        ports.emit({ type: 'snapshot', action: 'stored', sequence: BigInt(sequence), size, ms: this.lastMs });
      }
      return snapshot;
    } catch (error) {
      throw abort.signal.aborted ? noStore() : error;
    } finally {
      await removeLarge(target);
    }
  }

  private note(snapshot: StoredSnapshot | undefined): void {
    if (snapshot?.object.revision !== this.known?.object.revision) this.knownSince = performance.now();
    this.known = snapshot;
  }

  private tell(error: unknown): void {
    if (this.abort.signal.aborted) return;
    const reason = error instanceof Error ? error : new Error(String(error));
    if (reason.message === this.failed) return;
    this.failed = reason.message;
    this.ports?.emit({ type: 'error', error: reason });
  }

  private async opened(): Promise<SnapshotStore> {
    const { ports } = this;
    if (ports === undefined) throw noStore();
    const opening = (this.store ??= SnapshotStore.open(ports.stream, ports.streamName, ports.replicationID));
    try {
      const store = await opening;
      if (store !== undefined) return store;
    } catch (error) {
      this.store = undefined;
      throw error;
    }
    throw noStore();
  }
}

function publicOf({ sequence, size, digest, stored }: StoredSnapshot): HASnapshot {
  return { sequence: BigInt(sequence), size, digest, storedAt: new Date(stored) };
}

function noStore(): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    'There are no snapshots: the database has no stream, does not follow it (disableSubscriber), or is not started. db.backup(path) copies it to a file.',
  );
}

function doubtful(doubt: string): HAError {
  return new HAError(
    'HA_SNAPSHOT_FAILED',
    `No snapshot is taken by itself: ${doubt}. Other nodes would take that over. db.snapshot() takes one all the same.`,
  );
}

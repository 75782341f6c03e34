import { randomUUID } from 'node:crypto';
import { existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { AsyncPublishing, refusePending } from './async-publishing.js';
import { createCdcTables, writeTarget } from '../cdc/effect-log.js';
import type { StoredTarget } from '../cdc/effect-log.js';
import type { MessageOrigin } from '../changeset/codec.js';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import { MessageEncoder } from '../publish/message-encoder.js';
import { CopiedOverlay } from '../snapshot/copied-overlay.js';
import { closeWhole, copyAll, partOf, refuseFolder, removeDatabase, removeLarge } from '../snapshot/database-copy.js';
import type { CopySource, OverlaySource } from '../snapshot/database-copy.js';
import { covering, findStart } from '../snapshot/find-start.js';
import type { StartPorts } from '../snapshot/find-start.js';
import { found } from '../snapshot/found.js';
import { publishPending } from '../snapshot/publish-pending.js';
import { SnapshotStore } from '../snapshot/snapshot-store.js';
import type { SnapshotterPorts } from '../snapshot/snapshotter.js';
import type { StagedSnapshot } from '../snapshot/staged-snapshot.js';
import type { Connections } from '../sqlite/connections.js';
import { createControlTables, readCarried, readCursor, readSeen, writeCarried } from '../sqlite/control-tables.js';
import type { CarriedRows, StreamCursor } from '../sqlite/control-tables.js';
import type { OutboxFile } from '../sqlite/outbox-file.js';
import { replaceDatabase } from '../sqlite/set-aside.js';
import type { ReplicationStream, StartPoint } from '../stream/replication-stream.js';
import { baseCommand, readBase } from '../subscribe/base.js';
import type { BaseChange } from '../subscribe/base.js';
import type { HABackup } from '../write/status.js';

/** What is special about one start, as far as snapshots are concerned. */
export interface SnapshotStart {
  /** Default: what the option `bootstrap` says. */
  readonly snapshots?: StartPorts['snapshots'] | undefined;
  /** What the stream told this node to take over. */
  readonly change?: BaseChange | undefined;
}

/** What a node takes with it into the file of a snapshot. */
export interface OwnRows {
  readonly carried?: CarriedRows | undefined;
  /** Where targets of change data capture go on. */
  readonly targets?: readonly StoredTarget[] | undefined;
}

interface DatabaseFacts {
  readonly options: ResolvedHAOptions;
  readonly subject: string;
  readonly publishesLater: boolean;
  readonly origin: () => MessageOrigin;
  readonly emit: EventSink;
  /** How long to wait for other programs that write to the file, ms. */
  readonly busyTimeout: number;
  /** Whether another node of the database has a position in the stream. */
  readonly othersHavePosition: () => Promise<boolean>;
  /** Whether another node of the database has applied something. */
  readonly othersHaveApplied: () => Promise<boolean>;
}

/** Snapshots of one database, assembled: how it starts from them, how it takes them, and backups. */
export class Snapshotting {
  /** An outbox file that is of no use behind the restore that is under way. */
  private obsolete: string | undefined;
  /** Starts that made the rows of this node those of the cluster: where the file stood before, and what waited there. */
  private readonly founded = new WeakMap<
    SnapshotStart,
    { readonly left: StreamCursor | undefined; readonly waiting: number }
  >();

  constructor(private readonly facts: DatabaseFacts) {}

  /**
   * Where the database stands; see {@link findStart}.
   *
   * @throws StagedSnapshot
   */
  findStart(
    connections: Connections,
    stream: ReplicationStream,
    start: StartPoint,
    how: SnapshotStart,
    signal: AbortSignal,
  ): Promise<StreamCursor> {
    const { change } = how;
    // It has come so far in an earlier attempt of this start.
    const snapshots = this.founded.has(how) ? 'never' : how.snapshots;
    const { options, subject, emit, othersHavePosition, othersHaveApplied } = this.facts;
    const { applier: db, path } = connections;
    const auto = options.bootstrap === 'auto' && stream.objects !== undefined && !options.disableSubscriber;
    return findStart({
      db,
      path,
      staging: this.staging(path),
      subject,
      stream,
      streamName: options.replicationStream,
      replicationID: options.replicationID,
      start,
      snapshots: snapshots ?? (auto ? 'auto' : 'never'),
      change,
      emit,
      signal,
      publishPending: () => this.publishPending(connections, stream),
      isUnwritten: async () => !(await othersHaveApplied()),
      mayFound: async (isNew) => !options.disablePublisher && (isNew || !(await othersHavePosition())),
      found: async (store, isEmpty) => {
        const left = readCursor(db, subject);
        const waiting = await this.found(connections, stream, store, isEmpty, signal);
        if (waiting !== undefined) this.founded.set(how, { left, waiting });
        return waiting !== undefined;
      },
    });
  }

  /**
   * What became of the places in the stream that targets of change data capture have in this file, where a start made its rows
   * those of the cluster; undefined where it did not. `lost`: what waited in the outbox was never recorded.
   */
  placesBehind(how: SnapshotStart, now: StreamCursor): 'left' | 'lost' | 'kept' | undefined {
    const founded = this.founded.get(how);
    if (founded === undefined) return undefined;
    const { left, waiting } = founded;
    const hasLeft = left !== undefined && (left.streamCreated !== now.streamCreated || left.received >= now.received);
    if (hasLeft) return 'left';
    return waiting > 0 ? 'lost' : 'kept';
  }

  /** What the file that is replaced leaves to the new one: how its own transactions ended can still be asked for. */
  carried({ applier }: Connections): CarriedRows {
    if (readCursor(applier, this.facts.subject) === undefined) return { origins: [], skipped: [] };
    createControlTables(applier);
    return { ...readCarried(applier), skipped: [] };
  }

  /** Puts a snapshot in the place of the file, which nobody has open. May be called again. */
  install(
    { path: staged }: StagedSnapshot,
    path: string,
    how: { isAside: boolean; keep: boolean },
    own: OwnRows,
  ): string | undefined {
    if (!existsSync(staged)) return undefined;
    const old = put(staged, path, how.isAside, own);
    if (this.obsolete !== undefined) removeDatabase(this.obsolete);
    this.obsolete = undefined;
    if (how.keep) return old;
    // Nobody waits for it: a large file takes a while.
    if (old !== undefined) void removeLarge(old).catch(() => undefined);
    return undefined;
  }

  /** Whether a node that lacks messages could go on from a snapshot. */
  async canRestore(stream: ReplicationStream): Promise<boolean> {
    const { replicationStream, replicationID } = this.facts.options;
    const store = await SnapshotStore.open(stream, replicationStream, replicationID);
    return store !== undefined && (await covering(await store.latest(), { stream })) !== undefined;
  }

  /** What the snapshotter works with. */
  takes(
    connections: Connections,
    stream: ReplicationStream,
    cursor: () => StreamCursor,
    more: Pick<SnapshotterPorts, 'doubt' | 'advance'> & { readonly outbox: AsyncPublishing | undefined },
  ): SnapshotterPorts {
    const { options, emit } = this.facts;
    return {
      ...this.source(connections, more.outbox),
      subject: this.facts.subject,
      stream,
      streamName: options.replicationStream,
      replicationID: options.replicationID,
      interval: options.disableDBSnapshotter ? undefined : options.snapshotInterval,
      cursor,
      base: readBase(connections.applier),
      doubt: more.doubt,
      advance: more.advance,
      emit,
    };
  }

  /** Copies all that is committed to a file. */
  async backup(
    connections: Connections,
    outbox: AsyncPublishing | undefined,
    target: string,
    subject: string | undefined,
  ): Promise<HABackup> {
    if (isSameFile(target, connections.path)) throw ownFile(target);
    refuseFolder(target);
    const part = partOf(target);
    const { size, sequence } = await copyAll({ ...this.source(connections, outbox), subject }, part);
    try {
      // What an older backup of that name has beside it would be taken for a part of this one.
      for (const suffix of ['-wal', '-shm', '-journal']) rmSync(target + suffix, { force: true });
      renameSync(part, target);
    } catch (error) {
      removeDatabase(part);
      throw error;
    }
    return { path: target, size, sequence: BigInt(sequence) };
  }

  private source(connections: Connections, outbox: AsyncPublishing | undefined): CopySource & { subject: string } {
    const overlay = outbox === undefined ? undefined : this.overlay(connections, outbox.file);
    return { path: connections.path, subject: this.facts.subject, overlay };
  }

  private overlay(connections: Connections, file: OutboxFile | undefined): OverlaySource {
    const { rowIdentify, name: node } = this.facts.options;
    return new CopiedOverlay({ open: (path) => connections.openCopy(path), file, rowIdentify, node });
  }

  private async publishPending(connections: Connections, stream: ReplicationStream): Promise<void> {
    const { options, publishesLater } = this.facts;
    if (!publishesLater) {
      refusePending(connections.applier);
      return;
    }
    const store = AsyncPublishing.openStore(connections, options, readSeen(connections.applier));
    try {
      store.load();
      await publishPending(store, stream, options.publisherTimeout);
    } finally {
      store.close();
    }
    this.obsolete = store.file?.path;
  }

  private async found(
    connections: Connections,
    stream: ReplicationStream,
    store: SnapshotStore,
    isEmpty: boolean,
    signal: AbortSignal,
  ): Promise<number | undefined> {
    const { options, publishesLater, subject, origin, emit } = this.facts;
    const { applier: db, path } = connections;
    if (options.disablePublisher) throw readOnly();
    const outbox = publishesLater && !isEmpty ? this.openOutbox(connections) : undefined;
    let waiting: number | undefined;
    try {
      const overlay = outbox && this.overlay(connections, outbox.file);
      waiting = await found(
        {
          db,
          source: { path, subject, overlay },
          staging: this.staging(path),
          stream,
          store,
          message: (base) => new MessageEncoder(base, origin()).custom(baseCommand(base)),
          timeoutMs: options.publisherTimeout,
          busyTimeout: this.facts.busyTimeout,
          emit,
          signal,
        },
        isEmpty,
      );
      return waiting;
    } finally {
      outbox?.close();
      if (waiting !== undefined && outbox?.file !== undefined) removeDatabase(outbox.file.path);
    }
  }

  /** Where a copy is made, or downloaded to. */
  private staging(path: string): string {
    return this.facts.options.memory ? join(tmpdir(), `nestjs-ha-${randomUUID()}.db`) : `${path}-ha-restore`;
  }

  private openOutbox(connections: Connections): ReturnType<typeof AsyncPublishing.openStore> {
    return AsyncPublishing.openStore(connections, this.facts.options, readSeen(connections.applier));
  }
}

/** In front of the swap: a process that dies behind it has them in the file. */
function writeOwnRows(path: string, { carried, targets = [] }: OwnRows): void {
  if (carried === undefined && targets.length === 0) return;
  const db = new BetterSqlite3(path);
  try {
    db.exec('BEGIN IMMEDIATE');
    createControlTables(db);
    if (carried !== undefined) writeCarried(db, carried);
    if (targets.length > 0) createCdcTables(db);
    for (const target of targets) writeTarget(db, target);
    db.exec('COMMIT');
    closeWhole(db);
  } finally {
    db.close();
  }
}

function put(staged: string, path: string, isAside: boolean, own: OwnRows): string | undefined {
  try {
    writeOwnRows(staged, own);
    return replaceDatabase(path, staged, isAside);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HAError(
      'HA_SNAPSHOT_FAILED',
      `The snapshot cannot take the place of '${path}': ${reason}. Make room, and see to it that this process may write to the folder; the next start goes on with the file as it was, and tries again.`,
      { cause, details: { path } },
    );
  }
}

/** Also by another name. */
function isSameFile(one: string, other: string): boolean {
  if (resolve(one) === resolve(other)) return true;
  const [first, second] = [one, other].map((path) => statSync(path, { throwIfNoEntry: false, bigint: true }));
  return first !== undefined && first.ino === second?.ino && first.dev === second.dev;
}

function ownFile(path: string): HAError {
  return new HAError('HA_SNAPSHOT_FAILED', `'${path}' is the database itself. Name another file for the backup.`);
}

function readOnly(): HAError {
  return new HAError(
    'HA_READ_ONLY',
    `This node is a read replica (disablePublisher): it cannot make its rows those of the cluster. Call db.resync({ from: 'this-node' }) on one that writes.`,
  );
}

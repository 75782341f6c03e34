import { parseMessageId } from '../changeset/message-id.js';
import type { EventSink } from '../common/events.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import { hasUserTables, readCursor } from '../sqlite/control-tables.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import type { ReplicationStream, StartPoint } from '../stream/replication-stream.js';
import { readBase } from '../subscribe/base.js';
import type { BaseChange } from '../subscribe/base.js';
import { establishCursor, verifyCursor } from '../subscribe/establish-cursor.js';
import { removeDatabase } from './database-copy.js';
import { download } from './download.js';
import type { DownloadedSnapshot } from './download.js';
import { foundedAt } from './found.js';
import { moveToBase } from './move-to-base.js';
import { StagedSnapshot } from './staged-snapshot.js';
import { SnapshotStore } from './snapshot-store.js';
import type { StoredSnapshot } from './snapshot-store.js';

export interface StartPorts {
  readonly db: Connection;
  readonly path: string;
  /** Where a snapshot is downloaded to: beside the database. */
  readonly staging: string;
  readonly subject: string;
  readonly stream: ReplicationStream;
  /** Option `replicationStream`. */
  readonly streamName: string;
  readonly replicationID: string;
  readonly start: StartPoint;
  /** Whether snapshots may be used: `must` does with nothing else, `found` makes the rows of this node the snapshot. */
  readonly snapshots: 'auto' | 'never' | 'must' | 'found';
  /** What the stream told this node to take over. */
  readonly change: BaseChange | undefined;
  readonly emit: EventSink;
  /** Ends the download of a snapshot. */
  readonly signal: AbortSignal;
  /** Publishes what waits in the outbox: the snapshot does not have it. */
  readonly publishPending: () => Promise<void>;
  /** Whether no other node knows of anything that was written to the database; see {@link establishCursor}. */
  readonly isUnwritten: () => Promise<boolean>;
  /** True where this node may found a cluster: it publishes, and nobody knows of a history. `isNew`: there cannot be one. */
  readonly mayFound: (isNew: boolean) => Promise<boolean>;
  /** Makes the rows of this node those of the cluster; see {@link found}. */
  readonly found: (store: SnapshotStore, isEmpty: boolean) => Promise<boolean>;
}

/**
 * Finds out where a database stands, and whether it has to start from a snapshot: where it is empty, where the stream no
 * longer holds what it needs, or where it was told to.
 *
 * @throws StagedSnapshot where a snapshot has to take its place; otherwise what {@link establishCursor} throws,
 * `HA_SNAPSHOT_INVALID`, `HA_SNAPSHOT_FAILED`.
 */
export async function findStart(ports: StartPorts): Promise<StreamCursor> {
  const { db, path, subject, stream, start, snapshots, change } = ports;
  // What an earlier start has left that did not come to its end.
  removeDatabase(ports.staging);
  const stored = readCursor(db, subject);
  if (change !== undefined) throw await stageBase(ports, change, stored);
  if (snapshots === 'never') return establishCursor(db, path, subject, stream, start, ports.isUnwritten);
  if (snapshots === 'found') await foundAnew(ports);
  if (snapshots === 'must') throw await stageAny(ports);
  if (stored === undefined && start.kind === 'all') await (hasUserTables(db) ? foundFirst(ports) : startNew(ports));
  try {
    return await establishCursor(db, path, subject, stream, start, ports.isUnwritten);
  } catch (error) {
    if (!(error instanceof HAError) || error.code !== 'HA_STREAM_GAP' || stored === undefined) throw error;
    const staged = await stage(ports, async (store) => covering(await store.latest(), ports));
    if (staged === undefined) throw error;
    refuseOtherHistory(stored, readBase(db), staged, subject);
    await ports.publishPending();
    throw stagedOf(staged);
  }
}

/** A snapshot that cannot be used is no reason to stay away where the stream still holds everything. */
async function startNew(ports: StartPorts): Promise<void> {
  let staged: DownloadedSnapshot | undefined;
  try {
    staged = await stage(ports, (store) => store.latest());
  } catch (error) {
    const isLack = error instanceof HAError && ['HA_SNAPSHOT_INVALID', 'HA_SNAPSHOT_STORE'].includes(error.code);
    if (!isLack || (await ports.stream.state()).firstSequence > 1) throw error;
    ports.emit({ type: 'error', error });
    return;
  }
  if (staged !== undefined) throw stagedOf(staged);
}

/** A file with rows, but no position: it may found the cluster, where there is none. Returns where there is one. */
async function foundFirst(ports: StartPorts): Promise<void> {
  const { stream } = ports;
  await resumeFounding(ports);
  if ((await stream.lastSubjectSequence()) > 0) return;
  // Where the stream still has its first message, nothing of this database has gone. Else only other nodes can tell.
  if (!(await ports.mayFound((await stream.state()).firstSequence <= 1))) return;
  const store = await openStore(ports);
  if (store === undefined || (await store.latest()) !== undefined) return;
  // What stands there may be the message of an earlier attempt whose answer was lost.
  if (!(await ports.found(store, true))) await resumeFounding(ports);
}

/** Others follow the rows as they were then. Who wrote to the file since finds that in the old one. */
async function resumeFounding(ports: StartPorts): Promise<void> {
  const { db, path, subject, stream } = ports;
  const earlier = await foundedAt(db, { path, subject }, stream);
  if (earlier === undefined) return;
  const { path: staged, facts } = await stageBase(ports, earlier, undefined);
  throw new StagedSnapshot(staged, facts, true);
}

async function foundAnew(ports: StartPorts): Promise<void> {
  const store = await openStore(ports);
  if (store === undefined || !(await ports.found(store, false))) {
    throw new HAError('HA_SNAPSHOT_FAILED', 'The stream of this database has no snapshots.');
  }
}

function openStore({ stream, streamName, replicationID }: StartPorts): Promise<SnapshotStore | undefined> {
  return SnapshotStore.open(stream, streamName, replicationID);
}

async function stageAny(ports: StartPorts): Promise<StagedSnapshot> {
  const staged = await stage(ports, (store) => store.latest());
  if (staged !== undefined) {
    await ports.publishPending();
    return stagedOf(staged);
  }
  throw new HAError(
    'HA_SNAPSHOT_FAILED',
    `There is no snapshot of '${ports.subject}'. Call db.snapshot() on the node whose rows are right.`,
  );
}

async function stageBase(
  ports: StartPorts,
  change: BaseChange,
  stored: StreamCursor | undefined,
): Promise<StagedSnapshot> {
  let isBase = false;
  const staged = await stage(
    ports,
    async (store) => {
      // One that lies behind the message may come out of another history: the rows themselves are better, while they are there.
      const { firstSequence } = await ports.stream.state();
      const base = firstSequence <= change.sequence ? await store.base(change.base) : undefined;
      isBase = base !== undefined;
      if (isBase) return base;
      const latest = await store.latest();
      return latest !== undefined && latest.sequence >= change.sequence ? latest : undefined;
    },
    async (downloaded) => {
      if (!isBase) return downloaded;
      return { ...downloaded, cursor: await moveToBase(downloaded.path, change, ports) };
    },
  );
  if (staged === undefined) {
    throw new HAError(
      'HA_SNAPSHOT_FAILED',
      `The rows that all nodes have to take over from sequence ${change.sequence} on are not in the store. Call db.snapshot() on a node that has them.`,
      { retryable: true, details: { ...change } },
    );
  }
  if (stored !== undefined) await ports.publishPending();
  return stagedOf(staged);
}

function stagedOf({ path, cursor, snapshot, ms }: DownloadedSnapshot): StagedSnapshot {
  return new StagedSnapshot(path, { sequence: cursor.received, size: snapshot.size, ms });
}

/** Downloads a snapshot, and makes sure that the stream goes on where it ends. */
async function stage(
  ports: StartPorts,
  choose: (store: SnapshotStore) => Promise<StoredSnapshot | undefined>,
  adapt: (downloaded: DownloadedSnapshot) => Promise<DownloadedSnapshot> = (downloaded) => Promise.resolve(downloaded),
): Promise<DownloadedSnapshot | undefined> {
  const { stream, staging, subject, emit, signal } = ports;
  const store = await openStore(ports);
  if (store === undefined) return undefined;
  for (let attempt = 1; ; attempt++) {
    const downloaded = await download(store, () => choose(store), staging, subject, emit, signal);
    if (downloaded === undefined) return undefined;
    try {
      const adapted = await adapt(downloaded);
      await verifyCursor(adapted.cursor, stream, subject);
      return adapted;
    } catch (error) {
      removeDatabase(staging);
      // The stream has forgotten more while it came: there may be a newer one by now.
      const isLate = error instanceof HAError && error.code === 'HA_STREAM_GAP' && attempt < MOST_DOWNLOADS;
      const next = isLate ? await choose(store) : undefined;
      if (next === undefined || next.object.revision === downloaded.snapshot.object.revision) throw error;
    }
  }
}

/** So many times a snapshot may be outdated when it is here. */
const MOST_DOWNLOADS = 5;

/** A snapshot from which the stream can be followed without a gap, as far as that can be told before it is downloaded. */
export async function covering(
  latest: StoredSnapshot | undefined,
  { stream }: { readonly stream: ReplicationStream },
): Promise<StoredSnapshot | undefined> {
  if (latest === undefined) return undefined;
  const { firstSequence, lastSequence } = await stream.state();
  if (latest.sequence > lastSequence) return undefined;
  if (firstSequence <= latest.sequence + 1) return latest;
  const last = await stream.lastSubjectSequence();
  return last > 0 && last <= latest.sequence ? latest : undefined;
}

/**
 * What this node applied last has to be in the snapshot, unless the cluster was told to take over another state. Else the
 * two do not come out of one history, and rows would be lost without a word.
 */
function refuseOtherHistory(
  stored: StreamCursor,
  base: string,
  { snapshot, seen, path }: DownloadedSnapshot,
  subject: string,
): void {
  const id = stored.messageId === null ? undefined : parseMessageId(stored.messageId);
  // go-ha keeps no ids.
  if (id === undefined || snapshot.created === undefined || snapshot.base !== base) return;
  if (seen.has(id.origin, id.n)) return;
  removeDatabase(path);
  throw new HAError(
    'HA_STREAM_RESET',
    `The snapshot of '${subject}' does not contain what this database applied at sequence ${stored.subjectSequence}: it comes out of another history. Call db.resync({ from: 'snapshot' }) to take it over, or db.resync({ from: 'this-node' }) to make the rows of this node those of the cluster.`,
    { details: { subject, received: stored.received, snapshot: snapshot.sequence } },
  );
}

import { open } from 'node:fs/promises';
import { HAError } from '../common/ha-error.js';
import type { ObjectInfo, ObjectStore } from '../stream/object-store.js';
import { OBJECT_CHUNK, OBJECT_PIECES_HELD } from '../stream/object-store.js';
import type { ReplicationStream } from '../stream/replication-stream.js';

/** A snapshot as the store has it. */
export interface StoredSnapshot {
  /** The stream up to here is in it. */
  readonly sequence: number;
  /** Bytes. */
  readonly size: number;
  /** `SHA-256=` and the digest in base64 for URLs. */
  readonly digest: string;
  /** When the server stored it, ms since 1970. */
  readonly stored: number;
  /** When the stream was made that it is of; undefined where another program stored it. */
  readonly created: string | undefined;
  /** The state that the cluster was founded with, or had to take over, last; '' where there was none. */
  readonly base: string;
  readonly object: ObjectInfo;
}

/** What is stored beside the bytes. */
export interface SnapshotFacts {
  readonly sequence: number;
  readonly created: string;
  readonly base: string;
}

/** Told of bytes that have come through. A promise holds the next ones back. */
export type ByteCounter = (bytes: number) => void | Promise<void>;

/** Sequence of the stream, decimal: go-ha reads and writes the same. */
const SEQUENCE = 'seq';
const CREATED = 'HA-Stream-Created';
const BASE = 'HA-Base';
/** Somebody else may store one at the same time, again and again. */
const ATTEMPTS = 3;

/** The snapshots of one database in the bucket of its stream: one, which is the latest. */
export class SnapshotStore {
  private constructor(
    private readonly objects: ObjectStore,
    private readonly stream: ReplicationStream,
    /** Option `replicationID`. */
    private readonly name: string,
  ) {}

  /**
   * Opens the store of a stream; undefined where the stream has none.
   *
   * @throws HAError `HA_SNAPSHOT_STORE`, `HA_STREAM_CONNECT`.
   */
  static async open(
    stream: ReplicationStream,
    streamName: string,
    replicationID: string,
  ): Promise<SnapshotStore | undefined> {
    const objects = await stream.objects?.(`${streamName}_SNAPSHOTS`);
    // `:memory:` without a replication ID has the stream's own name as its subject.
    return objects && new SnapshotStore(objects, stream, replicationID === '' ? streamName : replicationID);
  }

  /**
   * The snapshot of this database, undefined where there is none.
   *
   * @throws HAError `HA_SNAPSHOT_INVALID` where the store holds something else under its name.
   */
  async latest(): Promise<StoredSnapshot | undefined> {
    const info = await this.objects.info(this.name);
    if (info?.damage !== undefined) throw notReadable(info.name, info.damage);
    return snapshotOf(info);
  }

  /** The same; what cannot be read is none. */
  async known(): Promise<StoredSnapshot | undefined> {
    return snapshotOf(await this.objects.info(this.name));
  }

  /** The state under an id that the cluster has to take over. */
  async base(id: string): Promise<StoredSnapshot | undefined> {
    return snapshotOf(await this.objects.info(this.baseName(id)));
  }

  /** Bytes of a snapshot. */
  read(snapshot: StoredSnapshot): AsyncIterable<Buffer> {
    return this.objects.read(snapshot.object);
  }

  /**
   * Stores a file as the snapshot, unless the one that is there is as new.
   *
   * @param replace Replaces whatever is there.
   * @returns What is stored now, and whether it is this file.
   */
  async put(
    path: string,
    facts: SnapshotFacts,
    count: ByteCounter,
    replace = false,
  ): Promise<{ readonly snapshot: StoredSnapshot; readonly isNew: boolean }> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const info = await this.objects.info(this.name);
      const there = snapshotOf(info);
      if (there !== undefined && !replace && !(await this.isOlder(there, facts)))
        return { snapshot: there, isNew: false };
      const stored = snapshotOf(await this.upload(this.name, path, facts, info?.revision ?? 0, count));
      if (stored !== undefined) return { snapshot: stored, isNew: true };
    }
    throw new HAError(
      'HA_SNAPSHOT_FAILED',
      `Others replaced the snapshot '${this.name}' while it was stored, ${ATTEMPTS} times. Try again.`,
      { retryable: true },
    );
  }

  /** Stores a file as the state that others will have to take over. */
  async putBase(path: string, facts: SnapshotFacts, count: ByteCounter): Promise<void> {
    await this.upload(this.baseName(facts.base), path, facts, 0, count);
  }

  /** Deletes such a state, and what an upload of it has left that was interrupted. */
  async deleteBase(id: string): Promise<void> {
    const name = this.baseName(id);
    const info = await this.objects.info(name);
    await this.objects.delete(name, info?.revision ?? 0);
  }

  private baseName(id: string): string {
    return `${this.name}/base/${id}`;
  }

  /** True where a snapshot may be replaced. Sequences of two streams cannot be compared: there the stream of now counts. */
  private async isOlder(there: StoredSnapshot, { sequence, created, base }: SnapshotFacts): Promise<boolean> {
    const now = await this.stream.state();
    if (there.created !== undefined && there.created !== created) return now.created === created;
    // The stream was restored from an older copy: nobody can go on from there.
    if (now.created === created && there.sequence > now.lastSequence) return true;
    if (there.created === undefined && there.base === '' && base !== '') return true;
    return there.sequence < sequence || (there.sequence === sequence && there.base !== base && base !== '');
  }

  private upload(
    name: string,
    path: string,
    { sequence, created, base }: SnapshotFacts,
    revision: number,
    count: ByteCounter,
  ): Promise<ObjectInfo | undefined> {
    const headers = { [SEQUENCE]: String(sequence), [CREATED]: created, ...(base === '' ? {} : { [BASE]: base }) };
    return this.objects.put({ name, headers, data: counted(path, count), file: { path, passed: count }, revision });
  }
}

/** Reads into the same few buffers again and again: as garbage they would keep the collector busy. */
async function* counted(path: string, count: ByteCounter): AsyncGenerator<Buffer> {
  const buffers = Array.from({ length: OBJECT_PIECES_HELD }, () => Buffer.allocUnsafeSlow(OBJECT_CHUNK));
  const file = await open(path, 'r');
  try {
    for (let n = 0; ; n++) {
      const buffer = buffers[n % OBJECT_PIECES_HELD] as Buffer;
      const { bytesRead } = await file.read(buffer, 0, OBJECT_CHUNK, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      await count(bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Undefined also for an object that does not say what it is: go-ha loses the header where a snapshot of its fails. */
function snapshotOf(info: ObjectInfo | undefined): StoredSnapshot | undefined {
  const text = info?.headers[SEQUENCE] ?? '';
  const sequence = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (info === undefined || info.damage !== undefined || !Number.isSafeInteger(sequence) || sequence < 0)
    return undefined;
  const { size, digest, stored, headers } = info;
  return { sequence, size, digest, stored, created: headers[CREATED], base: headers[BASE] ?? '', object: info };
}

function notReadable(name: string, damage: string): HAError {
  return new HAError(
    'HA_SNAPSHOT_INVALID',
    `What the store holds as the snapshot '${name}' cannot be read: ${damage}. Call db.snapshot({ replace: true }) on a node that runs.`,
    { details: { name } },
  );
}

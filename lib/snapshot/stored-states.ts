import { HAError } from '../common/ha-error.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { BaseChange } from '../subscribe/base.js';
import { verifyCursor } from '../subscribe/establish-cursor.js';
import { removeDatabase } from './database-copy.js';
import { download } from './download.js';
import type { DownloadedSnapshot } from './download.js';
import { moveToBase } from './move-to-base.js';
import { SnapshotStore } from './snapshot-store.js';
import type { StoredSnapshot } from './snapshot-store.js';

export interface StoredStatesPorts {
  readonly stream: ReplicationStream;
  /** Option `replicationStream`. */
  readonly streamName: string;
  readonly replicationID: string;
  readonly subject: string;
  /** The base that this database stands on; '' for none. */
  readonly base: () => string;
}

/** It cannot be used: what the stream holds may do without it. */
const UNUSABLE: ReadonlySet<string> = new Set([
  'HA_SNAPSHOT_INVALID',
  'HA_SNAPSHOT_STORE',
  'HA_STREAM_GAP',
  'HA_STREAM_RESET',
]);

/** States of the database that the store holds, as files from which its past can be built: the snapshot, and bases. */
export class StoredStates {
  constructor(private readonly ports: StoredStatesPorts) {}

  /** True where not all of the database comes out of the stream. */
  hasBase(): boolean {
    return this.ports.base() !== '';
  }

  /** Writes the stored snapshot to `path`, if it holds nothing behind `sequence`. Returns where it stands; undefined without one. */
  async copyBefore(sequence: number, path: string): Promise<number | undefined> {
    const { stream, subject } = this.ports;
    try {
      const { created } = await stream.state();
      const downloaded = await this.download(path, async (store) => {
        const latest = await store.latest();
        if (latest === undefined || latest.sequence > sequence) return undefined;
        return latest.created === undefined || latest.created === created ? latest : undefined;
      });
      if (downloaded === undefined) return undefined;
      await verifyCursor(downloaded.cursor, stream, subject);
      return downloaded.cursor.received;
    } catch (error) {
      removeDatabase(path);
      if (error instanceof HAError && UNUSABLE.has(error.code)) return undefined;
      throw error;
    }
  }

  /** Writes the state that a message brought to `path`, right behind that message. False where the store does not have it. */
  async copyBase(change: BaseChange, path: string): Promise<boolean> {
    const { stream, subject } = this.ports;
    const downloaded = await this.download(path, (store) => store.base(change.base));
    if (downloaded === undefined) return false;
    await moveToBase(path, change, { stream, subject });
    return true;
  }

  private async download(
    path: string,
    choose: (store: SnapshotStore) => Promise<StoredSnapshot | undefined>,
  ): Promise<DownloadedSnapshot | undefined> {
    const { stream, streamName, replicationID, subject } = this.ports;
    const store = await SnapshotStore.open(stream, streamName, replicationID);
    if (store === undefined) return undefined;
    // Nobody restores anything: no progress is told.
    return download(
      store,
      () => choose(store),
      path,
      subject,
      () => undefined,
    );
  }
}

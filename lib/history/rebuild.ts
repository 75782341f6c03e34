import { Applier } from '../apply/applier.js';
import { quoteIdentifier } from '../sql/identifiers.js';
import { immediate } from '../common/timing.js';
import { createControlTables, readSeen } from '../sqlite/control-tables.js';
import { Connections } from '../sqlite/connections.js';
import type { ConnectionSettings } from '../sqlite/connections.js';
import type { Connection } from '../sqlite/connection.js';
import { IdGenerator, randomSlot } from '../sqlite/id-generator.js';
import type { RowIdentify } from '../sqlite/schema.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { BaseChange } from '../subscribe/base.js';
import { gone, refusedUndo } from './history-errors.js';
import { removeFiles, writeNewFile } from './new-file.js';
import type { TransactionLog } from './transaction-log.js';

/** Copies of the database from before, from which a rebuild may start. */
export interface SnapshotPort {
  /**
   * Writes the latest snapshot that holds nothing behind `sequence` to `path`, which does not exist yet. Returns the sequence at
   * which it stands, undefined where there is none.
   */
  copyBefore(sequence: number, path: string): Promise<number | undefined>;
  /** True where the database stands on a base: a state that does not come out of the stream. */
  hasBase(): boolean;
  /** Writes the base that a message brings to `path`, which does not exist yet. False where nobody has it any more. */
  copyBase(change: BaseChange, path: string): Promise<boolean>;
}

/** What a rebuild opens its file with. */
export interface RebuildSettings extends Pick<ConnectionSettings, 'pragmas' | 'configure'> {
  readonly rowIdentify: RowIdentify;
  /** False where this database took over only what the stream held from some place on: the beginning is not its own then. */
  readonly fromBeginning: boolean;
}

/** A transaction of the copy is cut after this time, ms: the event loop has to breathe. */
const SLICE_MS = 4;
const TRANSACTIONS_PER_COMMIT = 1_000;

/** Builds the database as it was at a place in the stream: a snapshot, or nothing, and what came behind it. */
export class Rebuild {
  constructor(
    private readonly stream: ReplicationStream,
    private readonly log: TransactionLog,
    private readonly settings: RebuildSettings,
    private readonly snapshots: SnapshotPort | undefined,
    /** Places of changes that every node left out, each as `sequence.index`. */
    private readonly leftOut: () => ReadonlySet<string>,
    private readonly isIntercepted: boolean,
  ) {}

  /**
   * Writes the database as it was behind a sequence into a new file. It holds the rows of the user alone.
   *
   * @throws HAError `HA_HISTORY_GONE` where neither the stream nor a snapshot reaches back far enough.
   */
  async write(sequence: number, path: string): Promise<void> {
    if (this.isIntercepted) throw intercepted();
    await writeNewFile(path, async (part) => {
      const start = await this.begin(sequence, part);
      await this.refuseGap(start, sequence);
      await this.replay(part, start, sequence);
      // What the stream forgot meanwhile was not read.
      await this.refuseGap(start, sequence);
      return true;
    });
  }

  /** Brings the last known state to a file. Returns the sequence at which it stands: 0 is an empty database, without a file. */
  private async begin(sequence: number, path: string): Promise<number> {
    const { snapshots, stream, log, settings } = this;
    const stored = await snapshots?.copyBefore(sequence, path);
    const { firstSequence } = await stream.state();
    if (snapshots?.hasBase() === true) {
      let last: BaseChange | undefined;
      for await (const change of log.bases(stored ?? firstSequence - 1)) {
        // The database was founded with rows: what they were before is in no message.
        if (change.sequence > sequence && change.isFirstMessage && stored === undefined)
          throw gone(`What lies in front of sequence ${change.sequence}`, change.sequence);
        if (change.sequence > sequence) break;
        last = change;
      }
      if (last !== undefined) {
        removeFiles(path);
        if (await snapshots.copyBase(last, path)) return last.sequence;
        throw gone(`What the database was made at sequence ${last.sequence}`, last.sequence + 1);
      }
    }
    if (stored === undefined && !settings.fromBeginning)
      throw gone(`What lies in front of sequence ${firstSequence}`, firstSequence);
    return stored ?? 0;
  }

  /** What lies between a state and the stream's first message may have been ours, unless the state has our last one. */
  private async refuseGap(start: number, sequence: number): Promise<void> {
    if (start > 0 && start >= sequence) return;
    const { firstSequence } = await this.stream.state();
    if (firstSequence <= start + 1) return;
    const last = await this.stream.lastSubjectSequence();
    if (last === 0 || last > start) throw gone(`What lies in front of sequence ${firstSequence}`, firstSequence);
  }

  private async replay(path: string, after: number, sequence: number): Promise<void> {
    const { pragmas, configure, rowIdentify } = this.settings;
    const ids = new IdGenerator({ slot: randomSlot });
    const files = new Connections({ filename: path, memory: false, pragmas, configure, ids, exclusive: false });
    try {
      createControlTables(files.applier);
      await this.applyRange(files.applier, rowIdentify, after, sequence);
    } finally {
      files.close();
    }
    const ending = new Connections({ filename: path, memory: false, pragmas, configure, ids, exclusive: false });
    try {
      withoutReplication(ending);
    } finally {
      ending.close();
    }
  }

  private async applyRange(db: Connection, rowIdentify: RowIdentify, after: number, sequence: number): Promise<void> {
    const last = await this.stream.lastSubjectSequence();
    if (last <= after || sequence <= after) return;
    const { firstSequence: retained } = await this.stream.state();
    const applier = new Applier(db, rowIdentify);
    const leftOut = this.leftOut();
    const seen = readSeen(db);
    const hasParts = db.prepare('SELECT 1 FROM main.ha_chunks LIMIT 1').get() !== undefined;
    let until = performance.now() + SLICE_MS;
    let open = 0;
    const commit = (): void => {
      if (db.inTransaction) db.exec('COMMIT');
      open = 0;
    };
    for await (const transaction of this.log.read({ first: after + 1, last, retained })) {
      if (transaction.sequence > sequence) break;
      const { id, base } = transaction;
      if (base !== undefined) throw gone(`What the database was made at sequence ${transaction.sequence}`, retained);
      // The state has it already, or says that it does not count.
      if (id !== undefined && seen.has(id.origin, id.n)) continue;
      if (transaction.isCut && hasParts)
        throw gone(`The beginning of the transaction at sequence ${transaction.sequence}`, retained);
      if (transaction.outcome !== 'committed') continue;
      if (open === 0) {
        db.exec('BEGIN IMMEDIATE');
        applier.prepare();
      }
      const { changeSet, foreign } = transaction;
      const at = transaction.sequence;
      const steps = applier.apply(changeSet, { sequence: at, foreign }, (index) => {
        // No node left that out: they had something to begin with that the stream does not hold.
        if (!leftOut.has(`${at}.${index}`)) throw gone(`What the database held in front of sequence ${at}`, retained);
      });
      for (const _step of steps) {
        if (performance.now() < until) continue;
        await immediate();
        until = performance.now() + SLICE_MS;
      }
      if (++open >= TRANSACTIONS_PER_COMMIT) commit();
    }
    commit();
  }
}

/** They may have asked for anything that was there then. */
function intercepted(): Error {
  return refusedUndo(
    'This node has interceptors: what the database was cannot be built from the stream alone. A range in which they had nothing to decide, and no writers met, can be undone, and copied.',
  );
}

/** Takes out what belongs to replication, and leaves one file: a copy must not pass for a node. */
export function withoutReplication({ writer, applier, reader }: Connections): void {
  reader.close();
  applier.close();
  const own = writer.prepare(
    `SELECT name FROM main.sqlite_schema WHERE type = 'table' AND substr(lower(name), 1, 3) = 'ha_'`,
  );
  for (const name of own.pluck().all() as string[]) writer.exec(`DROP TABLE main.${quoteIdentifier(name)}`);
  writer.pragma('wal_checkpoint(TRUNCATE)');
  writer.pragma('journal_mode = DELETE');
}

import { existsSync } from 'node:fs';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import type { Connections } from '../sqlite/connections.js';
import type { Position } from '../sqlite/position.js';
import type { RowIdentify } from '../sqlite/schema.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { Committer } from '../write/committer.js';
import type {
  HAHistoryOptions,
  HAHistoryStart,
  HAHistoryTransaction,
  HARestored,
  HAUndoOptions,
  HAUndoResult,
  HistoryPort,
} from '../write/history-port.js';
import { refuseUnfollowed } from '../write/statement-info.js';
import type { TransactionRunner } from '../write/transaction-runner.js';
import { checkHistoryOptions, checkUndoOptions } from './call-options.js';
import { gone, invalidHistory, legibleError } from './history-errors.js';
import { PastTransaction, isUserRow } from './history-transaction.js';
import { MessageReader } from './message-reader.js';
import { fileExists } from './new-file.js';
import { Rebuild } from './rebuild.js';
import type { RebuildSettings, SnapshotPort } from './rebuild.js';
import { ReversedCopy } from './reversed-copy.js';
import { TransactionLog, notThere } from './transaction-log.js';
import type { StreamTransaction } from './transaction-assembler.js';
import type { Intercepts } from './undo-selection.js';
import { UNDO_TIMEOUT_MS, UndoRun } from './undo-run.js';

/** What history works with; all of it belongs to one start of the database. */
export interface HistoryPorts {
  readonly stream: ReplicationStream;
  readonly position: Position;
  readonly connections: Connections;
  readonly committer: Committer;
  readonly runner: TransactionRunner;
  /** Messages that an operator had this node leave out. */
  readonly skips: ReadonlySet<number>;
  readonly rebuild: RebuildSettings;
  readonly rowIdentify: RowIdentify;
  /** False on a node that does not follow the stream. */
  readonly followsStream: boolean;
  /** Milliseconds for which the stream may be silent. */
  readonly patience: number;
  readonly snapshots?: SnapshotPort | undefined;
  /** Whether interceptors decide on what changes these tables; absent where there are none. */
  readonly intercepts?: Intercepts | undefined;
}

/** The past of a database, from its stream. */
export class DatabaseHistory implements HistoryPort {
  private readonly log: TransactionLog;
  private readonly rebuild: Rebuild;

  constructor(private readonly ports: HistoryPorts) {
    const { stream, skips, patience, rebuild, snapshots } = ports;
    this.log = new TransactionLog(stream, new MessageReader(stream, patience), skips);
    this.rebuild = new Rebuild(
      stream,
      this.log,
      rebuild,
      snapshots,
      () => leftOutIn(ports.connections.reader),
      ports.intercepts !== undefined,
    );
  }

  async *history(
    from: HAHistoryStart | undefined,
    options: HAHistoryOptions,
  ): AsyncIterableIterator<HAHistoryTransaction> {
    try {
      yield* this.list(from, options);
    } catch (error) {
      throw legibleError(error);
    }
  }

  async undo(options: HAUndoOptions): Promise<HAUndoResult> {
    return this.undoNow(options).catch((error: unknown) => {
      throw legibleError(error);
    });
  }

  async restoreTo(point: bigint | Date, path: string): Promise<HARestored> {
    return this.restoreNow(point, path).catch((error: unknown) => {
      throw legibleError(error);
    });
  }

  private async *list(
    from: HAHistoryStart | undefined,
    options: HAHistoryOptions,
  ): AsyncIterableIterator<HAHistoryTransaction> {
    checkHistoryOptions(options);
    const { after, limit = Infinity, table, node, all = false } = options;
    const name = table?.toLowerCase();
    if (after !== undefined && from !== undefined) throw invalidHistory('history takes from or after, not both.');
    const range = after === undefined ? await this.log.rangeFrom(from) : await this.log.rangeAfter(after);
    if (typeof from === 'bigint') await this.refuseForeign(range.first, range.retained);
    let left = limit;
    const refusesGaps = from !== undefined || after !== undefined;
    for await (const transaction of this.log.read({ ...range, refusesGaps })) {
      if (transaction.base !== undefined || transaction.sequence < range.first) continue;
      if (!all && transaction.outcome !== 'committed') continue;
      if (node !== undefined && transaction.changeSet.node !== node) continue;
      if (name !== undefined && !touches(transaction, name)) continue;
      yield new PastTransaction(transaction);
      if (--left <= 0) return;
    }
  }

  private async undoNow(options: HAUndoOptions): Promise<HAUndoResult> {
    const { ports, log, rebuild } = this;
    if (!ports.followsStream) refuseUnfollowed('An undo');
    checkUndoOptions(options);
    const range = await log.rangeFrom(options.from);
    if (typeof options.from === 'bigint') await this.refuseForeign(range.first, range.retained);
    // Changes of the schema that lie in front of the range or in it may still be on their way here.
    await ports.position.waitFor(range.last, { timeout: options.timeout ?? UNDO_TIMEOUT_MS });
    return new UndoRun(ports, log, rebuild, range, options).run();
  }

  private async restoreNow(point: bigint | Date, path: string): Promise<HARestored> {
    if (typeof path !== 'string' || path === '' || path === ':memory:')
      throw invalidHistory('restoreTo needs the path of a new file.');
    if (existsSync(path)) throw fileExists(path);
    const sequence = await this.sequenceAt(point);
    try {
      await this.rebuild.write(sequence, path);
    } catch (error) {
      if (
        !(error instanceof HAError && /^HA_(HISTORY_GONE|UNDO_REFUSED)$/.test(error.code)) ||
        !(await this.reversed(sequence, path))
      )
        throw error;
    }
    return { sequence: BigInt(sequence), path };
  }

  /** The other way: from what the database is now. */
  private async reversed(sequence: number, path: string): Promise<boolean> {
    const { connections, rebuild, skips, stream } = this.ports;
    const db = connections.leaseReader();
    try {
      const { firstSequence } = await stream.state();
      return await new ReversedCopy(db, this.log, rebuild, skips, this.ports.intercepts).write(
        sequence,
        firstSequence,
        path,
      );
    } finally {
      connections.releaseReader(db);
    }
  }

  private async sequenceAt(point: bigint | Date): Promise<number> {
    if (typeof point === 'bigint') {
      const { first, retained } = await this.log.rangeFrom(point);
      await this.refuseForeign(first, retained);
      return first;
    }
    if (!(point instanceof Date) || Number.isNaN(point.getTime())) {
      throw invalidHistory('restoreTo needs a sequence (17n) or a Date.');
    }
    if (point.getTime() > Date.now()) throw invalidHistory(`${point.toISOString()} lies in the future.`);
    const { firstSequence } = await this.ports.stream.state();
    // Up to and with everything of that millisecond.
    return (await this.log.firstSince(new Date(point.getTime() + 1), firstSequence)) - 1;
  }

  /** A sequence of the stream may be another database's, or no transaction. */
  private async refuseForeign(sequence: number, retained: number): Promise<void> {
    const { stream } = this.ports;
    const message = await stream.messageAt(sequence);
    if (message !== undefined) return;
    const state = await stream.state();
    if (sequence < state.firstSequence && retained >= 1) throw gone(`Sequence ${sequence}`, state.firstSequence);
    throw notThere(sequence, await stream.lastSubjectSequence());
  }
}

/** Changes that every node left out, because no node could apply them. */
function leftOutIn(reader: Connection): Set<string> {
  return new Set(reader.prepare(`SELECT sequence || '.' || change FROM main.ha_skipped`).pluck().all() as string[]);
}

function touches({ changeSet }: StreamTransaction, table: string): boolean {
  return changeSet.changes.some((change) => isUserRow(change) && change.table.toLowerCase() === table);
}

import type { HAConflict } from '../common/events.js';
import type { Connection } from '../sqlite/connection.js';
import type { Applier } from './applier.js';
import { ConflictWatch } from './conflict-watch.js';
import type { WasApplied } from './conflict-watch.js';
import { RecentMessages } from './recent-messages.js';
import type { RanMessage, RecentMessage } from './recent-messages.js';
import { RecentRows } from './recent-rows.js';
import { RemovedRows } from './removed-rows.js';
import { StoredRows } from './stored-rows.js';

/** A message that is about to be applied. */
export interface WatchedMessage extends RecentMessage, RanMessage {
  /** Set while it is applied. */
  refused?: Set<number> | undefined;
  missed?: ReadonlySet<number> | undefined;
}

export interface ConflictPorts {
  /** The connection of the applier. */
  readonly db: Connection;
  readonly applier: Applier;
  /** The position in the stream: what is in front of it is not known here. */
  readonly received: number;
  /** Whether somebody wants to know. */
  readonly isObserved: () => boolean;
  readonly wasApplied: WasApplied;
}

/**
 * Finds out what last-writer-wins overwrites.
 *
 * A message says up to which place in the stream its writer had applied, its *epoch*. What others stored between the epoch
 * and the message its writer had not seen. Where the message then overwrites or deletes a row, and the last one to change
 * that row was one of those others, values are lost that the winner knew nothing of: that is a conflict. So:
 *
 * | change | it meets | lost |
 * | --- | --- | --- |
 * | UPDATE, DELETE | a row that is neither as its writer saw it nor as it shall be | that row |
 * | UPDATE | no row, for somebody deleted it or took it away; it is written anew | that it was deleted |
 * | INSERT | a row with that key and other values | that row |
 * | INSERT, UPDATE | rows in the way by another unique index | those rows |
 *
 * The old image tells what the writer saw, so a row that was changed and changed back is no conflict. Who changed the row
 * last is looked up in the messages that came last ({@link RecentMessages}): if it is none of the others behind the epoch, there
 * is no conflict. Others are also those of the same origin that the writer did not know of: where an answer is lost, a transaction
 * is rolled back, and may be in the stream all the same. What comes next runs without it, and says so. A transaction in a group has the same epoch as those in front of
 * it, but its old images are what they wrote. If one in front is lost, an old image may never have been stored, and so may one
 * that a foreign key action changed once more. So a row that is missing is what the message made of it that wrote it last, and
 * was taken by the first one behind that which excludes it. Where no message is known to have written it, the old image counts;
 * behind one that is lost only a message that says that it took the row away.
 *
 * Rows without a key (a table without one, or NULL in it) are found by their exact values, and with `rowIdentify=full` all are.
 * An UPDATE that does not find its row writes a new one beside it, so where somebody else updated it, both are kept and nothing
 * is lost, unless they have the same key. A DELETE that does not find its row does nothing. With `rowIdentify=rowid` the rowid
 * stands for the key, and the key is a unique index like others. Where columns shadow all names of the rowid, rows without a
 * key that gave way to a unique index are not told.
 *
 * *Where interceptors decide* on a table, old images prove no row: what the writer saw may be what its own transactions in front
 * did, and at their place those do another thing, or nothing. There every message writes down which rows give way to its own by
 * unique indexes ({@link RemovedRows}), also where nobody wrote at the same time: one SELECT for each row and unique index.
 *
 * *Messages of go-ha* have no epoch. They are looked at one by one: the old image of UPDATE and DELETE, and that INSERT
 * means that there was no row, say what the writer saw. Numbers are compared by value, for go-ha loses the storage class.
 *
 * *Statements* (DDL, virtual tables) name no rows, and are not looked at. INSERT OR REPLACE that brings back a row which
 * somebody deleted meanwhile is not told either: it says no old image, so it is a new row.
 *
 * *With asynchronous publishing* the rows that it compares with are those of the fold: own transactions in flight make way
 * first. An own one that others wrote beside is applied at its place like any other. Starts of one node are different writers.
 *
 * *Cost.* Nobody subscribes: nothing. Nobody wrote at the same time: about a microsecond a message. Else one SELECT for each
 * row and unique index; only where that finds something are recent messages read, each once, and then looked through from
 * the newest to the epoch: at most 4,096 steps a row. That many messages, and 4 MiB of them, are kept as they were sent; what
 * has been read of them takes several times that. A node that catches up with a long backlog needs no more. Where an epoch
 * lies before those, UPDATE and DELETE are told without a loser, and for INSERT nothing is told unless the loser is still
 * known. The same holds for what was stored before this node started, or before somebody subscribed.
 *
 * Everything here only reads, inside the transaction of the applier. Events are for after its COMMIT: {@link begin},
 * {@link commit} and {@link rollback} frame a batch, so that what is taken back is not remembered.
 */
export class ConflictDetector {
  private readonly recent: RecentMessages;
  private readonly stored: StoredRows;
  private readonly rows: RecentRows;
  private active = false;

  constructor(private readonly ports: ConflictPorts) {
    const { db, applier, received } = ports;
    this.recent = new RecentMessages(received);
    this.stored = new StoredRows(db);
    this.rows = new RecentRows(this.recent, applier, this.stored);
  }

  /** Whether this batch is looked at. Only then are its messages to be given. */
  get isActive(): boolean {
    return this.active;
  }

  begin(): void {
    this.active = this.ports.isObserved();
    if (this.active) this.recent.begin();
  }

  /** @param received the position that the batch moved to. */
  commit(received: number): void {
    if (this.active) this.recent.commit();
    else this.recent.reset(received);
  }

  rollback(): void {
    this.recent.rollback();
  }

  /**
   * True where somebody wrote at the same time, or its own node something of which it did not know: then the changes of a message
   * have to be looked at.
   */
  meetsOthers(message: WatchedMessage): boolean {
    if (message.led === true) return false;
    return message.foreign || this.recent.hasUnseen(message);
  }

  /** What has to see the changes of a message; undefined where nothing has to. */
  open(message: WatchedMessage): ConflictWatch | RemovedRows | undefined {
    const { recent, rows, stored, ports } = this;
    const removed = ports.applier.hasInterceptors ? new RemovedRows(stored, rows.isDecided) : undefined;
    if (!this.meetsOthers(message)) return removed;
    return new ConflictWatch(message, recent, rows, stored, ports.wasApplied, removed);
  }

  /** A message is applied; what it did is to be read from it now. */
  close(message: WatchedMessage, witness: ConflictWatch | RemovedRows | undefined): readonly HAConflict[] {
    const watch = witness instanceof ConflictWatch ? witness : undefined;
    const removed = witness instanceof RemovedRows ? witness : watch?.removed;
    if (watch !== undefined && watch.missed.size > 0) message.missed = watch.missed;
    const hasRemoved = removed !== undefined && removed.all.length > 0;
    const bytes = message.bytes + (removed?.bytes ?? 0);
    this.recent.add(hasRemoved ? { ...message, bytes, removed: removed.all } : message);
    return watch?.conflicts ?? [];
  }

  /** Remembers a transaction of this node that was committed at its place: nobody wrote at the same time. */
  remember(message: () => RecentMessage, sequence: number): void {
    if (this.ports.isObserved()) this.recent.add(message());
    else this.recent.reset(sequence);
  }
}

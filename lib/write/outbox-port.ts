import type { Connection } from '../sqlite/connection.js';
import type { OutboxTransaction } from '../sqlite/outbox-store.js';

/** What asynchronous publishing adds to the write path: transactions are stored with their rows, and published later. */
export interface OutboxPort {
  /** True where nothing of this node is on its way. */
  readonly isSettled: boolean;
  /** True where a transaction may be ordered: nothing of this node is on its way, and the stream can be reached. */
  readonly canOrder: boolean;
  /** True while messages get through, so that waiting for that makes sense. */
  readonly isFlowing: boolean;
  /** True where a message with an id waits to meet its place in the stream: its transaction is committed here. */
  holds(id: string): boolean;
  /** Number of the first message of an origin, which has to be that of this start, that may be on its way; undefined where none is. */
  firstInFlight(origin: string): number | undefined;
  /** Adds transactions inside the writer's open transaction, as the last thing in front of COMMIT. */
  store(db: Connection, transactions: readonly OutboxTransaction[]): void;
  /** Call behind that COMMIT. */
  committed(): void;
  /** Call where it failed, behind ROLLBACK. */
  discarded(): void;
  /** Applies and stores a transaction instead of what running it did, in a SQLite transaction of its own. */
  canonicalise(transaction: OutboxTransaction): Promise<void>;
  /** Resolves when nothing is on its way any more, or after so many milliseconds. */
  settled(ms: number): Promise<void>;
}

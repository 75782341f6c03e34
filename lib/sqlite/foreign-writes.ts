import type { Connection, Statement } from './connection.js';

interface Witness {
  readonly db: Connection;
  readonly version: number;
}

/**
 * Notices commits of other connections than ours: other processes, or connections of the application's own.
 *
 * `PRAGMA data_version` of a connection moves when somebody else commits, and never by its own commits
 * (https://www.sqlite.org/pragma.html#pragma_data_version). So the connection of ours that committed last is the witness:
 * as long as its version stands still, nobody has written behind that commit. The version is read inside the transaction,
 * where the write lock keeps all others out; COMMIT then makes it the one to compare with, so there is no moment in between
 * that nobody watches. Checkpoints of our own do not move it.
 */
export class ForeignWrites {
  private readonly statements = new WeakMap<Connection, Statement>();
  private last: Witness;
  private open: Witness | undefined;

  constructor(
    db: Connection,
    /** Called for each time that foreign commits were found. */
    private readonly onFound: () => void,
  ) {
    this.last = this.witness(db);
  }

  /** Call behind BEGIN IMMEDIATE, before anything is written. */
  begun(db: Connection): void {
    this.look();
    this.open = db === this.last.db ? this.last : this.witness(db);
  }

  /** Call right behind COMMIT. */
  committed(db: Connection): void {
    if (this.open?.db === db) this.last = this.open;
    this.open = undefined;
  }

  /**
   * Call where SQLite ended a transaction by itself: behind an I/O error a connection drops its cache, and that moves its
   * version too.
   */
  interrupted(db: Connection): void {
    if (this.last.db === db) this.adopt(db);
  }

  /** Call behind work of our own outside of transactions that {@link begun} knows: VACUUM. */
  adopt(db: Connection): void {
    this.last = this.witness(db);
  }

  /** Compares. Call only where the connections are idle: not while rows are being iterated. */
  look(): void {
    const { db, version } = this.last;
    if (!db.open) return;
    const now = this.witness(db);
    if (now.version === version) return;
    this.last = now;
    this.onFound();
  }

  private witness(db: Connection): Witness {
    let statement = this.statements.get(db);
    if (statement === undefined) {
      statement = db.prepare('PRAGMA main.data_version').pluck(true);
      this.statements.set(db, statement);
    }
    return { db, version: statement.get() as number };
  }
}

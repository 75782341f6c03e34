import type { Connection, Statement } from './connection.js';

const SAVEPOINT = 'ha_member';

/** Begins and ends transactions of one connection with statements that are compiled once. */
export class TransactionControl {
  private readonly beginStatement: Statement;
  private readonly commitStatement: Statement;
  private readonly rollbackStatement: Statement;
  private readonly savepointStatement: Statement;
  private readonly releaseStatement: Statement;
  private readonly rollbackToStatement: Statement;

  constructor(private readonly db: Connection) {
    this.beginStatement = db.prepare('BEGIN IMMEDIATE');
    this.commitStatement = db.prepare('COMMIT');
    this.rollbackStatement = db.prepare('ROLLBACK');
    this.savepointStatement = db.prepare(`SAVEPOINT ${SAVEPOINT}`);
    this.releaseStatement = db.prepare(`RELEASE ${SAVEPOINT}`);
    this.rollbackToStatement = db.prepare(`ROLLBACK TO ${SAVEPOINT}`);
  }

  get inTransaction(): boolean {
    return this.db.inTransaction;
  }

  /** Takes the write lock at once: https://www.sqlite.org/lang_transaction.html */
  begin(): void {
    this.beginStatement.run();
  }

  commit(): void {
    this.commitStatement.run();
  }

  /** Rolls back where a transaction is open: SQLite may have ended it by itself. */
  rollback(): void {
    if (this.db.inTransaction) this.rollbackStatement.run();
  }

  savepoint(): void {
    this.savepointStatement.run();
  }

  release(): void {
    this.releaseStatement.run();
  }

  /** Undoes what was done since {@link savepoint}, and ends it. */
  undoSavepoint(): void {
    this.rollbackToStatement.run();
    this.releaseStatement.run();
  }
}

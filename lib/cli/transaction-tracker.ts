import { classify } from '../sql/classify.js';
import { foldCase } from '../sql/identifiers.js';
import { controlStatement } from '../write/session-control.js';

const CONTROL: ReadonlySet<string> = new Set(['begin', 'commit', 'rollback', 'savepoint', 'release']);

/** Knows from the statements that a session has done whether a transaction is open in it. */
export class TransactionTracker {
  /** Savepoints, the outermost first, where one of them has begun the transaction. */
  private savepoints: string[] = [];
  private begun = false;

  get isOpen(): boolean {
    return this.begun || this.savepoints.length > 0;
  }

  reset(): void {
    this.begun = false;
    this.savepoints = [];
  }

  /** A statement was done without a failure. */
  done(sql: string): void {
    if (!CONTROL.has(classify(sql).kind)) return;
    const control = controlStatement(sql);
    if (control.kind === 'begin') this.begun = true;
    else if (control.kind === 'savepoint') this.savepoints.push(foldCase(control.name));
    else if (control.kind === 'release') this.savepoints.splice(this.savepoints.lastIndexOf(foldCase(control.name)));
    else if (control.kind === 'rollbackTo') {
      this.savepoints.splice(this.savepoints.lastIndexOf(foldCase(control.name)) + 1);
    } else this.reset();
  }
}

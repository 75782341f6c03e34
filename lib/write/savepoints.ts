import { AsyncLocalStorage } from 'node:async_hooks';
import { HAError } from '../common/ha-error.js';

/** A savepoint whose callback is running. */
export interface Savepoint {
  readonly name: string;
  /** The one in whose callback it was begun. */
  readonly around: Savepoint | undefined;
  /** True once somebody else has called: to roll it back would take along what they were told is done. */
  isShared: boolean;
}

const current = new AsyncLocalStorage<Savepoint>();

/**
 * The savepoints of one transaction that are open. SQLite has one stack of them: what is called while one is open is part of it,
 * also where it comes from elsewhere, as in `Promise.all([tx.savepoint(…), tx.run(…)])`. That does no harm as long as the savepoint
 * is released. Where it is rolled back, or two of them overlap, nothing of the transaction may stay.
 */
export class Savepoints {
  private readonly open: Savepoint[] = [];
  private made = 0;
  /** Why the transaction can no longer be committed. */
  overlap: HAError | undefined;

  /** @param prefix Of the names. */
  constructor(private readonly prefix: string) {}

  /** Notes a call in the transaction. */
  called(): void {
    if (this.open.length > 0) this.noteCaller();
  }

  /** Begins one. */
  enter(): Savepoint {
    this.called();
    const savepoint = { name: `${this.prefix}_${++this.made}`, around: current.getStore(), isShared: false };
    this.open.push(savepoint);
    return savepoint;
  }

  /** Runs the callback of one, so that its calls are told from those of others. */
  run<R>(savepoint: Savepoint, fn: () => R): R {
    return current.run(savepoint, fn);
  }

  /** Takes back one that has not begun after all. */
  forget(savepoint: Savepoint): void {
    const at = this.open.indexOf(savepoint);
    if (at >= 0) this.open.splice(at, 1);
  }

  /** Ends one, which has to be the innermost. @throws HAError `HA_NESTED_TRANSACTION`. */
  release(savepoint: Savepoint): void {
    if (this.open.at(-1) !== savepoint) throw this.broken();
    this.open.pop();
  }

  /** Ends one that is rolled back. @throws HAError `HA_NESTED_TRANSACTION` where others have called meanwhile. */
  rollBack(savepoint: Savepoint): void {
    this.release(savepoint);
    if (savepoint.isShared) throw this.broken();
  }

  private noteCaller(): void {
    const caller = current.getStore();
    if (caller === this.open.at(-1)) return;
    for (const savepoint of this.open) savepoint.isShared ||= !isInside(caller, savepoint);
  }

  private broken(): HAError {
    this.overlap = new HAError(
      'HA_NESTED_TRANSACTION',
      'A savepoint of a transaction ran at the same time as something else in it, another savepoint or a statement, and nothing of the transaction was written. Await one before the next begins.',
    );
    return this.overlap;
  }
}

function isInside(caller: Savepoint | undefined, savepoint: Savepoint): boolean {
  for (let at = caller; at !== undefined; at = at.around) if (at === savepoint) return true;
  return false;
}

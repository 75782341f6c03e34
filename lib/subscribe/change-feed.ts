import { Subject } from 'rxjs';
import type { Change, ChangeSet } from '../changeset/changeset.js';
import { decodeChangeSet } from '../changeset/codec.js';
import { rowChanges } from '../changeset/row-changes.js';
import type { HAChange } from '../changeset/row-changes.js';
import { immediate } from '../common/timing.js';
import { isInternalTable } from '../sqlite/schema.js';

/** A transaction that was committed here. */
interface Committed {
  readonly sequence: number;
  /** What was applied, or the messages of a transaction of this node, which nobody has taken apart yet. */
  readonly changeSet: ChangeSet | readonly Buffer[];
  /** Changes that were left out. */
  readonly skipped: ReadonlySet<Change> | undefined;
}

/** Telling goes on for so long, ms, before others get their turn. */
const SLICE_MS = 4;

/**
 * Tells of every row that the stream changed on this node, in its order: what came from others, and what this node wrote.
 * It costs nothing while nobody listens, and messages are taken apart behind the commit, not in it.
 */
export class ChangeFeed {
  readonly changes = new Subject<HAChange>();
  private queue: Committed[] = [];
  private telling: Promise<void> | undefined;

  get observed(): boolean {
    return this.changes.observed;
  }

  /** Takes a transaction of another node, or one of this node that came back from the stream. */
  applied(sequence: number, changeSet: ChangeSet, skipped: ReadonlySet<Change> | undefined): void {
    if (this.observed) this.push({ sequence, changeSet, skipped });
  }

  /** Takes a transaction of this node that was committed at its place. */
  committed(sequence: number, messages: readonly { readonly data: Buffer }[]): void {
    if (this.observed) this.push({ sequence, changeSet: messages.map(({ data }) => data), skipped: undefined });
  }

  /** Resolves when everything that was committed so far has been told. */
  async drained(): Promise<void> {
    while (this.telling !== undefined) await this.telling;
  }

  private push(committed: Committed): void {
    this.queue.push(committed);
    this.telling ??= this.tell().finally(() => {
      this.telling = undefined;
    });
  }

  private async tell(): Promise<void> {
    await immediate();
    while (this.queue.length > 0) {
      const { queue } = this;
      this.queue = [];
      let until = performance.now() + SLICE_MS;
      for (const committed of queue) {
        for (const change of read(committed)) this.changes.next(change);
        if (performance.now() < until) continue;
        await immediate();
        until = performance.now() + SLICE_MS;
      }
    }
  }
}

function read({ sequence, changeSet, skipped }: Committed): HAChange[] {
  const takes = (change: Change): boolean =>
    'table' in change && !isInternalTable(change.table) && skipped?.has(change) !== true;
  const parts = 'node' in changeSet ? [changeSet] : changeSet.map((data) => decodeChangeSet(data.toString('utf8')));
  return parts.flatMap((part) => rowChanges(part, sequence, takes));
}

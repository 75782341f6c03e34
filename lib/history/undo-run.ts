import { existsSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { immediate } from '../common/timing.js';
import { HAError } from '../common/ha-error.js';
import type { Connection } from '../sqlite/connection.js';
import { readSchema, schemaVersion } from '../sqlite/schema.js';
import type { HAUndoOptions, HAUndoResult } from '../write/history-port.js';
import type { HistoryPorts } from './database-history.js';
import { gone, invalidHistory, refusedUndo } from './history-errors.js';
import { describeChange } from './history-transaction.js';
import type { Rebuild } from './rebuild.js';
import { RowPlaces } from './row-places.js';
import { RowsInTheWay } from './rows-in-the-way.js';
import { withTemporaryFolder } from './temporary-folder.js';
import type { Range, TransactionLog } from './transaction-log.js';
import { UndoChecks } from './undo-checks.js';
import { UndoPlan, encode } from './undo-plan.js';
import { RebuiltRows, refuseUncertain } from './undo-rebuilt.js';
import { UndoSelection } from './undo-selection.js';

/** Default of {@link HAUndoOptions.timeout}. */
export const UNDO_TIMEOUT_MS = 60_000;
/** Work between two looks at the event loop, ms. */
const SLICE_MS = 4;
/** Bytes of changes that are encoded together. */
const LARGEST_PIECE = 256 * 1024;
/** Conflicts that an error tells of. */
const MOST_TOLD = 100;

/** The turn of an undo among the writes; where it is over, others write. */
interface Turn {
  isOver: boolean;
}

/**
 * One undo. Its range has to be applied here: what it is compared with is in the schema of then.
 *
 * ```
 * wait until the range is applied here → read it → in line with the other writes, ordered:
 *    read what came meanwhile → compare with the rows as they are → conflicts? refuse : publish as one transaction
 * ```
 * The comparison happens inside an ordered transaction that runs behind nothing whose place is not known: so what it saw is what
 * the fold is right in front of its own place, and nobody comes between. Nothing is run here: the transaction is what the
 * comparison found, and comes back from the stream like those of others, without triggers and foreign keys firing again.
 */
export class UndoRun {
  private readonly selection: UndoSelection;
  private readonly places: RowPlaces;
  private read: number;

  constructor(
    private readonly ports: HistoryPorts,
    private readonly log: TransactionLog,
    private readonly rebuild: Rebuild,
    private readonly range: Range,
    private readonly options: HAUndoOptions,
  ) {
    const { connections, rowIdentify } = ports;
    const { reader, writer } = connections;
    this.places = new RowPlaces(writer, readSchema(reader, rowIdentify));
    this.selection = new UndoSelection(
      this.places,
      options.scope ?? 'all',
      options.rows,
      refusedIn(reader),
      ports.intercepts,
    );
    this.read = range.first - 1;
  }

  async run(): Promise<HAUndoResult> {
    const { range, selection } = this;
    await this.readUpTo(range.last);
    selection.refuseEmpty();
    const withoutCopy = this.needsCopy ? undefined : await this.enqueue(undefined);
    // What came meanwhile may be such that old values cannot be relied on any more.
    return withoutCopy ?? withTemporaryFolder((folder) => this.withCopy(join(folder, 'before.db')));
  }

  /** True where the old values of what is selected cannot be relied on. */
  private get needsCopy(): boolean {
    const { selection } = this;
    if (selection.tainted.size === 0) return false;
    if (selection.isWhole) return true;
    return [...selection.rows.values()].some(({ place }) => selection.tainted.has(place.table));
  }

  private async withCopy(path: string): Promise<HAUndoResult> {
    if (!this.selection.isWhole) refuseUncertain(this.selection, this.places);
    await this.rebuild.write((this.selection.first ?? this.range.first) - 1, path);
    // Nothing was there: then there is no file either.
    const copy = new BetterSqlite3(existsSync(path) ? path : ':memory:');
    this.ports.rebuild.configure?.(copy, 'reader');
    try {
      return (await this.enqueue(copy)) as HAUndoResult;
    } finally {
      copy.close();
    }
  }

  /** Undefined where it turned out that a copy is needed. */
  private enqueue(copy: Connection | undefined): Promise<HAUndoResult | undefined> {
    const { timeout = UNDO_TIMEOUT_MS } = this.options;
    let turn: Turn = { isOver: false };
    return new Promise((resolve, reject) => {
      this.ports.committer.enqueue({
        key: 'undo of nestjs-ha',
        serializable: true,
        isCallback: true,
        opensGroup: true,
        retry: true,
        timeout,
        enqueuedAt: performance.now(),
        run: () => this.compute(copy, (turn = { isOver: false })),
        abandon: () => {
          turn.isOver = true;
        },
        resolve: (value, sequence) => {
          const result = value as HAUndoResult | undefined;
          resolve(result && { ...result, sequence: sequence === undefined ? undefined : BigInt(sequence) });
        },
        reject,
      });
    });
  }

  /** Runs in the transaction; more than once where that was refused. */
  private async compute(copy: Connection | undefined, turn: Turn): Promise<HAUndoResult | undefined> {
    const { options, ports, selection } = this;
    this.refuseOtherSchema();
    await this.readUpTo(ports.position.received, turn);
    if (copy === undefined && this.needsCopy) return undefined;
    if (copy !== undefined && !selection.isWhole) refuseUncertain(selection, this.places);
    const plan = new UndoPlan(this.places);
    await inSlices(this.plan(plan, copy), turn);
    const { conflicts } = plan;
    if (conflicts.length > 0 && options.force !== true && options.dryRun !== true) throw refusedBy(plan);
    const changes = plan.changes();
    if (options.dryRun !== true && changes.length > 0) {
      const now = BigInt(Date.now()) * 1_000_000n;
      const pieces: Buffer[] = [];
      const pieceBytes = Math.min(LARGEST_PIECE, Math.floor(ports.stream.maxPayload / 4));
      await inSlices(encode(changes, now, pieceBytes, pieces), turn);
      refuseLate(turn);
      ports.runner.take(pieces, changes.length);
    }
    const count = (operation: string): number => changes.filter((change) => change.operation === operation).length;
    return {
      sequence: undefined,
      transactions: selection.transactions,
      inserted: count('INSERT'),
      updated: count('UPDATE'),
      deleted: count('DELETE'),
      tables: [...new Set(changes.map(({ table }) => table))],
      conflicts,
      changes: options.dryRun === true ? changes.map(describeChange) : [],
    };
  }

  private *plan(plan: UndoPlan, copy: Connection | undefined): Generator<void, void> {
    const { selection, places, ports } = this;
    const rebuilt = copy && new RebuiltRows(copy, places);
    let count = 0;
    for (const row of selection.rows.values()) {
      if (++count % 64 === 0) yield;
      const { table } = row.place;
      const isTainted = selection.tainted.has(table);
      if (isTainted && selection.isWhole) continue;
      plan.add(row, isTainted ? rebuilt?.read(row.place) : row.before);
    }
    if (selection.isWhole && rebuilt !== undefined) {
      for (const table of selection.tainted.keys()) yield* rebuilt.wholeTable(table, plan);
    }
    const inTheWay = new RowsInTheWay(places, ports.rebuild.configure);
    try {
      if (!selection.isWhole) yield* this.check(plan, inTheWay);
      yield* plan.settle(inTheWay);
    } finally {
      inTheWay.close();
    }
  }

  private *check(plan: UndoPlan, inTheWay: RowsInTheWay): Generator<void, void> {
    const { selection, places, ports } = this;
    const checks = new UndoChecks(places.db, places, plan, inTheWay);
    yield* checks.unique(({ text }) => selection.rows.get(text)?.isLater === true);
    if (ports.runner.enforcement.usual) yield* checks.foreignKeys();
  }

  /** Takes everything up to a sequence into the selection. */
  private async readUpTo(last: number, turn?: Turn): Promise<void> {
    if (last <= this.read) return;
    const { retained } = this.range;
    for await (const transaction of this.log.read({ first: this.read + 1, last, retained })) {
      await inSlices(this.selection.take(transaction), turn);
    }
    const { firstSequence } = await this.ports.stream.state();
    if (firstSequence > this.range.first) throw gone(`Sequence ${this.range.first}`, firstSequence);
    this.read = last;
    const { scope = 'all', from } = this.options;
    if (typeof from !== 'bigint' || (this.options.rows !== undefined && scope !== 'transactions')) return;
    this.refuseNoTransaction(Number(from));
  }

  /** The start has to be a transaction of its own, or others than were meant would be undone. */
  private refuseNoTransaction(from: number): void {
    const { first } = this.selection;
    if (first === from) return;
    const next = first === undefined ? 'Nothing behind it is one' : `The next one is ${first}`;
    throw invalidHistory(`There is no transaction at sequence ${from}. ${next}. db.history() lists them.`, {
      from,
      next: first,
    });
  }

  private refuseOtherSchema(): void {
    if (schemaVersion(this.places.db) === this.places.schema.version) return;
    throw refusedUndo(
      'The schema was changed while the undo was prepared. Nothing was undone; look at the history and try again.',
    );
  }
}

/** Transactions of which every node left something out, because it could not be applied. */
function refusedIn(reader: Connection): Set<number> {
  return new Set(reader.prepare('SELECT DISTINCT sequence FROM main.ha_skipped').pluck().all() as number[]);
}

/** Works step by step, and lets others work in between; nothing more is done once its turn is over. */
async function inSlices(steps: Generator<void, void>, turn?: Turn): Promise<void> {
  let until = performance.now() + SLICE_MS;
  for (const _step of steps) {
    if (performance.now() < until) continue;
    await immediate();
    refuseLate(turn);
    until = performance.now() + SLICE_MS;
  }
  refuseLate(turn);
}

/** The writer, and what is recorded there, belong to another transaction then: what was computed must not get into it. */
function refuseLate(turn: Turn | undefined): void {
  if (turn?.isOver === true) throw new Error('The turn of the undo is over.');
}

function refusedBy({ conflicts }: UndoPlan): HAError {
  const [first] = conflicts;
  const others = conflicts.length === 1 ? '' : ` and ${conflicts.length - 1} more`;
  const by = first?.sequence === undefined ? '' : ` by ${first.node} at sequence ${first.sequence}`;
  const why = {
    changed: `was changed since${by}`,
    unique: 'would meet another row in a unique index',
    foreignKey: 'would leave a foreign key without its row',
  };
  return new HAError(
    'HA_UNDO_CONFLICT',
    `A row of '${first?.table}' ${why[first?.reason ?? 'changed']}${others}. Nothing was undone. See details.conflicts; dryRun shows all, force goes on all the same.`,
    { details: { conflicts: conflicts.slice(0, MOST_TOLD), count: conflicts.length } },
  );
}

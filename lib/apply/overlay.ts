import { decodeChangeSet } from '../changeset/codec.js';
import { isRowChange } from '../changeset/changeset.js';
import type { ChangeSet, RowChange } from '../changeset/changeset.js';
import type { Capture } from '../capture/capture.js';
import type { Connection } from '../sqlite/connection.js';
import type { Counters, InFlight, OutboxStore, OutboxTransaction, StoredUndo } from '../sqlite/outbox-store.js';
import { HAError } from '../common/ha-error.js';
import { setSequence } from '../sqlite/sequences.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { Applier } from './applier.js';
import { changeSetText } from './effects-port.js';
import type { Step } from './interception.js';
import { InFlightList } from './in-flight-list.js';
import { Undo } from './undo.js';

/**
 * What lies over the fold on a node that publishes asynchronously: its own transactions that are committed here, and that it
 * has not yet met in the stream ("in flight"). At every moment the database is the fold of the stream up to the position,
 * and then the transactions in flight, applied in their order.
 *
 * ```
 * batch:  begin ─▶ each message: isHead? ─yes─▶ pop                              the rows are there already
 *                                        ─no──▶ makeWay ─▶ apply                 undo all in flight, unless tables are disjoint
 *               ─▶ finish (redo) ─▶ COMMIT ─▶ committed
 * ```
 * The rules, each with what goes wrong without it, as tests: test/sim/counterexamples-async.spec.ts.
 *
 * - Only the head is popped, and only while nothing is undone: else the rows of the two would change places.
 * - Where somebody has to look at what the head overwrites, or changes of it were left out, it is taken back, and applied at
 *   its place as any other message: only then is that told as on all other nodes.
 * - A message with statements makes all of them way, for a new index or CHECK may not allow what is in flight.
 * - What takes a transaction back is what its *last* redo did, and not what its first run did: that is captured and stored.
 * - The counters of AUTOINCREMENT are as before the transaction when it is taken back.
 * - What interceptors decide on is never popped, and makes everything way: what they read may be another thing now.
 */
export class Overlay {
  readonly list: InFlightList;
  /** Called when the last one has met its place. */
  onEmpty: () => void = () => undefined;
  private readonly undo: Undo;
  private readonly statements: StatementCache;
  private removed: InFlight[] = [];
  private retabled: [InFlight, InFlight][] = [];
  private isUndone = false;
  /** Milliseconds that the batch has spent on taking back: so long it may go on, or a long overlay would stop everything. */
  private undoMs = 0;
  /** Called where an interceptor failed on what waits for its place: it is asked again there. Once for each transaction. */
  onDeferred: (error: HAError) => void = () => undefined;
  private deferred = new Map<string, HAError>();
  private readonly toldDeferred = new Set<string>();

  constructor(
    private readonly db: Connection,
    private readonly applier: Applier,
    /** Gated, on the applier's connection. */
    private readonly capture: Capture,
    private readonly store: OutboxStore,
    /** Name of this node. */
    readonly node: string,
  ) {
    this.list = new InFlightList(store.load());
    this.undo = new Undo(db);
    this.statements = new StatementCache(db);
  }

  get isEmpty(): boolean {
    return this.list.size === 0;
  }

  /** How long a batch should go on for what it has taken back, ms. */
  get batchMs(): number {
    return this.undoMs;
  }

  /** Call behind BEGIN of a batch. */
  begin(): void {
    this.removed = [];
    this.retabled = [];
    this.isUndone = false;
    this.undoMs = 0;
    this.deferred.clear();
  }

  /** True where a message is the first in flight, and its rows stand where they belong. */
  isHead(id: string | undefined): boolean {
    if (id === undefined || this.isUndone) return false;
    const head = this.list.at(this.removed.length);
    return head?.id === id && head.refused !== true && !this.applier.intercepts(head.tables);
  }

  /** True where a message ends a transaction in flight. */
  holds(id: string | undefined): boolean {
    return id !== undefined && this.list.find(id) !== undefined;
  }

  /** Takes a transaction out whose message does not count: it was left out, or its id is void. */
  *drop(id: string): Generator<Step, void> {
    const own = this.list.find(id);
    if (own === undefined || this.removed.includes(own)) return;
    if (!this.isUndone) yield* this.undoAll();
    this.removed.push(own);
  }

  /** Takes the head out. Returns how many changes it had. */
  pop(): number {
    const head = this.list.at(this.removed.length) as InFlight;
    this.removed.push(head);
    return head.changes;
  }

  /** What the head did to the fold, as changesets. */
  headEffects(): Buffer[] {
    const head = this.list.at(this.removed.length) as InFlight;
    const stored = this.store.undoOf(head);
    if (stored === undefined) return this.store.messagesOf(head).map(({ data }) => data);
    return stored.effects.length === 0 ? [] : [changeSetText(this.messageOf(head), stored.effects)];
  }

  /** Call in front of applying a message that is not the head. */
  *makeWay(id: string | undefined, changeSet: ChangeSet, foreign: boolean): Generator<Step, void> {
    if (this.removed.length === this.list.size) return;
    const own = id === undefined ? undefined : this.list.find(id);
    if (!this.isUndone) {
      if (own === undefined && this.isDisjoint(changeSet, foreign)) return;
      yield* this.undoAll();
    }
    if (own !== undefined) this.removed.push(own);
  }

  /** Puts back what made way. Call at the end of a batch, in front of COMMIT. */
  *finish(): Generator<Step, void> {
    if (this.isUndone) {
      for (const entry of this.remaining()) {
        const undo = yield* this.redone(entry);
        this.store.putUndo(entry, undo);
        const isSame = sameNames(entry.tables, undo.tables) && (entry.refused ?? false) === undo.refused;
        if (!isSame) this.retabled.push([entry, { ...entry, tables: undo.tables, refused: undo.refused }]);
      }
    }
    if (this.removed.length > 0) this.store.remove(this.removed);
  }

  /** Call behind COMMIT. */
  committed(): void {
    for (const [before, after] of this.retabled) this.list.replace(before, after);
    this.retabled = [];
    this.tellDeferred();
    const { removed } = this;
    if (removed.length === 0) return;
    this.removed = [];
    for (const { id } of removed) this.toldDeferred.delete(id);
    this.list.remove(removed);
    this.store.removed(removed);
    if (this.isEmpty) this.onEmpty();
  }

  /** Call behind ROLLBACK. */
  rolledBack(): void {
    this.begin();
    this.capture.invalidate();
    this.store.reset();
  }

  /** Call in front of a statement that a peer sent: ALTER TABLE refuses to touch columns that a trigger names. */
  stepAside(): void {
    this.capture.uninstall();
  }

  /**
   * Applies a transaction of this node instead of keeping what running it did, inside the applier's transaction: where the
   * two may differ, applying is what counts.
   */
  *canonicalise(transaction: OutboxTransaction): Generator<Step, InFlight[]> {
    this.applier.prepare();
    const changeSet = joined(transaction.messages.map(({ data }) => decodeChangeSet(data.toString('utf8'))));
    const undo = yield* this.refusing(changeSet);
    const [entry] = this.store.add(this.db, [transaction]);
    if (entry === undefined) return [];
    this.store.putUndo(entry, undo);
    return [{ ...entry, tables: undo.tables, refused: undo.refused }];
  }

  private *undoAll(): Generator<Step, void> {
    this.isUndone = true;
    const started = performance.now();
    const entries = this.remaining();
    for (let index = entries.length - 1; index >= 0; index--) {
      this.takeBack(entries[index] as InFlight);
      yield;
    }
    this.undoMs = performance.now() - started;
  }

  private takeBack(entry: InFlight): void {
    const schema = this.applier.currentSchema;
    const stored = this.store.undoOf(entry);
    const changes = stored === undefined ? this.messageOf(entry).changes : decodeEffects(stored.effects);
    const counters = this.countersAround(entry, stored);
    this.undo.run(changes.filter(isRowChange), schema);
    for (const [table, value] of counters) setSequence(this.statements, table, value);
  }

  /** The counters as they have to be behind taking a transaction back; taking back raises them, for it inserts rows. */
  private countersAround(entry: InFlight, stored: StoredUndo | undefined): Map<string, bigint | null> {
    const { hasAutoincrement, tables } = this.applier.currentSchema;
    const counters = new Map<string, bigint | null>();
    if (!hasAutoincrement) return counters;
    const now = new Map(this.counters());
    for (const { name, autoincrement } of tables.values()) {
      if (autoincrement && entry.tables.includes(name.toLowerCase())) counters.set(name, now.get(name) ?? null);
    }
    const before = stored === undefined ? this.store.countersOf(entry) : stored.countersBefore;
    for (const [table, value] of before) counters.set(table, value);
    return counters;
  }

  /**
   * Does a transaction again, provisionally. An interceptor that fails at what is not the stream's state decides nothing: the
   * transaction has no effect until it is asked at its place, and only what fails there halts.
   */
  private *redone(entry: InFlight): Generator<Step, StoredUndo> {
    const changeSet = this.messageOf(entry);
    if (!this.applier.interceptsChanges(changeSet, false)) return yield* this.captured(changeSet);
    this.db.exec('SAVEPOINT ha_redo');
    try {
      return yield* this.captured(changeSet);
    } catch (error) {
      if (!isInterceptorFailure(error)) throw error;
      this.takeBackRedo();
      this.deferred.set(entry.id, error);
      const tables = this.applier.tablesOf(changeSet, false) ?? new Set(entry.tables);
      return { effects: Buffer.alloc(0), tables: [...tables], countersBefore: [], refused: true };
    } finally {
      if (this.db.inTransaction) this.db.exec('RELEASE ha_redo');
    }
  }

  private takeBackRedo(): void {
    this.db.exec('ROLLBACK TO ha_redo');
    this.capture.invalidate();
    this.applier.reset();
    this.applier.prepare();
  }

  /** Who is about to write can be told that an interceptor fails: nothing of it is stored or published. */
  private *refusing(changeSet: ChangeSet): Generator<Step, StoredUndo> {
    try {
      return yield* this.captured(changeSet);
    } catch (error) {
      if (!isInterceptorFailure(error)) throw error;
      const { message, cause, details } = error;
      throw new HAError('HA_INTERCEPTOR', `${message} Nothing was written or published. Mend it, and write again.`, {
        cause,
        details,
      });
    }
  }

  private tellDeferred(): void {
    for (const [id, { message, cause, details }] of this.deferred) {
      if (this.toldDeferred.has(id)) continue;
      this.toldDeferred.add(id);
      this.onDeferred(
        new HAError(
          'HA_INTERCEPTOR',
          `${message} Its rows are left out here until it has its place; there it is asked again, and halts replication where it fails again.`,
          { cause, retryable: true, details: { ...details, id } },
        ),
      );
    }
    this.deferred.clear();
  }

  /** Applies a changeset and says what that did. */
  private *captured(changeSet: ChangeSet): Generator<Step, StoredUndo> {
    this.capture.open();
    try {
      const before = this.counters();
      const tables = this.applier.tablesOf(changeSet, false) ?? new Set<string>();
      let refused = false;
      // Left out for a reason that all share: it is reported at its place in the stream.
      const interception = yield* this.applier.apply(changeSet, { sequence: 0, foreign: false }, () => {
        refused = true;
      });
      // What interceptors decided here need not be what they decide at its place.
      if (interception !== undefined) refused = true;
      const rows = this.capture.drain(0n);
      for (const table of rows?.tables ?? []) tables.add(table.name.toLowerCase());
      const effects = rows === undefined ? Buffer.alloc(0) : joinPieces(rows.pieces);
      return { effects, tables: [...tables], countersBefore: moved(before, this.counters()), refused };
    } finally {
      this.capture.close();
    }
  }

  private isDisjoint(changeSet: ChangeSet, foreign: boolean): boolean {
    const tables = this.applier.tablesOf(changeSet, foreign);
    if (tables === undefined || this.applier.interceptsChanges(changeSet, foreign)) return false;
    if (this.applier.intercepts(this.list.tables)) return false;
    // A trigger that keeps a virtual table writes to more than its own.
    if (this.applier.currentSchema.triggers.some(({ virtualPart }) => virtualPart !== undefined))
      return tables.size === 0;
    for (const table of tables) if (this.list.touches(table)) return false;
    return true;
  }

  /** What is still in flight, in order. */
  private remaining(): InFlight[] {
    const gone = new Set(this.removed);
    return this.list.all().filter((entry) => !gone.has(entry));
  }

  private messageOf(entry: InFlight): ChangeSet {
    return joined(this.store.messagesOf(entry).map(({ data }) => decodeChangeSet(data.toString('utf8'))));
  }

  private counters(): (readonly [string, bigint])[] {
    if (!this.applier.currentSchema.hasAutoincrement) return [];
    const rows = this.statements.exact('SELECT name, seq FROM main.sqlite_sequence').all() as [string, bigint | null][];
    return rows.flatMap(([name, value]) => (typeof value === 'bigint' ? [[name, value] as const] : []));
  }
}

/** One changeset of the parts of a transaction: counters and epoch are those of the last. */
function joined(parts: readonly ChangeSet[]): ChangeSet {
  const last = parts.at(-1) as ChangeSet;
  return parts.length === 1 ? last : { ...last, changes: parts.flatMap(({ changes }) => changes) };
}

function decodeEffects(effects: Buffer): RowChange[] {
  return decodeChangeSet(`{"changes":[${effects.toString('utf8')}]}`).changes.filter(isRowChange);
}

function joinPieces(pieces: readonly Buffer[]): Buffer {
  const comma = Buffer.from(',');
  return Buffer.concat(pieces.flatMap((piece, index) => (index === 0 ? [piece] : [comma, piece])));
}

function isInterceptorFailure(error: unknown): error is HAError {
  return error instanceof HAError && error.code === 'HA_INTERCEPTOR';
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name));
}

/** What counters were that are another now. */
function moved(
  before: readonly (readonly [string, bigint])[],
  after: readonly (readonly [string, bigint])[],
): Counters {
  const old = new Map(before);
  const now = new Map(after);
  const names = [...new Set([...old.keys(), ...now.keys()])].filter((name) => old.get(name) !== now.get(name));
  return names.map((name) => [name, old.get(name) ?? null] as const);
}

import { isRowChange } from '../changeset/changeset.js';
import type { Change, ChangeSet, RowChange, SqlChange } from '../changeset/changeset.js';
import { InvalidText } from '../changeset/changeset.js';
import { emptyRecord } from '../common/own.js';
import { classify } from '../sql/classify.js';
import { idempotentDDL } from '../sql/ddl.js';
import { ownName } from '../sql/own-names.js';
import { parameters } from '../sql/params.js';
import { isReplicatedPragma } from '../sql/pragmas.js';
import { splitStatements } from '../sql/split.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { Connection } from '../sqlite/connection.js';
import { isSqliteError } from '../common/sqlite-error.js';
import { isInternalTable, readSchema, schemaVersion } from '../sqlite/schema.js';
import type { RowIdentify, SchemaInfo } from '../sqlite/schema.js';
import { raiseSequence, setSequence } from '../sqlite/sequences.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { StatementWatch } from './effects-port.js';
import { HiddenTriggers } from './hidden-triggers.js';
import { Interception } from './interception.js';
import type { Step } from './interception.js';
import type { Interceptors } from './interceptors.js';
import { RowApplier } from './row-applier.js';
import type { PlannedChange } from './row-applier.js';
import { RenameTrace, renamed } from './renames.js';
import type { Rename } from './renames.js';
import type { Bound } from './row-plan.js';
import { StoredRows } from './stored-rows.js';

/** Reports a change that no node can apply. */
export type SkipReport = (index: number, change: Change, reason: string) => void;

/** Looks at changes of rows on their way. */
export interface RowWitness {
  /**
   * Called before a change is applied, with its place among those that take effect; what it returns is called behind it,
   * unless the change was refused.
   */
  before(planned: PlannedChange, index: number, later: LaterChanges): (() => void) | undefined;
}

/** What comes behind a change in its changeset, as far as interceptors have not decided on it yet. */
export interface LaterChanges {
  readonly changes: readonly Change[];
  /** Place of the first one among them. */
  readonly from: number;
  /** Place in the stream whose names they have. */
  readonly epoch: number;
  /** They are go-ha's. */
  readonly foreign: boolean;
}

/** A changeset's place in the stream. */
export interface ApplyPlace {
  readonly sequence: number;
  /** It is go-ha's. */
  readonly foreign: boolean;
  /** Sees every change of a row. */
  readonly witness?: RowWitness | undefined;
}

/** Changes between two looks at the clock. */
const CHANGES_PER_STEP = 64;

/** Statements that a peer may send; anything else would reach beyond the transaction or the file. */
const APPLICABLE = new Set(['ddl', 'insert', 'update', 'delete', 'pragma', 'analyze', 'reindex']);

/**
 * Applies changesets to the database through the applier's connection, inside the transaction of the caller.
 *
 * Foreign keys are off there and user triggers hidden: what they did at the writer is in the changeset already. A change
 * that fails for a reason that every node shares is left out and reported; any other failure is thrown, and the caller
 * rolls back and tries again.
 */
export class Applier {
  private readonly rows: RowApplier;
  private readonly statements: StatementCache;
  private readonly triggers: HiddenTriggers;
  private schema: SchemaInfo | undefined;
  private renames: Rename[] | undefined;
  private trace: RenameTrace | undefined;
  private readonly stored: StoredRows;

  constructor(
    private readonly db: Connection,
    private readonly rowIdentify: RowIdentify,
    private readonly watch: StatementWatch = { before: () => undefined },
    /** Decide what takes effect; absent where there are none. */
    private readonly interceptors?: Interceptors,
  ) {
    this.rows = new RowApplier(db);
    this.stored = new StoredRows(db);
    this.statements = new StatementCache(db);
    this.triggers = new HiddenTriggers(db);
  }

  /** Looks whether the schema is still the one that is known. Call behind BEGIN. */
  prepare(): void {
    if (this.schema?.version !== schemaVersion(this.db)) this.loadSchema();
  }

  /** Forgets the schema: call behind a ROLLBACK, which may have taken back a change of it without a trace. */
  reset(): void {
    this.triggers.show();
    this.schema = undefined;
    this.renames = undefined;
  }

  /** The schema as of the last {@link prepare} or change. */
  get currentSchema(): SchemaInfo {
    if (this.schema === undefined) this.loadSchema();
    return this.schema as SchemaInfo;
  }

  /**
   * Lower-case names, as of now, of the tables that a changeset reaches; undefined where that cannot be told, for it holds
   * statements.
   */
  tablesOf(changeSet: ChangeSet, foreign: boolean): Set<string> | undefined {
    const epoch = foreign ? Infinity : Number(changeSet.epoch);
    const names = new Set<string>();
    for (const change of changeSet.changes) {
      if (change.operation === 'CUSTOM') continue;
      if (!isRowChange(change)) return undefined;
      names.add(renamed(this.knownRenames(), epoch, change.table, []).table.toLowerCase());
    }
    for (const { table } of changeSet.sequences) names.add(table.toLowerCase());
    return names;
  }

  get hasInterceptors(): boolean {
    return this.interceptors !== undefined;
  }

  /** True where interceptors decide on a transaction that changes these tables; names in lower case. */
  intercepts(tables: readonly string[]): boolean {
    return this.interceptors?.concern(new Set(tables), false) === true;
  }

  /** True where interceptors decide on a changeset. */
  interceptsChanges(changeSet: ChangeSet, foreign: boolean): boolean {
    const { interceptors } = this;
    if (interceptors === undefined) return false;
    const { tables, hasStatements } = this.shownTables(changeSet, foreign);
    return interceptors.concern(tables, hasStatements);
  }

  private shownTables(changeSet: ChangeSet, foreign: boolean): { tables: Set<string>; hasStatements: boolean } {
    const epoch = foreign ? Infinity : Number(changeSet.epoch);
    const tables = new Set<string>();
    let hasStatements = false;
    for (const change of changeSet.changes) {
      if (change.operation === 'SQL') hasStatements = true;
      if (isRowChange(change)) tables.add(renamed(this.knownRenames(), epoch, change.table, []).table.toLowerCase());
    }
    return { tables, hasStatements };
  }

  /**
   * Applies one changeset; yields now and then so that the caller can let others run, and promises for it to await: those of
   * interceptors, while nobody else may use the connection. Returns what interceptors made of it, where they were asked.
   */
  *apply(changeSet: ChangeSet, place: ApplyPlace, report: SkipReport): Generator<Step, Interception | undefined> {
    this.trace = undefined;
    const interception = this.intercept(changeSet, place);
    if (interception === undefined) {
      yield* this.applyAll(changeSet, place, report);
      return undefined;
    }
    const changes = yield* interception.before();
    yield* this.applyAll({ ...changeSet, changes }, { ...place, foreign: false, interception }, report);
    yield* interception.after();
    return interception;
  }

  private *applyAll(
    changeSet: ChangeSet,
    place: ApplyPlace & { readonly interception?: Interception },
    report: SkipReport,
  ): Generator<Step, void> {
    const { sequence, foreign, interception } = place;
    const { changes } = changeSet;
    let index = 0;
    let steps = 0;
    // Names in messages of go-ha are taken as they are: it does not say what its writer had seen.
    const epoch = foreign || interception !== undefined ? Infinity : Number(changeSet.epoch);
    const time = Number(changeSet.timestampNs / 1_000_000n);
    for (const [at, written] of changes.entries()) {
      if (steps > 0 && steps % CHANGES_PER_STEP === 0) yield;
      steps++;
      const change = interception !== undefined && isRowChange(written) ? interception.row(written) : written;
      if (change === undefined) continue;
      // Behind a change of the schema in the same message, names are those that it made.
      this.rows.place = { sequence, index, time };
      const names = this.trace === undefined ? epoch : Infinity;
      const reason = this.applyChange(change, index, place, { changes, from: at + 1, epoch: names, foreign });
      if (reason !== undefined) report(index, change, reason);
      interception?.effective.push(change);
      index++;
    }
    this.recordRenames(sequence);
    for (const change of changeSet.sequences) {
      if (this.schema?.tables.get(change.table)?.autoincrement !== true) continue;
      if ('bump' in change) raiseSequence(this.statements, change.table, change.bump);
      else setSequence(this.statements, change.table, change.set);
    }
  }

  private intercept(changeSet: ChangeSet, place: ApplyPlace): Interception | undefined {
    const { interceptors } = this;
    if (interceptors === undefined || !this.interceptsChanges(changeSet, place.foreign)) return undefined;
    // Rows of go-ha in a table that the same message makes: only behind that can they be mended.
    const raw = new Set<Change>();
    const ports = {
      db: this.db,
      stored: this.stored,
      facts: interceptors.facts,
      planned: (change: RowChange) => this.planned(change, Infinity, raw.has(change)),
    };
    const shown = { ...changeSet, changes: this.shown(changeSet, place.foreign, raw) };
    return new Interception(ports, interceptors.all, shown, { sequence: place.sequence, writer: changeSet.node });
  }

  /** The changes as interceptors see them: with names as they are now, and values as they are stored. */
  private shown(changeSet: ChangeSet, foreign: boolean, raw: Set<Change>): readonly Change[] {
    let epoch = foreign ? Infinity : Number(changeSet.epoch);
    return changeSet.changes.map((change) => {
      if (!isRowChange(change)) {
        if (change.operation === 'SQL' && isDDL(change.command)) epoch = Infinity;
        return change;
      }
      const named = this.named(change, epoch);
      if (!foreign) return named;
      const planned = this.planned(named, Infinity, true);
      if (planned === undefined) raw.add(named);
      return planned?.change ?? named;
    });
  }

  /**
   * How a change that was applied before would be applied now; undefined where there is no such table any more.
   * `epoch` is the place in the stream whose names it has.
   */
  planned(change: RowChange, epoch: number, foreign: boolean): PlannedChange | undefined {
    if (isInternalTable(change.table)) return undefined;
    const planned = this.rows.planned(this.named(change, epoch), foreign);
    return 'reason' in planned ? undefined : planned;
  }

  /** Moves with every change of the schema that is read here. */
  get schemaAsKnown(): unknown {
    return this.schema;
  }

  private applyChange(change: Change, index: number, place: ApplyPlace, later: LaterChanges): string | undefined {
    if (change.operation === 'CUSTOM') return undefined;
    if (!isRowChange(change)) return this.applySql(change);
    if (isInternalTable(change.table)) return undefined;
    const planned = this.rows.planned(this.named(change, later.epoch), place.foreign);
    if ('reason' in planned) return planned.reason;
    const behind = place.witness?.before(planned, index, later);
    const refusal = this.rows.apply(planned);
    if (refusal === undefined) behind?.();
    return refusal?.reason;
  }

  /** The change with names as they are now. */
  private named(change: RowChange, epoch: number): RowChange {
    const renames = this.knownRenames();
    if (renames.length === 0) return change;
    const { table, columns } = renamed(renames, epoch, change.table, change.columns);
    return table === change.table && columns === change.columns ? change : { ...change, table, columns };
  }

  private knownRenames(): Rename[] {
    this.renames ??= readRenames(this.db);
    return this.renames;
  }

  private recordRenames(sequence: number): void {
    if (this.trace === undefined) return;
    const net = this.trace.net(sequence);
    this.trace = undefined;
    for (const { from, to, columns } of net) {
      this.statements
        .get('INSERT OR REPLACE INTO main.ha_renames VALUES(?, ?, ?, ?)')
        .run(BigInt(sequence), from, to, JSON.stringify(columns));
    }
    this.knownRenames().push(...net);
  }

  private applySql(change: SqlChange): string | undefined {
    const reasons = splitStatements(change.command).map(({ sql }) => this.runStatement(sql, change.args));
    return reasons.find((reason) => reason !== undefined);
  }

  private runStatement(sql: string, args: readonly Bound[] | SqlChange['args']): string | undefined {
    const info = classify(sql);
    const refusal = refusalOf(sql, info);
    if (refusal !== undefined) return refusal;
    this.watch.before(info);
    this.triggers.show();
    let ran = false;
    try {
      if (info.kind === 'ddl') this.runDDL(idempotentDDL(sql, info));
      else if (info.kind === 'pragma') this.db.exec(sql);
      else this.db.prepare(sql).run(...bindings(sql, args));
      ran = true;
      return undefined;
    } catch (error) {
      if (isSharedFailure(error)) return error.message;
      throw error;
    } finally {
      this.loadSchema();
      this.watch.behind?.(sql, info, ran);
    }
  }

  private runDDL(sql: string): void {
    this.trace ??= new RenameTrace(this.db);
    this.trace.follow(() => this.db.exec(sql));
  }

  private loadSchema(): void {
    this.triggers.show();
    const schema = readSchema(this.db, this.rowIdentify);
    this.triggers.hide(schema.triggers);
    this.schema = schema;
    this.rows.useSchema(schema);
  }
}

function isDDL(command: string): boolean {
  return splitStatements(command).some(({ sql }) => classify(sql).kind === 'ddl');
}

/**
 * Why a statement must not come from a peer, by its text alone: so every node leaves out the same. Nothing here asks who
 * sent it, for another program, or another version, may have refused less.
 */
function refusalOf(sql: string, info: StatementInfo): string | undefined {
  if (!APPLICABLE.has(info.kind)) return `a peer may not send ${info.verb}`;
  if (info.pragma !== undefined && !isReplicatedPragma(info.pragma)) {
    return `a peer may not send PRAGMA ${info.pragma.name}`;
  }
  // Temporary objects end with the connection: what they do would be another thing on a node that was started since.
  if (info.temp) return `a peer may not send ${info.verb} of what is temporary`;
  const name = ownName(sql, info);
  return name === undefined ? undefined : `a peer may not change '${name}', which belongs to replication`;
}

const LOCAL_LACK = /no such (function|module|tokenizer|collation sequence)/i;

/** True for what only this node lacks: the statement ran where it came from, so others have it. */
export function isLocalLack(error: Error): boolean {
  return LOCAL_LACK.test(error.message);
}

/** True where a statement fails on every node alike, for what the stream made of the schema and the rows. */
function isSharedFailure(error: unknown): error is Error {
  if (!isSqliteError(error) || !/^SQLITE_(ERROR|CONSTRAINT|MISMATCH|RANGE)/.test(error.code)) return false;
  return !isLocalLack(error);
}

/** better-sqlite3 binds named and numbered parameters from an object only, and all others in order. */
function bindings(sql: string, args: SqlChange['args']): unknown[] {
  const plain: unknown[] = [];
  const named = emptyRecord<unknown>();
  for (const { ordinal, key } of parameters(sql)) {
    const arg = args[ordinal - 1] ?? null;
    const value = arg instanceof InvalidText ? textOf(arg.bytes) : arg;
    if (key === undefined) plain.push(value);
    else named[key] = value;
  }
  return Object.keys(named).length > 0 ? [...plain, named] : plain;
}

/**
 * The JavaScript string that SQLite stores as these bytes. They came from such a string, so what is not UTF-8 in them can
 * only be half a surrogate pair, in three bytes from `ED A0 80` to `ED BF BF`.
 */
function textOf(bytes: Buffer): string {
  let text = '';
  let from = 0;
  for (let at = 0; at + 2 < bytes.length; at++) {
    const second = bytes[at + 1] ?? 0;
    if (bytes[at] !== 0xed || second < 0xa0) continue;
    text +=
      bytes.toString('utf8', from, at) +
      String.fromCharCode(0xd000 | ((second & 0x3f) << 6) | ((bytes[at + 2] ?? 0) & 0x3f));
    from = at + 3;
    at += 2;
  }
  return text + bytes.toString('utf8', from);
}

function readRenames(db: Connection): Rename[] {
  const rows = db
    .prepare('SELECT sequence, old_name AS "from", new_name AS "to", columns FROM main.ha_renames ORDER BY sequence')
    .all() as { sequence: number; from: string; to: string; columns: string }[];
  return rows.map((row) => ({ ...row, columns: JSON.parse(row.columns) as Record<string, string> }));
}

import { HAError } from '../common/ha-error.js';
import { emptyRecord } from '../common/own.js';
import { sqlChangeJson } from '../changeset/codec.js';
import { InvalidText } from '../changeset/changeset.js';
import type { SequenceChange, SqlValue } from '../changeset/changeset.js';
import type { Capture } from '../capture/capture.js';
import { idempotentDDL } from '../sql/ddl.js';
import { foldCase, quoteIdentifier } from '../sql/identifiers.js';
import { parameters } from '../sql/params.js';
import { isReplicatedPragma } from '../sql/pragmas.js';
import { splitStatements } from '../sql/split.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { Connection } from '../sqlite/connection.js';
import { NAMES_ROWID, schemaVersion } from '../sqlite/schema.js';
import type { SchemaInfo, TableInfo } from '../sqlite/schema.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import { answeringStatement } from './answered-pragmas.js';
import { findDeferredViolation } from './deferred-keys.js';
import { EXACT_SHAPE, PLAIN_SHAPE, bindArguments } from './executor.js';
import type { HAParameters } from './executor.js';
import { ForeignKeyEnforcement } from './foreign-key-enforcement.js';
import { refuseHinted } from './hinted.js';
import { NO_ROWS, openCursor, runToEnd } from './result.js';
import type { Counts, RowCursor } from './result.js';
import {
  refuseControl,
  refuseOwnTables,
  refuseUnfollowed,
  refuseVirtualView,
  refuseVolatile,
} from './statement-info.js';
import type { StatementInfos } from './statement-info.js';

/**
 * How a statement is called. `exec` runs whatever it is and returns nothing; `result` tells all that it did, `rows` too, but
 * refuses one that gives no rows.
 */
export type CallMethod = 'run' | 'get' | 'all' | 'exec' | 'result' | 'rows';

/** What a finished transaction has to tell the other nodes. */
export interface TransactionEffects {
  readonly pieces: readonly Buffer[];
  /** Number of changes in them. */
  readonly changes: number;
  readonly sequences: readonly SequenceChange[];
  readonly timestampNs: bigint;
  /** It may only be stored where nobody wrote in between: DDL, virtual tables, ids that SQLite chose. */
  readonly ordered: boolean;
  /** Applying it may give other rows than running it did, so the stream has to bring it back. */
  readonly inexact: boolean;
  /** It may have taken rows away of which no trigger told. */
  readonly untold: boolean;
  /** Lower-case names of the tables that it changed. */
  readonly tables: readonly string[];
  /** AUTOINCREMENT counters in front of it, of those that it moved. */
  readonly countersBefore: readonly (readonly [table: string, value: bigint | null])[];
}

export interface RunnerSettings {
  /** Inserts whose id SQLite chose are ordered. */
  readonly orderGeneratedIds: boolean;
  /** How long writes wait for other programs, ms. */
  readonly busyTimeout: number;
  /** Every transaction is ordered: `concurrency=serializable`. */
  readonly orderAll: boolean;
  readonly replicateDDL: boolean;
  /** False on a node that only publishes: what is rolled back here never comes back. */
  readonly followsStream: boolean;
  /** Told of a table for which SQLite chose an id, where that does not make the insert ordered. */
  readonly onGeneratedId?: ((table: TableInfo) => void) | undefined;
  /** Somebody wants to know every row that is changed, also those that SQLite tells no trigger of. */
  readonly tellsEffects?: boolean;
  /** What is committed may have to be taken back: true where transactions are published behind their COMMIT. */
  readonly publishesLater: boolean;
  /** Whether interceptors decide on a transaction that changes rows of these tables; names in lower case. */
  readonly intercepts?: ((tables: ReadonlySet<string>, hasStatements: boolean) => boolean) | undefined;
}

const NO_REACH = { tables: [], countersBefore: [] } as const;

/**
 * Runs the statements of one transaction on the writer and gathers what they did: rows through capture triggers, DDL and
 * writes to virtual tables as statements, in the order in which they happened.
 */
export class TransactionRunner {
  private readonly statements: StatementCache;
  private readonly recursiveTriggers: boolean;
  /** Whether the writer enforces foreign keys. */
  readonly enforcement: ForeignKeyEnforcement;
  private pieces: Buffer[] = [];
  private changes = 0;
  private tables = new Set<TableInfo>();
  private ordered = false;
  private replaces = false;
  /** A statement with REPLACE names the rowid: its victims may be rows that no key tells of. */
  private namesRowid = false;
  private timestampNs = 0n;
  /** True once the transaction changed the schema, or tried to. */
  touchedSchema = false;
  /** True once it did. */
  changedSchema = false;
  private madeTemp = false;
  /** It sends statements besides those that change the schema. */
  private hasStatements = false;
  private deferred = false;
  /** True once the transaction did something that must not share the fate of others. */
  isAlone = false;
  /** True once it tried that behind others: nothing of it was done, and it has to run again in a group of its own. */
  isMisplaced = false;
  private behindOthers = false;
  private isComputed = false;

  constructor(
    private readonly db: Connection,
    /** A reader, which sees what is committed. */
    private readonly committed: Connection,
    /** Absent without replication. */
    private readonly capture: Capture | undefined,
    private readonly infos: StatementInfos,
    private readonly settings: RunnerSettings,
  ) {
    this.statements = new StatementCache(db, 1_000);
    this.recursiveTriggers = db.pragma('recursive_triggers', { simple: true }) === 1;
    this.enforcement = new ForeignKeyEnforcement(db);
  }

  /** No transaction has to run again because it was behind others, so that one that cannot may be. */
  get keepsCompany(): boolean {
    const { followsStream, publishesLater, replicateDDL } = this.settings;
    return followsStream && !publishesLater && replicateDDL;
  }

  /** Starts a transaction's record; `behindOthers` where it shares a SQLite transaction with earlier ones. */
  start(behindOthers: boolean): void {
    this.behindOthers = behindOthers;
    this.isAlone = false;
    this.isMisplaced = false;
    this.madeTemp = false;
    this.hasStatements = false;
    if (this.deferred) this.db.pragma('defer_foreign_keys = OFF');
    this.deferred = false;
    this.pieces = [];
    this.changes = 0;
    this.tables.clear();
    this.ordered = false;
    this.replaces = false;
    this.namesRowid = false;
    this.touchedSchema = false;
    this.changedSchema = false;
    this.isComputed = false;
    this.timestampNs = BigInt(Date.now()) * 1_000_000n;
    this.capture?.markSequences();
  }

  /** Runs one statement. */
  call(method: CallMethod, sql: string, params?: HAParameters, shape: RowShape = PLAIN_SHAPE): unknown {
    const info = this.infos.of(sql);
    refuseControl(info);
    refuseHinted(sql, info, 'this is a write, or inside a transaction, where one database is asked');
    if (this.capture !== undefined) {
      refuseOwnTables(sql, info);
      this.keepApart(info, this.capture);
    }
    switch (info.kind) {
      case 'insert':
      case 'update':
      case 'delete':
        if (info.mentionsReplace) this.noteReplace(sql);
        return this.writesVirtual(sql, info)
          ? this.callReplicated(method, sql, params, shape)
          : this.callPlain(method, sql, params, shape);
      case 'ddl':
        if (!info.temp) return this.callDDL(method, sql, info, params, shape);
        this.madeTemp = true;
        return this.callPlain(method, sql, params, shape);
      case 'pragma':
        if (info.pragma?.name === 'defer_foreign_keys') this.deferred = true;
        return info.pragma !== undefined && isReplicatedPragma(info.pragma)
          ? this.callReplicated(method, sql, params, shape)
          : this.callPlain(method, this.answering(sql, info), params, shape);
      case 'analyze':
      case 'reindex':
        return this.callReplicated(method, sql, params, shape);
      default:
        return this.callPlain(method, sql, params, shape);
    }
  }

  /** Reads rows one by one; nothing else may run on the writer until the cursor is closed. */
  cursor(sql: string, params: HAParameters | undefined): RowCursor {
    const info = this.infos.of(sql);
    refuseControl(info);
    refuseHinted(sql, info, 'inside a transaction one database is asked');
    const statement = this.statements.shaped(this.answering(sql, info), EXACT_SHAPE);
    return openCursor(statement, bindArguments(params, sql), () => undefined);
  }

  /**
   * Takes changes of rows that were computed: nothing of them is run here, applying them at their place in the stream does it.
   *
   * @param pieces JSON of changes, each piece joined by commas.
   */
  take(pieces: readonly Buffer[], changes: number): void {
    this.pieces.push(...pieces);
    this.changes += changes;
    this.ordered = true;
    this.isComputed = true;
  }

  /** A point to return to: what was logged so far is out of reach of a ROLLBACK TO. */
  mark(): number {
    this.flush();
    return this.pieces.length;
  }

  /** Forgets what was recorded since a mark, behind a ROLLBACK TO. */
  rolledBackTo(mark: number): void {
    this.pieces.length = mark;
    if (this.touchedSchema) this.capture?.invalidate();
    this.capture?.ensureInstalled();
  }

  /** Runs every statement of a script. */
  exec(script: string): void {
    for (const { sql } of splitStatements(script)) this.call('exec', sql);
  }

  /**
   * Ends the record; undefined where nothing changed.
   *
   * @throws SqliteError where a deferred foreign key is violated, as COMMIT would.
   */
  finish(): TransactionEffects | undefined {
    if (this.madeTemp) this.dropTemp();
    const { capture } = this;
    if (capture === undefined) return undefined;
    this.flush();
    const sequences = capture.sequenceChanges();
    if (this.pieces.length === 0 && sequences.length === 0) return undefined;
    const { schema } = capture;
    if (this.enforcement.isOn && (schema.deferredForeignKeys || this.deferred)) {
      findDeferredViolation(this.db, this.committed, schema, this.tables);
    }
    const inexact = this.isComputed || this.isInexact(schema);
    return {
      pieces: this.pieces,
      changes: this.changes,
      sequences,
      timestampNs: this.timestampNs,
      ordered: this.ordered || this.settings.orderAll,
      inexact,
      untold: !this.isComputed && (inexact || this.mayReplaceUntold(schema)),
      ...this.reach(sequences),
    };
  }

  /** Only who publishes later has to know. */
  private reach(sequences: readonly SequenceChange[]): Pick<TransactionEffects, 'tables' | 'countersBefore'> {
    if (!this.settings.publishesLater) return NO_REACH;
    const tables = [...this.tables].map(({ name }) => name.toLowerCase());
    for (const { table } of sequences) {
      const name = table.toLowerCase();
      if (!tables.includes(name)) tables.push(name);
    }
    return { tables, countersBefore: this.capture?.sequencesBefore(sequences) ?? [] };
  }

  /**
   * With recursive triggers off, SQLite tells no trigger of the rows that REPLACE removes. Where a key identifies every
   * row, applying removes the same ones; in a table without keys, or under foreign key actions, it may not, and neither
   * where the statement chose the rowid itself. And a trigger that keeps an index would miss them.
   */
  private isInexact(schema: SchemaInfo): boolean {
    if (this.isIntercepted()) return true;
    // One path makes the schema on every node, and follows what it renames: the applier.
    if (this.touchedSchema && this.settings.replicateDDL) return true;
    if (this.enforcement.isOn && schema.foreignKeyCycle && this.touches((table) => table.actionParent)) return true;
    if (this.recursiveTriggers || !(this.replaces || schema.replaceInSchema)) return false;
    // What no trigger told of could not be brought back, or told to anybody.
    if (this.settings.publishesLater || this.settings.tellsEffects === true) return true;
    if (schema.triggers.some((trigger) => trigger.virtualPart !== undefined)) return true;
    if (this.enforcement.isOn && schema.foreignKeyActions) return true;
    const choosesRowid = this.namesRowid || schema.rowidInTriggers;
    return this.touches((table) => table.bag || (choosesRowid && hasForgottenRowid(table)));
  }

  private mayReplaceUntold(schema: SchemaInfo): boolean {
    return !this.recursiveTriggers && (this.replaces || schema.replaceInSchema);
  }

  /** What interceptors make of it is known only at its place in the stream. */
  private isIntercepted(): boolean {
    const { intercepts, replicateDDL } = this.settings;
    if (intercepts === undefined) return false;
    const tables = new Set([...this.tables].map(({ name }) => name.toLowerCase()));
    if (!intercepts(tables, this.hasStatements)) return false;
    if (this.changedSchema && !replicateDDL) throw mixedSchema();
    return true;
  }

  private noteReplace(sql: string): void {
    this.replaces = true;
    this.namesRowid ||= NAMES_ROWID.test(sql);
  }

  /**
   * A change of the schema that is not replicated would be lost with a group that is rolled back; and where nothing comes
   * back from the stream, OR ROLLBACK would take the writes of others with it.
   */
  private keepApart(info: StatementInfo, capture: Capture): void {
    const { replicateDDL, followsStream, publishesLater } = this.settings;
    const unseen = info.kind === 'ddl' && !info.temp && !replicateDDL;
    const rollsBack =
      (!followsStream || publishesLater) &&
      (info.mentionsRollback || (info.target !== undefined && capture.schema.raiseRollback));
    if (!unseen && !rollsBack) return;
    this.isAlone = true;
    if (!this.behindOthers) return;
    this.isMisplaced = true;
    throw new HAError('HA_CONFLICT', 'The transaction runs again, apart from others.', { retryable: true });
  }

  private touches(test: (table: TableInfo) => boolean): boolean {
    for (const table of this.tables) if (test(table)) return true;
    return false;
  }

  private writesVirtual(sql: string, info: StatementInfo): boolean {
    const { capture } = this;
    if (capture === undefined || info.target === undefined || info.temp) return false;
    const { virtualTables, virtualViews } = capture.schema;
    if (virtualTables.size === 0) return false;
    const name = foldCase(info.target.name);
    if (virtualViews.has(name)) refuseVirtualView(info.target.name);
    if (!virtualTables.has(name)) return false;
    refuseVolatile(sql);
    return true;
  }

  private answering(sql: string, info: StatementInfo): string {
    return info.kind === 'pragma' ? answeringStatement(sql, info, this.settings.busyTimeout) : sql;
  }

  private callPlain(method: CallMethod, sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    const statement = this.statements.shaped(sql, shape);
    const args = bindArguments(params, sql);
    if (method === 'exec') return statement.reader ? statement.all(...args) : statement.run(...args);
    if (method === 'rows' && !statement.reader) throw new TypeError(NO_ROWS);
    if (method === 'result' || method === 'rows') return runToEnd(statement, args, shape, () => this.counts(shape));
    return statement[method](...args);
  }

  /** What the last statement changed: https://www.sqlite.org/lang_corefunc.html#changes */
  private counts({ safeIntegers }: RowShape): Counts {
    const statement = this.statements.exact('SELECT changes(), last_insert_rowid()');
    const [changes, lastInsertRowid] = statement.get() as [bigint, bigint];
    return { changes: Number(changes), lastInsertRowid: safeIntegers ? lastInsertRowid : Number(lastInsertRowid) };
  }

  /** A statement that every node runs itself. */
  private callReplicated(method: CallMethod, sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    this.flush();
    const result = this.callPlain(method, sql, params, shape);
    if (this.capture === undefined) return result;
    this.flush();
    this.hasStatements = true;
    this.push(sqlChangeJson(sql, this.wireArguments(sql, params), this.timestampNs));
    return result;
  }

  private callDDL(
    method: CallMethod,
    sql: string,
    info: StatementInfo,
    params: HAParameters | undefined,
    shape: RowShape,
  ): unknown {
    const { capture } = this;
    if (capture === undefined) return this.callPlain(method, sql, params, shape);
    if (this.settings.replicateDDL && !this.settings.followsStream) refuseUnfollowed(`${info.verb} of a schema object`);
    this.flush();
    this.touchedSchema = true;
    const before = schemaVersion(this.db);
    const made = info.ddl?.asSelect === true;
    try {
      if (info.ddl?.action === 'alter') capture.uninstall();
      const result = this.callPlain(method, sql, params, shape);
      capture.invalidate();
      const schema = capture.ensureInstalled();
      if (schemaVersion(this.db) === before) return result;
      this.changedSchema = true;
      if (!this.settings.replicateDDL) this.ordered = true;
      else {
        this.push(sqlChangeJson(made ? this.createdTable(info) : idempotentDDL(sql, info), [], this.timestampNs));
      }
      const table = made ? schema.tables.get(this.storedName(info)) : undefined;
      if (table !== undefined) capture.logAllRows(table);
      return result;
    } finally {
      capture.ensureInstalled();
    }
  }

  /** What CREATE TABLE AS made: its rows travel as rows, for the SELECT may answer otherwise elsewhere. */
  private createdTable(info: StatementInfo): string {
    const sql = this.db
      .prepare(`SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)`)
      .pluck()
      .get(info.ddl?.name.name ?? '') as string;
    return idempotentDDL(sql);
  }

  private storedName(info: StatementInfo): string {
    return this.db
      .prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table' AND lower(name) = lower(?)`)
      .pluck()
      .get(info.ddl?.name.name ?? '') as string;
  }

  /** TEMP objects would stay on the shared connection, and take the writes of other callers where they bear a table's name. */
  private dropTemp(): void {
    const objects = this.db
      .prepare(
        `SELECT type, name FROM temp.sqlite_schema WHERE type IN ('table', 'view', 'trigger')
         AND substr(lower(name), 1, 3) <> 'ha_' AND substr(name, 1, 7) <> 'sqlite_'`,
      )
      .all() as { type: string; name: string }[];
    for (const type of ['trigger', 'view', 'table']) {
      for (const object of objects.filter((each) => each.type === type)) {
        this.db.exec(`DROP ${type} IF EXISTS temp.${quoteIdentifier(object.name)}`);
      }
    }
  }

  /** Moves what the triggers logged to the record. */
  private flush(): void {
    const rows = this.capture?.drain(this.timestampNs);
    if (rows === undefined) return;
    this.pieces.push(...rows.pieces);
    this.changes += rows.rows;
    for (const table of rows.tables) this.tables.add(table);
    if (rows.generated.length === 0) return;
    if (this.settings.orderGeneratedIds) this.ordered = true;
    else rows.generated.forEach((table) => this.settings.onGeneratedId?.(table));
  }

  private push(change: string): void {
    this.pieces.push(Buffer.from(change));
    this.changes++;
    this.ordered = true;
  }

  /** Parameters by SQLite's numbers, as SQLite would store them: a JavaScript number is a REAL. */
  private wireArguments(sql: string, params: HAParameters | undefined): SqlValue[] {
    const given = bindArguments(params, sql).flat();
    const plain = given.filter((value) => !isNamed(value));
    const named = Object.assign(emptyRecord<unknown>(), ...given.filter(isNamed)) as Readonly<Record<string, unknown>>;
    const values: SqlValue[] = [];
    for (const { ordinal, key } of parameters(sql)) {
      while (values.length < ordinal) values.push(null);
      values[ordinal - 1] = this.wireValue(key === undefined ? plain.shift() : named[key]);
    }
    return values;
  }

  private wireValue(value: unknown): SqlValue {
    if (value === null || value === undefined) return null;
    if (typeof value === 'bigint' || typeof value === 'number') return value;
    if (typeof value !== 'string') return Buffer.from(bytesOf(value as ArrayBufferView));
    if (value.isWellFormed()) return value;
    return new InvalidText(this.db.prepare('SELECT CAST(? AS BLOB)').pluck().get(value) as Buffer);
  }
}

/** True where rows have a rowid by which nothing is found: neither a column, nor what tells rows apart. */
function hasForgottenRowid({ identity, rowid, rowidAlias }: TableInfo): boolean {
  return identity === 'key' && rowid !== undefined && rowidAlias === undefined;
}

/** The rows come back through interceptors, the schema does not. */
function mixedSchema(): HAError {
  return new HAError(
    'HA_STATEMENT_REFUSED',
    'With disableDDLSync and interceptors a transaction that changes the schema must not change rows: nothing was written. Use a transaction of its own for each.',
  );
}

/** What better-sqlite3 stores of a view, whatever its elements are. */
function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** True for the object of named parameters among those that better-sqlite3 takes. */
function isNamed(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !ArrayBuffer.isView(value);
}

import type { SequenceChange } from '../changeset/changeset.js';
import { quoteIdentifier, quoteString } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import { readSchema, schemaVersion, tempSchemaVersion } from '../sqlite/schema.js';
import type { RowIdentify, SchemaInfo, TableInfo } from '../sqlite/schema.js';
import { raiseSequence } from '../sqlite/sequences.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import { withWritableSchema } from '../sqlite/writable-schema.js';
import { findOutdated, outdatedImage } from './outdated-images.js';
import { RowChain, nestedChanges, placeOf } from './row-chain.js';
import type { LogEntry, LogOutline } from './row-chain.js';
import { createTriggersSql, image, isGuarded, isMarked, kindsOf, triggerNames } from './triggers.js';
import type { LogKind } from './triggers.js';
import { needsRecoding, recodeValues, textNeedsRecoding } from './recode.js';

/** What one transaction changed, as far as triggers see it. */
export interface CapturedRows {
  /** JSON of changes joined by commas, in order; several pieces where there is much. */
  readonly pieces: readonly Buffer[];
  readonly rows: number;
  /** Tables that were touched. */
  readonly tables: readonly TableInfo[];
  /** Those of them for which SQLite chose an id, as far as that is marked. */
  readonly generated: readonly TableInfo[];
}

/** How to capture. */
export interface CaptureSettings {
  /**
   * Mark inserts whose id SQLite chose: all of them, or of each table only the first transaction that has one. A mark costs
   * about a quarter of what capturing the row does.
   */
  readonly markGeneratedIds: 'always' | 'once';
  readonly rowIdentify: RowIdentify;
  /** Aim for pieces of this many bytes; none of several changes is larger than twice that. */
  readonly pieceBytes: () => number;
  /**
   * Captures only between {@link Capture.open} and {@link Capture.close}, and leaves AUTOINCREMENT counters alone: for
   * what applying a changeset does, and not for what a user does.
   */
  readonly gated?: boolean;
  /** Old images are exact in every table, also where a key alone would tell which row it was. */
  readonly exactImages?: boolean;
}

interface Piece {
  readonly rows: number;
  readonly lastSeq: number;
  readonly bytes: Buffer;
}

interface Drained {
  readonly kinds: ReadonlySet<number>;
  readonly pieces: readonly Buffer[];
  readonly rows: number;
}

type FewRow = [
  k: number,
  oldRowid: string | null,
  newRowid: string | null,
  before: string | null,
  after: string | null,
];
type LogRow = [
  seq: number,
  k: number,
  oldRowid: string | null,
  newRowid: string | null,
  before: Buffer | null,
  after: Buffer | null,
];

/** The TEMP tables of capturing. */
export const CAPTURE_TABLES: readonly string[] = ['ha_gate', 'ha_log', 'ha_kind', 'ha_installed'];

/** An entry of the log; a mark holds the row that is about to change. */
type TakenEntry = LogEntry & { readonly isMark: boolean };

const LOG_SCHEMA = `
CREATE TABLE IF NOT EXISTS temp.ha_gate(open INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS temp.ha_log(seq INTEGER PRIMARY KEY, k INTEGER NOT NULL, orid, nrid, o, n);
CREATE TABLE IF NOT EXISTS temp.ha_kind(k INTEGER PRIMARY KEY, operation TEXT NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS temp.ha_installed(base INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, sql TEXT NOT NULL);`;

/** Up to this many changes are read row by row. */
const FEW_ROWS = 32;
const FIRST_PIECE_ROWS = 64;

/**
 * What most transactions are: few changes. No statement here has a parameter in LIMIT: SQLite would compile it anew on
 * every call, for its plan depends on the value.
 */
const FEW_SQL = `SELECT k, CAST(orid AS TEXT), CAST(nrid AS TEXT), o, n FROM temp.ha_log ORDER BY seq LIMIT ${FEW_ROWS + 1}`;

/** Many changes as one text, composed inside SQLite. Kinds of a table are consecutive, from 1 (triggers.ts). */
function pieceSql(tail: string, from: number, limit: number): string {
  return `
SELECT count(*), max(seq), CAST(group_concat(change, ',') AS BLOB) FROM (
  SELECT l.seq, t.head || CASE l.k % 3
    WHEN 1 THEN iif(l.nrid IS NULL, '', '"old_rowid":' || l.nrid || ',"new_rowid":' || l.nrid || ',') || '"new_values":' || l.n
    WHEN 2 THEN iif(l.nrid IS NULL, '', '"old_rowid":' || l.orid || ',"new_rowid":' || l.nrid || ',') || '"old_values":' || l.o || ',"new_values":' || l.n
    WHEN 0 THEN iif(l.orid IS NULL, '', '"old_rowid":' || l.orid || ',"new_rowid":' || l.orid || ',') || '"old_values":' || l.o
    END || ${quoteString(tail)} AS change
  FROM temp.ha_log l LEFT JOIN temp.ha_kind t ON t.k = l.k WHERE l.seq > ${from} ORDER BY l.seq LIMIT ${limit})`;
}

const ROWS_SQL = `
SELECT seq, k, CAST(orid AS TEXT), CAST(nrid AS TEXT), CAST(o AS BLOB), CAST(n AS BLOB)
FROM temp.ha_log WHERE seq > ? AND seq <= ? ORDER BY seq`;

const OUTLINE_SQL = 'SELECT seq, k, CAST(orid AS TEXT), CAST(o AS BLOB) FROM temp.ha_log ORDER BY seq';

const IMAGES_SQL = 'SELECT k, CAST(o AS BLOB), CAST(n AS BLOB) FROM temp.ha_log ORDER BY seq';

const NO_SEQUENCES: ReadonlyMap<string, bigint> = new Map();

/** Bases of kinds are this far apart, so that a base also tells INSERT, UPDATE and DELETE. */
const KINDS_PER_TABLE = 3;

/**
 * Captures the row changes of the writer's transactions with TEMP triggers (triggers.ts), and hands them over as JSON.
 *
 * Whether the triggers are there is asked of SQLite and never of a variable: TEMP objects take part in transactions, so
 * a roll back may bring old ones back, and `PRAGMA temp_store` drops them all without a word. Both show in
 * `schema_version`, of `main` and of `temp`.
 */
export class Capture {
  private readonly statements: StatementCache;
  private readonly kinds = new Map<number, LogKind>();
  private current: SchemaInfo | undefined;
  private tempVersion = -1;
  private sequences: ReadonlyMap<string, bigint> = NO_SEQUENCES;
  /** How far the rows of this transaction raise the counters, wherever they are applied. */
  private readonly raised = new Map<string, bigint>();
  /** Names of tables whose generated ids need no mark any more. */
  private readonly unmarked = new Set<string>();
  private unmarkedInstalled = 0;
  private isAnyGuarded = false;
  private base = 1 - KINDS_PER_TABLE;

  constructor(
    private readonly db: Connection,
    private readonly settings: CaptureSettings,
  ) {
    this.statements = new StatementCache(db);
  }

  /** The schema as of the last {@link ensureInstalled}. */
  get schema(): SchemaInfo {
    return this.current ?? this.install();
  }

  /** Makes sure that every table is captured. Call at BEGIN and behind every statement that may change the schema. */
  ensureInstalled(): SchemaInfo {
    if (
      this.current === undefined ||
      this.unmarkedInstalled !== this.unmarked.size ||
      this.current.version !== schemaVersion(this.db) ||
      this.tempVersion !== tempSchemaVersion(this.db)
    ) {
      return this.install();
    }
    return this.current;
  }

  /** Forgets what is known, after a roll back of something that changed the schema. */
  invalidate(): void {
    this.current = undefined;
  }

  /** Drops all triggers: ALTER TABLE refuses to touch columns that a trigger names. */
  uninstall(): void {
    this.db.exec(LOG_SCHEMA);
    for (const { base } of this.installed()) this.dropTriggers(base);
    this.db.exec('DELETE FROM temp.ha_installed');
    this.invalidate();
  }

  /** Logs all rows of a table as inserted: CREATE TABLE AS fills it before a trigger can be there. */
  logAllRows(table: TableInfo): void {
    const base = [...this.kinds.values()].find((kind) => kind.table.name === table.name)?.k ?? 0;
    const rowid = table.rowid === undefined ? 'NULL' : `r.${quoteIdentifier(table.rowid)}`;
    this.db.exec(
      `INSERT INTO temp.ha_log(k, nrid, n) SELECT ${base}, ${rowid}, ${image(table, 'r')} FROM main.${quoteIdentifier(table.name)} r`,
    );
  }

  /** Starts to capture, where that is {@link CaptureSettings.gated}. */
  open(): void {
    this.ensureInstalled();
    this.statements.get('INSERT OR IGNORE INTO temp.ha_gate VALUES(1)').run();
  }

  close(): void {
    this.statements.get('DELETE FROM temp.ha_gate').run();
  }

  /** Throws away what was logged. */
  clear(): void {
    this.statements.get('DELETE FROM temp.ha_log').run();
  }

  /**
   * Takes the changes out of the log; undefined where there are none.
   *
   * @throws HAError `HA_STATEMENT_REFUSED` where nothing tells which row was changed. The transaction has to be rolled back.
   */
  drain(timestampNs: bigint): CapturedRows | undefined {
    const tail = `,"ts_ns":${timestampNs}}`;
    const few = this.statements.get(FEW_SQL).raw(true).all() as FewRow[];
    if (few.length === 0) return undefined;
    this.refuseOutdated();
    const { kinds, pieces, rows } =
      (few.length <= FEW_ROWS ? this.drainFew(few, tail) : undefined) ?? this.drainMany(tail);
    if (this.settings.gated !== true) this.raiseSequences(kinds);
    this.clear();
    if (pieces.length === 0) return undefined;
    const generated = this.tablesOf(this.generatedKinds(kinds));
    return { pieces, rows, tables: this.tablesOf(kinds), generated: this.unmark(generated) };
  }

  /** What there is to tell of marks; their triggers go with the next look at the schema, where one is enough. */
  private unmark(generated: readonly TableInfo[]): readonly TableInfo[] {
    if (this.settings.markGeneratedIds === 'always') return generated;
    const first = generated.filter(({ name }) => !this.unmarked.has(name));
    for (const { name } of first) this.unmarked.add(name);
    return first;
  }

  /** Undefined where they take more than one piece. */
  private drainFew(few: readonly FewRow[], tail: string): Drained | undefined {
    const kinds = new Set(few.map(([k]) => k));
    const changes = few.flatMap(([k, oldRowid, newRowid, before, after]) => {
      const kind = this.kinds.get(k);
      if (kind === undefined) return [];
      const old = before === null ? '' : `"old_values":${before}${after === null ? '' : ','}`;
      const now = after === null ? '' : `"new_values":${after}`;
      return [kind.head + rowidMembers(kind, oldRowid, newRowid) + old + now + tail];
    });
    const text = changes.join(',');
    if (changes.length > 1 && text.length > this.settings.pieceBytes()) return undefined;
    if (this.needsChain(kinds) || textNeedsRecoding(text)) {
      const { bytes, rows } = this.recode(0, Number.MAX_SAFE_INTEGER, tail, this.chain(kinds));
      return { kinds, pieces: bytes.length > 0 ? [bytes] : [], rows };
    }
    return { kinds, pieces: text === '' ? [] : [Buffer.from(text)], rows: few.length };
  }

  private drainMany(tail: string): Drained {
    const kinds = new Set(this.statements.get('SELECT DISTINCT k FROM temp.ha_log').pluck(true).all() as number[]);
    const target = this.settings.pieceBytes();
    const chained = this.needsChain(kinds);
    const chain = this.chain(kinds);
    const pieces: Buffer[] = [];
    let rows = 0;
    let from = 0;
    let limit = FIRST_PIECE_ROWS;
    for (;;) {
      const piece = this.readPiece(tail, from, limit);
      if (piece.rows === 0) return { kinds, pieces, rows };
      if (piece.rows > 1 && piece.bytes.length > 2 * target) {
        limit = Math.max(1, Math.floor((piece.rows * target) / piece.bytes.length));
        continue;
      }
      const recode = chained || needsRecoding(piece.bytes);
      // Images are carried from piece to piece only where every piece is read row by row: else they would be outdated.
      const told = recode ? this.recode(from, piece.lastSeq, tail, chained ? chain : new RowChain()) : piece;
      if (told.bytes.length > 0) pieces.push(told.bytes);
      rows += told.rows;
      from = piece.lastSeq;
      limit = nextLimit(piece, target);
    }
  }

  /** AUTOINCREMENT counters that moved since the last call of {@link markSequences}. */
  sequenceChanges(): SequenceChange[] {
    const before = this.sequences;
    if (before.size === 0 && !this.schema.hasAutoincrement) return [];
    const after = this.readSequences();
    const changes: SequenceChange[] = [];
    for (const table of new Set([...before.keys(), ...after.keys(), ...this.raised.keys()])) {
      const old = before.get(table) ?? -1n;
      const raised = this.raised.get(table) ?? -1n;
      const value = after.get(table);
      // Where the user took back what the rows had raised, applying them would raise it again.
      if (value === before.get(table) && raised <= old) continue;
      if (value === undefined) changes.push({ table, set: null });
      else changes.push(value > old && value >= raised ? { table, bump: value } : { table, set: value });
    }
    return changes;
  }

  /** What counters were in front of the transaction, of those that it moved; null where there was none. */
  sequencesBefore(changes: readonly SequenceChange[]): (readonly [table: string, value: bigint | null])[] {
    return changes.map(({ table }) => [table, this.sequences.get(table) ?? null] as const);
  }

  /** Remembers the AUTOINCREMENT counters in front of a transaction. */
  markSequences(): void {
    this.sequences = this.schema.hasAutoincrement ? this.readSequences() : NO_SEQUENCES;
    if (this.raised.size > 0) this.raised.clear();
  }

  private readSequences(): Map<string, bigint> {
    const rows = this.statements.exact('SELECT name, seq FROM main.sqlite_sequence').all() as [string, bigint | null][];
    return new Map(rows.flatMap(([name, seq]) => (typeof seq === 'bigint' ? [[name, seq] as const] : [])));
  }

  private install(): SchemaInfo {
    this.db.exec(LOG_SCHEMA);
    const schema = readSchema(this.db, this.settings.rowIdentify);
    const present = new Map(this.installed().map((row) => [row.name, row]));
    const triggers = this.presentTriggers();
    this.kinds.clear();
    for (const [name, row] of present) {
      if (!schema.tables.has(name)) this.remove(row.base);
    }
    for (const table of schema.tables.values()) {
      const row = present.get(table.name);
      const base = row?.base ?? this.nextBase();
      const sql = createTriggersSql(table, base, {
        markGeneratedIds: this.settings.gated !== true && !this.unmarked.has(table.name),
        gated: this.settings.gated,
      });
      if (row?.sql !== sql || !triggers.has(String(base))) this.replace(table, base, sql);
      for (const kind of kindsOf(table, base)) this.kinds.set(kind.k, kind);
    }
    this.isAnyGuarded = this.settings.gated !== true && [...schema.tables.values()].some(isGuarded);
    this.current = schema;
    this.unmarkedInstalled = this.unmarked.size;
    this.tempVersion = tempSchemaVersion(this.db);
    return schema;
  }

  private installed(): { base: number; name: string; sql: string }[] {
    return this.db.prepare('SELECT base, name, sql FROM temp.ha_installed').all() as {
      base: number;
      name: string;
      sql: string;
    }[];
  }

  /** Bases whose insert, update and delete triggers all exist. */
  private presentTriggers(): Set<string> {
    const rows = this.db
      .prepare(
        `SELECT substr(name, 12, length(name) - 13) FROM temp.sqlite_schema
         WHERE type = 'trigger' AND name GLOB 'ha_capture_[0-9]*_[iud]' GROUP BY 1 HAVING count(*) = 3`,
      )
      .pluck()
      .all();
    return new Set(rows as string[]);
  }

  /** Never one that was used before: what is left of an earlier table must not be taken for the new one. */
  private nextBase(): number {
    this.base += KINDS_PER_TABLE;
    return this.base;
  }

  private replace(table: TableInfo, base: number, sql: string): void {
    this.dropTriggers(base);
    this.db.exec(sql);
    this.db.prepare('INSERT OR REPLACE INTO temp.ha_installed VALUES(?, ?, ?)').run(BigInt(base), table.name, sql);
    const insert = this.db.prepare('INSERT OR REPLACE INTO temp.ha_kind VALUES(?, ?, ?)');
    for (const kind of kindsOf(table, base)) insert.run(BigInt(kind.k), kind.operation, kind.head);
  }

  private remove(base: number): void {
    this.dropTriggers(base);
    this.db.prepare('DELETE FROM temp.ha_installed WHERE base = ?').run(BigInt(base));
    this.db
      .prepare('DELETE FROM temp.ha_kind WHERE k >= ? AND k < ?')
      .run(BigInt(base), BigInt(base + KINDS_PER_TABLE));
  }

  /**
   * Where another connection has dropped or renamed the table, SQLite keeps the trigger in `temp.sqlite_schema`, but does not
   * know it any more: DROP TRIGGER finds nothing, ALTER TABLE fails at it, and with a new table of that name it comes back.
   */
  private dropTriggers(base: number): void {
    const names = triggerNames(base);
    for (const name of names) this.db.exec(`DROP TRIGGER IF EXISTS temp.${name}`);
    const isLeft = this.db.prepare(`SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger' AND name = ?`).pluck();
    const left = names.filter((name) => isLeft.get(name) !== undefined);
    if (left.length > 0) this.deleteOrphans(left);
  }

  private deleteOrphans(names: readonly string[]): void {
    withWritableSchema(this.db, () => {
      const remove = this.db.prepare(`DELETE FROM temp.sqlite_schema WHERE type = 'trigger' AND name = ?`);
      for (const name of names) remove.run(name);
    });
  }

  private readPiece(tail: string, from: number, limit: number): Piece {
    const row = this.db
      .prepare(pieceSql(tail, from, limit))
      .raw(true)
      .get() as [number, number | null, Buffer | null];
    return { rows: row[0], lastSeq: row[1] ?? 0, bytes: row[2] ?? Buffer.alloc(0) };
  }

  /** Old images can be outdated only where triggers or foreign key actions change a row that is being changed. */
  private needsChain(kinds: ReadonlySet<number>): boolean {
    for (const k of kinds) {
      const table = this.kinds.get(Math.abs(k))?.table;
      if (table === undefined) continue;
      if (this.isMarked(table)) return true;
      if (this.needsImages(table) && (this.schema.triggers.length > 0 || table.actionParent)) return true;
    }
    return false;
  }

  private isMarked(table: TableInfo): boolean {
    return isMarked(table, this.settings.gated);
  }

  private needsImages(table: TableInfo): boolean {
    return table.bag || table.selfChanging || this.settings.exactImages === true;
  }

  /** Where no name reaches the rowid, nothing could mend an old image that is outdated. */
  private refuseOutdated(): void {
    if (!this.isAnyGuarded) return;
    const rows = this.statements.get(IMAGES_SQL).raw(true).iterate() as IterableIterator<
      [k: number, before: Buffer | null, after: Buffer | null]
    >;
    const { kinds, settings } = this;
    const table = findOutdated(rows, (k) => kinds.get(k), settings.exactImages === true);
    if (table !== undefined) throw outdatedImage(table.name);
  }

  /** A statement is never torn apart: the log is taken between statements. */
  private chain(kinds: ReadonlySet<number>): RowChain {
    const marks = [...kinds].filter((k) => k < 0 && this.kinds.get(-k)?.operation !== 'INSERT');
    if (marks.length === 0) return new RowChain();
    return new RowChain(nestedChanges(this.outlines()), (seq) => this.entries(seq - 1, seq)[0]);
  }

  private *outlines(): Generator<LogOutline> {
    const rows = this.statements.get(OUTLINE_SQL).raw(true).iterate() as IterableIterator<
      [seq: number, k: number, rowid: string | null, before: Buffer | null]
    >;
    for (const [seq, k, rowid, before] of rows) {
      const kind = this.kinds.get(Math.abs(k));
      if (kind === undefined || !this.isMarked(kind.table)) continue;
      if (k > 0 || kind.operation !== 'INSERT') {
        yield { seq, kind, from: placeOf(kind.table, rowid, before), before, isMark: k < 0 };
      }
    }
  }

  private entries(from: number, to: number): TakenEntry[] {
    const rows = this.statements.get(ROWS_SQL).raw(true).all(BigInt(from), BigInt(to)) as LogRow[];
    return rows.flatMap(([seq, k, oldRowid, newRowid, before, after]): TakenEntry[] => {
      const kind = this.kinds.get(Math.abs(k));
      if (kind === undefined || (k < 0 && kind.operation === 'INSERT')) return [];
      const from = placeOf(kind.table, oldRowid, before);
      if (k < 0)
        return [
          { seq, kind, from, to: null, before, after: null, rivals: Number(after?.toString() ?? 0), isMark: true },
        ];
      return [{ seq, kind, from, to: placeOf(kind.table, newRowid, after), before, after, isMark: false }];
    });
  }

  /**
   * Composes changes one by one, with type letters where values need them. On tables whose rows no key identifies, and where
   * changes are told out of order, the chain says what the old image is. Where no name
   * reaches the rowid, {@link refuseOutdated} has seen to it that none is outdated.
   */
  private recode(from: number, to: number, tail: string, chain: RowChain): Pick<Piece, 'bytes' | 'rows'> {
    const changes = this.entries(from, to).flatMap((entry) => this.told(entry, chain));
    const texts = changes.map((change) => {
      const { kind, before, after } = change;
      const images = [imageMembers('old', before), imageMembers('new', after)].filter((member) => member !== '');
      const head = Buffer.from(kind.head, 'utf8').toString('latin1');
      const rowids = kind.table.rowid === undefined ? '' : rowidMembers(kind, change.from, change.to);
      return head + rowids + images.join(',') + tail;
    });
    return { bytes: Buffer.from(texts.join(','), 'latin1'), rows: texts.length };
  }

  private told(entry: TakenEntry, chain: RowChain): LogEntry[] {
    const { table } = entry.kind;
    if (entry.isMark) return table.reentrant ? chain.mark(entry) : [];
    const isTold = table.rowid !== undefined || table.withoutRowid;
    return (this.isMarked(table) && table.reentrant) || (this.needsImages(table) && isTold)
      ? chain.change(entry)
      : [entry];
  }

  /**
   * Applying a change may insert a row with its rowid, which raises the AUTOINCREMENT counter, where the writer updated
   * one, which does not. So every node raises it to the highest new rowid.
   */
  private raiseSequences(kinds: ReadonlySet<number>): void {
    for (const k of kinds) {
      const kind = this.kinds.get(k);
      if (kind === undefined || !kind.table.autoincrement || kind.operation === 'DELETE') continue;
      const top = this.statements.exact('SELECT max(nrid) FROM temp.ha_log WHERE k = ?').get(BigInt(k)) as [bigint];
      raiseSequence(this.statements, kind.table.name, top[0]);
      if (top[0] > (this.raised.get(kind.table.name) ?? -1n)) this.raised.set(kind.table.name, top[0]);
    }
  }

  /** Marks of ids that SQLite chose. One without an insert was an ignored insert, or an upsert that only updated. */
  private generatedKinds(kinds: ReadonlySet<number>): Set<number> {
    return new Set([...kinds].filter((k) => k < 0 && kinds.has(-k) && this.kinds.get(-k)?.operation === 'INSERT'));
  }

  private tablesOf(kinds: ReadonlySet<number>): TableInfo[] {
    const tables = new Set<TableInfo>();
    for (const k of kinds) {
      const kind = this.kinds.get(Math.abs(k));
      if (kind !== undefined) tables.add(kind.table);
    }
    return [...tables];
  }
}

function rowidMembers(kind: LogKind, oldRowid: string | null, newRowid: string | null): string {
  const before = kind.operation === 'INSERT' ? newRowid : oldRowid;
  const after = kind.operation === 'DELETE' ? oldRowid : newRowid;
  return before === null || after === null ? '' : `"old_rowid":${before},"new_rowid":${after},`;
}

function imageMembers(side: 'old' | 'new', captured: Buffer | null): string {
  if (captured === null) return '';
  const { json, types } = recodeValues(captured);
  return `"${side}_values":${json}${types === undefined ? '' : `,"${side}_types":"${types}"`}`;
}

/** How many rows to read next so that a piece comes out near the size that was asked for. */
function nextLimit(piece: Piece, pieceBytes: number): number {
  const average = Math.max(1, piece.bytes.length / piece.rows);
  return Math.max(1, Math.min(4_000, Math.floor(pieceBytes / average)));
}

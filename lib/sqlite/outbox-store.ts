import type { Connection } from './connection.js';
import type { OutboxFile } from './outbox-file.js';
import { OutboxTail } from './outbox-tail.js';
import { StatementCache } from './statement-cache.js';

/** A message of the outbox. */
export interface OutboxMessage {
  readonly id: string;
  readonly data: Buffer;
  /** `<transaction id>;<part>/<parts>` where a transaction is cut into several messages. */
  readonly chunk?: string;
}

/** A message with its place in the outbox. */
export interface NumberedMessage extends OutboxMessage {
  readonly n: number;
}

/** AUTOINCREMENT counters in front of a transaction that moved them; null: there was none. */
export type Counters = readonly (readonly [table: string, value: bigint | null])[];

/** A transaction that is to be published later. */
export interface OutboxTransaction {
  readonly messages: readonly OutboxMessage[];
  /** Lower-case names of the tables that it changes. */
  readonly tables: readonly string[];
  readonly changes: number;
  readonly countersBefore: Counters;
}

/** A transaction of the outbox, without its messages. */
export interface InFlight {
  /** Numbers of its first and last message. */
  readonly first: number;
  readonly last: number;
  /** Id of its last message: the transaction takes effect where that stands. */
  readonly id: string;
  readonly tables: readonly string[];
  readonly changes: number;
  /** Milliseconds since 1970. */
  readonly storedAt: number;
  /** Some of its changes were left out when it was applied last. That is told of where it is applied at its place. */
  readonly refused?: boolean;
}

/** How to take a transaction back, where that is not the plain inverse of its messages. */
export interface StoredUndo {
  /** JSON of changes, joined by commas. */
  readonly effects: Buffer;
  readonly countersBefore: Counters;
  readonly tables: readonly string[];
  /** Some changes were left out. */
  readonly refused: boolean;
}

interface OutboxRow {
  readonly n: number;
  readonly first: number;
  readonly id: string;
  readonly chunk: string | null;
  readonly tables: string;
  readonly changes: number;
  readonly stored_at: number;
}

const INSERT = `INSERT INTO main.ha_outbox(n, first, id, chunk, data, tables, changes, counters, stored_at)
VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`;

/**
 * The outbox: messages of transactions that are committed here and that this node has not yet met in the stream. Its rows
 * are written in the SQLite transaction of the rows that they speak of, and removed in the one that passes their place in
 * the stream. So what is in it is exactly what lies over the fold (apply/overlay.ts).
 *
 * With a file of its own ({@link OutboxFile}) the messages are there; everything else stays in the database.
 */
export class OutboxStore {
  private readonly caches = new Map<Connection, StatementCache>();
  private next = 1;
  private undone = 0;
  private tail = new OutboxTail(0);
  /** Messages that the transaction under way adds. */
  private adding: NumberedMessage[] = [];

  constructor(
    private readonly applier: Connection,
    private readonly reader: Connection,
    readonly file: OutboxFile | undefined,
  ) {
    this.undone = applier.prepare('SELECT count(*) FROM main.ha_undo').pluck().get() as number;
  }

  /** The highest number that was given to a message. */
  get last(): number {
    return this.next - 1;
  }

  /** Transactions in the outbox, in order. Call once, at start. */
  load(): InFlight[] {
    const entries: InFlight[] = [];
    const { db } = this;
    const rows = db
      .prepare('SELECT n, first, id, chunk, tables, changes, stored_at FROM main.ha_outbox ORDER BY n')
      .iterate() as IterableIterator<OutboxRow>;
    const tables = new Map<string, readonly string[]>();
    for (const row of rows) {
      this.next = row.n + 1;
      if (!isLast(row.chunk)) continue;
      let names = tables.get(row.tables);
      if (names === undefined) tables.set(row.tables, (names = JSON.parse(row.tables) as string[]));
      entries.push(toInFlight(row, names));
    }
    this.next = Math.max(this.next, (this.file?.high ?? 0) + 1);
    this.tail = new OutboxTail(this.last);
    const changed = new Map(
      (
        this.applier.prepare('SELECT first, tables, refused FROM main.ha_undo').raw().all() as [
          number,
          string,
          number,
        ][]
      ).map(([first, names, refused]) => [first, { tables: JSON.parse(names) as string[], refused: refused === 1 }]),
    );
    return entries.map((entry) => ({ ...entry, ...changed.get(entry.first) }));
  }

  /** Adds transactions; call inside the transaction of `db` that holds their rows, behind everything else. */
  add(db: Connection, transactions: readonly OutboxTransaction[]): InFlight[] {
    const storedAt = Date.now();
    const start = this.next;
    this.adding = [];
    if (this.file === undefined) return this.insert(db, transactions, storedAt);
    this.file.begin();
    const added = this.insert(this.file.db, transactions, storedAt);
    this.file.commit();
    this.file.raise(db, this.next - 1, this.next - start);
    return added;
  }

  /** Call where the transaction that {@link add} was called in did not commit. */
  discard(): void {
    this.adding = [];
    this.file?.discard();
  }

  /** Call when it has. */
  confirm(): void {
    this.file?.confirm();
    this.tail.add(this.adding);
    this.adding = [];
  }

  /** Takes transactions out, inside the applier's transaction. */
  remove(entries: readonly InFlight[]): void {
    const [head] = entries;
    if (head === undefined) return;
    let messages = 0;
    for (const { from, to } of ranges(entries)) {
      messages += to - from + 1;
      if (this.file === undefined) this.run('DELETE FROM main.ha_outbox WHERE n BETWEEN ? AND ?', from, to);
      if (this.undone > 0) this.undone -= this.run('DELETE FROM main.ha_undo WHERE first BETWEEN ? AND ?', from, to);
    }
    this.file?.lower(this.applier, messages);
  }

  /** Behind the COMMIT of {@link remove}. */
  removed(entries: readonly InFlight[]): void {
    this.tail.drop(entries.at(-1)?.last ?? 0);
    this.file?.remove(ranges(entries));
  }

  /** Behind its ROLLBACK. */
  reset(): void {
    this.undone = this.applier.prepare('SELECT count(*) FROM main.ha_undo').pluck().get() as number;
    this.file?.reset(this.applier);
  }

  /** True where a message with an id waits here. */
  holds(id: string): boolean {
    const high = this.file?.high ?? Number.MAX_SAFE_INTEGER;
    return (
      this.cache(this.db).get('SELECT 1 FROM main.ha_outbox WHERE id = ? AND n <= ?').get(id, BigInt(high)) !==
      undefined
    );
  }

  /** The messages of a transaction. */
  messagesOf({ first, last }: InFlight): OutboxMessage[] {
    return this.cache(this.file?.db ?? this.applier)
      .get('SELECT id, chunk, data FROM main.ha_outbox WHERE n BETWEEN ? AND ? ORDER BY n')
      .all(BigInt(first), BigInt(last)) as OutboxMessage[];
  }

  /** Counters in front of a transaction, as its first run met them. */
  countersOf({ last }: InFlight): Counters {
    const text = this.cache(this.file?.db ?? this.applier)
      .get('SELECT counters FROM main.ha_outbox WHERE n = ?')
      .get(BigInt(last)) as { counters: string | null } | undefined;
    return parseCounters(text?.counters ?? null);
  }

  /** Committed messages behind a number, in order. */
  after(n: number, limit: number): NumberedMessage[] {
    const inMemory = this.tail.take(n, limit);
    if (inMemory !== undefined) return inMemory;
    const high = this.file?.high ?? Number.MAX_SAFE_INTEGER;
    const rows = this.cache(this.db)
      .get(`SELECT n, id, chunk, data FROM main.ha_outbox WHERE n > ? AND n <= ? ORDER BY n LIMIT ${limit}`)
      .all(BigInt(n), BigInt(high)) as { n: number; id: string; chunk: string | null; data: Buffer }[];
    return rows.map(({ chunk, ...row }) => (chunk === null ? row : { ...row, chunk }));
  }

  /** How to take a transaction back, where that was stored. */
  undoOf({ first }: InFlight): StoredUndo | undefined {
    if (this.undone === 0) return undefined;
    const row = this.cache(this.applier)
      .get('SELECT effects, tables, counters, refused FROM main.ha_undo WHERE first = ?')
      .get(BigInt(first)) as { effects: Buffer; tables: string; counters: string | null; refused: number } | undefined;
    if (row === undefined) return undefined;
    return {
      effects: row.effects,
      tables: JSON.parse(row.tables) as string[],
      countersBefore: parseCounters(row.counters),
      refused: row.refused === 1,
    };
  }

  /** Stores it, inside the applier's transaction. */
  putUndo({ first }: InFlight, undo: StoredUndo): void {
    const known = this.undone > 0 ? this.run('DELETE FROM main.ha_undo WHERE first = ?', first) : 0;
    this.cache(this.applier)
      .get('INSERT INTO main.ha_undo(first, effects, tables, counters, refused) VALUES(?, ?, ?, ?, ?)')
      .run(
        BigInt(first),
        undo.effects,
        JSON.stringify(undo.tables),
        counterText(undo.countersBefore),
        undo.refused ? 1n : 0n,
      );
    this.undone += 1 - known;
  }

  close(): void {
    this.file?.close();
  }

  /** Where committed messages are read. */
  private get db(): Connection {
    return this.file?.db ?? this.reader;
  }

  private insert(db: Connection, transactions: readonly OutboxTransaction[], storedAt: number): InFlight[] {
    const statement = this.cache(db).get(INSERT);
    const at = BigInt(storedAt);
    return transactions.map(({ messages, tables, changes, countersBefore }) => {
      const first = this.next;
      const names = JSON.stringify(tables);
      const counters = counterText(countersBefore);
      for (const { id, chunk, data } of messages) {
        const n = this.next++;
        statement.run(BigInt(n), BigInt(first), id, chunk ?? null, data, names, BigInt(changes), counters, at);
        this.adding.push(chunk === undefined ? { n, id, data } : { n, id, data, chunk });
      }
      return { first, last: this.next - 1, id: messages.at(-1)?.id ?? '', tables, changes, storedAt };
    });
  }

  private run(sql: string, ...numbers: number[]): number {
    return this.cache(this.applier)
      .get(sql)
      .run(...numbers.map(BigInt)).changes;
  }

  private cache(db: Connection): StatementCache {
    let cache = this.caches.get(db);
    if (cache === undefined) this.caches.set(db, (cache = new StatementCache(db)));
    return cache;
  }
}

/** Consecutive numbers as ranges: transactions are nearly always taken from the front. */
export function ranges(entries: readonly InFlight[]): { from: number; to: number }[] {
  const list: { from: number; to: number }[] = [];
  for (const { first, last } of entries) {
    const before = list.at(-1);
    if (before?.to === first - 1) before.to = last;
    else list.push({ from: first, to: last });
  }
  return list;
}

function isLast(chunk: string | null): boolean {
  if (chunk === null) return true;
  const [part, parts] = chunk.slice(chunk.lastIndexOf(';') + 1).split('/');
  return part === parts;
}

function toInFlight(row: OutboxRow, tables: readonly string[]): InFlight {
  return { first: row.first, last: row.n, id: row.id, tables, changes: row.changes, storedAt: row.stored_at };
}

/** 64-bit values travel as text. */
function counterText(counters: Counters): string | null {
  if (counters.length === 0) return null;
  return JSON.stringify(counters.map(([table, value]) => [table, value === null ? null : String(value)]));
}

function parseCounters(text: string | null): Counters {
  if (text === null) return [];
  const list = JSON.parse(text) as [string, string | null][];
  return list.map(([table, value]) => [table, value === null ? null : BigInt(value)]);
}

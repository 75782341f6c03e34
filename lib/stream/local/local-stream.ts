import { randomBytes } from 'node:crypto';
import BetterSqlite3 from 'better-sqlite3';
import { WIRE_VERSION } from '../../changeset/codec.js';
import { HAError } from '../../common/ha-error.js';
import type { Connection } from '../../sqlite/connection.js';
import { StatementCache } from '../../sqlite/statement-cache.js';
import { MemorySubscription } from '../memory/memory-subscription.js';
import { StreamRefusal, StreamUnavailable } from '../replication-stream.js';
import type {
  IncomingMessage,
  MessageHandler,
  OutgoingMessage,
  PublishReceipt,
  ReplicationStream,
  StartPoint,
  StreamState,
  StreamStatus,
  StreamSubscription,
} from '../replication-stream.js';

/** Where the history of a standalone database is, and how long it is kept. */
export interface LocalStreamSettings {
  /** Path of the file, or `:memory:`. */
  readonly path: string;
  /** Milliseconds. */
  readonly maxAge: number;
  /** Replaces the clock in tests; ms since 1970. */
  readonly now?: (() => number) | undefined;
}

interface Waiting {
  readonly message: OutgoingMessage;
  readonly resolve: (receipt: PublishReceipt) => void;
  readonly reject: (error: unknown) => void;
}

/** Bytes. A message is a row: SQLite would take far more, but somebody has to read it. */
const LARGEST_MESSAGE = 8 * 1024 * 1024;
/** What is too old is looked for once in so many ms. */
const TRIM_EVERY_MS = 60_000;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS state(created TEXT NOT NULL, last INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS messages(sequence INTEGER PRIMARY KEY, time INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
  version TEXT, chunk TEXT, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS messages_by_time ON messages(time);`;

/**
 * The history of a standalone database, as a stream that nobody else writes to: a file of its own beside it. What was published
 * is on disk there before the database commits, so the history never lacks what the database has. It may have more, where the
 * process died in between; {@link align} takes that away again, for nobody was told that it was written.
 */
export class LocalStream implements ReplicationStream {
  readonly maxPayload = LARGEST_MESSAGE;
  readonly ordering = 'chained' as const;
  readonly batchLimit = 1;
  readonly description: string;
  onStatus: (status: StreamStatus) => void = () => undefined;
  passed: () => number = () => 0;
  verify: () => Promise<void> = () => Promise.resolve();
  private db: Connection | undefined;
  private statements: StatementCache | undefined;
  private readonly subscriptions = new Set<MemorySubscription>();
  private waiting: Waiting[] = [];
  private lastTrim = 0;

  constructor(private readonly settings: LocalStreamSettings) {
    this.description = `the history in '${settings.path}'`;
  }

  get isConnected(): boolean {
    return this.db !== undefined;
  }

  async open(): Promise<StreamState> {
    if (this.db === undefined) {
      const { path } = this.settings;
      try {
        const db = new BetterSqlite3(path);
        db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
        db.exec(SCHEMA);
        this.db = db;
        this.statements = new StatementCache(db);
        db.prepare('INSERT INTO state SELECT ?, 0 WHERE NOT EXISTS (SELECT 1 FROM state)').run(newIdentity());
      } catch (error) {
        throw unusable(path, error);
      }
    }
    this.trim();
    return this.state();
  }

  async state(): Promise<StreamState> {
    const { created, last } = this.read();
    const first = this.number('SELECT min(sequence) FROM messages');
    return { created, firstSequence: first ?? last + 1, lastSequence: last, replicas: 1 };
  }

  async lastSubjectSequence(): Promise<number> {
    return this.number('SELECT max(sequence) FROM messages') ?? 0;
  }

  async messageAt(sequence: number): Promise<IncomingMessage | undefined> {
    const row = this.statement('SELECT * FROM messages WHERE sequence = ?').get(sequence) as Row | undefined;
    return row && incoming(row);
  }

  async startPosition(point: StartPoint): Promise<number> {
    if (point.kind === 'startSequence') return Math.max(0, Number(point.sequence) - 1);
    if (point.kind === 'all') return 0;
    const last = await this.lastSubjectSequence();
    if (point.kind !== 'startTime') return point.kind === 'new' ? last : Math.max(0, last - 1);
    const first = this.number('SELECT min(sequence) FROM messages WHERE time >= ?', point.time.getTime());
    return first === undefined ? last : first - 1;
  }

  publish(message: OutgoingMessage): Promise<PublishReceipt> {
    if (this.db === undefined) return Promise.reject(new StreamUnavailable(`${this.description} is closed`));
    return new Promise((resolve, reject) => {
      // What is sent in one go is written in one transaction, and waits for the disk once.
      if (this.waiting.length === 0) setImmediate(() => this.flush());
      this.waiting.push({ message, resolve, reject });
    });
  }

  async publishBatch(messages: readonly OutgoingMessage[]): Promise<readonly PublishReceipt[]> {
    return Promise.all(messages.map((message) => this.publish(message)));
  }

  async consume(afterSequence: number, handler: MessageHandler): Promise<StreamSubscription> {
    const source = {
      next: (after: number): IncomingMessage | undefined => this.next(after),
      failed: (error: Error) => this.onStatus({ type: 'error', error }),
    };
    const subscription = new MemorySubscription(source, afterSequence, handler);
    this.subscriptions.add(subscription);
    void subscription.deliver(Number.POSITIVE_INFINITY);
    return {
      stop: () => {
        this.subscriptions.delete(subscription);
        return subscription.stop();
      },
    };
  }

  async close(): Promise<void> {
    this.flush();
    for (const subscription of this.subscriptions) void subscription.stop();
    this.subscriptions.clear();
    this.db?.close();
    this.db = undefined;
    this.statements = undefined;
  }

  /**
   * Brings the history in line with the database, which is the truth: messages that it did not commit go. Where it is not the
   * database of this history, or wrote without it, all of the history goes: it tells nothing of the rows as they are.
   *
   * @param cursor Where the database says that it stands; undefined where it never kept a history.
   * @returns The position at which the database stands now.
   */
  align(
    cursor: { readonly received: number; readonly streamCreated: string } | undefined,
    hasRows: boolean,
  ): { readonly received: number; readonly created: string } {
    const { created, last } = this.read();
    const received = cursor?.received ?? 0;
    if (cursor !== undefined && cursor.streamCreated === created && received <= last) {
      this.statement('DELETE FROM messages WHERE sequence > ?').run(received);
      this.statement('UPDATE state SET last = ?').run(received);
      return { received, created };
    }
    const identity = newIdentity();
    // Sequence 1 is the first change of an empty database: where there are rows already, the history does not tell of them.
    const start = hasRows ? Math.max(1, received) : 0;
    this.statement('DELETE FROM messages').run();
    this.statement('UPDATE state SET created = ?, last = ?').run(identity, start);
    return { received: start, created: identity };
  }

  private next(after: number): IncomingMessage | undefined {
    if (this.db === undefined) return undefined;
    const row = this.statement('SELECT * FROM messages WHERE sequence > ? ORDER BY sequence LIMIT 1').get(after);
    return row === undefined ? undefined : incoming(row as Row);
  }

  private flush(): void {
    const { waiting, db } = this;
    this.waiting = [];
    if (waiting.length === 0) return;
    const answers: (() => void)[] = [];
    try {
      if (db === undefined) throw new StreamUnavailable(`${this.description} is closed`);
      db.exec('BEGIN IMMEDIATE');
      for (const { message, resolve, reject } of waiting) {
        const answer = this.store(message);
        answers.push(() => (answer instanceof Error ? reject(answer) : resolve(answer)));
      }
      db.exec('COMMIT');
    } catch (error) {
      if (db?.inTransaction === true) db.exec('ROLLBACK');
      const cause = error instanceof Error ? error.message : String(error);
      for (const { reject } of waiting) reject(new StreamUnavailable(`${this.description}: ${cause}`));
      return;
    }
    for (const answer of answers) answer();
    for (const subscription of this.subscriptions) void subscription.deliver(Number.POSITIVE_INFINITY);
    if (this.now() - this.lastTrim >= TRIM_EVERY_MS) this.trim();
  }

  private store({ id, data, chunk, expect }: OutgoingMessage): PublishReceipt | Error {
    const last = this.number('SELECT max(sequence) FROM messages') ?? 0;
    if (expect?.lastSubjectSequence !== undefined && expect.lastSubjectSequence !== last) {
      return new StreamRefusal(`wrong last sequence: ${last}`, last);
    }
    const known = this.number('SELECT sequence FROM messages WHERE id = ?', id);
    if (known !== undefined) return { sequence: known, duplicate: true };
    const lastId = this.statement('SELECT id FROM messages ORDER BY sequence DESC LIMIT 1').pluck().get();
    if (expect?.lastMessageId !== undefined && expect.lastMessageId !== lastId) {
      return new StreamRefusal(`wrong last msg ID: ${String(lastId)}`, undefined);
    }
    const sequence = this.read().last + 1;
    this.statement('INSERT INTO messages VALUES(?, ?, ?, ?, ?, ?)').run(
      sequence,
      this.now(),
      id,
      WIRE_VERSION,
      chunk ?? null,
      data,
    );
    this.statement('UPDATE state SET last = ?').run(sequence);
    return { sequence, duplicate: false };
  }

  /** Forgets what is too old. The last message stays: what comes next is chained to it. */
  private trim(): void {
    this.lastTrim = this.now();
    this.statement('DELETE FROM messages WHERE time < ? AND sequence < (SELECT max(sequence) FROM messages)').run(
      this.lastTrim - this.settings.maxAge,
    );
  }

  private now(): number {
    return this.settings.now?.() ?? Date.now();
  }

  private read(): { readonly created: string; readonly last: number } {
    return this.statement('SELECT created, last FROM state').get() as { created: string; last: number };
  }

  private number(sql: string, ...args: readonly unknown[]): number | undefined {
    const row = this.statement(sql)
      .raw(true)
      .get(...args) as [number | null] | undefined;
    return row?.[0] ?? undefined;
  }

  private statement(sql: string): ReturnType<StatementCache['get']> {
    if (this.statements === undefined) throw new StreamUnavailable(`${this.description} is closed`);
    return this.statements.get(sql);
  }
}

interface Row {
  readonly sequence: number;
  readonly time: number;
  readonly id: string;
  readonly version: string;
  readonly chunk: string | null;
  readonly data: Buffer;
}

function incoming({ sequence, time, id, version, chunk, data }: Row): IncomingMessage {
  return { sequence, data, id, version, chunk: chunk ?? undefined, time: String(time) };
}

function newIdentity(): string {
  return `local-${randomBytes(9).toString('base64url')}`;
}

function unusable(path: string, error: unknown): HAError {
  const reason = error instanceof Error ? error.message : String(error);
  return new HAError(
    'HA_DATABASE_OPEN',
    `The history '${path}' cannot be opened: ${reason}. Move it away to begin a new one, or unset streamMaxAge to keep none.`,
    { cause: error, details: { path } },
  );
}

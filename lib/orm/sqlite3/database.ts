import { EventEmitter } from 'node:events';
import { HAError } from '../../common/ha-error.js';
import { classify } from '../../sql/classify.js';
import type { HAParameters } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import type { HASession, HASessionOptions } from '../../write/session.js';
import { withoutOwnTables } from '../common/listed-tables.js';
import { misuse, readOnly, sqlite3Error } from './errors.js';
import { startOf } from './order.js';
import { Schedule } from './schedule.js';
import { Statement } from './statement.js';
import type { Callback, Outcome, Row, StatementHost } from './statement.js';
import { integer, row } from './values.js';
import type { UnsafeIntegers } from './values.js';

/** https://www.sqlite.org/c3ref/c_open_autoproxy.html */
export const OPEN_FLAGS = {
  OPEN_READONLY: 1,
  OPEN_READWRITE: 2,
  OPEN_CREATE: 4,
  OPEN_URI: 64,
  OPEN_FULLMUTEX: 65_536,
  OPEN_SHAREDCACHE: 131_072,
  OPEN_PRIVATECACHE: 262_144,
} as const;

/** How the databases of a module behave. */
export interface HASqlite3Options extends Pick<HASessionOptions, 'idleTimeout' | 'timeout'> {
  /**
   * How integers beyond 2^53 are returned: as `bigint`, as a `string`, or as a `number`, which loses digits as in
   * node-sqlite3. Default `bigint`.
   */
  readonly unsafeIntegers?: UnsafeIntegers;
  /**
   * False: `serialize()` does not keep statements apart outside of transactions. For Sequelize, which calls it around each of
   * its statements, also of requests that have nothing to do with each other. Default true.
   */
  readonly serialize?: boolean;
}

type DoneCallback = (error: Error | null) => void;

/**
 * A database as node-sqlite3's: https://github.com/TryGhost/node-sqlite3/wiki/API. Statements run at once; between BEGIN and
 * COMMIT, and behind `serialize()`, one after another.
 */
export class Database extends EventEmitter {
  /** True between opening and closing. */
  open = false;
  readonly #session: HASession;
  readonly #schedule = new Schedule();
  readonly #host: StatementHost;
  #serialized = false;
  #closed = false;
  /** What `PRAGMA foreign_keys` was set to; undefined where it was not. */
  #foreignKeys: bigint | undefined;

  constructor(
    private readonly source: Pick<HADatabase, 'connect'>,
    private readonly options: HASqlite3Options,
    readonly filename: string,
    readonly mode: number,
    callback: DoneCallback | undefined,
  ) {
    super();
    this.#session = this.connect();
    this.#host = {
      perform: (sql, params) => this.perform(sql, params),
      inOrder: (work) => this.#schedule.add(this.#serialized ? 'alone' : 'at once', work),
    };
    this.answer(callback, this.opened());
  }

  prepare(sql: string, ...args: unknown[]): Statement {
    const [first] = args;
    if (typeof first === 'function') return new Statement(this.#host, sql, first as Callback);
    const statement = new Statement(this.#host, sql);
    return args.length > 0 ? statement.bind(...args) : statement;
  }

  run(sql: string, ...args: unknown[]): this {
    new Statement(this.#host, sql).run(...args);
    return this;
  }

  get(sql: string, ...args: unknown[]): this {
    new Statement(this.#host, sql).get(...args);
    return this;
  }

  all(sql: string, ...args: unknown[]): this {
    new Statement(this.#host, sql).all(...args);
    return this;
  }

  each(sql: string, ...args: unknown[]): this {
    new Statement(this.#host, sql).each(...args);
    return this;
  }

  map(sql: string, ...args: unknown[]): this {
    new Statement(this.#host, sql).map(...args);
    return this;
  }

  /** Runs a script, as one transaction where none is open and it has no transaction control. */
  exec(script: string, callback?: DoneCallback): this {
    const work = this.#schedule.add('alone', async () => {
      this.refuseClosed();
      if (!this.isWritable) throw readOnly();
      await this.#session.script(script);
      await this.noteForeignKeys(script);
    });
    this.answer(callback, work);
    return this;
  }

  /** Closes it behind what was called before; what is open is rolled back. */
  close(callback?: DoneCallback): void {
    const work = this.#schedule.add('alone', async () => {
      this.refuseClosed();
      this.#closed = true;
      this.open = false;
      await this.#session.close();
    });
    this.answer(callback, work, 'close');
  }

  /** Runs what comes, or what the callback calls, one after another. */
  serialize(callback?: () => void): void {
    this.switched(this.options.serialize !== false, callback);
  }

  /** Runs what comes, or what the callback calls, at once. */
  parallelize(callback?: () => void): void {
    this.switched(false, callback);
  }

  /** Calls back behind what was called before. */
  wait(callback?: DoneCallback): this {
    this.answer(
      callback,
      this.#schedule.add('alone', () => Promise.resolve()),
    );
    return this;
  }

  /** Takes `busyTimeout`, which has no effect: nobody else locks the file. */
  configure(option: string, _value?: unknown): void {
    if (option !== 'busyTimeout') throw misuse(`'${option}' cannot be configured.`);
  }

  private switched(serialized: boolean, callback: (() => void) | undefined): void {
    const before = this.#serialized;
    this.#serialized = serialized;
    if (callback === undefined) return;
    try {
      callback();
    } finally {
      this.#serialized = before;
    }
  }

  private get isWritable(): boolean {
    return (this.mode & OPEN_FLAGS.OPEN_READONLY) === 0;
  }

  private opened(): Promise<void> {
    return this.#schedule.add('alone', async () => {
      if (this.filename === ':memory:' || this.filename === '') throw notInMemory();
      await this.#session.execute('SELECT 1');
      this.open = true;
      process.nextTick(() => this.emit('open'));
    });
  }

  private connect(): HASession {
    const { idleTimeout, timeout } = this.options;
    const limits = { ...(idleTimeout !== undefined && { idleTimeout }), ...(timeout !== undefined && { timeout }) };
    return this.source.connect({ ...limits, safeIntegers: true });
  }

  private perform(sql: string, params: HAParameters): Promise<Outcome> {
    const start = startOf(sql);
    const isOfSession = start !== 'at once';
    return this.#schedule.add(this.#serialized ? 'alone' : start, async () => {
      this.refuseClosed();
      if (!this.isWritable && classify(sql).writes) throw readOnly();
      const session = isOfSession || this.#session.inTransaction ? this.#session : await this.another();
      const { rows, changes, lastInsertRowid } = await session.execute<Row>(sql, params);
      if (isOfSession) await this.noteForeignKeys(sql);
      const { unsafeIntegers = 'bigint' } = this.options;
      const lastID = integer(lastInsertRowid, unsafeIntegers);
      return { rows: withoutOwnTables(sql, rows).map((values) => row(values, unsafeIntegers)), changes, lastID };
    });
  }

  /** A session for one statement, which need not wait for others. */
  private async another(): Promise<HASession> {
    const session = this.connect();
    if (this.#foreignKeys !== undefined) await session.execute(`PRAGMA foreign_keys = ${this.#foreignKeys}`);
    return session;
  }

  private async noteForeignKeys(sql: string): Promise<void> {
    if (!/foreign_keys/i.test(sql) || this.#session.inTransaction) return;
    const { rows } = await this.#session.execute<{ foreign_keys: bigint }>('PRAGMA foreign_keys');
    this.#foreignKeys = rows[0]?.foreign_keys;
  }

  private refuseClosed(): void {
    if (this.#closed) throw misuse('Database is closed');
  }

  private answer(callback: DoneCallback | undefined, call: Promise<void>, event?: string): void {
    call.then(
      () =>
        process.nextTick(() => {
          callback?.call(this, null);
          if (event !== undefined) this.emit(event);
        }),
      (error: unknown) =>
        process.nextTick(() => {
          const failure = sqlite3Error(error) as Error;
          if (callback === undefined) this.emit('error', failure);
          else callback.call(this, failure);
        }),
    );
  }
}

function notInMemory(): HAError {
  return new HAError(
    'HA_OPTIONS_INVALID',
    `This is the database of nestjs-ha, and none in memory. Give it another name, which is not looked at; Sequelize: storage: '.'.`,
  );
}

import { HAError } from '../../common/ha-error.js';
import { within } from '../../common/timing.js';
import type { HATransaction, HATransactionOptions } from '../../write/executor.js';
import { scriptParts } from '../../write/script.js';
import { isSessionPragma } from '../../write/session-pragmas.js';
import { StatementInfos, isWrite, refuseControl } from '../../write/statement-info.js';
import { refuseNested, runInContext } from '../../write/transaction-context.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { unknownOutcome } from './remote-errors.js';
import { RemoteExecutor } from './remote-executor.js';
import type { Asker } from './remote-executor.js';
import type { RemoteSession } from './remote-session.js';
import { RemoteTransaction } from './remote-transaction.js';
import { SerialAsker } from './serial-asker.js';
import { SessionPool } from './session-pool.js';
import { parseTarget } from './target.js';
import type { ClientTls } from './target.js';

/** How to reach a database over gRPC. */
export interface HARemoteOptions {
  /** `http://host:port`, `https://host:port` for TLS. */
  readonly url: string;
  /** Token of the server (its option `grpcToken`). */
  readonly token?: string;
  /** Which database; needed where the server has several. */
  readonly replicationID?: string;
  /** Milliseconds that a call may wait for an answer. Default 5000. */
  readonly timeout?: number;
  /**
   * Milliseconds of silence after which the server is asked whether it is there. Where it does not say so within as long, or
   * within `timeout` where that is longer, its connection is given up for another. Default 20000.
   */
  readonly keepalive?: number;
  /** PEM files, with `https`. */
  readonly tls?: ClientTls;
}

const DEFAULT_TIMEOUT_MS = 5_000;
const DEFAULT_KEEPALIVE_MS = 20_000;
const MOST_ATTEMPTS = 64;
/** What an answer that never came leaves open. */
const NO_ANSWER: ReadonlySet<string> = new Set(['HA_UNAVAILABLE', 'HA_REMOTE_TIMEOUT', 'HA_REMOTE']);

/** A command of the server that only reads; no SQL. */
const HISTORY = /^\s*HISTORY\b[^;]*;?\s*$/i;

/**
 * A database of another process, over gRPC: the calls of {@link HADatabase}, without a copy of one's own. SQLite's failures
 * surface as better-sqlite3's `SqliteError`, all others as {@link HAError}. Connections are made with the first call, and
 * made again where they are lost; a call that was sent and got no answer is not repeated, but fails: with
 * `HA_REMOTE_UNKNOWN` where it may have written something.
 */
export class HARemoteDatabase extends RemoteExecutor {
  private readonly pool: SessionPool;
  private readonly infos = new StatementInfos();
  private readonly timeout: number;
  private readonly replicationId: string;

  /** @throws HAError `HA_OPTIONS_INVALID` where the URL is none. */
  constructor(options: HARemoteOptions) {
    super();
    const { timeout = DEFAULT_TIMEOUT_MS, keepalive = DEFAULT_KEEPALIVE_MS } = options;
    // A server that works on a long statement cannot answer.
    const limits = { time: keepalive, timeout: Math.max(keepalive, timeout) };
    this.pool = new SessionPool(parseTarget(options.url, options.tls), options.token, limits);
    this.timeout = timeout;
    this.replicationId = options.replicationID ?? '';
  }

  /**
   * Runs a callback as one transaction, as {@link HADatabase.transaction} does. Every statement is a round trip, and all
   * writes of the server wait meanwhile. It runs again where the server says so (`HA_CONFLICT`).
   */
  async transaction<R>(fn: (tx: HATransaction) => R | Promise<R>, options: HATransactionOptions = {}): Promise<R> {
    refuseNested(this);
    const begin = options.serializable === true ? 'BEGIN EXCLUSIVE' : 'BEGIN';
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.attempt(fn, begin, attempt, options.timeout);
      } catch (error) {
        const isConflict = error instanceof CommitConflict;
        if (!isConflict) throw error;
        if (options.retry === false || attempt >= MOST_ATTEMPTS) throw error.cause;
      }
    }
  }

  /** Runs a script as {@link HADatabase.exec} does: as one transaction, or as several where BEGIN and COMMIT cut it. */
  override async exec(script: string): Promise<void> {
    refuseNested(this);
    for (const { statements } of scriptParts(script, this.infos)) {
      // A session of the server would answer it; a database refuses it, here as there.
      for (const sql of statements) if (isSessionPragma(this.infos.of(sql))) this.check(sql);
      await super.exec(statements.join(';\n'));
    }
  }

  /** Names of the databases that the server has. */
  async databases(): Promise<string[]> {
    const { replication_id: names } = await this.pool.unary<{ replication_id: string[] }>(
      'ReplicationIDs',
      this.timeout,
    );
    return names;
  }

  /** Milliseconds that the server takes to answer. */
  async ping(): Promise<number> {
    const started = performance.now();
    const session = await this.pool.lease(this.timeout);
    try {
      await session.ask({ type: QueryType.PING, sql: '', params: [], replicationId: '' }, this.timeout);
    } finally {
      this.pool.release(session);
    }
    return performance.now() - started;
  }

  /** A consistent copy of the database, in chunks. */
  download(): AsyncIterableIterator<Buffer> {
    return this.pool.bytes('Download', this.replicationId);
  }

  /** A connection for statements that belong together, BEGIN and COMMIT among them: a shell. Close it in the end. */
  async connect(): Promise<HARemoteConnection> {
    const session = await this.pool.lease(this.timeout);
    return new HARemoteConnection(
      this.askerOf(session, (sql) => this.writes(sql)),
      () => {
        // What is open in it ends with it.
        session.cancel();
        this.pool.release(session);
      },
    );
  }

  /** Ends all sessions: what is open is rolled back. */
  async close(): Promise<void> {
    this.pool.close();
  }

  protected override check(sql: string): void {
    refuseControl(this.infos.of(sql));
  }

  protected override async *ask(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse> {
    refuseNested(this);
    const session = await this.pool.lease(this.timeout);
    try {
      yield* this.askIn(session, request, this.writes(request.sql), false);
    } finally {
      this.pool.release(session);
    }
  }

  protected override async askAll(
    request: Omit<QueryRequest, 'replicationId'>,
    onlyFirst = false,
  ): Promise<QueryResponse[]> {
    refuseNested(this);
    const session = await this.pool.lease(this.timeout);
    try {
      return await this.allIn(session, request, this.writes(request.sql), onlyFirst, false);
    } catch (error) {
      // A script that failed may have left a transaction open.
      if (request.type === QueryType.EXEC_UPDATE && request.params.length === 0) session.cancel();
      throw error;
    } finally {
      this.pool.release(session);
    }
  }

  /** @param writes Whether a statement may have written something although no answer came. */
  private askerOf(session: RemoteSession, writes: (sql: string) => boolean): Asker {
    return {
      stream: (request) => this.askIn(session, request, writes(request.sql)),
      all: (request, onlyFirst) => this.allIn(session, request, writes(request.sql), onlyFirst, true),
    };
  }

  /** @param keeps The session goes on: what is not wanted has to be taken all the same. */
  private async allIn(
    session: RemoteSession,
    request: Omit<QueryRequest, 'replicationId'>,
    writes: boolean,
    onlyFirst: boolean,
    keeps: boolean,
  ): Promise<QueryResponse[]> {
    let answer: QueryResponse;
    try {
      answer = await session.ask({ ...request, replicationId: this.replicationId }, this.timeout);
    } catch (error) {
      throw writes ? this.afterWrite(error) : error;
    }
    const answers = [answer];
    if (onlyFirst && !keeps) return answers;
    while (answer.more) {
      answer = await session.next(this.timeout);
      if (!onlyFirst) answers.push(answer);
    }
    return answers;
  }

  private async *askIn(
    session: RemoteSession,
    request: Omit<QueryRequest, 'replicationId'>,
    writes: boolean,
    keeps = true,
  ): AsyncGenerator<QueryResponse> {
    const full = { ...request, replicationId: this.replicationId };
    let answer: QueryResponse;
    try {
      answer = await session.ask(full, this.timeout);
    } catch (error) {
      throw writes ? this.afterWrite(error) : error;
    }
    let { more } = answer;
    try {
      yield answer;
      while (more) {
        // Behind a failure nothing comes any more.
        more = false;
        answer = await session.next(this.timeout);
        ({ more } = answer);
        yield answer;
      }
    } finally {
      // Who stops early goes on in the same session, where the rest comes first.
      if (keeps) while (more && session.isAlive) ({ more } = await session.next(this.timeout));
    }
  }

  /** Nobody answered a write: an error that says "run it again" would be wrong. */
  private afterWrite(error: unknown): unknown {
    const isOpen = error instanceof HAError && error.details['address'] !== undefined && NO_ANSWER.has(error.code);
    return isOpen ? unknownOutcome(this.pool.address, error) : error;
  }

  private writes(sql: string): boolean {
    if (HISTORY.test(sql)) return false;
    const info = this.infos.of(sql);
    return isWrite(info) || sql.includes(';');
  }

  private async attempt<R>(
    fn: (tx: HATransaction) => R | Promise<R>,
    begin: string,
    attempt: number,
    timeout: number | undefined,
  ): Promise<R> {
    const session = await this.pool.lease(this.timeout);
    const command = (sql: string, writes: boolean): Promise<void> => this.drain(session, sql, writes);
    let clean = false;
    try {
      await command(begin, false);
      const tx = new RemoteTransaction(this, this.askerOf(session, inTransaction), attempt);
      try {
        const result = await this.inTime(() => complete(tx, fn), timeout);
        await command('COMMIT', true).catch((error: unknown) => {
          clean = session.isReusable;
          throw isConflict(error) ? new CommitConflict(error) : error;
        });
        clean = true;
        return result;
      } catch (error) {
        if (!clean) clean = await this.rollback(session, tx, error instanceof CallbackTimeout);
        throw error instanceof CallbackTimeout ? error.cause : error;
      }
    } finally {
      if (!clean) session.cancel();
      this.pool.release(session);
    }
  }

  /** @returns Whether nothing is open any more. What is under way in a session that is late ends with it. */
  private async rollback(session: RemoteSession, tx: RemoteTransaction, isLate: boolean): Promise<boolean> {
    tx.end();
    if (isLate || !session.isAlive) return false;
    await tx.settled();
    if (!session.isReusable) return false;
    return this.drain(session, 'ROLLBACK', false).then(
      () => true,
      () => false,
    );
  }

  private async inTime<R>(work: () => R | Promise<R>, timeout: number | undefined): Promise<R> {
    const running = Promise.resolve().then(work);
    if (timeout === undefined) return running;
    const settled = running.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    const result = await within(timeout, settled);
    if (result === undefined) throw new CallbackTimeout(callbackTimedOut(timeout));
    if ('error' in result) throw result.error;
    return result.value;
  }

  private async drain(session: RemoteSession, sql: string, writes: boolean): Promise<void> {
    await this.allIn(session, { type: QueryType.EXEC_UPDATE, sql, params: [] }, writes, false, true);
  }
}

/** A session of a remote database that its user steers: see {@link HARemoteDatabase.connect}. Calls run one after another. */
export class HARemoteConnection extends RemoteExecutor {
  private readonly asker: SerialAsker;

  constructor(
    asker: Asker,
    private readonly end: () => void,
  ) {
    super();
    this.asker = new SerialAsker(asker, closedConnection);
  }

  /** Ends the session: what is open is rolled back. */
  async close(): Promise<void> {
    if (this.asker.isClosed) return;
    this.asker.close();
    this.end();
  }

  protected override ask(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse> {
    return this.asker.stream(request);
  }

  protected override askAll(request: Omit<QueryRequest, 'replicationId'>, onlyFirst = false): Promise<QueryResponse[]> {
    return this.asker.all(request, onlyFirst);
  }
}

/** A COMMIT that was refused because others came first. */
class CommitConflict extends Error {
  constructor(override readonly cause: unknown) {
    super('conflict');
  }
}

/** A callback that had its time. */
class CallbackTimeout extends Error {
  constructor(override readonly cause: HAError) {
    super(cause.message);
  }
}

/** Runs a callback, and waits for the calls that it did not wait for. */
async function complete<R>(tx: RemoteTransaction, fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
  const result = await runInContext(tx, () => fn(tx));
  await tx.settled();
  if (tx.overlap !== undefined) throw tx.overlap;
  return result;
}

/** What was not committed is rolled back with its stream. */
const inTransaction = (): boolean => false;

function isConflict(error: unknown): boolean {
  return error instanceof HAError && error.code === 'HA_CONFLICT' && error.retryable;
}

function closedConnection(): HAError {
  return new HAError('HA_TRANSACTION_CLOSED', 'The connection was closed. Make another one with connect().');
}

function callbackTimedOut(ms: number): HAError {
  return new HAError(
    'HA_TRANSACTION_TIMEOUT',
    `The transaction was rolled back: its callback had not ended after ${ms} ms, and all writes of the server wait for it.`,
    { details: { timeout: ms } },
  );
}

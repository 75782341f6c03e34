import type { WriteAnswer } from '../../changeset/changeset.js';
import { HAError } from '../../common/ha-error.js';
import { within } from '../../common/timing.js';
import { PLAIN_SHAPE } from '../../write/executor.js';
import type { HAParameters, HARunResult, HATransaction, HATransactionOptions } from '../../write/executor.js';
import type { HAOutcome } from '../../write/outcome.js';
import type { ExactResult } from '../../write/result.js';
import { StatementInfos, refuseControl } from '../../write/statement-info.js';
import { isMoved, leaderChanged, notLeader } from '../../write/write-router.js';
import type { RemoteLimits, RemoteWriter } from '../../write/write-router.js';
import type { RowShape } from '../../sqlite/statement-cache.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { toNamedValues } from './client-parameters.js';
import { NO_ANSWER, isUnanswered, resultOf, stopOf } from './forwarding-answers.js';
import { ForwardedTransaction } from './forwarded-transaction.js';
import { refuseSeveral } from './remote-executor.js';
import type { RemoteSession } from './remote-session.js';
import { RemoteTransaction } from './remote-transaction.js';
import { runCallback } from './run-callback.js';
import type { SessionPool } from './session-pool.js';
import { plain, shaped } from '../../write/shapes.js';

/** What a node that forwards needs of its own database. */
export interface ForwardingPorts {
  readonly replicationID: string;
  /** An id for a transaction that the leader publishes: it belongs to this node, which can settle what became of it. */
  takeId(): string;
  giveBackId(id: string): void;
  outcome(id: string): Promise<HAOutcome>;
  /** Resolves when this node has applied a sequence. @throws HAError `HA_WAIT_TIMEOUT`. */
  applied(sequence: bigint, timeoutMs: number): Promise<void>;
  /** What the transaction of an id, at a sequence, was to be answered with; undefined where nothing says. */
  answerAt(sequence: bigint, id: string): Promise<WriteAnswer | undefined>;
}

type Request = Omit<QueryRequest, 'replicationId'>;
type Method = 'run' | 'get' | 'all';

const MOST_ATTEMPTS = 64;
/** How long the stream may take to say what became of a write whose answer was lost, ms; the call may have had its time. */
const SETTLE_MS = 5_000;
const INFOS = new StatementInfos();
/** A statement that may give rows; it may also be a word in a text. */
const RETURNING = /\breturning\b/i;

/**
 * One write at the leader.
 *
 * ```
 * id of this node ─▶ leader runs it, and publishes it under that id ─▶ answer ─▶ applied here ─▶ resolved
 *                                             └─ no answer: what the stream has under the id, or never will have ─┘
 * ```
 */
export class LeaderCall implements RemoteWriter {
  constructor(
    private readonly pool: SessionPool,
    private readonly ports: ForwardingPorts,
    /** Time of `performance.now()`. */
    private readonly deadline: number,
    /** How long one answer inside of a transaction may take, ms. */
    private readonly timeout: number,
  ) {}

  async call(method: Method, sql: string, params: HAParameters | undefined, shape: RowShape): Promise<unknown> {
    const type = method === 'run' ? QueryType.EXEC_UPDATE : QueryType.EXEC_QUERY;
    return this.write<unknown>(
      requestOf(type, sql, params),
      (answers) => (method === 'run' ? runResult(answers.at(-1), shape) : rowsOf(answers, method, shape)),
      async (sequence, id) => {
        const answer = method === 'run' ? await this.ports.answerAt(sequence, id) : undefined;
        if (answer === undefined) throw resultLost(sequence, id);
        return { ...inShape(answer, shape), txseq: sequence };
      },
    );
  }

  async read(method: Method, sql: string, params: HAParameters | undefined, shape: RowShape): Promise<unknown> {
    const request = requestOf(QueryType.EXEC_QUERY, sql, params);
    const session = await this.lease();
    try {
      return rowsOf(await this.ask(session, request), method, shape);
    } catch (error) {
      throw isUnanswered(error) ? notLeader(error) : translated(error);
    } finally {
      this.pool.release(session);
    }
  }

  async writeAll(
    statements: readonly string[],
    params: HAParameters | undefined,
    foreignKeys?: boolean,
  ): Promise<ExactResult> {
    const [only, ...others] = statements;
    const request =
      others.length === 0
        ? requestOf(QueryType.UNSPECIFIED, only ?? '', params)
        : { type: QueryType.EXEC_UPDATE, sql: statements.join(';\n'), params: [] };
    return this.write(
      { ...request, ...enforcing(foreignKeys) },
      (answers) => resultOf(answers),
      async (sequence, id) => {
        const answer = RETURNING.test(statements.at(-1) ?? '') ? undefined : await this.ports.answerAt(sequence, id);
        if (answer === undefined) throw resultLost(sequence, id);
        return { reader: false, columns: [], rows: [], ...answer, txseq: sequence };
      },
    );
  }

  async exec(statements: readonly string[]): Promise<void> {
    // None has values: the wrong ones fail here as they do there.
    for (const sql of statements) toNamedValues(sql, undefined);
    const request = { type: QueryType.EXEC_UPDATE, sql: statements.join(';\n'), params: [] };
    await this.write<void>(
      request,
      () => undefined,
      () => undefined,
    );
  }

  async begin(limits: RemoteLimits): Promise<ForwardedTransaction> {
    const session = await this.lease();
    const sql = limits.serializable ? 'BEGIN EXCLUSIVE' : 'BEGIN';
    const { idleTimeout, timeout, foreignKeys } = limits;
    try {
      const request = { type: QueryType.EXEC_UPDATE, sql, params: [], idleTimeout, timeout };
      await this.ask(session, { ...request, ...enforcing(foreignKeys) });
    } catch (error) {
      session.cancel();
      this.pool.release(session);
      throw isUnanswered(error) ? notLeader(error) : translated(error);
    }
    return new ForwardedTransaction({
      session,
      ask: (request, onlyFirst) => this.askWithin(session, request, this.timeout, onlyFirst),
      stream: (request) => this.stream(session, request),
      release: () => this.pool.release(session),
      commit: () => this.again().commit(session),
    });
  }

  async transaction<R>(
    owner: object,
    fn: (tx: HATransaction) => R | Promise<R>,
    options: HATransactionOptions,
    limits: RemoteLimits,
  ): Promise<R> {
    for (let attempt = 1; ; attempt++) {
      const steps = await (attempt === 1 ? this : this.again()).begin(limits);
      const tx = new RemoteTransaction(owner, steps.asker, attempt);
      let result: R;
      try {
        result = await runCallback(tx, fn, limits.timeout);
      } catch (error) {
        tx.end();
        await steps.rollback();
        throw error;
      }
      try {
        await steps.commit();
        return result;
      } catch (error) {
        const isConflict = error instanceof HAError && error.code === 'HA_CONFLICT' && error.retryable;
        if (!isConflict || options.retry === false || attempt >= MOST_ATTEMPTS) throw error;
      }
    }
  }

  /** The same with all of its time. */
  private again(): LeaderCall {
    return new LeaderCall(this.pool, this.ports, performance.now() + this.timeout, this.timeout);
  }

  /** @throws HAError `HA_LEADER_CHANGED` where it surely was not stored. */
  private async commit(session: RemoteSession): Promise<number | undefined> {
    // Nothing would be sent.
    if (!session.isAlive) throw leaderChanged(undefined);
    const id = this.ports.takeId();
    const request = { type: QueryType.EXEC_UPDATE, sql: 'COMMIT', params: [], transactionId: id };
    try {
      const answers = await this.ask(session, request);
      const sequence = await this.written(answers.at(-1)?.txseq ?? 0n, id);
      return sequence === 0n ? undefined : Number(sequence);
    } catch (error) {
      if (error instanceof WrittenError) throw error.cause;
      return Number(await this.settled(id, error, leaderChanged));
    }
  }

  private async write<T>(
    request: Request,
    read: (answers: readonly QueryResponse[]) => T,
    lost: (sequence: bigint, id: string) => T | Promise<T>,
  ): Promise<T> {
    const { pool, ports } = this;
    const session = await this.lease();
    const id = ports.takeId();
    let answers: readonly QueryResponse[];
    try {
      answers = await this.ask(session, { ...request, transactionId: id });
    } catch (error) {
      if (isUnanswered(error)) session.cancel();
      return lost(await this.settled(id, error, notLeader), id);
    } finally {
      pool.release(session);
    }
    try {
      await this.written(answers.at(-1)?.txseq ?? 0n, id);
    } catch (error) {
      throw error instanceof WrittenError ? error.cause : error;
    }
    return read(answers);
  }

  /** The leader has answered: waits until this node has what was written. */
  private async written(sequence: bigint, id: string): Promise<bigint> {
    if (sequence === 0n) this.ports.giveBackId(id);
    else await this.applied(sequence);
    return sequence;
  }

  private async applied(sequence: bigint): Promise<void> {
    try {
      await this.ports.applied(sequence, this.left);
    } catch (error) {
      throw new WrittenError(notApplied(sequence, error));
    }
  }

  /**
   * What became of a write that has failed: resolves with the sequence where it is in the stream all the same.
   *
   * @param moved Makes the error for what surely was not done, and never will be.
   */
  private async settled(id: string, error: unknown, moved: (cause: unknown) => HAError): Promise<bigint> {
    if (!isUnanswered(error) && !isPublishUnknown(error)) {
      if (isUnwritten(error)) this.ports.giveBackId(id);
      const known = translated(error);
      throw isMoved(known) ? moved(stopOf(error) ?? error) : known;
    }
    const patience = Math.max(this.left, SETTLE_MS);
    const outcome = await within(
      patience,
      this.ports.outcome(id).catch(() => undefined),
    );
    if (outcome?.state === 'not_committed') throw moved(error);
    if (outcome?.state !== 'committed') throw unknown(id, error);
    const sequence = outcome.sequence ?? 0n;
    try {
      await this.applied(sequence);
    } catch (late) {
      throw late instanceof WrittenError ? late.cause : late;
    }
    return sequence;
  }

  private get left(): number {
    return Math.max(1, this.deadline - performance.now());
  }

  /** @throws HAError `HA_NOT_LEADER` where nothing was sent. */
  private async lease(): Promise<RemoteSession> {
    try {
      return await this.pool.lease(this.left);
    } catch (error) {
      const isGone = error instanceof HAError && (NO_ANSWER.has(error.code) || error.code === 'HA_DATABASE_CLOSED');
      throw isGone ? notLeader(error) : error;
    }
  }

  private ask(session: RemoteSession, request: Request): Promise<readonly QueryResponse[]> {
    return this.askWithin(session, request, this.left, false);
  }

  private async askWithin(
    session: RemoteSession,
    request: Request,
    timeout: number,
    onlyFirst: boolean,
  ): Promise<QueryResponse[]> {
    let answer = await session.ask({ ...request, replicationId: this.ports.replicationID }, timeout);
    const answers = [answer];
    while (answer.more) {
      answer = await session.next(timeout);
      if (!onlyFirst) answers.push(answer);
    }
    return answers;
  }

  private async *stream(session: RemoteSession, request: Request): AsyncGenerator<QueryResponse> {
    yield* await this.askWithin(session, request, this.timeout, false);
  }
}

/** The write is done; what failed came behind that. */
class WrittenError extends Error {
  constructor(override readonly cause: HAError) {
    super(cause.message);
  }
}

function enforcing(foreignKeys: boolean | undefined): Pick<QueryRequest, 'foreignKeys'> {
  return foreignKeys === undefined ? {} : { foreignKeys };
}

function requestOf(type: number, sql: string, params: HAParameters | undefined): Request {
  refuseControl(INFOS.of(sql));
  refuseSeveral(sql);
  return { type, sql, params: toNamedValues(sql, params) };
}

function runResult(answer: QueryResponse | undefined, shape: RowShape): HARunResult {
  const { rowsAffected = 0n, lastInsertId = 0n, txseq = 0n } = answer ?? {};
  const result = inShape({ changes: Number(rowsAffected), lastInsertRowid: lastInsertId }, shape);
  return txseq === 0n ? result : { ...result, txseq };
}

function inShape({ changes, lastInsertRowid }: WriteAnswer, { safeIntegers }: RowShape): HARunResult {
  return { changes, lastInsertRowid: (safeIntegers ? lastInsertRowid : plain(lastInsertRowid)) as number | bigint };
}

function rowsOf(answers: readonly QueryResponse[], method: Method, shape: RowShape = PLAIN_SHAPE): unknown {
  const rows = answers.flatMap(({ resultSet }) =>
    (resultSet?.rows ?? []).map((row) => shaped(resultSet?.columns ?? [], row, shape)),
  );
  return method === 'get' ? rows[0] : rows;
}

function isPublishUnknown(error: unknown): boolean {
  return error instanceof HAError && error.code === 'HA_PUBLISH_UNKNOWN';
}

/** True where the leader says that nothing was published. */
function isUnwritten(error: unknown): boolean {
  return !(error instanceof HAError) || isMoved(error);
}

/** What the leader answered, as it is meant here: where its database is being stopped, another one will lead. */
function translated(error: unknown): unknown {
  const stopped = stopOf(error);
  return stopped === undefined ? error : notLeader(stopped);
}

function unknown(id: string, cause: unknown): HAError {
  const because = cause instanceof Error ? ` (${cause.message})` : '';
  return new HAError(
    'HA_PUBLISH_UNKNOWN',
    `The leader did not say what became of the write, and the stream cannot be asked now${because}. Do not run it again before you know: db.outcome('${id}') on this node tells.`,
    { cause, details: { id } },
  );
}

function notApplied(sequence: bigint, cause: unknown): HAError {
  return new HAError(
    'HA_WAIT_TIMEOUT',
    `The leader has written this, at sequence ${sequence}, but this node has not applied it in time (${(cause as Error).message}) Do not run it again: it comes here by itself.`,
    { cause, details: { sequence: Number(sequence), written: true } },
  );
}

function resultLost(sequence: bigint, id: string): HAError {
  return new HAError(
    'HA_RESULT_LOST',
    `The write is done, at sequence ${sequence}, and applied here, but the leader's answer with its rows was lost. Do not run it again: read what it wrote.`,
    { details: { sequence: Number(sequence), id } },
  );
}

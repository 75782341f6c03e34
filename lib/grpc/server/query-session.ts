import { HAError } from '../../common/ha-error.js';
import { immediate } from '../../common/timing.js';
import { isHistoryStatement } from '../../history/statements.js';
import { splitStatements } from '../../sql/split.js';
import type { ExactResult, RowCursor } from '../../write/result.js';
import type { HASession, WriteTicket } from '../../write/session.js';
import { AnswerWriter, QueryType } from '../codec/messages.js';
import type { QueryRequest } from '../codec/messages.js';
import type { ReceivedRequest } from '../proto.js';
import { errorAnswer } from './answers.js';
import { HistoryQuery } from './history-query.js';
import type { ParameterBinder } from './parameters.js';
import { answerLimit, tooLarge, tooSlow } from './result-limits.js';
import type { ServedDatabase, ServedDatabases } from './served-database.js';

/** The loop may do something else after this time, ms, looked at once in so many rows. */
const SLICE_MS = 4;
const ROWS_PER_LOOK = 64;

/**
 * One session of a caller: turns requests into answers. It has one session of each database that it speaks to, and a
 * transaction in at most one of them.
 */
export class QuerySession {
  private readonly sessions = new Map<ServedDatabase, HASession>();
  private closed = false;

  constructor(
    private readonly databases: ServedDatabases,
    private readonly binder: ParameterBinder,
    /** The caller takes results in parts, and codes of errors. */
    private readonly extended: boolean,
    /** A node of the cluster sends this as to the leader. */
    private readonly isForwarded = false,
  ) {}

  /**
   * Answers one request; takes rows no faster than the answers are taken.
   *
   * @throws what `send` throws, and nothing else: a statement that fails is answered.
   */
  async answer(received: ReceivedRequest, send: Send): Promise<void> {
    let answer: Answer;
    try {
      if ('failure' in received) throw received.failure;
      answer = await this.run(received.request);
    } catch (error) {
      answer = errorAnswer(error, this.extended);
    }
    if (Buffer.isBuffer(answer)) await send(answer);
    else if (answer instanceof HistoryQuery) {
      const failure = await answer.send(send, this.extended);
      if (failure !== undefined) await send(errorAnswer(failure, this.extended));
    } else await this.sendRows(answer, send);
  }

  /** Rolls back what is open. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.sessions.values()].map((session) => session.close()));
    this.sessions.clear();
  }

  /** The answer, or rows that make it. */
  private async run(request: QueryRequest): Promise<Answer> {
    const { type, sql, params } = request;
    if (type === QueryType.PING) return EMPTY;
    const served = this.databases.find(this.nameOf(request));
    const session = this.sessionOf(served);
    if (isHistoryStatement(sql)) return HistoryQuery.run(request, served, session.inTransaction);
    const bound = this.binder.bind(sql, params);
    if (type === QueryType.EXEC_UPDATE && bound === undefined && hasSeveral(sql)) {
      return counts(await session.script(sql, this.ticketOf(request)), undefined);
    }
    const answer = await session.streamWith(sql, bound, this.ticketOf(request));
    if ('result' in answer && this.isForwarded) return forwarded(answer.result, type);
    if ('result' in answer) return complete(answer.result, type, this.publishedOf(served, session));
    if (type !== QueryType.EXEC_UPDATE) return { cursor: answer.cursor, served, session };
    await exhaust(answer.cursor, served.timeout);
    return counts(undefined, this.publishedOf(served, session));
  }

  private ticketOf({ type, transactionId, idleTimeout, timeout, foreignKeys }: QueryRequest): WriteTicket | undefined {
    if (!this.isForwarded) return undefined;
    return { id: transactionId, idleTimeout, timeout, foreignKeys, wantsRows: type === QueryType.EXEC_QUERY };
  }

  /** In a transaction its database is meant where none is named. */
  private nameOf({ replicationId }: QueryRequest): string {
    const [open] = [...this.sessions].filter(([, session]) => session.inTransaction);
    if (open === undefined) return replicationId;
    const name = open[0].replicationID;
    if (replicationId === '' || replicationId === name) return name;
    throw new HAError(
      'HA_TRANSACTION_CONTROL',
      `A transaction is open on '${name}' in this session. COMMIT or ROLLBACK it before you go to '${replicationId}'.`,
    );
  }

  private sessionOf(served: ServedDatabase): HASession {
    let session = this.sessions.get(served);
    if (session === undefined) {
      session = served.database.connectFrom({}, { isForwarded: this.isForwarded });
      this.sessions.set(served, session);
      // A request that came with the end of the stream must not leave a session behind.
      if (this.closed) void session.close();
    }
    return session;
  }

  private publishedOf({ database }: ServedDatabase, session: HASession): bigint {
    return session.inTransaction ? 0n : database.position().published;
  }

  private async sendRows(rows: Rows, send: Send): Promise<void> {
    try {
      for (let more = true; more;) {
        let answer: Buffer;
        try {
          const part = this.fill(rows);
          const writer = part instanceof Promise ? await part : part;
          more = writer.more;
          answer = this.finish(writer, rows);
        } catch (error) {
          more = false;
          answer = errorAnswer(error, this.extended);
        }
        await send(answer);
      }
    } finally {
      rows.cursor.close();
    }
  }

  private finish({ writer, more }: Part, { served, session }: Rows): Buffer {
    if (!more) return writer.finish({ txseq: this.publishedOf(served, session) });
    if (!this.extended) throw tooLarge();
    return writer.finish({ more: true });
  }

  /** Takes rows for one message: at once, or with pauses where that takes long. */
  private fill({ cursor, served }: Rows): Part | Promise<Part> {
    const limit = answerLimit(this.extended);
    const writer = new AnswerWriter(cursor.columns);
    const pace = new Pace(served.timeout);
    const take = (): Part | Promise<void> => {
      for (let row = cursor.next(); row !== undefined; row = cursor.next()) {
        writer.add(row);
        if (writer.length >= limit) return { writer, more: true };
        const pause = pace.tick();
        if (pause !== undefined) return pause;
      }
      return { writer, more: false };
    };
    const goOn = async (pause: Promise<void>): Promise<Part> => {
      await pause;
      const next = take();
      return next instanceof Promise ? goOn(next) : next;
    };
    const first = take();
    return first instanceof Promise ? goOn(first) : first;
  }
}

/** Hands an answer to the caller; a promise where that has to take something before it gets more. */
export type Send = (answer: Buffer) => Promise<void> | undefined;

interface Rows {
  readonly cursor: RowCursor;
  readonly served: ServedDatabase;
  readonly session: HASession;
}

interface Part {
  readonly writer: AnswerWriter;
  readonly more: boolean;
}

type Answer = Buffer | Rows | HistoryQuery;

const EMPTY = Buffer.alloc(0);

/** Lets others have their turn, and ends what takes too long. */
class Pace {
  private readonly started = performance.now();
  private slice = this.started;
  private ticks = 0;

  constructor(private readonly timeout: number) {}

  /** Returns something to wait for now and then. */
  tick(): Promise<void> | undefined {
    if (++this.ticks % ROWS_PER_LOOK !== 0) return undefined;
    const now = performance.now();
    if (now - this.slice < SLICE_MS) return undefined;
    if (now - this.started > this.timeout) throw tooSlow(this.timeout);
    return this.pause();
  }

  private async pause(): Promise<void> {
    await immediate();
    this.slice = performance.now();
  }
}

async function exhaust(cursor: RowCursor, timeout: number): Promise<void> {
  const pace = new Pace(timeout);
  try {
    while (cursor.next() !== undefined) await pace.tick();
  } finally {
    cursor.close();
  }
}

/** All that it did: a node gives it to its caller as if it had been done there. */
function forwarded(result: ExactResult, type: number): Buffer {
  const writer = new AnswerWriter(type === QueryType.EXEC_UPDATE || !result.reader ? undefined : result.columns);
  if (type !== QueryType.EXEC_UPDATE) for (const row of result.rows) writer.add(row);
  const { changes, lastInsertRowid, txseq } = result;
  return writer.finish({ rowsAffected: changes, lastInsertId: lastInsertRowid, txseq });
}

function complete(result: ExactResult, type: number, published: bigint): Buffer {
  if (type === QueryType.EXEC_UPDATE || (type === QueryType.UNSPECIFIED && !result.reader))
    return counts(result, undefined);
  const writer = new AnswerWriter(result.columns);
  for (const row of result.rows) writer.add(row);
  return writer.finish({ txseq: result.txseq ?? (result.changes === 0 ? published : 0n) });
}

function counts(result: ExactResult | undefined, published: bigint | undefined): Buffer {
  return new AnswerWriter(undefined).finish({
    rowsAffected: result?.changes ?? 0,
    lastInsertId: result?.lastInsertRowid ?? 0,
    txseq: result?.txseq ?? published,
  });
}

function hasSeveral(sql: string): boolean {
  return sql.includes(';') && splitStatements(sql).length > 1;
}

import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../common/ha-error.js';
import { splitStatements } from '../sql/split.js';
import type { PragmaInfo, StatementInfo } from '../sql/statement-info.js';
import type { CrossQuery } from './cross-port.js';
import { EXACT_SHAPE } from './executor.js';
import type { HAExecuteOptions, HAParameters, HAResult } from './executor.js';
import { InteractiveTransaction } from './interactive-transaction.js';
import type { InteractiveLimits } from './interactive-transaction.js';
import { refuseReadOnly } from './open-database.js';
import type { OpenDatabase } from './open-database.js';
import type { ExactResult, ResultShape, RowCursor, StatementResult } from './result.js';
import { runsAlone } from './script.js';
import { controlStatement, isRollback } from './session-control.js';
import { inShape, shapeOf, toResult } from './shapes.js';
import type { ControlStatement } from './session-control.js';
import { SessionPragmas, cutAtPragmas, isSessionPragma } from './session-pragmas.js';
import { isAsking, isWrite, refuseUnfollowed } from './statement-info.js';
import { isMoved, leaderChanged } from './write-router.js';
import type { RemoteWriter, SessionTransaction, WriteRouter } from './write-router.js';

/** How a session of a database behaves, and how its {@link HASession.execute} returns rows where a call does not say. */
export interface HASessionOptions extends HAExecuteOptions {
  /** Milliseconds without a statement after which its open transaction is rolled back. Default: option `transactionTimeout`. */
  readonly idleTimeout?: number;
  /** Milliseconds that a transaction may take in all. Default: a minute, or `idleTimeout` where that is more. */
  readonly timeout?: number;
}

/** Who a session is for. @internal */
export interface SessionOrigin {
  /** Another node has sent what comes, as to the leader: it is run here, or nowhere. */
  readonly isForwarded?: boolean;
}

/** What comes with a statement of a forwarded session. @internal */
export interface WriteTicket {
  /** What its transaction is to be called. */
  readonly id?: string | undefined;
  /** Limits of the transaction that it begins, ms. */
  readonly idleTimeout?: number | undefined;
  readonly timeout?: number | undefined;
  /** Whether foreign keys are enforced in what is written or begun; else as in the session. */
  readonly foreignKeys?: boolean | undefined;
  /** Its rows are wanted: one that gives none is refused, as by `get` and `all`. */
  readonly wantsRows?: boolean | undefined;
}

/** What a session needs of its database. */
export interface SessionHost {
  readonly owner: object;
  readonly isForwarded: boolean;
  readonly transactionTimeout: number;
  /** False where the database is stopped, and while it starts. */
  readonly isOpen: boolean;
  opened(): OpenDatabase | Promise<OpenDatabase>;
  /** Notes where a transaction of the session stands; undefined where it changed nothing. */
  noteWritten(sequence: number | undefined): void;
  /** Who answers a read instead of this database. */
  across(sql: string, info: StatementInfo): CrossQuery | undefined;
  /** Writes one statement, or several as one transaction; gives what the last of them did. */
  write(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult>;
  runAlone(open: OpenDatabase, sql: string): Promise<unknown[]>;
}

/** What a statement gave: rows to be taken one by one, or all that it did. */
export type SessionAnswer = { readonly cursor: RowCursor } | { readonly result: ExactResult };

/** How a statement is run. */
interface Manner {
  readonly shape: ResultShape;
  /** Rows of a read are taken one by one. */
  readonly streams: boolean;
  readonly ticket?: WriteTicket | undefined;
}

type Answer = { readonly cursor: RowCursor } | { readonly result: StatementResult };

/**
 * ```
 * idle --BEGIN, SAVEPOINT--> open --COMMIT, ROLLBACK, RELEASE of the outermost--> idle
 *                            open --its transaction has ended by itself--> aborted --ROLLBACK, COMMIT (which fails)--> idle
 * ```
 */
type State =
  | { readonly kind: 'idle' }
  | {
      readonly kind: 'open';
      readonly transaction: SessionTransaction;
      readonly implicit: boolean;
      readonly open: OpenDatabase;
    }
  | { readonly kind: 'aborted'; readonly reason: unknown };

const IDLE: State = { kind: 'idle' };
const NOTHING: ExactResult = { reader: false, columns: [], rows: [], changes: 0, lastInsertRowid: 0n };
const CONTROL: ReadonlySet<string> = new Set(['begin', 'commit', 'rollback', 'savepoint', 'release']);
const LONGEST_MS = 60_000;

/**
 * A session: statements one after another, BEGIN, COMMIT, ROLLBACK and savepoints among them. BEGIN takes the write turn at
 * once, whatever it says; BEGIN EXCLUSIVE makes the transaction serializable. A transaction is never run again: a conflict
 * fails its COMMIT, which has then rolled back. Where a transaction ended by itself (it idled too long, OR ROLLBACK, the
 * database stopped) every statement fails until ROLLBACK, or a COMMIT that fails: nothing ever runs outside of the transaction that it was meant for.
 *
 * `PRAGMA foreign_keys` is state of the session, outside of transactions; what SQLite calls settings of a connection, such as
 * `journal_mode`, is answered and stays.
 *
 * A call waits for those before it. Close the session when it is done with.
 */
export class HASession {
  private state: State = IDLE;
  private cursor: RowCursor | undefined;
  /** Settles with the last call that was made, while there is one. */
  private last: Promise<void> | undefined;
  /** Absent in a database without a leader. */
  private router: WriteRouter | undefined;
  private isClosed = false;
  private readonly pragmas = new SessionPragmas();
  private readonly limits: { readonly idleTimeout: number; readonly timeout: number };

  constructor(
    private readonly host: SessionHost,
    private readonly options: HASessionOptions = {},
  ) {
    this.limits = sessionLimits(options, host.transactionTimeout);
  }

  /** True between BEGIN and the statement that ends it, also where the transaction has ended by itself. */
  get inTransaction(): boolean {
    return this.state.kind !== 'idle';
  }

  /**
   * Runs one statement. All of its rows are in memory; {@link stream} takes them one by one.
   *
   * @throws SqliteError `SQLITE_BUSY` with `retryable: true` where others came first: nothing of the transaction was written.
   */
  execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>> {
    return this.inTurn(async () => {
      const shape = shapeOf(options === undefined ? this.options : { ...this.options, ...options });
      try {
        const answer = (await this.perform(sql, params, { shape, streams: false })) as { result: StatementResult };
        return toResult<T>(answer.result, shape);
      } catch (error) {
        throw isConflict(error) ? busy(error) : error;
      }
    });
  }

  /** Runs one statement; a read gives a cursor with rows as arrays and integers as `bigint`, which the next statement closes. */
  stream(sql: string, params?: HAParameters): Promise<SessionAnswer> {
    return this.streamWith(sql, params, undefined);
  }

  /** The same with what another node has sent along. @internal */
  streamWith(sql: string, params: HAParameters | undefined, ticket: WriteTicket | undefined): Promise<SessionAnswer> {
    const manner = { shape: EXACT_SHAPE, streams: true, ticket };
    return this.inTurn(() => this.perform(sql, params, manner) as Promise<SessionAnswer>);
  }

  /** Statements of a session run one after another, whether their caller waits or not. */
  private inTurn<R>(work: () => Promise<R>): Promise<R> {
    const result = this.last === undefined ? work() : this.last.then(work);
    const settled: Promise<void> = result.then(
      () => this.done(settled),
      () => this.done(settled),
    );
    this.last = settled;
    return result;
  }

  private done(call: Promise<void>): void {
    if (this.last === call) this.last = undefined;
  }

  private async perform(sql: string, params: HAParameters | undefined, manner: Manner): Promise<Answer> {
    const { shape, ticket } = manner;
    this.cursor?.close();
    this.cursor = undefined;
    this.refuseClosed();
    // A database that was stopped has rolled back what was open: whoever cleans up is done.
    if (!this.host.isOpen && isRollback(sql)) return { result: await this.rollback() };
    const opening = this.opened();
    const open = opening instanceof Promise ? await opening : opening;
    const info = open.infos.of(sql);
    if (isControl(info)) return { result: await this.control(open, controlStatement(sql), ticket) };
    const { state } = this;
    if (state.kind === 'aborted') throw aborted(state.reason);
    if (info.kind === 'empty') return { result: NOTHING };
    if (info.pragma !== undefined && isSessionPragma(info)) {
      const answer = { ...NOTHING, ...this.pragmas.answer(open, sql, info.pragma, state.kind === 'open') };
      return { result: inShape(answer, shape) };
    }
    const reads = !isWrite(info) && (info.pragma === undefined || givesRows(open, sql, info.pragma));
    if (state.kind === 'open') return this.inside(state.transaction, sql, params, reads, manner);
    const across = reads ? this.host.across(sql, info) : undefined;
    if (across !== undefined) return { result: await rowsOf(across, params, shape) };
    if (this.host.isForwarded) open.router?.refuseUnlessLeader();
    if (reads && !manner.streams) return { result: open.reads.result(sql, params, shape) };
    if (reads) return { cursor: (this.cursor = open.reads.cursor(sql, params)) };
    if (!isWrite(info)) return { result: NOTHING };
    if (runsAlone(sql, open.infos)) {
      await this.host.runAlone(open, sql);
      return { result: NOTHING };
    }
    const result = await this.host.write(open, [sql], params, shape, this.enforcing(ticket));
    return { result: info.kind === 'ddl' ? withoutCounts(result) : result };
  }

  /**
   * Runs a script. Outside of a transaction, and without transaction control in it, it is one transaction; else its statements
   * run one after another, and the first failure ends it. Gives what the last statement did.
   */
  script(text: string, ticket?: WriteTicket): Promise<ExactResult> {
    return this.inTurn(() => this.performAll(text, ticket));
  }

  private async performAll(text: string, ticket: WriteTicket | undefined): Promise<ExactResult> {
    const statements = splitStatements(text).map(({ sql }) => sql);
    const open = await this.opened();
    const alone = (sql: string): boolean => isControl(open.infos.of(sql)) || runsAlone(sql, open.infos);
    if (this.state.kind === 'idle' && statements.length > 0 && !statements.some(alone)) {
      return this.scriptInParts(open, statements, ticket);
    }
    let last = NOTHING;
    for (const sql of statements) {
      const answer = await this.perform(sql, undefined, { shape: EXACT_SHAPE, streams: false });
      last = (answer as { result: ExactResult }).result;
    }
    return last;
  }

  /** One transaction, but for PRAGMAs that the session answers itself: what stands between them is one each. */
  private async scriptInParts(
    open: OpenDatabase,
    statements: readonly string[],
    ticket: WriteTicket | undefined,
  ): Promise<ExactResult> {
    let last = NOTHING;
    for (const part of cutAtPragmas(statements, (sql) => open.infos.of(sql))) {
      if ('pragma' in part) await this.perform(part.pragma, undefined, { shape: EXACT_SHAPE, streams: false });
      else {
        const answer = this.host.write(open, part.statements, undefined, EXACT_SHAPE, this.enforcing(ticket));
        last = (await answer) as ExactResult;
      }
    }
    return last;
  }

  /** A ticket that says whether foreign keys are enforced, where the session has an opinion. */
  private enforcing(ticket: WriteTicket | undefined): WriteTicket | undefined {
    const { foreignKeys } = this.pragmas;
    return foreignKeys === undefined ? ticket : { ...ticket, foreignKeys: ticket?.foreignKeys ?? foreignKeys };
  }

  /** Rolls back what is open. Never fails; nothing can be run any more. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.cursor?.close();
    this.cursor = undefined;
    if (this.state.kind === 'open') await this.state.transaction.rollback();
    this.state = IDLE;
  }

  /** At once where it is open: reads cost little more than SQLite itself then. */
  private opened(): OpenDatabase | Promise<OpenDatabase> {
    this.refuseClosed();
    const { state } = this;
    // What is open goes on although the database takes no other calls any more: it waits for that.
    if (!this.host.isOpen && state.kind === 'open' && state.transaction.isOpen) return state.open;
    const open = this.host.opened();
    return open instanceof Promise ? this.openedLater(open) : open;
  }

  private async openedLater(opening: Promise<OpenDatabase>): Promise<OpenDatabase> {
    const open = await opening;
    this.refuseClosed();
    return open;
  }

  private refuseClosed(): void {
    if (this.isClosed) throw new HAError('HA_TRANSACTION_CLOSED', 'The session was closed.');
  }

  private async inside(
    transaction: SessionTransaction,
    sql: string,
    params: HAParameters | undefined,
    reads: boolean,
    { shape, streams, ticket }: Manner,
  ): Promise<Answer> {
    try {
      return reads && streams
        ? { cursor: (this.cursor = await transaction.read(sql, params)) }
        : { result: await transaction.execute(sql, params, shape, ticket?.wantsRows) };
    } catch (error) {
      if (!transaction.isOpen) this.abort(transaction, error);
      throw error;
    }
  }

  private control(
    open: OpenDatabase,
    control: ControlStatement,
    ticket: WriteTicket | undefined,
  ): Promise<ExactResult> {
    switch (control.kind) {
      case 'begin':
        return this.begin(open, false, control.serializable, ticket);
      case 'commit':
        return this.commit(ticket?.id);
      case 'rollback':
        return this.rollback();
      default:
        return this.savepoint(open, control);
    }
  }

  private async begin(
    open: OpenDatabase,
    implicit: boolean,
    serializable: boolean,
    ticket?: WriteTicket,
  ): Promise<ExactResult> {
    if (this.state.kind === 'aborted') throw aborted(this.state.reason);
    if (this.state.kind === 'open') throw nested();
    const {
      idleTimeout = this.limits.idleTimeout,
      timeout = this.limits.timeout,
      foreignKeys,
    } = this.enforcing(ticket) ?? {};
    const limits = { idleTimeout, timeout, serializable, foreignKeys };
    const transaction = await beginTransaction(this.host, open, limits, () => this.refuseClosed());
    if (this.isClosed) await transaction.rollback();
    this.refuseClosed();
    this.router = open.router;
    this.state = { kind: 'open', transaction, implicit, open };
    return NOTHING;
  }

  private async commit(id?: string): Promise<ExactResult> {
    const { state } = this;
    this.state = IDLE;
    if (state.kind === 'aborted') throw aborted(state.reason);
    if (state.kind === 'idle') throw notBegun();
    const sequence = await this.committed(state.transaction, id);
    this.host.noteWritten(sequence);
    return sequence === undefined ? NOTHING : { ...NOTHING, txseq: BigInt(sequence) };
  }

  private async committed(transaction: SessionTransaction, id: string | undefined): Promise<number | undefined> {
    try {
      const running = transaction.commit(id);
      return await (this.router?.follow(running) ?? running);
    } catch (error) {
      // Its statements have run: it is not for us to run them again elsewhere.
      throw isMoved(error) && !this.host.isForwarded ? leaderChanged(error) : error;
    }
  }

  private async rollback(): Promise<ExactResult> {
    const { state } = this;
    this.state = IDLE;
    if (state.kind === 'open') await state.transaction.rollback();
    return NOTHING;
  }

  /** Outside of a transaction SAVEPOINT begins one, as in SQLite. */
  private async savepoint(
    open: OpenDatabase,
    control: ControlStatement & { readonly name: string },
  ): Promise<ExactResult> {
    if (control.kind === 'savepoint' && this.state.kind === 'idle') await this.begin(open, true, false);
    const { state } = this;
    if (state.kind === 'aborted') throw aborted(state.reason);
    if (state.kind === 'idle') throw noSavepoint(control.name);
    const { transaction, implicit } = state;
    try {
      if (control.kind === 'savepoint') await transaction.savepoint(control.name);
      else if (control.kind === 'rollbackTo') await transaction.rollbackTo(control.name);
      else if ((await transaction.release(control.name)) && implicit) return await this.commit();
    } catch (error) {
      if (this.state.kind === 'open' && !transaction.isOpen) this.abort(transaction, error);
      throw error;
    }
    return NOTHING;
  }

  private abort(transaction: SessionTransaction, reason: unknown): void {
    void transaction.rollback();
    this.state = { kind: 'aborted', reason };
  }
}

/** How long a transaction of a session may be idle, and take, ms. */
export function sessionLimits(
  options: HASessionOptions,
  transactionTimeout: number,
): { readonly idleTimeout: number; readonly timeout: number } {
  const { idleTimeout = transactionTimeout } = options;
  return { idleTimeout, timeout: options.timeout ?? Math.max(LONGEST_MS, idleTimeout) };
}

/** Begins a transaction whose statements come one by one, here or at the leader. */
export async function beginTransaction(
  host: Pick<SessionHost, 'owner' | 'isForwarded'>,
  open: OpenDatabase,
  limits: InteractiveLimits,
  refuse?: () => void,
): Promise<SessionTransaction> {
  refuseReadOnly(open);
  if (limits.serializable && open.publishesOnly) refuseUnfollowed('A serializable transaction');
  const here = (): Promise<SessionTransaction> => InteractiveTransaction.begin(host.owner, open, limits, refuse);
  if (host.isForwarded) open.router?.refuseUnlessLeader();
  const { router } = open;
  if (router === undefined || host.isForwarded) return here();
  const there = async (leader: RemoteWriter): Promise<SessionTransaction> => {
    const transaction = await leader.begin(limits);
    void router.follow(transaction.over);
    return transaction;
  };
  return router.route({ here, there });
}

async function rowsOf(
  across: CrossQuery,
  params: HAParameters | undefined,
  shape: ResultShape,
): Promise<StatementResult> {
  const { columns, rows } = await across.exact(params);
  return inShape({ ...NOTHING, reader: true, columns, rows }, shape);
}

/**
 * What gives no rows cannot be iterated: a PRAGMA that does not exist, for one. What asks for the schema is not compiled here:
 * the table may have been made by the transaction that is open.
 */
function givesRows(open: OpenDatabase, sql: string, pragma: PragmaInfo): boolean {
  return isAsking(pragma) || open.connections.reader.prepare(sql).reader;
}

/** What SQLite counts behind DDL are rows of its own tables. */
function withoutCounts(result: StatementResult): StatementResult {
  return { ...result, changes: 0, lastInsertRowid: 0n };
}

function isConflict(error: unknown): error is HAError {
  return error instanceof HAError && error.code === 'HA_CONFLICT' && error.retryable;
}

/** What query builders know of a transaction that others were in the way of: https://www.sqlite.org/rescode.html#busy */
function busy(conflict: HAError): Error {
  const error = new BetterSqlite3.SqliteError(conflict.message, 'SQLITE_BUSY');
  return Object.assign(error, { retryable: true, cause: conflict });
}

function isControl({ kind }: StatementInfo): boolean {
  return CONTROL.has(kind);
}

/** The result of a write with its place in the stream. */
export function resultAt(result: StatementResult, sequence: number | undefined): StatementResult {
  return sequence === undefined ? result : { ...result, txseq: BigInt(sequence) };
}

function nested(): HAError {
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    'A transaction is open in this session: it cannot begin another. Use SAVEPOINT inside it, or COMMIT first.',
  );
}

function notBegun(): HAError {
  return new HAError('HA_TRANSACTION_CONTROL', 'There is nothing to commit: no transaction is open. Send BEGIN first.');
}

function noSavepoint(name: string): HAError {
  return new HAError('HA_TRANSACTION_CONTROL', `There is no savepoint '${name}': no transaction is open.`, {
    details: { name },
  });
}

function aborted(reason: unknown): HAError {
  const because = reason instanceof Error ? reason.message : String(reason);
  return new HAError(
    'HA_TRANSACTION_CLOSED',
    `The transaction of this session has ended, and nothing of it was written: ${because} Send ROLLBACK, and begin anew.`,
    { cause: reason, retryable: reason instanceof HAError && reason.retryable },
  );
}

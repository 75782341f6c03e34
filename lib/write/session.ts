import { HAError } from '../common/ha-error.js';
import { splitStatements } from '../sql/split.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { CrossQuery } from './cross-port.js';
import type { HAParameters, HARunResult } from './executor.js';
import type { OpenDatabase } from './ha-database.js';
import { InteractiveTransaction } from './interactive-transaction.js';
import type { HAResult, RowCursor } from './result.js';
import { runsAlone } from './script.js';
import { controlStatement } from './session-control.js';
import type { ControlStatement } from './session-control.js';
import { isWrite, refuseUnfollowed } from './statement-info.js';
import { isMoved, leaderChanged } from './write-router.js';
import type { SessionTransaction, WriteRouter } from './write-router.js';

/** How a session of a database behaves. */
export interface HASessionOptions {
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
  /** Its rows are wanted: one that gives none is refused, as by `get` and `all`. */
  readonly wantsRows?: boolean | undefined;
}

/** What a session needs of its database. */
export interface SessionHost {
  readonly owner: object;
  readonly isForwarded: boolean;
  readonly transactionTimeout: number;
  opened(): OpenDatabase | Promise<OpenDatabase>;
  refuseReadOnly(open: OpenDatabase): void;
  /** Notes where a transaction of the session stands; undefined where it changed nothing. */
  noteWritten(sequence: number | undefined): void;
  /** Who answers a read instead of this database. */
  across(sql: string, info: StatementInfo): CrossQuery | undefined;
  /** Writes one statement, or several as one transaction; gives what the last of them did. */
  write(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    ticket: WriteTicket | undefined,
  ): Promise<HAResult>;
  runAlone(open: OpenDatabase, sql: string): Promise<unknown[]>;
}

/** What a statement gave: rows to be taken one by one, or all that it did. */
export type SessionAnswer = { readonly cursor: RowCursor } | { readonly result: HAResult };

/**
 * ```
 * idle --BEGIN, SAVEPOINT--> open --COMMIT, ROLLBACK, RELEASE of the outermost--> idle
 *                            open --its transaction has ended by itself--> aborted --ROLLBACK, COMMIT (which fails)--> idle
 * ```
 */
type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'open'; readonly transaction: SessionTransaction; readonly implicit: boolean }
  | { readonly kind: 'aborted'; readonly reason: unknown };

const IDLE: State = { kind: 'idle' };
const NOTHING: HAResult = { reader: false, columns: [], rows: [], changes: 0, lastInsertRowid: 0n };
const CONTROL: ReadonlySet<string> = new Set(['begin', 'commit', 'rollback', 'savepoint', 'release']);
const LONGEST_MS = 60_000;

/**
 * A session: statements one after another, BEGIN, COMMIT, ROLLBACK and savepoints among them. BEGIN takes the write turn at
 * once, whatever it says; BEGIN EXCLUSIVE makes the transaction serializable. A transaction is never run again: a conflict fails its COMMIT, which has then rolled back. Where a
 * transaction ended by itself (it idled too long, OR ROLLBACK, the database stopped) every statement fails until ROLLBACK,
 * or a COMMIT that fails: nothing ever runs outside of the transaction that it was meant for.
 *
 * Await each call before the next. Close it when it is done with.
 */
export class HASession {
  private state: State = IDLE;
  private cursor: RowCursor | undefined;
  /** Absent in a database without a leader. */
  private router: WriteRouter | undefined;
  private readonly closing = new AbortController();
  private readonly limits: { readonly idleTimeout: number; readonly timeout: number };

  constructor(
    private readonly host: SessionHost,
    options: HASessionOptions = {},
  ) {
    const idleTimeout = options.idleTimeout ?? host.transactionTimeout;
    this.limits = { idleTimeout, timeout: options.timeout ?? Math.max(LONGEST_MS, idleTimeout) };
  }

  /** True between BEGIN and the statement that ends it, also where the transaction has ended by itself. */
  get inTransaction(): boolean {
    return this.state.kind !== 'idle';
  }

  /** Runs one statement. Rows are arrays, integers `bigint`; all rows are in memory, {@link stream} takes them one by one. */
  async execute(sql: string, params?: HAParameters): Promise<HAResult> {
    const answer = await this.stream(sql, params);
    if ('result' in answer) return answer.result;
    const rows: (readonly unknown[])[] = [];
    for (let row = answer.cursor.next(); row !== undefined; row = answer.cursor.next()) rows.push(row);
    return { ...NOTHING, reader: true, columns: answer.cursor.columns, rows };
  }

  /** Runs one statement; a read gives a cursor, which the next statement closes. */
  stream(sql: string, params?: HAParameters): Promise<SessionAnswer> {
    return this.streamWith(sql, params, undefined);
  }

  /** The same with what another node has sent along. @internal */
  async streamWith(
    sql: string,
    params: HAParameters | undefined,
    ticket: WriteTicket | undefined,
  ): Promise<SessionAnswer> {
    this.cursor?.close();
    this.cursor = undefined;
    const open = await this.opened();
    const info = open.infos.of(sql);
    if (isControl(info)) return { result: await this.control(open, controlStatement(sql), ticket) };
    const { state } = this;
    if (state.kind === 'aborted') throw aborted(state.reason);
    if (info.kind === 'empty') return { result: NOTHING };
    // What gives no rows cannot be iterated: a PRAGMA that does not exist, for one.
    const reads = !isWrite(info) && (info.kind !== 'pragma' || open.connections.reader.prepare(sql).reader);
    if (state.kind === 'open') return this.inside(state.transaction, sql, params, reads, ticket?.wantsRows);
    const across = reads ? this.host.across(sql, info) : undefined;
    if (across !== undefined) return { result: { ...NOTHING, reader: true, ...(await rowsOf(across, params)) } };
    if (this.host.isForwarded) open.router?.refuseUnlessLeader();
    if (reads) return { cursor: (this.cursor = open.reads.cursor(sql, params)) };
    if (!isWrite(info)) return { result: NOTHING };
    if (runsAlone(sql, open.infos)) {
      await this.host.runAlone(open, sql);
      return { result: NOTHING };
    }
    const result = await this.host.write(open, [sql], params, ticket);
    return { result: info.kind === 'ddl' ? withoutCounts(result) : result };
  }

  /**
   * Runs a script. Outside of a transaction, and without transaction control in it, it is one transaction; else its statements
   * run one after another, and the first failure ends it. Gives what the last statement did.
   */
  async script(text: string, ticket?: WriteTicket): Promise<HAResult> {
    const statements = splitStatements(text).map(({ sql }) => sql);
    const open = await this.opened();
    const alone = (sql: string): boolean => isControl(open.infos.of(sql)) || runsAlone(sql, open.infos);
    if (this.state.kind === 'idle' && statements.length > 0 && !statements.some(alone)) {
      return this.host.write(open, statements, undefined, ticket);
    }
    let last = NOTHING;
    for (const sql of statements) last = await this.execute(sql);
    return last;
  }

  /** Rolls back what is open. Never fails; nothing can be run any more. */
  async close(): Promise<void> {
    this.closing.abort(closedSession());
    this.cursor?.close();
    this.cursor = undefined;
    if (this.state.kind === 'open') await this.state.transaction.rollback();
    this.state = IDLE;
  }

  private async opened(): Promise<OpenDatabase> {
    this.closing.signal.throwIfAborted();
    const open = await this.host.opened();
    this.closing.signal.throwIfAborted();
    return open;
  }

  private async inside(
    transaction: SessionTransaction,
    sql: string,
    params: HAParameters | undefined,
    reads: boolean,
    wantsRows: boolean | undefined,
  ): Promise<SessionAnswer> {
    try {
      return reads
        ? { cursor: (this.cursor = await transaction.read(sql, params)) }
        : { result: await transaction.execute(sql, params, wantsRows) };
    } catch (error) {
      if (!transaction.isOpen) this.abort(transaction, error);
      throw error;
    }
  }

  private control(open: OpenDatabase, control: ControlStatement, ticket: WriteTicket | undefined): Promise<HAResult> {
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
  ): Promise<HAResult> {
    if (this.state.kind === 'aborted') throw aborted(this.state.reason);
    if (this.state.kind === 'open') throw nested();
    this.host.refuseReadOnly(open);
    if (serializable && open.publishesOnly) refuseUnfollowed('A serializable transaction');
    const { signal } = this.closing;
    const { idleTimeout = this.limits.idleTimeout, timeout = this.limits.timeout } = ticket ?? {};
    const limits = { idleTimeout, timeout, serializable };
    const here = (): Promise<SessionTransaction> => InteractiveTransaction.begin(this.host.owner, open, limits, signal);
    if (this.host.isForwarded) open.router?.refuseUnlessLeader();
    const transaction =
      open.router === undefined || this.host.isForwarded
        ? await here()
        : await open.router.route({ here, there: (leader) => leader.begin(limits) });
    if (signal.aborted) {
      await transaction.rollback();
      throw closedSession();
    }
    this.router = open.router;
    this.state = { kind: 'open', transaction, implicit };
    return NOTHING;
  }

  private async commit(id?: string): Promise<HAResult> {
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

  private async rollback(): Promise<HAResult> {
    const { state } = this;
    this.state = IDLE;
    if (state.kind === 'open') await state.transaction.rollback();
    return NOTHING;
  }

  /** Outside of a transaction SAVEPOINT begins one, as in SQLite. */
  private async savepoint(
    open: OpenDatabase,
    control: ControlStatement & { readonly name: string },
  ): Promise<HAResult> {
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

async function rowsOf(
  across: CrossQuery,
  params: HAParameters | undefined,
): Promise<Pick<HAResult, 'columns' | 'rows'>> {
  const { columns, rows } = await across.exact(params);
  return { columns, rows };
}

/** What SQLite counts behind DDL are rows of its own tables. */
function withoutCounts(result: HAResult): HAResult {
  return { ...result, changes: 0, lastInsertRowid: 0n };
}

function isControl({ kind }: StatementInfo): boolean {
  return CONTROL.has(kind);
}

/** The result of a write with its place in the stream. */
export function resultAt(result: HAResult, sequence: number | undefined): HAResult & HARunResult {
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

function closedSession(): HAError {
  return new HAError('HA_TRANSACTION_CLOSED', 'The session was closed.');
}

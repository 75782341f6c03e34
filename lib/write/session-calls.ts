import type { StatementInfo } from '../sql/statement-info.js';
import { answeringAcross } from './cross-calls.js';
import type { CrossQuery } from './cross-port.js';
import { opened } from './database-lifecycle.js';
import type { DatabaseLifecycle } from './database-lifecycle.js';
import type { HAParameters } from './executor.js';
import type { OpenDatabase } from './open-database.js';
import type { ResultShape, StatementResult } from './result.js';
import { HASession, beginTransaction, sessionLimits } from './session.js';
import type { HASessionOptions, SessionHost, SessionOrigin, WriteTicket } from './session.js';
import { refuseNested } from './transaction-context.js';
import { UnmanagedTransaction } from './unmanaged-transaction.js';
import type { WriteCalls } from './write-calls.js';
import type { WriteMemory } from './write-memory.js';

/** Makes sessions, and transactions that their user ends, of one database. */
export class SessionCalls {
  /** @param owner The database, which calls from inside its transactions are told by. */
  constructor(
    private readonly owner: object,
    private readonly lifecycle: DatabaseLifecycle,
    private readonly writes: WriteCalls,
    private readonly memory: WriteMemory,
  ) {}

  /** A session. */
  connect(options: HASessionOptions, { isForwarded = false }: SessionOrigin): HASession {
    return new HASession(this.host(isForwarded), options);
  }

  /** Begins a transaction that its user ends. */
  async begin(options: HASessionOptions & { readonly serializable?: boolean }): Promise<UnmanagedTransaction> {
    refuseNested(this.owner);
    const opening = opened(this.lifecycle);
    const open = opening instanceof Promise ? await opening : opening;
    const host = this.host(false);
    const limits = {
      ...sessionLimits(options, host.transactionTimeout),
      serializable: options.serializable ?? false,
    };
    const transaction = await beginTransaction(host, open, limits);
    return new UnmanagedTransaction(this.owner, transaction, (sequence) => host.noteWritten(sequence), open.router);
  }

  private host(isForwarded: boolean): SessionHost {
    return new Host(this.owner, isForwarded, this.lifecycle, this.writes, this.memory);
  }
}

/** What one session works with. */
class Host implements SessionHost {
  readonly transactionTimeout: number;

  constructor(
    readonly owner: object,
    readonly isForwarded: boolean,
    private readonly lifecycle: DatabaseLifecycle,
    private readonly writes: WriteCalls,
    private readonly memory: WriteMemory,
  ) {
    this.transactionTimeout = lifecycle.transactionTimeout;
  }

  get isOpen(): boolean {
    return this.lifecycle.open !== undefined;
  }

  opened(): OpenDatabase | Promise<OpenDatabase> {
    refuseNested(this.owner);
    return opened(this.lifecycle);
  }

  /** What changed nothing leads to where the database stands: who found the work done has seen that. */
  noteWritten(sequence: number | undefined): void {
    this.memory.note(sequence ?? this.lifecycle.open?.position?.received);
  }

  across(sql: string, info: StatementInfo): CrossQuery | undefined {
    return answeringAcross(this.lifecycle.cross, sql, info);
  }

  write(
    open: OpenDatabase,
    statements: readonly string[],
    params: HAParameters | undefined,
    shape: ResultShape,
    ticket: WriteTicket | undefined,
  ): Promise<StatementResult> {
    return this.isForwarded
      ? this.writes.writeForwarded(open, statements, params, shape, ticket)
      : this.writes.writeAll(open, statements, params, shape, ticket);
  }

  runAlone(open: OpenDatabase, sql: string): Promise<unknown[]> {
    return this.writes.runAlone(open, 'all', sql) as Promise<unknown[]>;
  }
}

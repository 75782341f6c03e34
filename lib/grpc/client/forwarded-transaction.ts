import { HAError } from '../../common/ha-error.js';
import { foldCase, quoteIdentifier } from '../../sql/identifiers.js';
import type { HAParameters } from '../../write/executor.js';
import type { ExactResult, ResultShape, RowCursor, StatementResult } from '../../write/result.js';
import { inShape } from '../../write/shapes.js';
import { isMoved, leaderChanged } from '../../write/write-router.js';
import type { RemoteSteps, TransactionCalls } from '../../write/write-router.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { toNamedValues } from './client-parameters.js';
import { isUnanswered, resultOf, stopOf } from './forwarding-answers.js';
import type { Asker } from './remote-executor.js';
import type { RemoteSession } from './remote-session.js';
import { RemoteTransaction } from './remote-transaction.js';

type Request = Omit<QueryRequest, 'replicationId'>;

export interface ForwardedPorts {
  readonly session: RemoteSession;
  readonly ask: (request: Request, onlyFirst: boolean) => Promise<QueryResponse[]>;
  readonly stream: (request: Request) => AsyncGenerator<QueryResponse>;
  /** Gives the session back. */
  readonly release: () => void;
  /** Resolves with the sequence when this node has applied it; undefined where nothing was changed. */
  readonly commit: () => Promise<number | undefined>;
}

/** A transaction that is open at the leader. Where the line is lost, or the leader changes, nothing of it is written. */
export class ForwardedTransaction implements RemoteSteps {
  private readonly savepoints: string[] = [];
  private ended = false;
  private finish: () => void = () => undefined;
  readonly over = new Promise<void>((resolve) => (this.finish = resolve));
  /** What its statements go through. */
  readonly asker: Asker = {
    stream: (request) => this.stream(request),
    all: (request, onlyFirst) => this.ask(request, onlyFirst),
  };

  constructor(private readonly ports: ForwardedPorts) {}

  get isOpen(): boolean {
    return !this.ended && this.ports.session.isAlive;
  }

  async execute(sql: string, params: HAParameters | undefined, shape: ResultShape): Promise<StatementResult> {
    return inShape(await this.exact(sql, params), shape);
  }

  calls(owner: object): TransactionCalls {
    return new RemoteTransaction(owner, this.asker, 1);
  }

  async read(sql: string, params: HAParameters | undefined): Promise<RowCursor> {
    const { columns, rows } = await this.exact(sql, params);
    const left = rows[Symbol.iterator]();
    return { columns, next: () => left.next().value, close: () => undefined };
  }

  async savepoint(name: string): Promise<void> {
    await this.command(`SAVEPOINT ${quoteIdentifier(name)}`);
    this.savepoints.push(foldCase(name));
  }

  async rollbackTo(name: string): Promise<void> {
    const index = this.find(name);
    await this.command(`ROLLBACK TO ${quoteIdentifier(name)}`);
    this.savepoints.length = index + 1;
  }

  async release(name: string): Promise<boolean> {
    const index = this.find(name);
    await this.command(`RELEASE ${quoteIdentifier(name)}`);
    this.savepoints.length = index;
    return index === 0;
  }

  async commit(): Promise<number | undefined> {
    this.ended = true;
    try {
      return await this.ports.commit();
    } finally {
      this.ports.release();
      this.finish();
    }
  }

  async rollback(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    const { session, release } = this.ports;
    const isIdle = session.isReusable;
    // What is under way in it ends with it.
    if (!isIdle) session.cancel();
    else {
      await this.ports
        .ask({ type: QueryType.EXEC_UPDATE, sql: 'ROLLBACK', params: [] }, false)
        .catch(() => session.cancel());
    }
    release();
    this.finish();
  }

  private async exact(sql: string, params: HAParameters | undefined): Promise<ExactResult> {
    return resultOf(await this.ask({ type: QueryType.UNSPECIFIED, sql, params: toNamedValues(sql, params) }, false));
  }

  private async command(sql: string): Promise<void> {
    await this.ask({ type: QueryType.EXEC_UPDATE, sql, params: [] }, false);
  }

  private async ask(request: Request, onlyFirst: boolean): Promise<QueryResponse[]> {
    try {
      return await this.ports.ask(request, onlyFirst);
    } catch (error) {
      throw changed(error);
    }
  }

  private async *stream(request: Request): AsyncGenerator<QueryResponse> {
    try {
      yield* this.ports.stream(request);
    } catch (error) {
      throw changed(error);
    }
  }

  private find(name: string): number {
    const index = this.savepoints.lastIndexOf(foldCase(name));
    if (index >= 0) return index;
    throw new HAError('HA_TRANSACTION_CONTROL', `There is no savepoint '${name}' in this transaction.`, {
      details: { name },
    });
  }
}

/** What is under way at the leader cannot go on anywhere else. */
function changed(error: unknown): unknown {
  const stopped = stopOf(error);
  if (stopped !== undefined) return leaderChanged(stopped);
  return isUnanswered(error) || isMoved(error) ? leaderChanged(error) : error;
}

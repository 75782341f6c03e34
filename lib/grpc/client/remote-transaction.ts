import { HAError } from '../../common/ha-error.js';
import type { HATransaction } from '../../write/executor.js';
import { overlapping } from '../../write/open-transaction.js';
import { splitStatements } from '../../sql/split.js';
import { StatementInfos, refuseControl } from '../../write/statement-info.js';
import type { TransactionContext } from '../../write/transaction-context.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { RemoteExecutor } from './remote-executor.js';
import type { Asker } from './remote-executor.js';
import { SerialAsker } from './serial-asker.js';

const INFOS = new StatementInfos();

/** The transaction that a callback of a remote database gets: its calls go through one session. */
export class RemoteTransaction extends RemoteExecutor implements HATransaction, TransactionContext {
  private savepoints = 0;
  private readonly nested: string[] = [];
  /** Why the transaction can no longer be committed. */
  overlap: HAError | undefined;
  private readonly asker: SerialAsker;

  constructor(
    readonly owner: object,
    asker: Asker,
    readonly attempt: number,
  ) {
    super();
    this.asker = new SerialAsker(asker, transactionClosed);
  }

  get open(): boolean {
    return !this.asker.isClosed;
  }

  end(): void {
    this.asker.close();
  }

  /** Resolves when every call that was made has ended; no others are taken then. */
  settled(): Promise<void> {
    return this.asker.settle();
  }

  override async exec(script: string): Promise<void> {
    for (const { sql } of splitStatements(script)) this.check(sql);
    await super.exec(script);
  }

  async savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
    const name = `ha_remote_${++this.savepoints}`;
    // The server gets the commands in the order of the calls.
    this.nested.push(name);
    try {
      await this.command(`SAVEPOINT ${name}`);
    } catch (error) {
      this.nested.splice(this.nested.indexOf(name), 1);
      throw error;
    }
    try {
      const result = await fn(this);
      this.leave(name);
      await this.command(`RELEASE ${name}`);
      return result;
    } catch (error) {
      if (this.open && this.overlap === undefined) {
        if (this.nested.includes(name)) this.leave(name);
        await this.command(`ROLLBACK TO ${name}`).then(
          () => this.run(`RELEASE ${name}`),
          () => undefined,
        );
      }
      throw error;
    }
  }

  /** Ends the innermost savepoint. Two that overlap cannot be told apart by SQLite: then nothing of the transaction stays. */
  private leave(name: string): void {
    if (this.nested.at(-1) !== name) {
      this.overlap = overlapping();
      throw this.overlap;
    }
    this.nested.pop();
  }

  protected override check(sql: string): void {
    if (this.overlap !== undefined) throw this.overlap;
    refuseControl(INFOS.of(sql));
  }

  private async command(sql: string): Promise<void> {
    await this.first({ type: QueryType.EXEC_UPDATE, sql, params: [] });
  }

  protected override ask(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse> {
    return this.asker.stream(request);
  }

  protected override askAll(request: Omit<QueryRequest, 'replicationId'>, onlyFirst = false): Promise<QueryResponse[]> {
    return this.asker.all(request, onlyFirst);
  }
}

function transactionClosed(): HAError {
  return new HAError(
    'HA_TRANSACTION_CLOSED',
    'The transaction has ended. Await every call before the callback returns, and do not keep tx for later.',
  );
}

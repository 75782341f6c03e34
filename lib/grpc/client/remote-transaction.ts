import { HAError } from '../../common/ha-error.js';
import type { HATransaction } from '../../write/executor.js';
import { Savepoints } from '../../write/savepoints.js';
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
  private readonly savepoints = new Savepoints('ha_remote');
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

  /** Why the transaction can no longer be committed. */
  get overlap(): HAError | undefined {
    return this.savepoints.overlap;
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
    // The server gets the commands in the order of the calls.
    const savepoint = this.savepoints.enter();
    const { name } = savepoint;
    try {
      await this.command(`SAVEPOINT ${name}`);
    } catch (error) {
      this.savepoints.forget(savepoint);
      throw error;
    }
    let isReleased = false;
    try {
      const result = await this.savepoints.run(savepoint, () => fn(this));
      this.savepoints.release(savepoint);
      isReleased = true;
      await this.command(`RELEASE ${name}`);
      return result;
    } catch (error) {
      if (this.open && this.overlap === undefined) {
        if (!isReleased) this.savepoints.rollBack(savepoint);
        await this.command(`ROLLBACK TO ${name}`)
          .then(() => this.command(`RELEASE ${name}`))
          .catch(() => undefined);
      }
      throw error;
    }
  }

  protected override check(sql: string): void {
    const { overlap } = this.savepoints;
    if (overlap !== undefined) throw overlap;
    this.savepoints.called();
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

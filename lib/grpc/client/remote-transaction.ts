import { HAError } from '../../common/ha-error.js';
import type { HATransaction } from '../../write/executor.js';
import { splitStatements } from '../../sql/split.js';
import { StatementInfos, refuseControl } from '../../write/statement-info.js';
import type { TransactionContext } from '../../write/transaction-context.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { RemoteExecutor } from './remote-executor.js';
import type { Asker } from './remote-executor.js';

const INFOS = new StatementInfos();

/** The transaction that a callback of a remote database gets: its calls go through one session. */
export class RemoteTransaction extends RemoteExecutor implements HATransaction, TransactionContext {
  private ended = false;
  private savepoints = 0;
  /** Calls run one after another: a session takes a request when it has answered the one before. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(
    readonly owner: object,
    private readonly asker: Asker,
    readonly attempt: number,
  ) {
    super();
  }

  get open(): boolean {
    return !this.ended;
  }

  end(): void {
    this.ended = true;
  }

  /** Resolves when every call that was made has ended. */
  async settled(): Promise<void> {
    await this.turn;
  }

  override async exec(script: string): Promise<void> {
    for (const { sql } of splitStatements(script)) this.check(sql);
    await super.exec(script);
  }

  async savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
    const name = `ha_remote_${++this.savepoints}`;
    await this.command(`SAVEPOINT ${name}`);
    try {
      const result = await fn(this);
      await this.command(`RELEASE ${name}`);
      return result;
    } catch (error) {
      if (this.open) {
        await this.command(`ROLLBACK TO ${name}`).then(
          () => this.run(`RELEASE ${name}`),
          () => undefined,
        );
      }
      throw error;
    }
  }

  protected override check(sql: string): void {
    refuseControl(INFOS.of(sql));
  }

  private async command(sql: string): Promise<void> {
    await this.first({ type: QueryType.EXEC_UPDATE, sql, params: [] });
  }

  protected override async *ask(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse> {
    const release = await this.queue();
    try {
      yield* this.asker.stream(request);
    } finally {
      release();
    }
  }

  protected override async askAll(
    request: Omit<QueryRequest, 'replicationId'>,
    onlyFirst = false,
  ): Promise<QueryResponse[]> {
    const release = await this.queue();
    try {
      return await this.asker.all(request, onlyFirst);
    } finally {
      release();
    }
  }

  /** Resolves when the calls before have ended. */
  private async queue(): Promise<() => void> {
    if (this.ended) throw transactionClosed();
    const before = this.turn;
    let release: () => void = () => undefined;
    this.turn = new Promise<void>((resolve) => {
      release = resolve;
    });
    await before;
    return release;
  }
}

function transactionClosed(): HAError {
  return new HAError(
    'HA_TRANSACTION_CLOSED',
    'The transaction has ended. Await every call before the callback returns, and do not keep tx for later.',
  );
}

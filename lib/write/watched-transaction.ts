import type { HAError } from '../common/ha-error.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAExecuteOptions, HAParameters, HAResult, HARunResult, HAStatement, HATransaction } from './executor.js';
import type { OpenTransaction } from './open-transaction.js';
import { Prepared } from './prepared.js';

type Use = <R>(work: (tx: OpenTransaction) => R) => R;

/** The calls of an open transaction, each noted by who watches over how long it is idle. */
export class WatchedTransaction implements HATransaction {
  readonly attempt = 1;

  constructor(
    private readonly use: Use,
    private readonly isOpen: () => boolean,
    private readonly broken: () => HAError | undefined,
  ) {}

  /** Why the transaction can no longer be committed. */
  get overlap(): HAError | undefined {
    return this.broken();
  }

  get open(): boolean {
    return this.isOpen();
  }

  async run(sql: string, params?: HAParameters): Promise<HARunResult> {
    return this.use((tx) => tx.run(sql, params));
  }

  async get<T = unknown>(sql: string, params?: HAParameters): Promise<T | undefined> {
    return this.use((tx) => tx.get<T>(sql, params));
  }

  async all<T = unknown>(sql: string, params?: HAParameters): Promise<T[]> {
    return this.use((tx) => tx.all<T>(sql, params));
  }

  async *iterate<T = unknown>(sql: string, params?: HAParameters): AsyncIterableIterator<T> {
    yield* await this.all<T>(sql, params);
  }

  async execute<T = unknown>(sql: string, params?: HAParameters, options?: HAExecuteOptions): Promise<HAResult<T>> {
    return this.use((tx) => tx.execute<T>(sql, params, options));
  }

  async exec(script: string): Promise<void> {
    return this.use((tx) => tx.exec(script));
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    const call = async (method: 'run' | 'get' | 'all', text: string, params: HAParameters, shape: RowShape) =>
      this.use((tx) => tx.call(method, text, params, shape));
    return new Prepared<T>(sql, {
      call,
      async *iterate(text, params, shape) {
        yield* (await call('all', text, params, shape)) as unknown[];
      },
    });
  }

  async savepoint<R>(fn: (tx: HATransaction) => R | Promise<R>): Promise<R> {
    return this.use((tx) => tx.savepoint(() => fn(this)));
  }
}

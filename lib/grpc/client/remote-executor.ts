import type {
  HAExecuteOptions,
  HAExecutor,
  HAParameters,
  HAResult,
  HARunResult,
  HAStatement,
} from '../../write/executor.js';
import { PLAIN_SHAPE } from '../../write/executor.js';
import { Prepared } from '../../write/prepared.js';
import type { RowShape } from '../../sqlite/statement-cache.js';
import { splitStatements } from '../../sql/split.js';
import { QueryType } from '../codec/messages.js';
import type { QueryRequest, QueryResponse } from '../codec/messages.js';
import { toNamedValues } from './client-parameters.js';
import { inShape, plain, shapeOf, shaped, toResult } from '../../write/shapes.js';
import { resultOf } from './forwarding-answers.js';

/** Where requests of an executor go. */
export interface Asker {
  /** Answers of one request, the first at once and the others as they are taken. */
  stream(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse>;
  all(request: Omit<QueryRequest, 'replicationId'>, onlyFirst: boolean): Promise<QueryResponse[]>;
}

/** The calls that a remote database and its transactions have in common. */
export abstract class RemoteExecutor implements HAExecutor {
  /** Sends a request, in whatever session; gives its answers as they are taken. */
  protected abstract ask(request: Omit<QueryRequest, 'replicationId'>): AsyncGenerator<QueryResponse>;

  /** The same for all answers at once, without the cost of a generator; only the first, where no more are wanted. */
  protected abstract askAll(
    request: Omit<QueryRequest, 'replicationId'>,
    onlyFirst?: boolean,
  ): Promise<QueryResponse[]>;

  /** Refuses a statement that cannot be one of its own here. */
  protected check(_sql: string): void {}

  async run(sql: string, params?: HAParameters): Promise<HARunResult> {
    return this.call('run', sql, params, PLAIN_SHAPE) as Promise<HARunResult>;
  }

  async get<T = unknown>(sql: string, params?: HAParameters): Promise<T | undefined> {
    return this.call('get', sql, params, PLAIN_SHAPE) as Promise<T | undefined>;
  }

  async all<T = unknown>(sql: string, params?: HAParameters): Promise<T[]> {
    return this.call('all', sql, params, PLAIN_SHAPE) as Promise<T[]>;
  }

  /** Rows one by one; the server reads no faster than they are taken. */
  iterate<T = unknown>(sql: string, params?: HAParameters): AsyncIterableIterator<T> {
    return this.rows(sql, params, PLAIN_SHAPE) as AsyncIterableIterator<T>;
  }

  async exec(script: string): Promise<void> {
    await this.first({ type: QueryType.EXEC_UPDATE, sql: script, params: [] });
  }

  prepare<T = unknown>(sql: string): HAStatement<T> {
    return new Prepared<T>(sql, {
      call: (method, text, params, shape) => this.call(method, text, params, shape),
      iterate: (text, params, shape) => this.rows(text, params, shape),
    });
  }

  /** Runs any one statement; of its columns the names are known. */
  async execute<T = unknown>(sql: string, params?: HAParameters, options: HAExecuteOptions = {}): Promise<HAResult<T>> {
    this.check(sql);
    const shape = shapeOf(options);
    const answers = await this.askAll(request(QueryType.UNSPECIFIED, sql, params));
    return toResult<T>(inShape(resultOf(answers), shape), shape);
  }

  private async call(
    method: 'run' | 'get' | 'all',
    sql: string,
    params: HAParameters | undefined,
    shape: RowShape,
  ): Promise<unknown> {
    this.check(sql);
    if (method === 'run') return this.runShaped(sql, params, shape);
    const answers = await this.askAll(request(QueryType.EXEC_QUERY, sql, params), method === 'get');
    const rows: unknown[] = [];
    for (const { resultSet } of answers) {
      for (const row of resultSet?.rows ?? []) {
        const value = shaped(resultSet?.columns ?? [], row, shape);
        if (method === 'get') return value;
        rows.push(value);
      }
    }
    return method === 'get' ? undefined : rows;
  }

  private async runShaped(sql: string, params: HAParameters | undefined, shape: RowShape): Promise<HARunResult> {
    const { rowsAffected, lastInsertId, txseq } = await this.first(request(QueryType.EXEC_UPDATE, sql, params));
    const lastInsertRowid = (shape.safeIntegers ? lastInsertId : plain(lastInsertId)) as number | bigint;
    const result = { changes: Number(rowsAffected), lastInsertRowid };
    return txseq === 0n ? result : { ...result, txseq };
  }

  protected async first(wanted: Omit<QueryRequest, 'replicationId'>): Promise<QueryResponse> {
    return (await this.askAll(wanted)).at(-1) as QueryResponse;
  }

  private async *rows(sql: string, params: HAParameters | undefined, shape: RowShape): AsyncGenerator<unknown> {
    this.check(sql);
    for await (const { resultSet } of this.ask(request(QueryType.EXEC_QUERY, sql, params))) {
      for (const row of resultSet?.rows ?? []) yield shaped(resultSet?.columns ?? [], row, shape);
    }
  }
}

function request(type: number, sql: string, params: HAParameters | undefined): Omit<QueryRequest, 'replicationId'> {
  refuseSeveral(sql);
  return { type, sql, params: toNamedValues(sql, params) };
}

/** A server would take several statements for a script, and a BEGIN in it would stay open. */
export function refuseSeveral(sql: string): void {
  if (typeof sql !== 'string') throw new TypeError('Expected first argument to be a string');
  if (sql.includes(';') && splitStatements(sql).length > 1) {
    throw new RangeError('The supplied SQL string contains more than one statement');
  }
}

import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAParameters, HARunResult, HAStatement } from './executor.js';
import { ArgumentList, PLAIN_SHAPE, areValues } from './executor.js';

/** Where a prepared statement runs. */
export interface StatementTarget {
  /** A value, or a promise of it. */
  call(method: 'run' | 'get' | 'all', sql: string, params: HAParameters, shape: RowShape): unknown;
  iterate(sql: string, params: HAParameters, shape: RowShape): AsyncIterableIterator<unknown>;
}

/** A statement text with a row shape. SQLite's own compiled form is kept by the connection that runs it. */
export class Prepared<T> implements HAStatement<T> {
  private shape: RowShape = PLAIN_SHAPE;

  constructor(
    private readonly sql: string,
    private readonly target: StatementTarget,
  ) {}

  async run(...params: unknown[]): Promise<HARunResult> {
    return this.target.call('run', this.sql, asParameters(params), this.shape) as HARunResult;
  }

  async get(...params: unknown[]): Promise<T | undefined> {
    return this.target.call('get', this.sql, asParameters(params), this.shape) as T | undefined;
  }

  async all(...params: unknown[]): Promise<T[]> {
    return this.target.call('all', this.sql, asParameters(params), this.shape) as T[];
  }

  iterate(...params: unknown[]): AsyncIterableIterator<T> {
    return this.target.iterate(this.sql, asParameters(params), this.shape) as AsyncIterableIterator<T>;
  }

  pluck(on = true): this {
    this.shape = { ...this.shape, pluck: on, raw: on ? false : this.shape.raw };
    return this;
  }

  raw(on = true): this {
    this.shape = { ...this.shape, raw: on, pluck: on ? false : this.shape.pluck };
    return this;
  }

  safeIntegers(on = true): this {
    this.shape = { ...this.shape, safeIntegers: on };
    return this;
  }
}

/** What better-sqlite3 takes as arguments of its statements: also several arrays, and an object behind values. */
function asParameters(args: readonly unknown[]): HAParameters {
  if (areValues(args)) return args;
  const [first] = args;
  return args.length === 1 && Array.isArray(first) ? first : ArgumentList.from(args);
}

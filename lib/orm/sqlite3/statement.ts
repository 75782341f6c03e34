import { EventEmitter } from 'node:events';
import type { HAParameters } from '../../write/executor.js';
import { misuse, sqlite3Error } from './errors.js';
import { bound } from './values.js';

/** A row, with its columns by name. */
export type Row = Record<string, unknown>;
/** What a call gives its callback; its `this` is the statement. Without one, a failure is the event `error`. */
export type Callback<T extends readonly unknown[] = []> = (this: Statement, error: Error | null, ...values: T) => void;

/** What a statement did. */
export interface Outcome {
  readonly rows: Row[];
  readonly changes: number;
  readonly lastID: number | bigint | string;
}

/** What runs statements. */
export interface StatementHost {
  perform(sql: string, params: HAParameters): Promise<Outcome>;
  /** Runs work behind what came before. */
  inOrder<T>(work: () => Promise<T>): Promise<T>;
}

type Args = readonly unknown[];
type AnyCallback = (this: Statement, error: Error | null, ...values: unknown[]) => void;

/**
 * A statement as node-sqlite3's: https://github.com/TryGhost/node-sqlite3/wiki/API. It is compiled where it runs, which is
 * when its errors show.
 */
export class Statement extends EventEmitter {
  /** Rowid of the row that it inserted last. */
  lastID: Outcome['lastID'] = 0;
  /** Rows that it inserted, changed or deleted. */
  changes = 0;
  private params: HAParameters = [];
  /** Rows that `get` has yet to give. */
  private rest: Row[] | undefined;
  private finalized = false;
  readonly #host: StatementHost;

  constructor(
    host: StatementHost,
    readonly sql: string,
    callback?: Callback,
  ) {
    super();
    this.#host = host;
    if (callback !== undefined)
      this.answer(
        callback,
        host.inOrder(() => Promise.resolve([])),
      );
  }

  bind(...args: Args): this {
    return this.call(args, () => Promise.resolve([]));
  }

  reset(callback?: Callback): this {
    this.rest = undefined;
    return this.call(given(callback), () => Promise.resolve([]));
  }

  finalize(callback?: Callback): void {
    this.call(given(callback), () => Promise.resolve([]));
    this.finalized = true;
  }

  /** Runs it; `lastID` and `changes` say what it did. */
  run(...args: Args): this {
    return this.call(args, async (params) => {
      const { changes, lastID } = await this.#host.perform(this.sql, params);
      Object.assign(this, { changes, lastID });
      return [];
    });
  }

  /** Gives the next row, the first where parameters are given or it was reset. */
  get(...args: Args): this {
    const { params } = split(args);
    if (params.length > 0) this.rest = undefined;
    return this.call(args, async (values) => {
      this.rest ??= (await this.#host.perform(this.sql, values)).rows;
      const next = this.rest.shift();
      if (next === undefined) this.rest = undefined;
      return [next];
    });
  }

  /** Gives all rows. */
  all(...args: Args): this {
    return this.call(args, async (params) => [(await this.#host.perform(this.sql, params)).rows]);
  }

  /** Calls back for every row, and then the second callback, with how many there were. All of them are in memory. */
  each(...args: Args): this {
    const { params, callbacks } = split(args);
    const [each, complete] = callbacks;
    const done: AnyCallback = function (error, rows) {
      const list = (rows ?? []) as Row[];
      if (error !== null) (complete ?? each)?.call(this, error);
      for (const row of list) each?.call(this, null, row);
      if (error === null) complete?.call(this, null, list.length);
    };
    return this.call([...params, ...(each === undefined ? [] : [done])], async (values) => [
      (await this.#host.perform(this.sql, values)).rows,
    ]);
  }

  /** Gives an object: the first column of each row is the key, the second the value; of more columns, the row. */
  map(...args: Args): this {
    return this.call(args, async (params) => [mapOf((await this.#host.perform(this.sql, params)).rows)]);
  }

  private call(args: Args, work: (params: HAParameters) => Promise<unknown[]>): this {
    const { params, callbacks } = split(args);
    this.answer(callbacks[0], this.started(params, work));
    return this;
  }

  private async started(params: Args, work: (params: HAParameters) => Promise<unknown[]>): Promise<unknown[]> {
    if (this.finalized) throw misuse('Statement is already finalized');
    // Bound now: the caller may change them behind the call.
    if (params.length > 0) this.params = bound(this.sql, params);
    return work(this.params);
  }

  private answer(callback: AnyCallback | undefined, call: Promise<unknown[]>): void {
    // Behind the promise: what a callback throws is not a failure of the call.
    call.then(
      (values) => process.nextTick(() => callback?.call(this, null, ...values)),
      (error: unknown) => process.nextTick(() => this.failed(callback, sqlite3Error(error) as Error)),
    );
  }

  private failed(callback: AnyCallback | undefined, error: Error): void {
    if (callback === undefined) this.emit('error', error);
    else callback.call(this, error);
  }
}

function given(callback: Callback | undefined): Args {
  return callback === undefined ? [] : [callback];
}

/** What stands before the first callback are parameters: a last one that is undefined too, as in node-sqlite3. */
function split(args: Args): { params: Args; callbacks: AnyCallback[] } {
  const first = args.findIndex((value) => typeof value === 'function');
  if (first < 0) return { params: args, callbacks: [] };
  return { params: args.slice(0, first), callbacks: args.slice(first) as AnyCallback[] };
}

function mapOf(rows: readonly Row[]): Row {
  const map: Row = {};
  for (const row of rows) {
    const [key = '', second = ''] = Object.keys(row);
    map[String(row[key])] = Object.keys(row).length > 2 ? row : row[second];
  }
  return map;
}

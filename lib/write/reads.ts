import { immediate } from '../common/timing.js';
import type { Connection, Statement } from '../sqlite/connection.js';
import type { Connections } from '../sqlite/connections.js';
import { StatementCache } from '../sqlite/statement-cache.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import { answeringStatement } from './answered-pragmas.js';
import { EXACT_SHAPE, bindArguments } from './executor.js';
import type { HAParameters } from './executor.js';
import { openCursor, runToEnd } from './result.js';
import type { ResultShape, RowCursor, StatementResult } from './result.js';
import type { StatementInfos } from './statement-info.js';

/** Rows handed over between two looks at the event loop. */
const ROWS_PER_STEP = 256;

/** Behind white space and comments. */
const PRAGMA = /^(?:\s|--[^\n]*\n|\/\*[^]*?\*\/)*PRAGMA\b/i;

/** Reads outside of transactions: on connections of their own, so that they never wait for a write. */
export class Reads {
  private readonly statements: StatementCache;

  private readonly leased = new WeakMap<Connection, StatementCache>();

  constructor(
    private readonly connections: Connections,
    private readonly infos: StatementInfos,
    /** How long writes wait for other programs, ms. */
    private readonly busyTimeout: number,
  ) {
    this.statements = new StatementCache(connections.reader, 1_000);
  }

  call(method: 'run' | 'get' | 'all', sql: string, params: HAParameters | undefined, shape: RowShape): unknown {
    const statement = this.prepared(this.statements, sql, shape);
    return params === undefined ? statement[method]() : statement[method](...bindArguments(params, sql));
  }

  /** All rows, with what is known of their columns. */
  result(sql: string, params: HAParameters | undefined, shape: ResultShape): StatementResult {
    const lastInsertRowid = shape.safeIntegers ? 0n : 0;
    return runToEnd(this.prepared(this.statements, sql, shape), bindArguments(params, sql), shape, () => ({
      changes: 0,
      lastInsertRowid,
    }));
  }

  /** Reads rows one by one from a reader of its own, in one snapshot; the reader is given back when the cursor ends. */
  cursor(sql: string, params: HAParameters | undefined): RowCursor {
    const db = this.connections.leaseReader();
    let statement: Statement;
    try {
      statement = this.prepared(this.cacheOf(db), sql, EXACT_SHAPE);
    } catch (error) {
      this.connections.releaseReader(db);
      throw error;
    }
    return openCursor(statement, bindArguments(params, sql), () => this.connections.releaseReader(db));
  }

  /** Streams rows from a reader of its own, in one snapshot; the reader is given back when the iteration ends. */
  async *iterate(sql: string, params: HAParameters | undefined, shape: RowShape): AsyncIterableIterator<unknown> {
    const db = this.connections.leaseReader();
    try {
      const statement = this.prepared(new StatementCache(db), sql, shape);
      let rows = 0;
      for (const row of statement.iterate(...bindArguments(params, sql))) {
        yield row;
        if (++rows % ROWS_PER_STEP === 0) await immediate();
      }
    } finally {
      this.connections.releaseReader(db);
    }
  }

  private cacheOf(db: Connection): StatementCache {
    let cache = this.leased.get(db);
    if (cache === undefined) {
      cache = new StatementCache(db, 100);
      this.leased.set(db, cache);
    }
    return cache;
  }

  private prepared(statements: StatementCache, sql: string, shape: RowShape): Statement {
    if (!PRAGMA.test(sql)) return statements.shaped(sql, shape);
    return statements.pragma(answeringStatement(sql, this.infos.of(sql), this.busyTimeout), shape);
  }
}

import type { BetterSqlite3Driver } from 'typeorm/driver/better-sqlite3/BetterSqlite3Driver.js';
import type { BetterSqlite3QueryRunner } from 'typeorm/driver/better-sqlite3/BetterSqlite3QueryRunner.js';
import { HAError } from '../../common/ha-error.js';
import type { HAResult } from '../../write/executor.js';
import type { HASession } from '../../write/session.js';
import { bindable } from './bound-numbers.js';
import { exactInteger, exactRow } from './exact-rows.js';
import { withoutOwnTables } from './own-tables.js';
import { failing, failingAs, queryFailure, streamOf } from './row-stream.js';
import type { RowStream } from './row-stream.js';

/** Constructor of TypeORM's query runner. */
export type QueryRunnerClass = new (driver: BetterSqlite3Driver) => BetterSqlite3QueryRunner;

/** Opens and closes the sessions of query runners. */
export interface Sessions {
  open(): HASession;
  /** Reads rows one by one, outside of any session. */
  rows(sql: string, parameters: readonly unknown[]): AsyncIterable<Row>;
  close(session: HASession): Promise<void>;
}

/** A query runner of ours. */
export interface HAQueryRunner extends BetterSqlite3QueryRunner {
  /** While it is true, release() does nothing: somebody else will do it. */
  isKept: boolean;
}

type Row = Record<string, unknown>;
type Answer = ReturnType<BetterSqlite3QueryRunner['query']>;

/** What TypeORM's query runner takes for a statement that better-sqlite3 has prepared. */
interface Statement {
  readonly reader: boolean;
  all(): Row[];
  run(): { readonly changes: number; readonly lastInsertRowid: number | bigint };
}

type IsolationLevel = Parameters<BetterSqlite3QueryRunner['startTransaction']>[0];

/** What the query runner needs of its base class. */
export const OVERRIDDEN = [
  'query',
  'getStmt',
  'connect',
  'release',
  'stream',
  'startTransaction',
  'clearDatabase',
  'beforeMigration',
  'afterMigration',
  'loadPragmaRecords',
] as const;

/**
 * Derives a query runner from TypeORM's own: one session for each, which takes the statements in order. Logging, events,
 * wrapping of errors and everything about schemas stay TypeORM's.
 */
export function queryRunnerClass(
  Base: QueryRunnerClass,
  sessions: Sessions,
): new (driver: BetterSqlite3Driver) => HAQueryRunner {
  return class extends Base implements HAQueryRunner {
    isKept = false;
    private session: HASession | undefined;
    private isSerializable = false;

    /** The session. */
    override async connect(): Promise<HASession> {
      return (this.session ??= sessions.open());
    }

    override async release(): Promise<void> {
      if (this.isReleased || this.isKept) return;
      this.isReleased = true;
      await super.release();
      if (this.session !== undefined) await sessions.close(this.session);
    }

    override query(sql: string, parameters: unknown[] = [], structured = false): Answer {
      // TypeORM prepares a statement and runs it in one go, without waiting: it is run while it seems to be prepared. A copy,
      // and not an object that inherits from this one: what becomes a prototype is slow from then on.
      const getStmt = (): Promise<Statement> => this.perform(sql, parameters);
      const call = Object.assign(Object.create(Object.getPrototypeOf(this) as object), this, { getStmt }) as this;
      return super.query.call(call, sql, parameters, structured);
    }

    /** Rows one by one, in one snapshot; all at once inside of a transaction, whose rows no other connection sees. */
    override async stream(
      sql: string,
      parameters: unknown[] = [],
      onEnd?: () => void,
      onError?: (error: Error) => void,
    ): Promise<RowStream> {
      // One that is released refuses it.
      const isQuery = this.isTransactionActive || this.isReleased;
      if (isQuery) return streamOf((await this.query(sql, parameters)) as Row[], onEnd, onError);
      this.driver.connection.logger.logQuery(sql, parameters, this);
      const rows = failingAs(sessions.rows(sql, parameters.map(bindable)), (error) =>
        queryFailure(this, error, (beside) => super.query.call(beside, sql, parameters)),
      );
      return streamOf(rows, onEnd, onError);
    }

    override async startTransaction(level?: IsolationLevel): Promise<void> {
      const isOutermost = this.transactionDepth === 0;
      if (isOutermost) this.isSerializable = (level ?? this.defaultIsolationLevel()) === 'SERIALIZABLE';
      try {
        await super.startTransaction(level);
      } catch (error) {
        // Nothing has begun, so there is nothing to roll back.
        if (isOutermost && this.transactionDepth === 0) this.isTransactionActive = false;
        throw error;
      }
    }

    override async beforeMigration(): Promise<void> {
      await this.pragma('foreign_keys = OFF');
    }

    override async afterMigration(): Promise<void> {
      await this.pragma('foreign_keys = ON');
    }

    protected override async loadPragmaRecords(tablePath: string, pragma: string): Promise<Row[]> {
      const [, table] = this.splitTablePath(tablePath);
      return this.pragma(`${pragma}("${table}")`);
    }

    private async pragma(text: string): Promise<Row[]> {
      const session = await this.connect();
      return (await session.execute<Row>(`PRAGMA ${text}`)).rows.map(exactRow);
    }

    private defaultIsolationLevel(): IsolationLevel {
      return (this.driver.options as { readonly isolationLevel?: IsolationLevel }).isolationLevel;
    }

    private async perform(sql: string, parameters: readonly unknown[]): Promise<Statement> {
      try {
        return statementOf(sql, await this.execute(sql, parameters));
      } catch (error) {
        // Thrown where the statement is run, so that TypeORM logs and wraps it.
        return failing(error);
      }
    }

    private async execute(sql: string, parameters: readonly unknown[]): Promise<HAResult<Row> | undefined> {
      const session = await this.connect();
      // It is about other connections of one process to a shared cache.
      if (/^PRAGMA read_uncommitted\b/i.test(sql)) return undefined;
      const isSerializable = this.isSerializable && sql === 'BEGIN TRANSACTION';
      return session.execute<Row>(isSerializable ? 'BEGIN EXCLUSIVE' : sql, parameters.map(bindable));
    }
  };
}

function statementOf(sql: string, result: HAResult<Row> | undefined): Statement {
  const { reader = false, rows = [], changes = 0, lastInsertRowid = 0 } = result ?? {};
  return {
    reader,
    all: () => withoutOwnTables(sql, rows).map(exactRow),
    run: () => ({ changes, lastInsertRowid: exactInteger(lastInsertRowid) }),
  };
}

/** @internal */
export function notConnected(): HAError {
  return new HAError('HA_DATABASE_CLOSED', 'This DataSource is not initialized. Await dataSource.initialize() first.');
}

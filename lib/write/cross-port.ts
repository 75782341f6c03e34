import type { RowShape } from '../sqlite/statement-cache.js';
import type { HAParameters } from './executor.js';

/** A database that an answer lacks, and why. */
export interface HAFailedDatabase {
  readonly connection: string;
  readonly error: Error;
}

/** How {@link HADatabase.acrossDatabases} asks. */
export interface HAAcrossOptions {
  /**
   * Regular expression that the whole connection name or file name of a database has to match. Default: the statement's
   * hint `db=…`, or the option `queryRouter`.
   */
  readonly databases?: string | RegExp;
  /** Answers without databases that cannot be read, and lists them. Default false: one that fails, fails the call. */
  readonly partial?: boolean;
  /** Integers as bigint. Default false. */
  readonly safeIntegers?: boolean;
}

/** The answer of several databases. */
export interface HAAcross<T = unknown> {
  readonly rows: T[];
  readonly columns: readonly string[];
  /** Connection names of the databases that were asked, those that failed too. */
  readonly databases: readonly string[];
  readonly failed: readonly HAFailedDatabase[];
}

/** A SELECT that several databases answer. */
export interface CrossQuery {
  iterate(params: HAParameters | undefined, shape: RowShape): AsyncIterableIterator<unknown>;
  /** All rows as arrays, integers as bigint, with the names of the columns. */
  exact(params: HAParameters | undefined): Promise<HAAcross<readonly unknown[]>>;
}

/** Answers SELECTs from several databases of the application. */
export interface CrossPort {
  /** Whether SELECTs without a hint are answered from several databases too. */
  readonly routesAll: boolean;
  /** Who answers a SELECT; undefined where it is this database alone. */
  route(sql: string): CrossQuery | undefined;
  across(sql: string, params: HAParameters | undefined, options: HAAcrossOptions): Promise<HAAcross>;
}

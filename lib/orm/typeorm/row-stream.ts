import { Readable } from 'node:stream';
import type { BetterSqlite3QueryRunner } from 'typeorm/driver/better-sqlite3/BetterSqlite3QueryRunner.js';

/** TypeORM's type is that of a file's stream, though no driver of it gives one. */
export type RowStream = Awaited<ReturnType<BetterSqlite3QueryRunner['stream']>>;

/** A statement that fails when it is run. */
export interface FailingStatement {
  readonly reader: true;
  all(): never;
  run(): never;
}

/** Rows as a stream. */
export function streamOf<Row>(
  rows: Iterable<Row> | AsyncIterable<Row>,
  onEnd: (() => void) | undefined,
  onError: ((error: Error) => void) | undefined,
): RowStream {
  const stream = Readable.from(rows);
  if (onEnd !== undefined) stream.on('end', onEnd);
  if (onError !== undefined) stream.on('error', onError);
  return stream as unknown as RowStream;
}

/** The same rows; where reading one fails, with another error. What fails where they are used is left as it is. */
export async function* failingAs<Row>(
  rows: AsyncIterable<Row>,
  wrap: (error: unknown) => Promise<unknown>,
): AsyncGenerator<Row> {
  const iterator = rows[Symbol.asyncIterator]();
  const next = async (): Promise<IteratorResult<Row>> => {
    try {
      return await iterator.next();
    } catch (error) {
      throw await wrap(error);
    }
  };
  try {
    for (let step = await next(); step.done !== true; step = await next()) yield step.value;
  } finally {
    await iterator.return?.();
  }
}

/**
 * What TypeORM makes of the error of a statement, which it logs.
 *
 * @param query TypeORM's own: is run with a statement that fails so, beside the query runner, which may be released by now.
 */
export async function queryFailure(
  runner: BetterSqlite3QueryRunner,
  error: unknown,
  query: (beside: BetterSqlite3QueryRunner) => Promise<unknown>,
): Promise<unknown> {
  const nothing = (): undefined => undefined;
  const told = runner.driver.connection.logger;
  const logger = {
    logQuery: nothing,
    logQuerySlow: nothing,
    logQueryError: (cause: Error, text: string, values: unknown[]): unknown =>
      told.logQueryError(cause, text, values, runner),
  };
  const beside = {
    isReleased: false,
    driver: { options: {}, dataSource: { logger }, connection: { logger } },
    broadcaster: { broadcast: nothing, broadcastBeforeQueryEvent: nothing, broadcastAfterQueryEvent: nothing },
    getStmt: async () => failing(error),
  };
  try {
    await query(beside as unknown as BetterSqlite3QueryRunner);
    return error;
  } catch (failure) {
    return failure;
  }
}

/** A statement that fails so when it is run. */
export function failing(error: unknown): FailingStatement {
  const fail = (): never => {
    throw error;
  };
  return { reader: true, all: fail, run: fail };
}

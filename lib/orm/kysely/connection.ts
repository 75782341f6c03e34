import { InsertQueryNode, SelectQueryNode } from 'kysely';
import type { CompiledQuery, DatabaseConnection, QueryResult, RootOperationNode } from 'kysely';
import { HAError } from '../../common/ha-error.js';
import type { HAResult } from '../../write/executor.js';
import type { HADatabase } from '../../write/ha-database.js';
import type { RowCursor } from '../../write/result.js';
import { shaped } from '../../write/shapes.js';
import type { HASession, HASessionOptions, SessionAnswer } from '../../write/session.js';

/** Options of Kysely over a replicated database. */
export interface HAKyselyOptions extends Pick<HASessionOptions, 'idleTimeout' | 'timeout'> {
  /**
   * Integers as `bigint`, without the loss that numbers have beyond 2^53. Ids that `insertId` tells are exact without it.
   * Default false.
   */
  readonly safeIntegers?: boolean;
}

/** A connection of Kysely: a session. */
export class HAKyselyConnection implements DatabaseConnection {
  readonly session: HASession;
  /** Its transactions are stored only if nobody wrote in between. */
  isMigrating = false;
  /** How many it has run. */
  private statements = 0;

  constructor(
    db: HADatabase,
    private readonly options: HAKyselyOptions,
  ) {
    this.session = db.connect(options);
  }

  async executeQuery<R>({ sql, parameters, query }: CompiledQuery): Promise<QueryResult<R>> {
    this.statements++;
    const safeIntegers = this.options.safeIntegers === true || tellsIdOnly(query);
    return asKysely(await this.session.execute<R>(sql, parameters, { safeIntegers }));
  }

  async *streamQuery<R>({ sql, parameters, query }: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
    if (!SelectQueryNode.is(query)) throw new Error('Sqlite driver only supports streaming of select queries');
    const shape = { pluck: false, raw: false, safeIntegers: this.options.safeIntegers === true };
    const own = ++this.statements;
    const rows = rowsOf(await this.session.stream(sql, parameters));
    try {
      for (let row = rows.next(); row !== undefined; row = rows.next()) {
        yield { rows: [shaped(rows.columns, row, shape) as R] };
        // The next statement of a session ends the cursor, and what is left would be missing without a word.
        if (this.statements !== own) throw interrupted();
      }
    } finally {
      if (this.statements === own) rows.close();
    }
  }
}

/** The rows one by one; those of several databases have all come already. */
function rowsOf(answer: SessionAnswer): RowCursor {
  if ('cursor' in answer) return answer.cursor;
  const { columns, rows } = answer.result;
  const left = rows[Symbol.iterator]();
  return { columns, next: () => left.next().value, close: () => undefined };
}

function interrupted(): HAError {
  return new HAError(
    'HA_TRANSACTION_CLOSED',
    'The transaction went on while rows were being streamed in it. Read them to the end first, or leave the loop.',
  );
}

/** An INSERT without RETURNING gives no rows that would have their integers as `bigint` too. */
function tellsIdOnly(query: RootOperationNode): boolean {
  return InsertQueryNode.is(query) && query.returning === undefined;
}

/** As Kysely's own SQLite driver tells it: rows, or counts. */
function asKysely<R>({ reader, rows, changes, lastInsertRowid }: HAResult<R>): QueryResult<R> {
  if (reader) return { rows };
  return { rows, numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
}

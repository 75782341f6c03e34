import { HAError } from '../../common/ha-error.js';
import { immediate } from '../../common/timing.js';
import { runHistoryStatement } from '../../history/statements.js';
import type { HistoryAnswer } from '../../history/statements.js';
import { ProtocolTime } from '../codec/any.js';
import { AnswerWriter, QueryType } from '../codec/messages.js';
import type { QueryRequest } from '../codec/messages.js';
import { answerLimit, tooLarge, tooSlow } from './result-limits.js';
import type { ServedDatabase } from './served-database.js';

/** Hands an answer to the caller; see QuerySession. */
type Send = (answer: Buffer) => Promise<void> | undefined;

/** The loop may do something else after this time, ms. */
const SLICE_MS = 4;
/** The last column of a history. */
const TIME = 'timestamp';

/**
 * `HISTORY`, `UNDO`, `UNDOE` or `UNDOT` as a request: what they give is sent part by part, as it is read. The type of an undo
 * decides whether its figures come as a row, or as `rows_affected`; `txseq` is the place of the undo.
 */
export class HistoryQuery {
  private constructor(
    private readonly answer: HistoryAnswer,
    private readonly served: ServedDatabase,
    private readonly isQuery: boolean,
  ) {}

  /** @throws HAError `HA_PARAMETER_INVALID` where it has parameters, `HA_TRANSACTION_CONTROL`, and what the statement throws. */
  static async run(
    { sql, params, type }: QueryRequest,
    served: ServedDatabase,
    inTransaction: boolean,
  ): Promise<HistoryQuery> {
    if (inTransaction) throw insideTransaction(sql);
    if (params.length > 0) throw withParameters(sql);
    return new HistoryQuery(await runHistoryStatement(served.database, sql), served, type !== QueryType.EXEC_UPDATE);
  }

  /** Sends the answers; resolves with the failure behind which there is none. */
  async send(send: Send, extended: boolean): Promise<unknown> {
    const rows = this.answer.rows[Symbol.asyncIterator]();
    try {
      for (let more = true; more;) {
        let part: Buffer;
        try {
          ({ part, more } = await this.take(rows, extended));
        } catch (error) {
          return error;
        }
        await send(part);
      }
    } finally {
      await rows.return?.();
    }
    return undefined;
  }

  private async take(
    rows: AsyncIterator<readonly (bigint | string)[]>,
    extended: boolean,
  ): Promise<{ readonly part: Buffer; readonly more: boolean }> {
    const { columns } = this.answer;
    const { timeout } = this.served;
    const started = performance.now();
    let slice = started;
    const writer = new AnswerWriter(this.isQuery ? columns : undefined);
    const isUndo = columns.at(-1) !== TIME;
    let undone: readonly (bigint | string)[] | undefined;
    for (;;) {
      const next = await rows.next();
      if (next.done === true) break;
      if (isUndo) undone = next.value;
      if (this.isQuery) writer.add(isUndo ? next.value : withTime(next.value));
      if (writer.length >= answerLimit(extended)) {
        if (!extended) throw tooLarge();
        return { part: writer.finish({ more: true }), more: true };
      }
      const now = performance.now();
      if (now - started > timeout) throw tooSlow(timeout);
      if (now - slice < SLICE_MS) continue;
      await immediate();
      slice = performance.now();
    }
    if (undone === undefined) return { part: writer.finish({}), more: false };
    const [txseq = 0n, , ...counts] = undone as readonly bigint[];
    const rowsAffected = this.isQuery ? 0 : Number(counts.reduce((sum, count) => sum + count, 0n));
    return { part: writer.finish({ rowsAffected, txseq }), more: false };
  }
}

/** The time as the protocol has it, and not as text. */
function withTime(row: readonly (bigint | string)[]): unknown[] {
  return [...row.slice(0, -1), new ProtocolTime(Date.parse(String(row.at(-1))))];
}

function insideTransaction(sql: string): HAError {
  return new HAError(
    'HA_TRANSACTION_CONTROL',
    `'${sql.trim()}' is no part of a transaction: an undo is one of its own. COMMIT or ROLLBACK the open one first.`,
  );
}

function withParameters(sql: string): HAError {
  return new HAError(
    'HA_PARAMETER_INVALID',
    `'${sql.trim()}' takes no parameters. Write the values into the statement.`,
  );
}

import { HAError } from '../common/ha-error.js';
import { emptyRecord } from '../common/own.js';
import { Lexer } from '../sql/lexer.js';
import { unquoteIdentifier } from '../sql/identifiers.js';
import type {
  HAHistoryOptions,
  HAHistoryStart,
  HAHistoryTransaction,
  HARowKey,
  HAUndoOptions,
  HAUndoResult,
} from '../write/history-port.js';

/** What the statements run on; `HADatabase` is one. */
export interface HistoryDatabase {
  history(from?: HAHistoryStart, options?: HAHistoryOptions): AsyncIterableIterator<HAHistoryTransaction>;
  undo(options: HAUndoOptions): Promise<HAUndoResult>;
}

/** The answer to a statement: rows come as they are read, for there may be millions. */
export interface HistoryAnswer {
  readonly columns: readonly string[];
  readonly rows: AsyncIterable<readonly (bigint | string)[]>;
}

type KeyValue = bigint | number | string | Buffer;

type Statement =
  | { readonly kind: 'history'; readonly from: HAHistoryStart | undefined }
  | { readonly kind: 'undo'; readonly options: HAUndoOptions };

const SCOPES: Readonly<Record<string, NonNullable<HAUndoOptions['scope']>>> = {
  UNDO: 'all',
  UNDOE: 'entities',
  UNDOT: 'transactions',
};

const GRAMMAR =
  'HISTORY [sequence|duration] and UNDO|UNDOE|UNDOT sequence|duration [WHERE table(rowid or key, (key, of, columns), …)]';

const VERB = /^(?:HISTORY|UNDO[ET]?)$/i;

/** True for a text that is one of the statements of history, and so no SQL. */
export function isHistoryStatement(sql: string): boolean {
  const lexer = new Lexer(sql);
  // Only the first word is looked at: what comes behind it may be a script of many megabytes.
  while (lexer.next()) if (!lexer.trivia) return VERB.test(sql.slice(lexer.start, lexer.end));
  return false;
}

/**
 * Runs `HISTORY [seq|duration]`, or `UNDO`, `UNDOE` (entities) or `UNDOT` (transactions) `seq|duration [WHERE table(rowid, …)]`.
 * They are no SQL: no SELECT, trigger or view reaches them.
 *
 * `HISTORY` answers `seq`, `sql` and `timestamp` (RFC 3339) of each transaction; the others one row with `seq` (0 where nothing
 * had to be changed), `transactions`, `inserted`, `updated` and `deleted`.
 *
 * @throws HAError `HA_HISTORY_INVALID` where it is malformed, and what `db.history()` and `db.undo()` throw.
 */
export async function runHistoryStatement(db: HistoryDatabase, sql: string): Promise<HistoryAnswer> {
  const statement = parseHistoryStatement(sql);
  if (statement.kind === 'history') {
    return { columns: ['seq', 'sql', 'timestamp'], rows: historyRows(db.history(statement.from)) };
  }
  const result = await db.undo(statement.options);
  const { sequence = 0n, transactions, inserted, updated, deleted } = result;
  const row = [sequence, ...[transactions, inserted, updated, deleted].map(BigInt)];
  return { columns: ['seq', 'transactions', 'inserted', 'updated', 'deleted'], rows: one(row) };
}

async function* historyRows(
  transactions: AsyncIterable<HAHistoryTransaction>,
): AsyncGenerator<(bigint | string)[], void> {
  for await (const { sequence, sql, time } of transactions) yield [sequence, sql, time.toISOString()];
}

async function* one<T>(row: T): AsyncGenerator<T, void> {
  yield row;
}

/** Reads a statement. @throws HAError `HA_HISTORY_INVALID`. */
export function parseHistoryStatement(sql: string): Statement {
  const tokens = words(sql);
  while (tokens.at(-1) === ';') tokens.pop();
  const verb = tokens.shift()?.toUpperCase() ?? '';
  const where = tokens.findIndex((token) => token.toUpperCase() === 'WHERE');
  const [start = '', ...others] = joinedSigns(where < 0 ? tokens : tokens.slice(0, where));
  if (others.length > 0) throw malformed(sql, `'${others[0]}' was not expected`);
  const from = start === '' ? undefined : startOf(start);
  if (verb === 'HISTORY' && where < 0) return { kind: 'history', from };
  const scope = SCOPES[verb];
  if (scope === undefined) throw malformed(sql, 'no such statement');
  if (from === undefined) throw malformed(sql, 'where to begin is missing');
  const rows = where < 0 ? {} : { rows: rowsOf(sql, tokens.slice(where + 1)) };
  return { kind: 'undo', options: { from, scope, ...rows } };
}

/** A sign belongs to what is behind it. */
function joinedSigns([first = '', ...others]: readonly string[]): string[] {
  if (first !== '-' && first !== '+') return first === '' ? [] : [first, ...others];
  return [`${first}${others[0] ?? ''}`, ...others.slice(1)];
}

/** Digits are a sequence, everything else is for the duration's reader to judge. */
function startOf(text: string): HAHistoryStart {
  return /^[+-]?\d+$/.test(text) && text !== '0' ? BigInt(text) : text;
}

/** `table(1, 2, 'key')`, several of them with commas in between; a key of several columns has brackets of its own. */
function rowsOf(sql: string, tokens: readonly string[]): Record<string, readonly HARowKey[]> {
  const rows = emptyRecord<readonly HARowKey[]>();
  const rest = new Rest(sql, tokens);
  do {
    const name = rest.take();
    if (name === undefined || !/^[\w"`[$\u0080-\uffff]/.test(name) || !rest.skip('('))
      throw malformed(sql, 'WHERE names no table(rowid, …)');
    const table = unquoteIdentifier(name);
    rows[table] = [
      ...(rows[table] ?? []),
      ...rest.list(() => (rest.skip('(') ? rest.list(() => rest.value()) : rest.value())),
    ];
  } while (rest.skip(','));
  const more = rest.take();
  if (more !== undefined) throw malformed(sql, `'${more}' was not expected`);
  return rows;
}

/** What is left of a statement. */
class Rest {
  private at = 0;

  constructor(
    private readonly sql: string,
    private readonly tokens: readonly string[],
  ) {}

  take(): string | undefined {
    return this.tokens[this.at++];
  }

  skip(token: string): boolean {
    if (this.tokens[this.at] !== token) return false;
    this.at++;
    return true;
  }

  /** Reads up to the bracket that ends it. */
  list<T>(read: () => T): T[] {
    const list = [read()];
    while (this.skip(',')) list.push(read());
    if (!this.skip(')')) throw malformed(this.sql, `a ',' or ')' is missing`);
    return list;
  }

  value(): KeyValue {
    const sign = this.skip('-') ? '-' : this.skip('+') ? '+' : '';
    const text = `${sign}${this.take() ?? ''}`;
    if (/^[+-]?\d+$/.test(text)) return BigInt(text);
    if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return Number(text);
    if (/^'.*'$/s.test(text)) return unquoteIdentifier(text);
    if (/^x'(?:[0-9a-f]{2})*'$/i.test(text)) return Buffer.from(text.slice(2, -1), 'hex');
    throw malformed(this.sql, `'${text}' is no rowid and no key`);
  }
}

function words(sql: string): string[] {
  const lexer = new Lexer(sql);
  const found: string[] = [];
  while (lexer.next()) if (!lexer.trivia) found.push(sql.slice(lexer.start, lexer.end));
  return found;
}

function malformed(sql: string, why: string): HAError {
  return new HAError('HA_HISTORY_INVALID', `'${sql.trim()}' cannot be run: ${why}. There are ${GRAMMAR}.`, {
    details: { sql },
  });
}

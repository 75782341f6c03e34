import { Char } from './characters.js';
import { readAnalyze, readBegin, readReindex, readRollback, readVacuum } from './classify-control.js';
import { readAlter, readCreate, readDrop } from './classify-ddl.js';
import { readDelete, readInsert, readUpdate } from './classify-dml.js';
import { readPragma } from './classify-pragma.js';
import type { KeywordScan } from './keyword-scan.js';
import { NO_KEYWORDS, scanKeywords } from './keyword-scan.js';
import type { StatementFacts, StatementInfo, StatementKind } from './statement-info.js';
import { UNKNOWN } from './statement-info.js';
import { StatementReader } from './statement-reader.js';

type Read = (reader: StatementReader, index: number) => StatementFacts;

/** The statements that WITH may precede. */
const QUERIES: ReadonlyMap<string, Read> = new Map([
  ['SELECT', plain('select')],
  ['VALUES', plain('select')],
  ['INSERT', readInsert],
  ['REPLACE', readInsert],
  ['UPDATE', readUpdate],
  ['DELETE', readDelete],
]);

const STATEMENTS: ReadonlyMap<string, Read> = new Map([
  ...QUERIES,
  ['WITH', readWith],
  ['CREATE', readCreate],
  ['DROP', readDrop],
  ['ALTER', readAlter],
  ['PRAGMA', readPragma],
  ['BEGIN', readBegin],
  ['COMMIT', plain('commit')],
  ['END', plain('commit')],
  ['ROLLBACK', readRollback],
  ['SAVEPOINT', plain('savepoint')],
  ['RELEASE', plain('release')],
  ['VACUUM', readVacuum],
  ['ATTACH', plain('attach')],
  ['DETACH', plain('detach')],
  ['ANALYZE', readAnalyze],
  ['REINDEX', readReindex],
]);

/**
 * Tells what one statement does, from its text alone: nothing is compiled and no schema is needed. It does not check
 * syntax: text that SQLite would refuse gets some kind, mostly `unknown`. Split a script and refuse NUL characters
 * first; `splitStatements` does both.
 */
export function classify(sql: string): StatementInfo {
  const reader = new StatementReader(sql);
  if (reader.isEmpty) return info('', { kind: 'empty', writes: false }, NO_KEYWORDS);
  return reader.is(0, 'EXPLAIN') ? explain(reader) : statement(reader, 0);
}

/** EXPLAIN runs nothing: what the statement would do stands under `explained`. */
function explain(reader: StatementReader): StatementInfo {
  const explained = statement(reader, reader.is(1, 'QUERY', 'PLAN') ? 3 : 1);
  const hinted = explained.hinted === true && ({ hinted: true } as const);
  return info('EXPLAIN', { kind: 'explain', writes: false, explained, ...hinted }, NO_KEYWORDS);
}

function statement(reader: StatementReader, index: number): StatementInfo {
  const verb = reader.keyword(index);
  const facts = STATEMENTS.get(verb)?.(reader, index) ?? UNKNOWN;
  const found = info(verb, facts, scanKeywords(reader, index));
  return reader.sql.includes('/*+') ? { ...found, hinted: true } : found;
}

function info(verb: string, facts: StatementFacts, words: KeywordScan): StatementInfo {
  return { temp: false, verb, ...words, ...facts, returning: words.returning && facts.target !== undefined };
}

function plain(kind: StatementKind): Read {
  return () => ({ kind, writes: false });
}

/** Passes over the common table expressions, whose names may be any word: `WITH replace AS (...) SELECT`. */
function readWith(reader: StatementReader, index: number): StatementFacts {
  let i = reader.is(index + 1, 'RECURSIVE') ? index + 2 : index + 1;
  for (;;) {
    i = reader.skipParentheses(i + 1);
    if (!reader.is(i++, 'AS')) return UNKNOWN;
    if (reader.is(i, 'NOT')) i++;
    if (reader.is(i, 'MATERIALIZED')) i++;
    const body = i;
    i = reader.skipParentheses(body);
    if (i === body) return UNKNOWN;
    if (!reader.isOperator(i, Char.COMMA)) return QUERIES.get(reader.keyword(i))?.(reader, i) ?? UNKNOWN;
    i++;
  }
}

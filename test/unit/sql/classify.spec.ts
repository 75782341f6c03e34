import { classify } from '../../../lib/sql/classify.js';
import type { StatementInfo, StatementKind } from '../../../lib/sql/statement-info.js';
import { corpus } from './corpus.js';

/** The corpus names DDL by action and object, all else as we do. */
function corpusKind(info: StatementInfo): string {
  const { ddl, kind } = info;
  return (ddl ? `${ddl.action} ${ddl.object}` : kind).toUpperCase().replaceAll(' ', '_');
}

function pick(sql: string, ...keys: (keyof StatementInfo)[]): Partial<StatementInfo> {
  const info = classify(sql);
  return Object.fromEntries(keys.map((key) => [key, info[key]]));
}

describe('classify', () => {
  it.each(corpus)('agrees with the corpus: $sql', (entry) => {
    const info = classify(entry.sql);
    const { kind, ddl, temp, modifies, returning } = entry;
    expect({
      kind: corpusKind(info),
      ddl: info.kind === 'ddl',
      temp: info.temp,
      modifies: info.writes,
      returning: info.returning,
    }).toEqual({ kind, ddl, temp, modifies, returning });
  });

  it.each<[string, StatementKind, string, boolean]>([
    ['', 'empty', '', false],
    [' -- x\n;', 'empty', '', false],
    ['; SELECT 1;', 'select', 'SELECT', false],
    ['values (1)', 'select', 'VALUES', false],
    ['END', 'commit', 'END', false],
    ['replace into t values (1)', 'insert', 'REPLACE', true],
    ['WITH replace AS (SELECT 1) SELECT * FROM replace', 'select', 'WITH', false],
    ['WITH a(x) AS NOT MATERIALIZED (SELECT ")"), b AS (SELECT 2) DELETE FROM t', 'delete', 'WITH', true],
    ['WITH RECURSIVE a AS MATERIALIZED (SELECT 1) REPLACE INTO t SELECT 1', 'insert', 'WITH', true],
    ['WITH a AS SELECT', 'unknown', 'WITH', true],
    ['WITH', 'unknown', 'WITH', true],
    ['CREATE', 'unknown', 'CREATE', true],
    ['CREATE FUNCTION f', 'unknown', 'CREATE', true],
    ['DELETE t', 'unknown', 'DELETE', true],
    ['"SELECT" 1', 'unknown', '', true],
    ['\u017felect 1', 'unknown', '\u017felect', true],
    ['(SELECT 1)', 'unknown', '', true],
    ['EXPLAIN EXPLAIN SELECT 1', 'explain', 'EXPLAIN', false],
    ['DROP TABLE IF EXISTS x', 'ddl', 'DROP', true],
    ['ALTER TABLE x ADD y', 'ddl', 'ALTER', true],
  ])('%j is %s', (sql, kind, verb, writes) => {
    expect(pick(sql, 'kind', 'verb', 'writes')).toEqual({ kind, verb, writes });
  });

  it.each<[string, StatementInfo['target'], StatementInfo['conflict'], boolean]>([
    ['INSERT INTO t VALUES (1)', { name: 't' }, undefined, false],
    ['INSERT OR REPLACE INTO "a""b".[c d] VALUES (1)', { schema: 'a"b', name: 'c d' }, 'replace', true],
    ["REPLACE INTO 't' VALUES (1)", { name: 't' }, 'replace', true],
    ['INSERT OR IGNORE INTO t SELECT replace(a, 1, 2) FROM t', { name: 't' }, 'ignore', false],
    ['UPDATE OR FAIL main.t SET a = 1', { schema: 'main', name: 't' }, 'fail', false],
    ['UPDATE OR REPLACE t SET a = 1', { name: 't' }, 'replace', true],
    ['UPDATE OR ROLLBACK t SET a = 1', { name: 't' }, 'rollback', false],
    ['UPDATE OR ABORT `t` SET a = 1', { name: 't' }, 'abort', false],
    ['UPDATE replace SET a = 1', { name: 'replace' }, undefined, false],
    ['WITH q AS (SELECT 1) DELETE FROM temp.x', { schema: 'temp', name: 'x' }, undefined, false],
  ])('finds target and conflict of %s', (sql, target, conflict, replace) => {
    expect(pick(sql, 'target', 'conflict', 'replace')).toEqual({ target, conflict, replace });
  });

  it.each<[string, Partial<NonNullable<StatementInfo['ddl']>>]>([
    ['CREATE TABLE if_x(a)', { action: 'create', object: 'table', name: { name: 'if_x' }, ifNotExists: false }],
    ['CREATE TABLE "if"(a)', { name: { name: 'if' }, nameOffset: 13, asSelect: false }],
    ['CREATE TABLE IF NOT EXISTS temp(x)', { name: { name: 'temp' }, ifNotExists: true, nameOffset: 27 }],
    ['CREATE TABLE x AS SELECT 1', { asSelect: true }],
    ['CREATE TABLE x(as_ AS (1))', { asSelect: false }],
    ['CREATE VIEW x AS SELECT 1', { object: 'view', asSelect: false }],
    ['CREATE UNIQUE INDEX m.i ON "t 1"(a)', { object: 'index', name: { schema: 'm', name: 'i' }, on: { name: 't 1' } }],
    [
      'CREATE TRIGGER g UPDATE OF "on" ON main.t BEGIN SELECT 1; END',
      { object: 'trigger', on: { schema: 'main', name: 't' } },
    ],
    ['CREATE VIRTUAL TABLE f USING fts5(a)', { object: 'virtual table', name: { name: 'f' } }],
    ['DROP VIEW IF EXISTS v', { action: 'drop', object: 'view', ifExists: true }],
    ['ALTER TABLE a.b RENAME TO c', { action: 'alter', alter: 'rename', name: { schema: 'a', name: 'b' } }],
    ['ALTER TABLE b RENAME "to" TO c', { alter: 'rename column' }],
    ['ALTER TABLE b RENAME COLUMN x TO c', { alter: 'rename column' }],
    ['ALTER TABLE b ADD COLUMN x', { alter: 'add column' }],
    ['ALTER TABLE b ADD "constraint"', { alter: 'add column' }],
    ['ALTER TABLE b ADD CONSTRAINT c CHECK (1)', { alter: 'other' }],
    ['ALTER TABLE b DROP x', { alter: 'drop column' }],
    ['ALTER TABLE b DROP CONSTRAINT c', { alter: 'other' }],
    ['ALTER TABLE b ALTER COLUMN c DROP NOT NULL', { alter: 'other' }],
  ])('reads the facts of %s', (sql, expected) => {
    expect(classify(sql)).toMatchObject({ kind: 'ddl', ddl: expected });
  });

  it.each<[string, boolean]>([
    ['CREATE TABLE temp(x)', false],
    ['CREATE TABLE TEMP.x(y)', true],
    ['CREATE TABLE "temp" (y)', false],
    ['CREATE TEMP TABLE temp(x)', true],
    ['DROP TABLE [Temp].x', true],
    ['CREATE TRIGGER g INSERT ON temp.x BEGIN SELECT 1; END', true],
    ['CREATE TRIGGER main.g INSERT ON temp.x BEGIN SELECT 1; END', false],
    ['UPDATE temp SET x = 1', false],
    ['INSERT INTO t SELECT * FROM temp.x', false],
    ['ANALYZE temp.x', true],
    ['REINDEX temp', false],
    ['VACUUM temp', true],
  ])('%s: temp is %s', (sql, temp) => {
    expect(classify(sql).temp).toBe(temp);
  });

  it.each<[string, StatementInfo['pragma'], boolean]>([
    ['PRAGMA user_version', { name: 'user_version', hasArgument: false }, false],
    [
      'PRAGMA main."User_Version" = -0x7;',
      { schema: 'main', name: 'user_version', hasArgument: true, argument: '-0x7' },
      true,
    ],
    ["PRAGMA table_info('a)b' )", { name: 'table_info', hasArgument: true, argument: "'a)b'" }, false],
    ['PRAGMA journal_mode(wal)', { name: 'journal_mode', hasArgument: true, argument: 'wal' }, true],
    ['PRAGMA optimize', { name: 'optimize', hasArgument: false }, true],
  ])('reads %s', (sql, pragma, writes) => {
    expect(pick(sql, 'pragma', 'writes')).toEqual({ pragma, writes });
  });

  it('tells transaction statements apart', () => {
    expect(classify('BEGIN').transactionMode).toBe('deferred');
    expect(classify('begin immediate').transactionMode).toBe('immediate');
    expect(classify('BEGIN EXCLUSIVE TRANSACTION').transactionMode).toBe('exclusive');
    const back = ['ROLLBACK TO a', 'ROLLBACK TRANSACTION TO a', 'ROLLBACK TRANSACTION x TO SAVEPOINT a'];
    expect(back.map((sql) => classify(sql).rollbackTo)).toEqual([true, true, true]);
    expect(['ROLLBACK', 'ROLLBACK TRANSACTION "to"'].map((sql) => classify(sql).rollbackTo)).toEqual([false, false]);
  });

  it('tells what VACUUM INTO leaves alone', () => {
    expect(pick('VACUUM main INTO ?', 'into', 'writes')).toEqual({ into: true, writes: false });
    expect(pick('VACUUM', 'into', 'writes')).toEqual({ into: false, writes: true });
  });

  it('shows what EXPLAIN explains', () => {
    const info = classify('EXPLAIN QUERY PLAN INSERT OR REPLACE INTO t VALUES (1) RETURNING a');
    expect(info).toMatchObject({ kind: 'explain', returning: false, replace: false, writes: false });
    expect(info.explained).toMatchObject({ kind: 'insert', returning: true, replace: true, writes: true });
    expect(classify('EXPLAIN PRAGMA cache_size = 1').explained?.pragma?.name).toBe('cache_size');
    expect(classify('EXPLAIN').explained?.kind).toBe('unknown');
  });

  it.each<[string, boolean, boolean]>([
    ['SELECT replace(a, b, c) FROM t', false, false],
    ['CREATE TABLE t(a UNIQUE ON CONFLICT REPLACE)', true, false],
    ['CREATE TABLE t(a UNIQUE ON CONFLICT ROLLBACK)', false, true],
    ['CREATE TRIGGER g INSERT ON t BEGIN UPDATE OR REPLACE t SET a = 1; END', true, false],
    ['CREATE TRIGGER g INSERT ON t BEGIN SELECT RAISE ( ROLLBACK, 1); END', false, true],
    ['INSERT OR ROLLBACK INTO t VALUES (1)', false, true],
    ['INSERT INTO t VALUES (\'OR ROLLBACK\', "REPLACE") -- OR REPLACE', false, false],
    ['ROLLBACK', false, false],
  ])('%s mentions REPLACE: %s, ROLLBACK: %s', (sql, mentionsReplace, mentionsRollback) => {
    expect(pick(sql, 'mentionsReplace', 'mentionsRollback')).toEqual({ mentionsReplace, mentionsRollback });
  });

  it('sees REPLACE INTO within a trigger', () => {
    expect(classify('CREATE TRIGGER g INSERT ON t BEGIN REPLACE INTO t VALUES (1); END').replace).toBe(true);
  });
});

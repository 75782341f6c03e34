import BetterSqlite3 from 'better-sqlite3';
import type { OpenDatabase } from '../../../lib/write/open-database.js';
import { SessionPragmas, cutAtPragmas, isSessionPragma } from '../../../lib/write/session-pragmas.js';
import type { PragmaAnswer } from '../../../lib/write/session-pragmas.js';
import { StatementInfos } from '../../../lib/write/statement-info.js';

const infos = new StatementInfos();
let reader: BetterSqlite3.Database;
let pragmas: SessionPragmas;

beforeEach(() => {
  reader = new BetterSqlite3(':memory:');
  pragmas = new SessionPragmas();
});
afterEach(() => reader.close());

function answer(sql: string, isOpen = false, usual = true): PragmaAnswer {
  const open = {
    connections: { reader },
    runner: { enforcement: { usual } },
    busyTimeout: 700,
  } as unknown as OpenDatabase;
  const { pragma } = infos.of(sql);
  if (pragma === undefined) throw new Error('This is no PRAGMA.');
  return pragmas.answer(open, sql, pragma, isOpen);
}

describe('PRAGMA foreign_keys of a session', () => {
  it.each([
    ['PRAGMA foreign_keys = ON', true],
    ['pragma FOREIGN_KEYS=1;', true],
    ['PRAGMA main.foreign_keys(yes)', true],
    ['PRAGMA "foreign_keys" = \'true\' -- so', true],
    ['; /* a */ PRAGMA foreign_keys /* b */ = OFF;;', false],
    ['PRAGMA foreign_keys=0', false],
    ['PRAGMA foreign_keys ( "no" )', false],
    ['PRAGMA foreign_keys = false', false],
  ])('%s sets %s', (sql, wanted) => {
    pragmas.foreignKeys = !wanted;
    expect(answer(sql)).toEqual({ reader: false, columns: [], rows: [] });
    expect(pragmas.foreignKeys).toBe(wanted);
    expect(reader.pragma('foreign_keys', { simple: true })).toBe(1);
  });

  it('answers as usual until it is set, and nothing moves it in a transaction', () => {
    expect(answer('PRAGMA foreign_keys').rows).toEqual([[1n]]);
    expect(answer('PRAGMA foreign_keys', false, false).rows).toEqual([[0n]]);
    answer('PRAGMA foreign_keys = OFF', true);
    expect(pragmas.foreignKeys).toBeUndefined();
    answer('PRAGMA foreign_keys = OFF');
    expect(answer('PRAGMA foreign_keys;', true)).toEqual({ reader: true, columns: ['foreign_keys'], rows: [[0n]] });
  });

  it.each([
    'PRAGMA foreign_keys = 2',
    'PRAGMA foreign_keys = -1',
    'PRAGMA foreign_keys = of',
    'PRAGMA foreign_keys = ?',
    'PRAGMA foreign_keys =',
    'PRAGMA foreign_keys()',
    'PRAGMA foreign_keys(OFF',
    'PRAGMA foreign_keys(OFF) ON',
    'PRAGMA foreign_keys = OFF ON',
    'PRAGMA foreign_keys = OFF; SELECT 1',
    'PRAGMA foreign_keys(OFF); SELECT 1',
    'PRAGMA foreign_keys; SELECT 1',
    'PRAGMA foreign_keys OFF',
    'PRAGMA synchronous = (1)',
    'PRAGMA journal_mode = WAL; SELECT 1',
  ])('%s is refused', (sql) => {
    expect(() => answer(sql)).toThrow(expect.objectContaining({ code: 'HA_STATEMENT_REFUSED' }));
    expect(pragmas.foreignKeys).toBeUndefined();
  });
});

describe('PRAGMA busy_timeout of a session', () => {
  it('answers what writes of the database wait, until the session says something else, and with that as SQLite does', () => {
    const told = (ms: bigint): PragmaAnswer => ({ reader: true, columns: ['timeout'], rows: [[ms]] });
    expect(answer('PRAGMA busy_timeout')).toEqual(told(700n));
    expect(answer('PRAGMA busy_timeout(7)')).toEqual(told(7n));
    expect(answer('PRAGMA busy_timeout;', true)).toEqual(told(7n));
    expect(answer("pragma main.busy_timeout = '2147483647'", true)).toEqual(told(2_147_483_647n));
    for (const off of ['0', '-5']) expect(answer(`PRAGMA busy_timeout = ${off}`)).toEqual(told(0n));
    pragmas = new SessionPragmas();
    expect(answer('PRAGMA busy_timeout')).toEqual(told(700n));
  });

  it.each(['= soon', '= 1.5', '= 2147483648', '= ?', '; SELECT 1', '(7'])('%s is refused', (rest) => {
    expect(() => answer(`PRAGMA busy_timeout ${rest}`)).toThrow(
      expect.objectContaining({ code: 'HA_STATEMENT_REFUSED' }),
    );
    expect(answer('PRAGMA busy_timeout').rows).toEqual([[700n]]);
  });
});

it('a value that is kept is answered as it is', () => {
  expect(answer('PRAGMA main.journal_mode = WAL')).toEqual({
    reader: true,
    columns: ['journal_mode'],
    rows: [['memory']],
  });
  expect(() => answer('PRAGMA missing.journal_mode = WAL')).toThrow(/unknown database/);
  expect(answer('PRAGMA cache_size = -7')).toEqual({ reader: false, columns: [], rows: [] });
  expect(reader.pragma('cache_size', { simple: true })).not.toBe(-7);
});

it.each([
  ['PRAGMA foreign_keys', true],
  ['PRAGMA busy_timeout', true],
  ['PRAGMA journal_mode', false],
  ['PRAGMA journal_mode = WAL', true],
  ['PRAGMA defer_foreign_keys = ON', false],
  ['PRAGMA foreign_key_list(t)', false],
  ['PRAGMA recursive_triggers = ON', false],
  ['EXPLAIN PRAGMA foreign_keys = OFF', false],
  ['SELECT 1', false],
])('%s is answered by the session: %s', (sql, expected) => {
  expect(isSessionPragma(infos.of(sql))).toBe(expected);
});

it('a script is cut at the PRAGMAs of its session', () => {
  const off = 'PRAGMA foreign_keys = OFF';
  const cut = (...statements: string[]): unknown => cutAtPragmas(statements, (sql) => infos.of(sql));
  expect(cut()).toEqual([]);
  expect(cut('SELECT 1', 'SELECT 2')).toEqual([{ statements: ['SELECT 1', 'SELECT 2'] }]);
  expect(cut(off, off, 'SELECT 1', off, 'SELECT 2', 'SELECT 3')).toEqual([
    { pragma: off },
    { pragma: off },
    { statements: ['SELECT 1'] },
    { pragma: off },
    { statements: ['SELECT 2', 'SELECT 3'] },
  ]);
});

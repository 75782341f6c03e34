import { hints } from '../../../lib/sql/hints.js';
import { foldCase, quoteIdentifier, quoteString, unquoteIdentifier } from '../../../lib/sql/identifiers.js';
import { parameters } from '../../../lib/sql/params.js';
import { tokenize } from '../../../lib/sql/tokenizer.js';
import { corpus, corpusDatabase } from './corpus.js';

describe('parameters', () => {
  it('finds the parameters that the corpus lists', () => {
    for (const { sql, params = [] } of corpus) {
      const found = tokenize(sql).filter((token) => token.kind === 'parameter');
      const written = found.map((token) => sql.slice(token.start, token.end));
      expect(written.filter((text, i) => text === '?' || written.indexOf(text) === i)).toEqual(params);
    }
  });

  it.each<[string, string[]]>([
    ['SELECT 1', []],
    ['SELECT ?, ?', ['1', '2']],
    ['SELECT :a, :b, :a', ['1 :a', '2 :b']],
    ['SELECT :a, @a, $a', ['1 :a', '2 @a', '3 $a']],
    ['SELECT ?2, ?1, ?2', ['1 ?1', '2 ?2']],
    ['SELECT ?5, ?', ['5 ?5', '6']],
    ['SELECT ?, ?1, ?', ['1 ?1', '2']],
    ['SELECT :a, ?1, ?', ['1 :a', '2']],
    ['SELECT ?, ?, ?3, ?2, ?', ['1', '2 ?2', '3 ?3', '4']],
    ['SELECT ?01, ?1', ['1 ?01']],
    ['SELECT $a::b(c), :1', ['1 $a::b(c)', '2 :1']],
    ['SELECT \':a\', "?", [@b] /* $c */ -- ?', []],
  ])('numbers %j as SQLite does', (sql, expected) => {
    expect(parameters(sql).map(({ ordinal, name }) => (name ? `${ordinal} ${name}` : `${ordinal}`))).toEqual(expected);
  });

  it('agrees with the numbers that SQLite compiles', () => {
    const db = corpusDatabase();
    const statements: [string, ...unknown[]][] = [
      ['SELECT ?, ?', 1, 2],
      ['SELECT :a, @a, $a, :b, :a', { a: 1, b: 2 }],
      ['SELECT ?2, ?1, ?2', { 1: 1, 2: 2 }],
      ['SELECT :a, ?, @b, ?', 1, 2, { a: 1, b: 2 }],
      ['SELECT :b, ?1, :a, ?3', { a: 1, b: 2, 3: 3 }],
      ['SELECT ?01, ?1, ?2', { '01': 1, 2: 2 }],
    ];
    for (const [sql, ...values] of statements) {
      const rows = db.prepare(`EXPLAIN ${sql}`).all(...values) as { opcode: string; p1: number }[];
      const ordinals = new Set(rows.filter(({ opcode }) => opcode === 'Variable').map(({ p1 }) => p1));
      expect([sql, ...[...ordinals].sort((a, b) => a - b)]).toEqual([sql, ...parameters(sql).map((p) => p.ordinal)]);
    }
    db.close();
  });

  it('gives the key that better-sqlite3 binds by', () => {
    expect(parameters('SELECT :a, ?, ?3').map(({ key }) => key)).toEqual(['a', undefined, '3']);
  });
});

describe('hints', () => {
  it('finds the hints that the corpus lists', () => {
    for (const { sql, hint } of corpus) {
      expect([...hints(sql)].map((pair) => pair.join('='))).toEqual(hint ? [hint] : []);
    }
  });

  it.each<[string, Record<string, string>]>([
    ['/*+ db=shard.* */ SELECT 1', { db: 'shard.*' }],
    ['/*+ db=shard.*/ SELECT 1', { db: 'shard.' }],
    ['/*+a=1 b=x=y\n c= d =e*/ SELECT 1', { a: '1', b: 'x=y', c: '' }],
    ['/*+ a=1 */ SELECT 1 /*+ a=2 b=3', { a: '2', b: '3' }],
    ['SELECT \'/*+ a=1 */\', "/*+ a=1 */", [/*+ a=1 */], `/*+ a=1 */` -- /*+ a=1 */', {}],
    ['/* + a=1 */ /* /*+ a=1 */ SELECT 1', {}],
    ['/*+*/ SELECT 1', {}],
  ])('reads %j', (sql, expected) => {
    expect(Object.fromEntries(hints(sql))).toEqual(expected);
  });
});

describe('identifiers', () => {
  it('quotes names and strings so that SQLite reads them back', () => {
    const db = corpusDatabase();
    for (const text of ['', 'a"b', "it's", '[x]', 'täble 1', 'a`b;--']) {
      const row = db.prepare(`SELECT ${quoteString(text)} AS ${quoteIdentifier(text)}`).get();
      expect(row).toEqual({ [text]: text });
      expect(unquoteIdentifier(quoteIdentifier(text))).toBe(text);
    }
    db.close();
  });

  it('refuses NUL characters', () => {
    expect(() => quoteIdentifier('a\0')).toThrow(expect.objectContaining({ code: 'HA_INVALID_SQL' }) as Error);
    expect(() => quoteString('a\0')).toThrow(expect.objectContaining({ code: 'HA_INVALID_SQL' }) as Error);
  });

  it.each([
    ['name', 'name'],
    ['"a""b"', 'a"b'],
    ['[a]', 'a'],
    ['`a``b`', 'a`b'],
    ["'a''b'", "a'b"],
    ['""', ''],
    ['"', '"'],
    ['"open', '"open'],
    ['', ''],
  ])('unquotes %j', (token, name) => {
    expect(unquoteIdentifier(token)).toBe(name);
  });

  it('folds ASCII letters only', () => {
    expect(foldCase('TeMP_Ä\u212a')).toBe('temp_Ä\u212a');
  });
});

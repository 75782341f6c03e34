import Database from 'better-sqlite3';

import { HAError } from '../../../lib/common/ha-error.js';
import { isHint } from '../../../lib/sql/hints.js';
import { splitStatements } from '../../../lib/sql/split.js';
import { tokenize } from '../../../lib/sql/tokenizer.js';
import { corpus, random } from './corpus.js';

function texts(sql: string): string[] {
  return splitStatements(sql).map((statement) => statement.sql);
}

/** Outer comments are not part of a statement's text, and one without its end would swallow what follows. */
function hasOuterComment(sql: string): boolean {
  const tokens = tokenize(sql).filter((token) => token.kind !== 'space');
  return [tokens[0], tokens.at(-1)].some((token) => token?.kind === 'comment' && !isHint(sql, token));
}

const TRIGGER = 'CREATE TRIGGER g AFTER INSERT ON t BEGIN';

describe('splitStatements', () => {
  it.each<[string, string, string[]]>([
    ['an empty text', '', []],
    ['empty statements', ' ; ;;\n/* a */ ; -- b', []],
    ['a missing last ;', 'SELECT 1; SELECT 2', ['SELECT 1', 'SELECT 2']],
    ['; in strings', "SELECT ';'';'; SELECT 2", ["SELECT ';'';'", 'SELECT 2']],
    ['; in identifiers', 'SELECT ";"";", [;], `;``;`; SELECT 2', ['SELECT ";"";", [;], `;``;`', 'SELECT 2']],
    ['; in comments', 'SELECT 1 -- ;\n+ 2 /* ; */; SELECT 2', ['SELECT 1 -- ;\n+ 2', 'SELECT 2']],
    ['CRLF', 'SELECT 1;\r\nSELECT 2;\r\n', ['SELECT 1', 'SELECT 2']],
    ['a BOM and a form feed', '\ufeffSELECT 1;\fSELECT 2', ['SELECT 1', 'SELECT 2']],
    ['a no-break space, which is part of a name', 'SELECT 1 AS\u00a0;SELECT 2', ['SELECT 1 AS\u00a0', 'SELECT 2']],
    ['a comment without its end', 'SELECT 1; SELECT 2 /* ; SELECT 3;', ['SELECT 1', 'SELECT 2']],
    ['a comment that only looks closed', 'SELECT 1 /*/ ; */ + 1; SELECT 2', ['SELECT 1 /*/ ; */ + 1', 'SELECT 2']],
    ['a string without its end', "SELECT 1; SELECT 'x; SELECT 3;", ['SELECT 1', "SELECT 'x; SELECT 3;"]],
    ['a trigger', `${TRIGGER} SELECT 1; SELECT 2; END; SELECT 3`, [`${TRIGGER} SELECT 1; SELECT 2; END`, 'SELECT 3']],
    [
      'a trigger with nested CASE',
      `${TRIGGER} SELECT CASE WHEN 1 THEN CASE 2 WHEN 2 THEN 3 END END; END; SELECT 3`,
      [`${TRIGGER} SELECT CASE WHEN 1 THEN CASE 2 WHEN 2 THEN 3 END END; END`, 'SELECT 3'],
    ],
    [
      'columns named begin and end',
      'CREATE TRIGGER g UPDATE ON k BEGIN UPDATE k SET end = begin; SELECT end; END; SELECT 3',
      ['CREATE TRIGGER g UPDATE ON k BEGIN UPDATE k SET end = begin; SELECT end; END', 'SELECT 3'],
    ],
    [
      'comments around END',
      `${TRIGGER} SELECT 1; /*x*/ END /*y*/ ; SELECT 3`,
      [`${TRIGGER} SELECT 1; /*x*/ END`, 'SELECT 3'],
    ],
    [
      '"; END;" in a string',
      `${TRIGGER} SELECT '; END;'; END; SELECT 3`,
      [`${TRIGGER} SELECT '; END;'; END`, 'SELECT 3'],
    ],
    ['"; END;" in a comment', `${TRIGGER} -- ; END;\nSELECT 1; END;`, [`${TRIGGER} -- ; END;\nSELECT 1; END`]],
    ['a trigger without its last ;', `SELECT 1; ${TRIGGER} SELECT 1; END`, ['SELECT 1', `${TRIGGER} SELECT 1; END`]],
    ['a trigger without its END', `${TRIGGER} SELECT 1; SELECT 2;`, [`${TRIGGER} SELECT 1; SELECT 2;`]],
    [
      'a temporary trigger',
      'create/**/temporary trigger g DELETE ON t begin select 1; end; SELECT 3',
      ['create/**/temporary trigger g DELETE ON t begin select 1; end', 'SELECT 3'],
    ],
    [
      'EXPLAIN CREATE TRIGGER',
      `EXPLAIN ${TRIGGER} SELECT 1; END; SELECT 3`,
      [`EXPLAIN ${TRIGGER} SELECT 1; END`, 'SELECT 3'],
    ],
    [
      'EXPLAIN QUERY PLAN CREATE TRIGGER',
      `EXPLAIN QUERY PLAN ${TRIGGER} SELECT 1; END; SELECT 3`,
      [`EXPLAIN QUERY PLAN ${TRIGGER} SELECT 1; END`, 'SELECT 3'],
    ],
    ['EXPLAIN of something else', 'EXPLAIN SELECT 1; SELECT 2', ['EXPLAIN SELECT 1', 'SELECT 2']],
    ['a table named trigger', 'CREATE TABLE trigger(a); SELECT 2', ['CREATE TABLE trigger(a)', 'SELECT 2']],
    ['a quoted "TRIGGER"', 'CREATE "TRIGGER" x; SELECT 2', ['CREATE "TRIGGER" x', 'SELECT 2']],
    ['DROP TRIGGER', 'DROP TRIGGER g; SELECT 2; END; SELECT 3', ['DROP TRIGGER g', 'SELECT 2', 'END', 'SELECT 3']],
    [
      'a transaction',
      'BEGIN; INSERT INTO t VALUES(1); END; SELECT 2',
      ['BEGIN', 'INSERT INTO t VALUES(1)', 'END', 'SELECT 2'],
    ],
    ['an error in the middle', 'SELECT 1; SELEC 2; SELECT 3', ['SELECT 1', 'SELEC 2', 'SELECT 3']],
  ])('splits %s', (_, sql, expected) => {
    expect(texts(sql)).toEqual(expected);
  });

  it('keeps hints at both ends and no other comments', () => {
    expect(texts('/* a */ /*+ db=x */ -- b\nSELECT 1 /*+ k=v */ /* c */; SELECT 2 /* d */')).toEqual([
      '/*+ db=x */ -- b\nSELECT 1 /*+ k=v */',
      'SELECT 2',
    ]);
    expect(texts('/*+ lost=1 */; SELECT 1')).toEqual(['SELECT 1']);
  });

  it('reports where each statement stands', () => {
    expect(splitStatements(' SELECT 1 ; /*c*/SELECT 2')).toEqual([
      { sql: 'SELECT 1', start: 1, end: 9 },
      { sql: 'SELECT 2', start: 17, end: 25 },
    ]);
  });

  it.each(['SELECT 1\0; DROP TABLE t', "SELECT 'a\0b'", '-- \0'])('refuses a NUL character in %j', (sql) => {
    const offset = sql.indexOf('\0');
    expect(() => splitStatements(sql)).toThrow(HAError);
    expect(() => splitStatements(sql)).toThrow(
      expect.objectContaining({ code: 'HA_INVALID_SQL', details: { offset } }) as Error,
    );
  });

  it('runs a script one by one to the same result as SQLite does at once', () => {
    const script = `CREATE TABLE t(a, "end" INT); CREATE TABLE log(x);;
      CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.a > 0 BEGIN
        INSERT INTO log VALUES (CASE WHEN NEW."end" THEN '; END;' ELSE 'x' END); -- END;
        UPDATE log SET x = x || ';' /* ; END; */;
      END /* tail */ ;
      BEGIN; INSERT INTO t VALUES (1, 1), (2, 0); END;
      REPLACE INTO log VALUES ('last') /* open ;`;
    const [whole, single] = [new Database(':memory:'), new Database(':memory:')];
    whole.exec(script);
    for (const { sql } of splitStatements(script)) single.prepare(sql).run();
    expect(single.serialize().equals(whole.serialize())).toBe(true);
    whole.close();
    single.close();
  });

  it('splits 2,000 random scripts of corpus statements back exactly', () => {
    const pieces = corpus.map(({ sql }) => sql.trim()).filter((sql) => !hasOuterComment(sql));
    expect(pieces.length).toBeGreaterThan(300);
    const separators = [
      ';',
      '; ',
      ';\n',
      ' ;\r\n',
      ';;',
      '\n;\n;',
      "; -- a; b'\n",
      '\n/* ; " */;/* [ */',
      ';\ufeff',
      ';\f\t',
    ];
    const seed = Number(process.env['SPLIT_SEED'] ?? 20260);
    const next = random(seed);
    const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
    for (let run = 0; run < 2000; run++) {
      const chosen = Array.from({ length: 1 + Math.floor(next() * 12) }, () => pick(pieces));
      const script = chosen.map((piece) => `${piece}\n${pick(separators)}`).join('');
      const ended = next() < 0.5 ? script : script + pick(separators);
      const found = { seed, run, statements: texts(ended) };
      expect(found).toEqual({ seed, run, statements: chosen });
    }
  });
});

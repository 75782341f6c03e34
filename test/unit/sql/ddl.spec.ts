import { classify } from '../../../lib/sql/classify.js';
import { idempotentDDL } from '../../../lib/sql/ddl.js';
import { corpus, corpusDatabase, definitions } from './corpus.js';

const forms = corpus.filter(({ ddl }) => ddl);

describe('idempotentDDL', () => {
  it('rewrites the corpus as expected', () => {
    for (const { sql, idempotent } of forms) {
      expect(idempotentDDL(sql)).toBe(idempotent ?? sql);
      expect(idempotentDDL(sql, classify(sql))).toBe(idempotent ?? sql);
    }
  });

  it('leaves everything but CREATE and DROP alone', () => {
    for (const { sql } of corpus.filter(({ ddl }) => !ddl)) expect(idempotentDDL(sql)).toBe(sql);
  });

  const twice = [
    ...forms.filter(({ idempotent }) => typeof idempotent === 'string').map(({ sql }) => sql),
    'CREATE TABLE"q1"(a)',
    'CREATE TABLE[q2](a)',
    "CREATE VIEW'q3'AS SELECT 1 AS a",
    'DROP TABLE"order"',
    '-- c\nCREATE TABLE -- d\nq4(a) -- e',
    'CREATE TABLE temp(a);',
  ];

  it.each(twice)('runs twice and stores the same definitions: %s', (sql) => {
    const [original, rewritten] = [corpusDatabase(), corpusDatabase()];
    original.exec(sql);
    rewritten.exec(idempotentDDL(sql));
    expect(definitions(rewritten)).toEqual(definitions(original));
    rewritten.exec(idempotentDDL(sql));
    expect(definitions(rewritten)).toEqual(definitions(original));
    original.close();
    rewritten.close();
  });
});

import BetterSqlite3 from 'better-sqlite3';
import { readTableKeys } from '../../../lib/apply/unique-index.js';
import type { TableKeys } from '../../../lib/apply/unique-index.js';
import { readSchema } from '../../../lib/sqlite/schema.js';

function keysOf(sql: string): TableKeys {
  const db = new BetterSqlite3(':memory:');
  db.exec(sql);
  const table = readSchema(db).tables.get('t');
  if (table === undefined) throw new Error('There is no table t.');
  const keys = readTableKeys(db, table);
  db.close();
  return keys;
}

describe('the unique indexes of a table', () => {
  it('are read with their parts, collations and conditions', () => {
    const { others } = keysOf(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, "odd "" name", v COLLATE RTRIM UNIQUE);
      CREATE INDEX plain ON t(v);
      CREATE UNIQUE INDEX IF NOT EXISTS "i (x)" ON "t" (
        "odd "" name" COLLATE NOCASE DESC, -- a comment, with a comma
        substr(v, 1, 2) COLLATE RTRIM ASC, (v || ',') DESC
      ) WHERE v <> ')' AND id IN (1, 2)`);
    expect(others).toEqual(
      expect.arrayContaining([
        { parts: [{ sql: '"v"', column: 2, collation: 'RTRIM' }], where: undefined },
        {
          parts: [
            { sql: '"odd "" name"', column: 1, collation: 'NOCASE' },
            { sql: 'substr(v, 1, 2) COLLATE RTRIM', column: undefined, collation: 'RTRIM' },
            { sql: `(v || ',')`, column: undefined, collation: 'BINARY' },
          ],
          where: `v <> ')' AND id IN (1, 2)`,
        },
      ]),
    );
    expect(others).toHaveLength(2);
  });

  it('leave out the primary key, and what is on generated columns', () => {
    const keys = keysOf(`
      CREATE TABLE t(a TEXT COLLATE NOCASE, b, g AS (a || b), PRIMARY KEY(b, a));
      CREATE UNIQUE INDEX i ON t(g)`);
    expect(keys).toEqual({
      collations: [['NOCASE'], ['BINARY']],
      primary: {
        parts: [
          { sql: '"a"', column: 0, collation: 'NOCASE' },
          { sql: '"b"', column: 1, collation: 'BINARY' },
        ],
        where: undefined,
      },
      others: [],
    });
  });

  it('compare a column of the primary key as its index does, which may be in two ways', () => {
    const keys = keysOf(`
      CREATE TABLE t(a TEXT COLLATE NOCASE, b, c, PRIMARY KEY(c COLLATE "rtrim", a COLLATE binary, c COLLATE nocase, b))`);
    expect(keys.collations).toEqual([['BINARY'], ['BINARY'], ['RTRIM', 'NOCASE']]);
    expect(keys.primary?.parts.map(({ sql, column, collation }) => `${sql} ${column} ${collation}`)).toEqual([
      '"a" 0 BINARY',
      '"b" 1 BINARY',
      '"c" 2 RTRIM',
      '"c" 2 NOCASE',
    ]);
  });
});

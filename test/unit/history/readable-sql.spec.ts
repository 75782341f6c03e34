import BetterSqlite3 from 'better-sqlite3';
import { InvalidText } from '../../../lib/changeset/changeset.js';
import type { SqlValue } from '../../../lib/changeset/changeset.js';
import { literal, rowSql } from '../../../lib/history/readable-sql.js';

describe('readable SQL', () => {
  const values: [SqlValue, string][] = [
    [null, 'null'],
    [0n, 'integer'],
    [9223372036854775807n, 'integer'],
    [-9223372036854775808n, 'integer'],
    [9007199254740993n, 'integer'],
    [2, 'real'],
    [1e300, 'real'],
    [0.1, 'real'],
    [Infinity, 'real'],
    [-Infinity, 'real'],
    ['', 'text'],
    [`it's "x"\n`, 'text'],
    ['a\0b', 'text'],
    [Buffer.from([0, 255, 39]), 'blob'],
    [Buffer.alloc(0), 'blob'],
    [new InvalidText(Buffer.from([0xff, 0x41])), 'text'],
  ];
  it.each(values)('has %p exactly', (value, type) => {
    const db = new BetterSqlite3(':memory:');
    const bytes = value instanceof InvalidText ? value.bytes : value;
    const bound = value instanceof InvalidText ? 'CAST(? AS TEXT)' : '?';
    const sql = `SELECT typeof(x), x IS ${bound} FROM (SELECT ${literal(value)} AS x)`;
    expect(db.prepare(sql).raw().get(bytes)).toEqual([type, 1]);
    db.close();
  });

  it('names a row by its key, else its rowid, else all its values', () => {
    const change = { operation: 'DELETE', database: 'main', table: 'a b', columns: ['k', 'v'] } as const;
    const oldValues = ['x', null] as const;
    expect(rowSql({ ...change, pkColumns: ['k'], oldRowid: 4n, oldValues })).toBe(`DELETE FROM "a b" WHERE "k" = 'x'`);
    expect(rowSql({ ...change, pkColumns: ['v'], oldRowid: 4n, oldValues })).toBe('DELETE FROM "a b" WHERE rowid = 4');
    expect(rowSql({ ...change, pkColumns: [], oldValues })).toBe(`DELETE FROM "a b" WHERE "k" = 'x' AND "v" IS NULL`);
  });
});

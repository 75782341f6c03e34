import BetterSqlite3 from 'better-sqlite3';
import { keyText } from '../../../lib/apply/row-identity.js';
import { readTableKeys } from '../../../lib/apply/unique-index.js';
import type { SqlValue } from '../../../lib/changeset/changeset.js';
import { readSchema } from '../../../lib/sqlite/schema.js';

const TEXTS = ['a', 'A', 'a ', 'A ', 'A  ', ' a', '', ' ', 'Ä', 'ä', 'ß', 'z', '['];
const WITH_NUL = ['a\0', 'A\0', 'a\0x', 'A\0y', 'A\0yz', 'a\0ä', 'A\0b', 'b\0x', 'a\0 ', '\0', '\0a', '\0b'];
const OTHERS = [1n, 1, 1.5, 2n, -0, 0n, Buffer.from('a'), Buffer.from('A')];
const VALUES: readonly SqlValue[] = [...TEXTS, ...WITH_NUL, ...OTHERS];

describe('the text of a key is equal where SQLite takes keys for equal', () => {
  it.each([
    'k',
    'k COLLATE NOCASE',
    'k COLLATE nocase',
    'k COLLATE "rTrim"',
    'k COLLATE RTRIM, k COLLATE NOCASE',
    'k COLLATE RTRIM, k',
  ])('PRIMARY KEY(%s)', (key) => {
    const db = new BetterSqlite3(':memory:');
    db.exec(`CREATE TABLE t(k, PRIMARY KEY(${key})) WITHOUT ROWID`);
    const table = readSchema(db).tables.get('t');
    if (table === undefined) throw new Error('There is no table t.');
    const { collations } = readTableKeys(db, table);
    const insert = db.prepare('INSERT OR IGNORE INTO t VALUES(?)');
    for (const a of VALUES) {
      for (const b of VALUES) {
        db.exec('DELETE FROM t');
        insert.run(a);
        const isSame = insert.run(b).changes === 0;
        expect({ a, b, isSame: keyText([a], collations) === keyText([b], collations) }).toEqual({ a, b, isSame });
      }
    }
    db.close();
  });
});

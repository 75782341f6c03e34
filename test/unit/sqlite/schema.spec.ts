import BetterSqlite3 from 'better-sqlite3';
import { isInternalTable, readSchema, schemaVersion } from '../../../lib/sqlite/schema.js';
import type { TableInfo } from '../../../lib/sqlite/schema.js';

let db: BetterSqlite3.Database;

beforeEach(() => {
  db = new BetterSqlite3(':memory:');
});
afterEach(() => db.close());

function table(sql: string, name = 't'): TableInfo {
  db.exec(sql);
  const info = readSchema(db).tables.get(name);
  if (info === undefined) throw new Error(`There is no table ${name}.`);
  return info;
}

type Expected = Partial<
  Pick<TableInfo, 'pk' | 'pkIndexes' | 'withoutRowid' | 'rowid' | 'rowidAlias' | 'autoincrement' | 'bag'>
>;

it.each<[string, Expected]>([
  [
    'CREATE TABLE t(a, b)',
    { pk: [], pkIndexes: [], withoutRowid: false, rowid: 'rowid', rowidAlias: undefined, bag: true },
  ],
  [
    'CREATE TABLE t(b, id INTEGER PRIMARY KEY)',
    { pk: ['id'], pkIndexes: [1], rowid: 'rowid', rowidAlias: 'id', bag: false },
  ],
  ['CREATE TABLE t(id integer, PRIMARY KEY(id))', { rowidAlias: 'id', bag: false }],
  ['CREATE TABLE t(id integer, PRIMARY KEY(id DESC))', { rowidAlias: 'id', bag: false }],
  ['CREATE TABLE t("ID" INTEGER PRIMARY KEY ASC)', { pk: ['ID'], rowidAlias: 'ID' }],
  ['CREATE TABLE t(id INTEGER PRIMARY KEY DESC)', { pk: ['id'], rowid: 'rowid', rowidAlias: undefined, bag: true }],
  ['CREATE TABLE t(id INT PRIMARY KEY)', { rowidAlias: undefined, bag: true }],
  ['CREATE TABLE t(id BIGINT PRIMARY KEY NOT NULL)', { rowidAlias: undefined, bag: false }],
  ['CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)', { rowidAlias: 'id', autoincrement: true }],
  ['CREATE TABLE t(k TEXT PRIMARY KEY)', { pk: ['k'], rowidAlias: undefined, bag: true }],
  ['CREATE TABLE t(k TEXT NOT NULL PRIMARY KEY)', { bag: false }],
  ['CREATE TABLE t(a NOT NULL, b, c NOT NULL, PRIMARY KEY(c, a))', { pk: ['a', 'c'], pkIndexes: [0, 2], bag: false }],
  ['CREATE TABLE t(a NOT NULL, b, PRIMARY KEY(b, a))', { pk: ['a', 'b'], bag: true }],
  ['CREATE TABLE t(a INTEGER, b INTEGER, PRIMARY KEY(a, b))', { pk: ['a', 'b'], rowidAlias: undefined, bag: true }],
  [
    'CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID',
    { withoutRowid: true, rowid: undefined, rowidAlias: undefined, bag: false },
  ],
  [
    'CREATE TABLE t(id INTEGER PRIMARY KEY) WITHOUT ROWID',
    { withoutRowid: true, rowid: undefined, rowidAlias: undefined, bag: false },
  ],
  ['CREATE TABLE t(k TEXT, v ANY, PRIMARY KEY(k)) STRICT, WITHOUT ROWID', { withoutRowid: true, bag: false }],
  ['CREATE TABLE t(id INTEGER PRIMARY KEY, v ANY) STRICT', { withoutRowid: false, rowidAlias: 'id', bag: false }],
  ['CREATE TABLE t(rowid TEXT)', { rowid: '_rowid_', rowidAlias: undefined }],
  ['CREATE TABLE t("RowID", _ROWID_)', { rowid: 'oid' }],
  ['CREATE TABLE t(rowid, _rowid_, oid)', { rowid: undefined, rowidAlias: undefined, bag: true }],
  ['CREATE TABLE t(rowid, _rowid_, oid INTEGER PRIMARY KEY)', { rowid: 'oid', rowidAlias: 'oid', bag: false }],
  ['CREATE TABLE t(rowid INTEGER PRIMARY KEY)', { rowid: '_rowid_', rowidAlias: 'rowid' }],
])('%s', (sql, expected) => {
  expect(table(sql)).toMatchObject(expected);
});

it('leaves generated columns out of the values, but keeps their place', () => {
  const info = table(
    'CREATE TABLE t(a INTEGER, g AS (a * 2) VIRTUAL, b TEXT NOT NULL, s AS (a + 1) STORED, PRIMARY KEY(b))',
  );
  expect(info.columns).toEqual([
    { name: 'a', type: 'INTEGER', notNull: false, pk: 0 },
    { name: 'b', type: 'TEXT', notNull: true, pk: 1 },
  ]);
  expect(info.allColumns).toEqual(['a', 'g', 'b', 's']);
  expect(info.pkIndexes).toEqual([1]);
});

it('takes a generated column that is called rowid for one that shadows the rowid', () => {
  expect(table('CREATE TABLE t(a, rowid AS (a))').rowid).toBe('_rowid_');
});

it('reads names with quotes and of any letters', () => {
  const info = table('CREATE TABLE "ta""b\'le é"("col ""x""" TEXT, [y z] INTEGER PRIMARY KEY)', 'ta"b\'le é');
  expect(info).toMatchObject({ allColumns: ['col "x"', 'y z'], rowidAlias: 'y z' });
});

it('leaves out tables of SQLite and of this library, views, virtual tables and their shadows', () => {
  db.exec(`
    CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT);
    CREATE TABLE ha_stats(x); CREATE TABLE HA_other(x);
    CREATE VIEW v AS SELECT * FROM t;
    CREATE VIRTUAL TABLE Docs USING fts5(body);
    CREATE TABLE docs_extra(x);
    ANALYZE;`);
  const schema = readSchema(db);
  expect([...schema.tables.keys()].sort()).toEqual(['docs_extra', 't']);
  expect([...schema.virtualTables]).toEqual(['docs']);
  expect(['sqlite_master', 'SQLITE_stat1', 'ha_x', 'Ha_x'].every(isInternalTable)).toBe(true);
  expect(['sqlite', 'hat', 'users'].some(isInternalTable)).toBe(false);
});

it('reads the table of main where a temporary or attached one has its name', () => {
  db.exec(`
    CREATE TABLE main.t(a INTEGER PRIMARY KEY, b);
    CREATE TEMP TABLE t(x, y, z);
    CREATE TEMP TABLE only_temp(x);
    ATTACH ':memory:' AS other;
    CREATE TABLE other.t(q);
    CREATE TABLE other.only_other(q);`);
  const { tables } = readSchema(db);
  expect([...tables.keys()]).toEqual(['t']);
  expect(tables.get('t')).toMatchObject({ allColumns: ['a', 'b'], rowidAlias: 'a' });
});

it('reads indexes of the table of main where a temporary one has its name', () => {
  db.exec('CREATE TABLE main.t(a INTEGER PRIMARY KEY DESC); CREATE TEMP TABLE t(a INTEGER PRIMARY KEY)');
  expect(readSchema(db).tables.get('t')?.rowidAlias).toBeUndefined();
});

it.each([
  ['CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p ON DELETE CASCADE)', false],
  [
    'CREATE TABLE a(id INTEGER PRIMARY KEY, b REFERENCES b); CREATE TABLE b(id INTEGER PRIMARY KEY, a REFERENCES a)',
    false,
  ],
  ['CREATE TABLE a(id INTEGER PRIMARY KEY, a REFERENCES a ON DELETE RESTRICT)', false],
  ['CREATE TABLE a(id INTEGER PRIMARY KEY, up REFERENCES A ON DELETE SET NULL)', true],
  [
    'CREATE TABLE a(id INTEGER PRIMARY KEY, b REFERENCES B ON UPDATE CASCADE); CREATE TABLE b(id INTEGER PRIMARY KEY, a REFERENCES a ON DELETE CASCADE)',
    true,
  ],
  [
    'CREATE TABLE a(id INTEGER PRIMARY KEY, b REFERENCES b ON DELETE CASCADE); CREATE TABLE b(id INTEGER PRIMARY KEY, a REFERENCES a)',
    false,
  ],
  [
    'CREATE TABLE a(id INTEGER PRIMARY KEY, c REFERENCES c ON DELETE SET DEFAULT); CREATE TABLE b(id INTEGER PRIMARY KEY, a REFERENCES a ON DELETE CASCADE); CREATE TABLE c(id INTEGER PRIMARY KEY, b REFERENCES b ON DELETE CASCADE)',
    true,
  ],
])('finds cycles of foreign keys with actions: %s', (sql, cycle) => {
  db.exec(sql);
  expect(readSchema(db).foreignKeyCycle).toBe(cycle);
});

it('marks the parents of foreign keys with actions', () => {
  db.exec(`
    CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE q(id INTEGER PRIMARY KEY);
    CREATE TABLE c(p REFERENCES P ON DELETE CASCADE, q REFERENCES q)`);
  const { tables } = readSchema(db);
  expect(['p', 'q', 'c'].map((name) => tables.get(name)?.actionParent)).toEqual([true, false, false]);
});

it.each<[string, 'replaceInSchema' | 'deferredForeignKeys' | 'raiseRollback' | 'hasAutoincrement']>([
  ['CREATE TABLE t(a UNIQUE ON CONFLICT REPLACE)', 'replaceInSchema'],
  ['CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN REPLACE INTO t VALUES(1); END', 'replaceInSchema'],
  ['CREATE TABLE t(a REFERENCES t DEFERRABLE INITIALLY  DEFERRED)', 'deferredForeignKeys'],
  ["CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT raise(ROLLBACK, 'no'); END", 'raiseRollback'],
  ['CREATE TABLE t(a UNIQUE ON CONFLICT ROLLBACK)', 'raiseRollback'],
  ['CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT)', 'hasAutoincrement'],
])('%s sets %s alone', (sql, flag) => {
  db.exec(sql);
  const { replaceInSchema, deferredForeignKeys, raiseRollback, hasAutoincrement } = readSchema(db);
  const flags = { replaceInSchema, deferredForeignKeys, raiseRollback, hasAutoincrement };
  expect(Object.entries(flags).filter(([, value]) => value)).toEqual([[flag, true]]);
});

it('does not take the function replace() for the conflict clause', () => {
  db.exec("CREATE TABLE t(a, b AS (replace(a, 'x', 'y')))");
  expect(readSchema(db).replaceInSchema).toBe(false);
});

it('lists triggers of main, and follows the version of the schema', () => {
  db.exec('CREATE TABLE t(a); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END');
  db.exec('CREATE TEMP TRIGGER h AFTER INSERT ON main.t BEGIN SELECT 1; END');
  const before = readSchema(db);
  expect(before.triggers).toEqual([{ name: 'g', table: 't', sql: expect.stringMatching(/^CREATE TRIGGER g/) }]);
  expect(before.version).toBe(schemaVersion(db));
  db.exec('ALTER TABLE t ADD COLUMN b');
  expect(schemaVersion(db)).toBeGreaterThan(before.version);
});

describe('row identity', () => {
  const schema = `
    CREATE TABLE alias(id INTEGER PRIMARY KEY, v);
    CREATE TABLE keyed(k TEXT PRIMARY KEY NOT NULL, v);
    CREATE TABLE nullable(k TEXT PRIMARY KEY, v);
    CREATE TABLE keyless(v);
    CREATE TABLE hidden(rowid TEXT PRIMARY KEY NOT NULL, oid, _rowid_);
    CREATE TABLE wr(k TEXT PRIMARY KEY, v) WITHOUT ROWID;`;

  it.each([
    ['pk', 'alias:key:id keyed:key nullable:key:bag keyless:key:bag hidden:key wr:key'],
    ['rowid', 'alias:rowid:id keyed:rowid:rowid nullable:rowid:rowid keyless:rowid:rowid hidden:key wr:key'],
    ['full', 'alias:values:bag:id keyed:values:bag nullable:values:bag keyless:values:bag hidden:key wr:key'],
  ] as const)('with %s', (rowIdentify, expected) => {
    const db = new BetterSqlite3(':memory:');
    db.exec(schema);
    const found = [...readSchema(db, rowIdentify).tables.values()]
      .map(({ name, identity, bag, generatedId }) =>
        [name, identity, ...(bag ? ['bag'] : []), ...(generatedId === undefined ? [] : [generatedId])].join(':'),
      )
      .sort();
    expect(found).toEqual(expected.split(' ').sort());
  });

  it('marks defaults that every node would make anew, and triggers that name a rowid', () => {
    const db = new BetterSqlite3(':memory:');
    db.exec(
      `CREATE TABLE t(a DEFAULT 1, b DEFAULT (random()), c DEFAULT CURRENT_TIME, d DEFAULT (date(5)), e DEFAULT (date()))`,
    );
    expect(
      readSchema(db)
        .tables.get('t')
        ?.columns.map(({ volatileDefault }) => volatileDefault),
    ).toEqual([undefined, 'random()', 'CURRENT_TIME', undefined, 'date()']);
    expect(readSchema(db).rowidInTriggers).toBe(false);
    db.exec('CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = 2 WHERE _ROWID_ = new.b; END');
    expect(readSchema(db).rowidInTriggers).toBe(true);
  });
});

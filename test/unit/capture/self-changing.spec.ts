import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { RowApplier } from '../../../lib/apply/row-applier.js';
import { Capture } from '../../../lib/capture/capture.js';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';
import { isRowChange } from '../../../lib/changeset/changeset.js';
import { readSchema } from '../../../lib/sqlite/schema.js';
import type { RowIdentify } from '../../../lib/sqlite/schema.js';

/** Columns that hide every name of the rowid. */
const HIDDEN = 'rowid, oid, _rowid_';
const REFUSED = { code: 'HA_STATEMENT_REFUSED', details: { table: 't' } };

const open: Database[] = [];
afterEach(() => open.splice(0).forEach((db) => db.close()));

function database(): Database {
  const db = new BetterSqlite3(':memory:');
  open.push(db);
  db.pragma('foreign_keys = ON');
  return db;
}

function rowsOf(db: Database): unknown[] {
  return db.prepare('SELECT * FROM t ORDER BY k, v').raw().all();
}

/** Each mode, with old images that are exact where they need not be, and with all statements in one transaction. */
const MODES = (['pk', 'rowid', 'full'] as const).flatMap((identify) =>
  [false, true].flatMap((exactImages) => [false, true].map((together) => ({ identify, exactImages, together }))),
);

/** Captures statements, and applies what was captured to a database without triggers. */
function copied(
  schema: readonly string[],
  work: readonly string[],
  mode: { readonly identify: RowIdentify; readonly exactImages: boolean; readonly together: boolean },
): { readonly written: unknown[]; readonly applied: unknown[] } {
  const writer = database();
  const copy = database();
  for (const sql of schema) writer.exec(sql);
  for (const sql of schema.filter((each) => !each.startsWith('CREATE TRIGGER'))) copy.exec(sql);
  copy.pragma('foreign_keys = OFF');
  const applier = new RowApplier(copy);
  applier.useSchema(readSchema(copy, mode.identify));
  const capture = new Capture(writer, {
    markGeneratedIds: 'always',
    rowIdentify: mode.identify,
    pieceBytes: () => 1_000_000,
    exactImages: mode.exactImages,
  });
  for (const statements of mode.together ? [work] : work.map((sql) => [sql])) {
    capture.ensureInstalled();
    for (const sql of statements) writer.exec(sql);
    const pieces = capture.drain(0n)?.pieces ?? [];
    for (const change of decodeChangeSet(`{"changes":[${pieces.map(String).join(',')}]}`).changes.filter(isRowChange)) {
      const planned = applier.planned(change, false);
      expect(planned).not.toHaveProperty('reason');
      if (!('reason' in planned)) expect(applier.apply(planned)).toBeUndefined();
    }
  }
  return { written: rowsOf(writer), applied: rowsOf(copy) };
}

const MOVES = `CREATE TRIGGER x BEFORE UPDATE ON t WHEN OLD.k = 'a' BEGIN UPDATE t SET k = 'b' WHERE k = OLD.k; END`;
const MOVES_DELETED = `CREATE TRIGGER x BEFORE DELETE ON t BEGIN UPDATE t SET k = 'b' WHERE k = OLD.k; END`;
const UNSAID = `CREATE TRIGGER "before" UPDATE ON t WHEN OLD.k = 'a' BEGIN UPDATE t SET k = 'b' WHERE k = OLD.k; END`;
const THROUGH = [
  `CREATE TABLE log(k)`,
  `CREATE TRIGGER x BEFORE UPDATE OF k ON t BEGIN INSERT INTO log VALUES(OLD.k); END`,
  `CREATE TRIGGER y AFTER INSERT ON log WHEN NEW.k = 'a' BEGIN UPDATE t SET k = 'b' WHERE k = NEW.k; END`,
];
const FILL = `INSERT INTO t(k, v) VALUES('a', 1)`;
const SET = `UPDATE t SET k = 'c' WHERE v = 1`;
const KEYED = 'CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v)';

it.each<[string, string[], string[]]>([
  ['its key', [KEYED, MOVES], [FILL, SET]],
  ['its key, by a trigger that does not say BEFORE', [KEYED, UNSAID], [FILL, SET]],
  ['its key, by way of another table', [KEYED, ...THROUGH], [FILL, SET]],
  ['the key of a row that goes', [KEYED, MOVES_DELETED], [FILL, 'DELETE FROM t']],
  ['its key, without a rowid', [`${KEYED} WITHOUT ROWID`, MOVES], [FILL, SET]],
  ['a row without a key', ['CREATE TABLE t(k, v)', MOVES], [FILL, SET]],
  [
    'its rowid',
    [
      'CREATE TABLE t(k INTEGER PRIMARY KEY, v)',
      'CREATE TRIGGER x BEFORE UPDATE ON t WHEN OLD.k = 1 BEGIN UPDATE t SET k = 5 WHERE k = OLD.k; END',
    ],
    ['INSERT INTO t VALUES(1, 1)', 'UPDATE t SET k = 9'],
  ],
])('a BEFORE trigger changes the row that is about to be changed: %s', (_name, schema, work) => {
  for (const mode of MODES) {
    const { written, applied } = copied(schema, work, mode);
    expect({ mode, rows: applied }).toEqual({ mode, rows: written });
  }
});

it.each<[string, string[], string[]]>([
  ['any value', [`CREATE TABLE t(k, v, ${HIDDEN})`, MOVES], [FILL, SET]],
  ['the key', [`CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v, ${HIDDEN})`, MOVES], [FILL, SET]],
  ['that of a row that goes', [`CREATE TABLE t(k, v, ${HIDDEN})`, MOVES_DELETED], [FILL, 'DELETE FROM t']],
  [
    'one of two rows that are equal',
    [
      `CREATE TABLE t(k, v, ${HIDDEN})`,
      'CREATE TRIGGER x BEFORE UPDATE ON t WHEN NEW.v = 2 BEGIN UPDATE OR IGNORE t SET v = 3 WHERE k = OLD.k; END',
    ],
    [`INSERT INTO t(k, v) VALUES('a', 1), ('a', 1)`, 'UPDATE t SET v = 2'],
  ],
])('it is refused where the rowid has no name, and nothing tells which row it was: %s', (_name, schema, work) => {
  for (const mode of MODES) expect(() => copied(schema, work, mode)).toThrow(expect.objectContaining(REFUSED));
});

it('where the rowid has no name, triggers that leave the row alone are not refused', () => {
  const schema = [
    `CREATE TABLE t(k, v, ${HIDDEN})`,
    `CREATE TRIGGER x BEFORE UPDATE ON t WHEN EXISTS (SELECT 1 FROM t WHERE v = NEW.v) BEGIN
       SELECT RAISE(IGNORE) FROM t WHERE v = NEW.v AND NEW.v = 7; END`,
    `CREATE TRIGGER y BEFORE DELETE ON t BEGIN UPDATE t SET v = v + 10 WHERE k <> OLD.k; END`,
  ];
  const work = [
    `INSERT INTO t(k, v) VALUES('a', 1), ('a', 1), ('b', 2), ('c', 7), ('c', 7)`,
    `UPDATE t SET v = 7 WHERE k = 'b'`,
    `UPDATE t SET v = 3 WHERE k = 'a'`,
    `DELETE FROM t WHERE k = 'b'`,
  ];
  for (const mode of MODES) {
    const { written, applied } = copied(schema, work, mode);
    expect({ mode, rows: applied }).toEqual({ mode, rows: written });
  }
});

it('where the rowid has no name, a trigger that leaves the key alone is not refused, unless images have to be exact', () => {
  const schema = [
    `CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v, at, ${HIDDEN})`,
    'CREATE TRIGGER x BEFORE UPDATE OF v ON t BEGIN UPDATE t SET at = NEW.v WHERE k = OLD.k; END',
  ];
  for (const mode of MODES) {
    const run = (): object => copied(schema, [FILL, 'UPDATE t SET v = 2'], mode);
    if (mode.exactImages) expect(run).toThrow(expect.objectContaining(REFUSED));
    else
      expect(run()).toMatchObject({
        applied: [['a', 2, 2, null, null, null]],
        written: [['a', 2, 2, null, null, null]],
      });
  }
});

it.each(['UPDATE t SET v = 2', 'DELETE FROM t WHERE v = 1', 'UPDATE t SET v = 2; DELETE FROM t'])(
  'rows that are equal are changed once each where foreign key actions hang on them: %s',
  (sql) => {
    const schema = [`CREATE TABLE t(k UNIQUE, v, ${HIDDEN})`, 'CREATE TABLE c(p REFERENCES t(k) ON UPDATE CASCADE)'];
    const work = ['INSERT INTO t(v) VALUES(1), (1), (1), (0)', sql];
    for (const mode of MODES) {
      const { written, applied } = copied(schema, work, mode);
      expect({ mode, rows: applied }).toEqual({ mode, rows: written });
    }
  },
);

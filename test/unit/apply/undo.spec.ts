import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { Undo } from '../../../lib/apply/undo.js';
import { Capture } from '../../../lib/capture/capture.js';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';
import { isRowChange } from '../../../lib/changeset/changeset.js';
import type { RowChange } from '../../../lib/changeset/changeset.js';
import { dump } from '../../sim/dump.js';

function captured(db: Database, sql: string): { readonly changes: RowChange[]; readonly capture: Capture } {
  const capture = new Capture(db, { markGeneratedIds: 'once', rowIdentify: 'pk', pieceBytes: () => 1_000_000 });
  capture.ensureInstalled();
  db.exec(sql);
  const pieces = capture.drain(0n)?.pieces ?? [];
  const text = `{"changes":[${pieces.map(String).join(',')}]}`;
  return { changes: decodeChangeSet(text).changes.filter(isRowChange), capture };
}

function taken(schema: string, sql: string): { readonly before: string; readonly after: string } {
  const db = new BetterSqlite3(':memory:');
  db.pragma('recursive_triggers = ON');
  db.exec(schema);
  const before = dump(db);
  const { changes, capture } = captured(db, sql);
  expect(dump(db)).not.toBe(before);
  capture.uninstall();
  new Undo(db).run(changes, capture.schema);
  const after = dump(db);
  db.close();
  return { before, after };
}

describe('taking changes back', () => {
  it.each([
    ['INTEGER PRIMARY KEY', 'CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)', `(1, 1, 'a'), (2, 2, x'00ff')`],
    ['a key beside the rowid', 'CREATE TABLE t(id TEXT PRIMARY KEY, u UNIQUE, v)', `(1, 1, 'a'), (2, 2, 1e999)`],
    ['WITHOUT ROWID', 'CREATE TABLE t(id PRIMARY KEY, u UNIQUE, v) WITHOUT ROWID', `(1, 1, 'a'), (2, 2, -0.0)`],
    ['no key', 'CREATE TABLE t(id, u UNIQUE, v)', `(1, 1, CAST(x'ff61' AS TEXT)), (2, 2, 2.0)`],
    [
      'a generated column',
      'CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v, g AS (u || v) STORED)',
      `(1, 1, 1), (2, 2, 2)`,
    ],
  ])('brings every row back as it was: %s', (_name, table, rows) => {
    const schema = `${table}; INSERT INTO t(id, u, v) VALUES${rows}`;
    for (const sql of [
      `INSERT INTO t(id, u, v) VALUES(3, 3, 'new')`,
      'DELETE FROM t',
      `UPDATE t SET v = 'changed'`,
      'UPDATE t SET id = id + 7, u = u + 7',
      `REPLACE INTO t(id, u, v) VALUES(2, 1, 'both')`,
      `UPDATE t SET v = 1 WHERE u = 1; DELETE FROM t WHERE u = 1; INSERT INTO t(id, u, v) VALUES(1, 1, 5)`,
    ]) {
      const { before, after } = taken(schema, sql);
      expect({ sql, after }).toEqual({ sql, after: before });
    }
  });

  it.each([
    ['stricter than its column', 'k TEXT COLLATE NOCASE, u UNIQUE, v, PRIMARY KEY(k COLLATE BINARY)', 'A'],
    ['looser than its column', 'k TEXT, u UNIQUE, v, PRIMARY KEY(k COLLATE NOCASE)', 'b'],
    ['two ways of comparing one column', 'k, u UNIQUE, v, PRIMARY KEY(k COLLATE NOCASE, k COLLATE RTRIM)', 'a '],
  ])('tells rows WITHOUT ROWID apart as the index of their key does: %s', (_name, columns, other) => {
    const schema = `CREATE TABLE t(${columns}) WITHOUT ROWID; INSERT INTO t VALUES('a', 1, 1), ('${other}', 2, 2)`;
    for (const sql of [
      `INSERT INTO t VALUES('c', 3, 'new')`,
      'DELETE FROM t WHERE u = 1',
      'DELETE FROM t',
      'UPDATE t SET v = 3 WHERE u = 2',
      `UPDATE t SET v = 'changed'`,
      `UPDATE t SET k = upper(k) || '!'  WHERE u = 1`,
      `REPLACE INTO t VALUES('${other}', 1, 'both')`,
      `UPDATE t SET v = 1 WHERE u = 1; DELETE FROM t WHERE u = 1; INSERT INTO t VALUES('a', 1, 5)`,
    ]) {
      const { before, after } = taken(schema, sql);
      expect({ sql, after }).toEqual({ sql, after: before });
    }
  });

  it('moves hidden rowids back', () => {
    const { before, after } = taken(
      `CREATE TABLE t(v); INSERT INTO t VALUES('a'), ('a'), ('b')`,
      'UPDATE t SET rowid = rowid + 10 WHERE rowid < 3; DELETE FROM t WHERE rowid = 11',
    );
    expect(after).toBe(before);
  });

  it.each([
    [`INSERT INTO t VALUES(1, 1)`, 'DELETE FROM t'],
    [`INSERT INTO t VALUES(1, 1); UPDATE t SET v = 2`, 'DELETE FROM t'],
    [`INSERT INTO t VALUES(1, 1); DELETE FROM t`, 'INSERT INTO t VALUES(1, 3)'],
  ])('stops where the rows are not what they were: %s', (sql, between) => {
    const db = new BetterSqlite3(':memory:');
    db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const { changes, capture } = captured(db, sql);
    capture.uninstall();
    db.exec(between);
    const undo = new Undo(db);
    expect(() => undo.run(changes, capture.schema)).toThrow(expect.objectContaining({ code: 'HA_OVERLAY_BROKEN' }));
    db.close();
  });
});

import BetterSqlite3 from 'better-sqlite3';
import { ForeignKeyEnforcement } from '../../../lib/write/foreign-key-enforcement.js';

let db: BetterSqlite3.Database;
beforeEach(() => {
  db = new BetterSqlite3(':memory:');
  db.exec('CREATE TABLE p(id PRIMARY KEY); CREATE TABLE c(p REFERENCES p)');
});
afterEach(() => db.close());

const orphan = (): unknown => db.prepare('INSERT INTO c VALUES(1)').run();

it.each([true, false])('is switched for a transaction and back where it is usually %s', (usual) => {
  db.pragma(`foreign_keys = ${Number(usual)}`);
  const enforcement = new ForeignKeyEnforcement(db);
  expect(enforcement.usual).toBe(usual);
  const cached = db.prepare('INSERT INTO c VALUES(2)');
  for (let round = 0; round < 2; round++) {
    enforcement.use(!usual);
    expect([enforcement.isOn, enforcement.isUsual]).toEqual([!usual, false]);
    expect([undefined, usual, !usual].map((wanted) => enforcement.suits(wanted))).toEqual([false, false, true]);
    db.exec('BEGIN');
    if (usual) cached.run();
    else expect(() => cached.run()).toThrow(/FOREIGN KEY/);
    db.exec('ROLLBACK');
    enforcement.restore();
    expect([enforcement.isOn, enforcement.isUsual]).toEqual([usual, true]);
    db.exec('BEGIN');
    if (usual) expect(() => cached.run()).toThrow(/FOREIGN KEY/);
    else cached.run();
    db.exec('ROLLBACK');
  }
});

it('lets nothing run where it could not be switched, and is put back by the next transaction', () => {
  const enforcement = new ForeignKeyEnforcement(db);
  db.exec('BEGIN');
  expect(() => enforcement.use(false)).toThrow(/could not be switched/);
  expect(enforcement.isOn).toBe(true);
  db.exec('COMMIT');
  enforcement.use(false);
  db.exec('BEGIN');
  orphan();
  enforcement.restore();
  expect(enforcement.isOn).toBe(false);
  expect(() => enforcement.use(undefined)).toThrow(/could not be switched/);
  db.exec('COMMIT');
  enforcement.use(undefined);
  expect(enforcement.isOn).toBe(true);
  expect(orphan).toThrow(/FOREIGN KEY/);
});

it('does not fail where the connection is closed', () => {
  const enforcement = new ForeignKeyEnforcement(db);
  enforcement.use(false);
  db.close();
  enforcement.restore();
  expect(() => enforcement.use(undefined)).toThrow();
});

import { BAG, expectRows, marked, rows, scenario, states } from './scenario.js';

describe('rows that no key identifies', () => {
  it('keeps one row of each of two concurrent inserts', () =>
    scenario([BAG], async (world) => {
      world.exec(0, `INSERT INTO bag VALUES('x')`);
      world.exec(1, `INSERT INTO bag VALUES('y')`);
      await world.calm();
      await world.deliver(1, 1);
      world.check(1);
      await expectRows(world, 'SELECT x FROM bag ORDER BY x', ['x', 'y']);
    }));

  it('does not double a row whose node dies before its own message comes', () =>
    scenario([BAG], async (world) => {
      world.exec(1, `INSERT INTO bag VALUES('before')`);
      await world.calm();
      marked(world, 0, 'mark-1-', `INSERT INTO bag VALUES('x')`);
      await world.scheduler.run(3);
      world.kill(0);
      await expectRows(world, `SELECT count(*) FROM bag WHERE x = 'before'`, ['1']);
      expect(rows(world, 0, `SELECT count(*) FROM bag WHERE x = 'x'`)).toEqual(
        rows(world, 0, 'SELECT count(*) FROM marks'),
      );
    }));

  it('deletes one of two rows whose key is NULL', () =>
    scenario(
      ['CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(a, b))', `INSERT INTO t VALUES(NULL, 'x'), (NULL, 'x')`],
      async (world) => {
        world.exec(1, 'DELETE FROM t WHERE rowid = 1');
        await expectRows(world, 'SELECT rowid FROM t', ['2']);
      },
    ));

  it(`tells 'A' from 'a' and 2 from 2.0 where collation and comparison do not`, () =>
    scenario(
      ['CREATE TABLE t(x COLLATE NOCASE)', `INSERT INTO t(rowid, x) VALUES(1, 'a'), (2, 'A'), (3, 2), (4, 2.0)`],
      async (world) => {
        world.exec(0, `UPDATE t SET rowid = rowid + 10`);
        await world.calm();
        world.exec(1, `DELETE FROM t WHERE x = 'A' COLLATE BINARY`, `DELETE FROM t WHERE typeof(x) = 'real'`);
        await expectRows(world, `SELECT rowid, x, typeof(x) FROM t`, ['11|a|text', '13|2|integer']);
      },
    ));

  it('sends the last image of a row that a BEFORE DELETE trigger changes', () =>
    scenario(
      [
        BAG,
        `CREATE TRIGGER g BEFORE DELETE ON bag BEGIN UPDATE bag SET x = 'changed' WHERE rowid = old.rowid; END`,
        `INSERT INTO bag VALUES('x')`,
      ],
      async (world) => {
        world.exec(1, 'DELETE FROM bag');
        await expectRows(world, 'SELECT * FROM bag', []);
      },
    ));
});

describe('REPLACE and keys that move', () => {
  it('does not resurrect a row that a concurrent write moved away', () =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 0)'], async (world) => {
      world.exec(0, 'UPDATE t SET v = 1 WHERE k = 1');
      world.exec(1, 'UPDATE t SET v = 2 WHERE k = 1');
      await expectRows(world, 'SELECT k, v FROM t', ['1|2']);
    }));

  it('lets an INSERT OR REPLACE take the unique value of a concurrent update', () =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, u UNIQUE)', 'INSERT INTO t VALUES(1, 1)'], async (world) => {
      world.exec(0, 'UPDATE t SET u = 2 WHERE k = 1');
      await world.calm();
      world.exec(1, 'INSERT OR REPLACE INTO t VALUES(2, 1)');
      world.exec(1, 'INSERT INTO t VALUES(5, 5)');
      await world.deliver(0, 1);
      await world.deliver(0, 1);
      await expectRows(world, 'SELECT k, u FROM t', ['2|1', '5|5']);
    }));

  it('tells of the victims of UPDATE OR REPLACE that no trigger sees', () =>
    scenario(
      [BAG, 'INSERT INTO bag(rowid, x) VALUES(1, 1), (4, 4)'],
      async (world) => {
        world.exec(1, 'UPDATE OR REPLACE bag SET rowid = 4 WHERE x = 1');
        await world.settle();
        world.check(1);
      },
      { recursiveTriggers: false },
    ));

  it('does the same under a self reference with CASCADE', () =>
    scenario(
      [
        'CREATE TABLE t(id INTEGER PRIMARY KEY, p REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE)',
        'INSERT INTO t VALUES(1, NULL), (2, 1), (3, 2)',
      ],
      async (world) => {
        world.exec(1, 'UPDATE OR REPLACE t SET id = 3 WHERE id = 2');
        world.exec(0, 'UPDATE t SET id = 9 WHERE id = 1');
      },
      { foreignKeys: true, recursiveTriggers: false },
    ));

  it('brings the row back that an own INSERT OR REPLACE killed, unless that is stored', () =>
    scenario(
      ['CREATE TABLE t(w UNIQUE, v)', `INSERT INTO t VALUES(1, 'old')`],
      async (world) => {
        world.node(0).stream.dropNext(100);
        const write = marked(world, 0, 'mark-1-', `INSERT OR REPLACE INTO t VALUES(1, 'new')`);
        await world.answered(write);
        expect(states([write])).toEqual(['HA_PUBLISH_UNKNOWN']);
        world.kill(0);
        await expectRows(world, 'SELECT w, v FROM t', ['1|old']);
      },
      { recursiveTriggers: false },
    ));

  it('applies a key change that recursive triggers would refuse', () =>
    scenario(
      [
        'CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, w UNIQUE)',
        'CREATE TABLE log(k)',
        'CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log VALUES(old.k); END',
        `INSERT INTO t VALUES('b', 1), ('a', 2)`,
      ],
      async (world) => {
        const write = world.exec(1, `UPDATE OR REPLACE t SET k = 'a', w = w WHERE k = 'b'`);
        world.exec(0, `INSERT OR REPLACE INTO t VALUES('b', 1)`);
        await world.settle();
        expect(states([write])[0]).toMatch(/resolved|SQLITE_CONSTRAINT_UNIQUE/);
      },
    ));
});

describe('AUTOINCREMENT counters', () => {
  const AUTO = 'CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v NOT NULL)';
  const counter = `SELECT seq FROM sqlite_sequence WHERE name = 't'`;

  it('raises the counter of a row that INSERT OR FAIL kept', () =>
    scenario([AUTO], async (world) => {
      const callback = world.transaction(1, async (tx) => {
        await tx.run('INSERT OR FAIL INTO t VALUES(NULL, 1), (NULL, NULL)').catch(() => undefined);
      });
      await world.settle();
      expect(callback.state).toBe('resolved');
      await expectRows(world, counter, ['1']);
    }));

  it('keeps a counter that the user lowered', () =>
    scenario([AUTO, 'INSERT INTO t VALUES(3, 3)'], async (world) => {
      world.exec(1, `UPDATE sqlite_sequence SET seq = 0 WHERE name = 't'`, 'DELETE FROM t WHERE id = 3');
      await expectRows(world, counter, ['0']);
    }));

  it('keeps the counter of 0 that SQLite makes for a statement that inserts nothing', () =>
    scenario(
      [
        'CREATE TABLE a(id INTEGER PRIMARY KEY AUTOINCREMENT)',
        'CREATE TABLE t(v)',
        'CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO a VALUES(NULL); END',
      ],
      async (world) => {
        world.exec(1, 'DELETE FROM t');
        await expectRows(world, 'SELECT name, seq FROM sqlite_sequence', ['a|0']);
      },
    ));

  it('takes back a counter that the rows of the same transaction raised', () =>
    scenario([AUTO], async (world) => {
      world.exec(
        1,
        'INSERT INTO t VALUES(4, 4)',
        'PRAGMA user_version = 1',
        `DELETE FROM sqlite_sequence WHERE name = 't'`,
      );
      await expectRows(world, 'SELECT * FROM sqlite_sequence', []);
    }));
});

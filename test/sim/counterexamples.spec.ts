import { BAG, expectRows, marked, rows, scenario, states } from './scenario.js';

describe('rows that no key identifies', () => {
  it('keyless needs undo, re-applying is not enough: keeps one row of each of two concurrent inserts', () =>
    scenario([BAG], async (world) => {
      world.exec(0, `INSERT INTO bag VALUES('x')`);
      world.exec(1, `INSERT INTO bag VALUES('y')`);
      await world.calm();
      await world.deliver(1, 1);
      world.check(1);
      await expectRows(world, 'SELECT x FROM bag ORDER BY x', ['x', 'y']);
    }));

  it('undo survives a restart: does not double a row whose node dies before its own message comes', () =>
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

  it('NULL in the key makes a bag: deletes one of two rows whose key is NULL', () =>
    scenario(
      ['CREATE TABLE t(a TEXT, b TEXT, PRIMARY KEY(a, b))', `INSERT INTO t VALUES(NULL, 'x'), (NULL, 'x')`],
      async (world) => {
        world.exec(1, 'DELETE FROM t WHERE rowid = 1');
        await expectRows(world, 'SELECT rowid FROM t', ['2']);
      },
    ));

  it(`exact match, not IS: tells 'A' from 'a' and 2 from 2.0 where collation and comparison do not`, () =>
    scenario(
      ['CREATE TABLE t(x COLLATE NOCASE)', `INSERT INTO t(rowid, x) VALUES(1, 'a'), (2, 'A'), (3, 2), (4, 2.0)`],
      async (world) => {
        world.exec(0, `UPDATE t SET rowid = rowid + 10`);
        await world.calm();
        world.exec(1, `DELETE FROM t WHERE x = 'A' COLLATE BINARY`, `DELETE FROM t WHERE typeof(x) = 'real'`);
        await expectRows(world, `SELECT rowid, x, typeof(x) FROM t`, ['11|a|text', '13|2|integer']);
      },
    ));

  it('chain rule: sends the last image of a row that a BEFORE DELETE trigger changes', () =>
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

describe('rowids that nothing is found by', () => {
  const KEYED = 'CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL, v)';
  const ROWS = `INSERT INTO t VALUES('a', 1), ('b', 2), ('c', 3)`;

  it('move with the row, and stay where another row has the new one', () =>
    scenario([KEYED, ROWS], async (world) => {
      world.exec(0, `UPDATE t SET rowid = 9 WHERE k = 'a'`);
      world.exec(1, `UPDATE t SET rowid = 9, v = 20 WHERE k = 'b'`);
      await expectRows(world, 'SELECT rowid, k, v FROM t ORDER BY k', ['9|a|1', '2|b|20', '3|c|3']);
    }));

  it.each([
    `UPDATE OR REPLACE t SET rowid = 2 WHERE k = 'a'`,
    `INSERT OR REPLACE INTO t(_rowid_, k) VALUES(2, 'a')`,
    `INSERT INTO other VALUES('a')`,
  ])('are told of where REPLACE takes a row away by them: %s', (sql) =>
    scenario(
      [
        KEYED,
        ROWS,
        'CREATE TABLE other(k TEXT PRIMARY KEY) WITHOUT ROWID',
        'CREATE TRIGGER g AFTER INSERT ON other BEGIN INSERT OR REPLACE INTO t(oid, k) VALUES(2, new.k); END',
      ],
      async (world) => {
        world.exec(1, sql);
        await world.settle();
        expect(rows(world, 0, `SELECT count(*) FROM t WHERE k = 'a'`)).toEqual(['1']);
      },
      { recursiveTriggers: false },
    ),
  );

  it('tell rows of a transaction apart only where a name reaches them', () =>
    scenario(
      [
        BAG,
        'CREATE TABLE t(rowid, oid, _rowid_, v)',
        'CREATE TRIGGER g AFTER INSERT ON bag BEGIN SELECT 1; END',
        'INSERT INTO t VALUES(1, 1, 1, 1), (2, 2, 2, 2)',
      ],
      async (world) => {
        world.exec(0, 'UPDATE t SET v = v + 10');
        await expectRows(world, 'SELECT rowid, v FROM t ORDER BY rowid', ['1|11', '2|12']);
      },
    ));
});

describe('defaults of columns that a writer did not know', () => {
  it.each([
    'random()',
    'CURRENT_TIMESTAMP',
    `'x' || hex(randomblob(3))`,
    `strftime('%s')`,
    `datetime('now', '+1 day')`,
    'ha_id()',
    'ha_uuid()',
  ])('are the same on every node: %s', (expression) =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, v)'], async (world) => {
      world.exec(0, `ALTER TABLE t ADD COLUMN c DEFAULT (${expression})`);
      world.exec(1, `INSERT INTO t(k, v) VALUES(1, 1), (2, 2)`);
      await world.settle();
      expect(rows(world, 0, 'SELECT count(*) FROM t WHERE c IS NOT NULL')).toEqual(['2']);
    }),
  );
});

describe('row identities', () => {
  it('keep both rows of two nodes that chose the same rowid, where rows are found by it', () =>
    scenario(
      [BAG, 'CREATE TABLE t(k TEXT PRIMARY KEY NOT NULL)'],
      async (world) => {
        world.exec(0, `INSERT INTO bag VALUES('x')`);
        world.exec(1, `INSERT INTO bag VALUES('y')`);
        world.exec(0, `INSERT INTO t VALUES('x')`);
        world.exec(1, `INSERT INTO t VALUES('y')`);
        await expectRows(world, 'SELECT x FROM bag UNION ALL SELECT k FROM t ORDER BY 1', ['x', 'x', 'y', 'y']);
      },
      { rowIdentify: 'rowid' },
    ));

  it('let the later of two rows with one rowid stand with generatedIds=overwrite', () =>
    scenario(
      [BAG],
      async (world) => {
        world.exec(0, `INSERT INTO bag VALUES('x')`);
        world.exec(1, `INSERT INTO bag VALUES('y')`);
        await world.settle();
        expect(rows(world, 0, 'SELECT rowid FROM bag')).toEqual(['1']);
      },
      { rowIdentify: 'rowid', generatedIds: 'overwrite' },
    ));

  it('replace what stands at the rowid that a row moves to, where rows are found by it', () =>
    scenario(
      [BAG, `INSERT INTO bag VALUES('a'), ('b'), ('c')`],
      async (world) => {
        world.exec(0, `UPDATE bag SET rowid = 9 WHERE x = 'a'`);
        world.exec(1, `UPDATE bag SET rowid = 9, x = 'B' WHERE x = 'b'`);
        await expectRows(world, 'SELECT rowid, x FROM bag ORDER BY 1', ['3|c', '9|B']);
      },
      { rowIdentify: 'rowid' },
    ));

  it('put back a row that another node deleted meanwhile, at its rowid', () =>
    scenario(
      [BAG, `INSERT INTO bag VALUES('a'), ('b')`],
      async (world) => {
        world.exec(0, `DELETE FROM bag WHERE x = 'a'`);
        world.exec(1, `UPDATE bag SET x = 'A' WHERE x = 'a'`);
        await expectRows(world, 'SELECT rowid, x FROM bag ORDER BY 1', ['1|A', '2|b']);
      },
      { rowIdentify: 'rowid' },
    ));

  it('leave a row alone that another node changed, where all values have to be equal', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 1), (2, 2)'],
      async (world) => {
        world.exec(0, 'UPDATE t SET v = 10');
        world.exec(1, 'DELETE FROM t WHERE id = 1', 'UPDATE t SET v = 20 WHERE id = 2');
        await expectRows(world, 'SELECT id, v FROM t ORDER BY 1', ['1|10', '2|20']);
      },
      { rowIdentify: 'full' },
    ));

  it.each(['rowid', 'full'] as const)('find rows of tables without a rowid by key: %s', (rowIdentify) =>
    scenario(
      ['CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID', `INSERT INTO t VALUES('a', 1)`],
      async (world) => {
        world.exec(0, 'UPDATE t SET v = 10');
        world.exec(1, `DELETE FROM t WHERE k = 'a'`);
        await expectRows(world, 'SELECT * FROM t', []);
      },
      { rowIdentify },
    ),
  );

  it('send the last image of a keyed row too, where all values have to be equal', () =>
    scenario(
      [
        'CREATE TABLE t(id INTEGER PRIMARY KEY, v)',
        `CREATE TRIGGER g BEFORE DELETE ON t BEGIN UPDATE t SET v = 'changed' WHERE id = old.id; END`,
        'INSERT INTO t VALUES(1, 1)',
      ],
      async (world) => {
        world.exec(1, 'DELETE FROM t');
        await expectRows(world, 'SELECT * FROM t', []);
      },
      { rowIdentify: 'full' },
    ));
});

describe('many changes of few rows', () => {
  it('names the last image of a row, although only some parts of the transaction hold a BLOB', () =>
    scenario(
      ['CREATE TABLE t(a, b, v)'],
      async (world) => {
        const rows = Array.from({ length: 40 }, (_value, i) => `(${i}, ${i % 13 === 0 ? `x'61'` : 'NULL'}, 0)`);
        world.exec(0, `INSERT INTO t VALUES${rows.join(', ')}`);
        await world.settle();
        world.exec(0, 'UPDATE t SET v = 1', 'UPDATE t SET v = 2 WHERE b IS NULL', 'DELETE FROM t');
        await expectRows(world, 'SELECT count(*) FROM t', ['0']);
      },
      { maxPayload: 3_000 },
    ));
});

describe('REPLACE and keys that move', () => {
  it('the last of two concurrent updates of one row in the stream wins', () =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 0)'], async (world) => {
      world.exec(0, 'UPDATE t SET v = 1 WHERE k = 1');
      world.exec(1, 'UPDATE t SET v = 2 WHERE k = 1');
      await expectRows(world, 'SELECT k, v FROM t', ['1|2']);
    }));

  it('undo is the effects of the last redo: lets an INSERT OR REPLACE take the unique value of a concurrent update', () =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, u UNIQUE)', 'INSERT INTO t VALUES(1, 1)'], async (world) => {
      world.exec(0, 'UPDATE t SET u = 2 WHERE k = 1');
      await world.calm();
      world.exec(1, 'INSERT OR REPLACE INTO t VALUES(2, 1)');
      world.exec(1, 'INSERT INTO t VALUES(5, 5)');
      await world.deliver(0, 1);
      await world.deliver(0, 1);
      await expectRows(world, 'SELECT k, u FROM t', ['2|1', '5|5']);
    }));

  it('canonicalise uncaptured REPLACE victims: UPDATE OR REPLACE kills a row that no trigger sees', () =>
    scenario(
      [BAG, 'INSERT INTO bag(rowid, x) VALUES(1, 1), (4, 4)'],
      async (world) => {
        world.exec(1, 'UPDATE OR REPLACE bag SET rowid = 4 WHERE x = 1');
        await world.settle();
        world.check(1);
      },
      { recursiveTriggers: false },
    ));

  it('canonicalise with foreign keys: UPDATE OR REPLACE under a self reference with CASCADE', () =>
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

  it('undo behind canonicalising: brings the row back that an own INSERT OR REPLACE killed, unless that is stored', () =>
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

  it(`never UPDATE OR REPLACE in apply, and keep the user's recursive_triggers: a key change that they would refuse`, () =>
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

  it('sequence floor: raises the counter of a row that INSERT OR FAIL kept', () =>
    scenario([AUTO], async (world) => {
      const callback = world.transaction(1, async (tx) => {
        await tx.run('INSERT OR FAIL INTO t VALUES(NULL, 1), (NULL, NULL)').catch(() => undefined);
      });
      await world.settle();
      expect(callback.state).toBe('resolved');
      await expectRows(world, counter, ['1']);
    }));

  it('undo must not raise sequences: keeps a counter that the user lowered', () =>
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

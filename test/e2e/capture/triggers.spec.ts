import { describeInEveryIdentity, failureOf, startCluster } from '../../helper/cluster.js';

describeInEveryIdentity('user triggers', () => {
  it('run once: an audit trigger leaves one row for each change', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      CREATE TABLE audit(id INTEGER PRIMARY KEY, what);
      CREATE TABLE bag(what);
      CREATE TRIGGER ai AFTER INSERT ON t BEGIN INSERT INTO audit(what) VALUES('i' || NEW.id); INSERT INTO bag VALUES('i' || NEW.id); END;
      CREATE TRIGGER au AFTER UPDATE ON t BEGIN INSERT INTO audit(what) VALUES('u' || NEW.id); INSERT INTO bag VALUES('u' || NEW.id); END;
      CREATE TRIGGER ad AFTER DELETE ON t BEGIN INSERT INTO audit(what) VALUES('d' || OLD.id); INSERT INTO bag VALUES('d' || OLD.id); END;`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
    await cluster.settle();
    await cluster.b.run(`UPDATE t SET v = 'c' WHERE id = 1`);
    await cluster.a.run(`DELETE FROM t WHERE id = 2`);
    await cluster.expectEqual();
    const expected = ['i1', 'i2', 'u1', 'd2'];
    expect(await cluster.b.prepare('SELECT what FROM audit ORDER BY id').pluck().all()).toEqual(expected);
    expect(await cluster.b.prepare('SELECT what FROM bag ORDER BY rowid').pluck().all()).toEqual(expected);
  });

  it('make values by chance and by the clock that are copied', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, r, at TEXT DEFAULT (strftime('%f', 'now')), h DEFAULT (hex(randomblob(8))));
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN UPDATE t SET r = random() WHERE id = NEW.id; END;`);
    for (let id = 1; id <= 5; id++) await cluster.a.run('INSERT INTO t(id) VALUES(?)', [id]);
    await cluster.expectEqual();
    const sql = 'SELECT id, CAST(r AS TEXT) AS r, at, h FROM t';
    expect(await cluster.b.all(sql)).toEqual(await cluster.a.all(sql));
    expect(await cluster.b.get('SELECT count(DISTINCT r) AS n FROM t')).toEqual({ n: 5 });
  });

  it('that write other tables BEFORE, change the row itself, and cascade', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE sums(k TEXT PRIMARY KEY, n) WITHOUT ROWID; CREATE TABLE b(v);
      INSERT INTO sums VALUES('t', 0), ('b', 0);
      CREATE TRIGGER t1 BEFORE INSERT ON t BEGIN UPDATE sums SET n = n + 1 WHERE k = 't'; INSERT INTO b VALUES(NEW.v); END;
      CREATE TRIGGER t2 AFTER INSERT ON t BEGIN UPDATE t SET v = upper(v) WHERE id = NEW.id; END;
      CREATE TRIGGER t3 AFTER INSERT ON b BEGIN UPDATE sums SET n = n + 10 WHERE k = 'b'; END;
      CREATE TRIGGER t4 BEFORE DELETE ON b BEGIN UPDATE b SET v = 'dying' WHERE rowid = OLD.rowid; END;`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'x'), (2, 'y')`);
    await cluster.a.run(`DELETE FROM b WHERE rowid = 1`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 'X' },
      { id: 2, v: 'Y' },
    ]);
    expect(await cluster.b.all('SELECT * FROM sums')).toEqual([
      { k: 'b', n: 20 },
      { k: 't', n: 2 },
    ]);
    expect(await cluster.b.all('SELECT rowid, v FROM b')).toEqual([{ rowid: 2, v: 'y' }]);
  });

  it('on views: what they do to tables travels', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE VIEW w AS SELECT id, v FROM t;
      CREATE TRIGGER wi INSTEAD OF INSERT ON w BEGIN INSERT INTO t VALUES(NEW.id, NEW.v || '!'); END;
      CREATE TRIGGER wd INSTEAD OF DELETE ON w BEGIN DELETE FROM t WHERE id = OLD.id; END;`);
    await cluster.a.run(`INSERT INTO w VALUES(1, 'a'), (2, 'b')`);
    await cluster.a.run('DELETE FROM w WHERE id = 1');
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM w')).toEqual([{ id: 2, v: 'b!' }]);
  });

  it('are hidden from the applier again behind DDL of any kind', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(what);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.id); END;`);
    const steps = [
      'CREATE TABLE u(v)',
      'ALTER TABLE t ADD COLUMN w',
      'CREATE INDEX i ON t(v)',
      'DROP TABLE u',
      'ALTER TABLE log RENAME TO logs',
      'ANALYZE',
      'REINDEX',
      'DROP INDEX i',
      'PRAGMA user_version = 7',
    ];
    for (const [index, sql] of steps.entries()) {
      await cluster.a.exec(`${sql}; INSERT INTO t(id) VALUES(${index});`);
      await cluster.settle();
      await cluster.b.run(`INSERT INTO t(id) VALUES(${100 + index})`);
    }
    await cluster.a.exec(
      `DROP TRIGGER tr; INSERT INTO t(id) VALUES(50); CREATE TRIGGER tr2 AFTER DELETE ON t BEGIN INSERT INTO logs VALUES('d' || OLD.id); END;`,
    );
    await cluster.settle();
    await cluster.b.run('DELETE FROM t WHERE id = 50');
    await cluster.expectEqual();
    const log = await cluster.b.prepare('SELECT what FROM logs ORDER BY rowid').pluck().all();
    expect(log).toEqual([...steps.flatMap((_sql, index) => [index, 100 + index]), 'd50']);
  });

  it('of TEMP kind are not of the database: they are refused or harmless', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a
      .run(`CREATE TEMP TRIGGER mine AFTER INSERT ON t BEGIN SELECT RAISE(IGNORE); END`)
      .catch(() => undefined);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a' }]);
  });

  it('that refuse leave the error of SQLite', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      CREATE TRIGGER tr BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'keep it'); END; INSERT INTO t VALUES(1, 'a');`);
    await cluster.settle();
    expect(await failureOf(cluster.b.run('DELETE FROM t'))).toMatchObject({
      name: 'SqliteError',
      code: 'SQLITE_CONSTRAINT_TRIGGER',
      message: 'keep it',
    });
    await cluster.expectEqual();
  });
});

import { describeInEveryIdentity, startCluster } from '../../helper/cluster.js';

describeInEveryIdentity('REPLACE', (identity) =>
  describe.each(['off', 'on'])('and recursive_triggers %s', (recursive) => {
    const query = `_pragma=recursive_triggers(${recursive})`;

    it('removes both victims of one new row', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v);
      INSERT INTO t VALUES(1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z');`);
      await cluster.a.run(`REPLACE INTO t VALUES(1, 'b', 'new')`);
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM t')).toEqual([
        { id: 1, u: 'b', v: 'new' },
        { id: 3, u: 'c', v: 'z' },
      ]);
    });

    it('removes the victims in a table without a key', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(
        `CREATE TABLE t(w UNIQUE, u UNIQUE, v); INSERT INTO t VALUES(1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')`,
      );
      await cluster.a.run(`INSERT OR REPLACE INTO t VALUES(1, 'b', 'new')`);
      await cluster.a.run(`UPDATE OR REPLACE t SET w = 3 WHERE u = 'b'`);
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ w: 3, u: 'b', v: 'new' }]);
    });

    it('moves a rowid onto a taken one', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a'), (2, 'b');
      CREATE TABLE bag(v); INSERT INTO bag(rowid, v) VALUES(1, 'a'), (2, 'b'), (3, 'c');`);
      await cluster.a.run('UPDATE OR REPLACE t SET id = 2 WHERE id = 1');
      await cluster.a.run('UPDATE OR REPLACE bag SET rowid = 3 WHERE rowid = 1');
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 2, v: 'a' }]);
      // With recursive triggers off nobody is told of the victim, and rows remove each other only where they are found by it.
      expect(await cluster.b.prepare('SELECT rowid, v FROM bag').raw().all()).toEqual(
        recursive === 'on' || identity === 'rowid'
          ? [
              [2, 'b'],
              [3, 'a'],
            ]
          : [
              [1, 'a'],
              [2, 'b'],
              [3, 'c'],
            ],
      );
    });

    it('fires DELETE triggers exactly as SQLite does with this setting', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE);
      CREATE TABLE log(what);
      CREATE TRIGGER gone AFTER DELETE ON t BEGIN INSERT INTO log VALUES('gone ' || OLD.id); END;
      INSERT INTO t VALUES(1, 'a'), (2, 'b');`);
      await cluster.a.run(`REPLACE INTO t VALUES(3, 'a')`);
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM log')).toEqual(recursive === 'on' ? [{ what: 'gone 1' }] : []);
    });

    it('updates or skips with UPSERT', async () => {
      const cluster = await startCluster({ query });
      await cluster.a.exec(`CREATE TABLE t(k TEXT PRIMARY KEY, n INTEGER); INSERT INTO t VALUES('a', 1), ('b', 1)`);
      await cluster.a.run(`INSERT INTO t VALUES('a', 5), ('c', 1) ON CONFLICT(k) DO UPDATE SET n = t.n + excluded.n`);
      const { txseq, changes } = await cluster.a.run(`INSERT INTO t VALUES('b', 9) ON CONFLICT DO NOTHING`);
      expect({ txseq, changes }).toEqual({ txseq: undefined, changes: 0 });
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM t ORDER BY k')).toEqual([
        { k: 'a', n: 6 },
        { k: 'b', n: 1 },
        { k: 'c', n: 1 },
      ]);
    });

    it('cascades from a replaced parent', async () => {
      const cluster = await startCluster({ query: `${query}&_foreign_keys=on` });
      await cluster.a.exec(`
      CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE);
      CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id) ON DELETE CASCADE);
      INSERT INTO p VALUES(1, 'a'), (2, 'b'); INSERT INTO c VALUES(10, 1), (20, 2);`);
      await cluster.a.run(`REPLACE INTO p VALUES(3, 'a')`);
      await cluster.expectEqual();
      expect(await cluster.b.all('SELECT * FROM c')).toEqual([{ id: 20, p: 2 }]);
    });
  }),
);

import { describeInEveryIdentity, failureOf, startCluster } from '../../helper/cluster.js';

describeInEveryIdentity('virtual tables', () => {
  it('FTS5 with its own content', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE VIRTUAL TABLE f USING fts5(title, body)`);
    await cluster.a.run(`INSERT INTO f VALUES(?, ?)`, ['one', 'the quick fox']);
    await cluster.a.run(`INSERT INTO f(title, body) VALUES(:t, @b)`, { t: 'two', b: 'lazy dog' });
    await cluster.a.prepare(`INSERT INTO f(rowid, title, body) VALUES($id, $t, $t)`).run({ id: 9n, t: 'three' });
    await cluster.a.prepare(`INSERT INTO f(rowid, title, body) VALUES(?, ?, ?)`).run(10n, 'four', null);
    await cluster.a.prepare(`INSERT INTO f(rowid, title, body) VALUES(?, ?, ?)`).run([11n], 'five', 'blob');
    await cluster.settle();
    await cluster.b.run(`UPDATE f SET body = 'slow fox' WHERE f MATCH 'quick'`);
    await cluster.a.run(`DELETE FROM f WHERE rowid = 9`);
    await cluster.a.exec(`INSERT INTO f(f) VALUES('optimize'); INSERT INTO f(f, rank) VALUES('merge', 16)`);
    await cluster.expectEqual();
    expect(await cluster.a.all(`SELECT title FROM f WHERE f MATCH 'fox'`)).toEqual([{ title: 'one' }]);
    expect(await cluster.b.prepare('SELECT title FROM f ORDER BY rowid').pluck().all()).toEqual([
      'one',
      'two',
      'four',
      'five',
    ]);
    await cluster.settle();
    await cluster.b.run(`INSERT INTO f(f) VALUES('integrity-check')`);
  });

  it('FTS5 beside a table that triggers keep in step', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE docs(id INTEGER PRIMARY KEY, title, body); CREATE TABLE audit(id INTEGER PRIMARY KEY, what);
      CREATE VIRTUAL TABLE f USING fts5(title, body, content='docs', content_rowid='id');
      CREATE TRIGGER ai AFTER INSERT ON docs BEGIN INSERT INTO f(rowid, title, body) VALUES(NEW.id, NEW.title, NEW.body); END;
      CREATE TRIGGER ad AFTER DELETE ON docs BEGIN INSERT INTO f(f, rowid, title, body) VALUES('delete', OLD.id, OLD.title, OLD.body); END;
      CREATE TRIGGER au AFTER UPDATE ON docs BEGIN
        INSERT INTO f(f, rowid, title, body) VALUES('delete', OLD.id, OLD.title, OLD.body);
        INSERT INTO f(rowid, title, body) VALUES(NEW.id, NEW.title, NEW.body);
      END;
      CREATE TRIGGER log AFTER INSERT ON docs BEGIN INSERT INTO audit(what) VALUES('for ' || NEW.id); END;`);
    await cluster.a.run(`INSERT INTO docs VALUES(1, 'one', 'quick fox'), (2, 'two', 'lazy dog')`);
    await cluster.settle();
    await cluster.settle();
    await cluster.b.run(`UPDATE docs SET body = 'slow fox' WHERE id = 1`);
    await cluster.settle();
    await cluster.b.run(`INSERT INTO docs(title, body) VALUES('three', 'fox again')`);
    await cluster.a.run(`DELETE FROM docs WHERE id = 2`);
    await cluster.a.exec('ALTER TABLE docs ADD COLUMN x; UPDATE docs SET x = 1');
    await cluster.a.transaction(async (tx) => {
      for (let i = 10; i < 40; i++)
        await tx.run('INSERT INTO docs VALUES(?, ?, ?, NULL)', [i, `t${i}`, `word${i} fox`]);
      await tx.run('UPDATE docs SET id = id + 100 WHERE id >= 30');
    });
    await cluster.expectEqual();
    for (const node of cluster.nodes) {
      await node.db.run(`INSERT INTO f(f) VALUES('integrity-check')`);
      expect(
        await node.db.prepare(`SELECT rowid FROM f WHERE f MATCH 'fox' ORDER BY rowid LIMIT 3`).pluck().all(),
      ).toEqual([1, 3, 10]);
      expect(await node.db.get('SELECT count(*) AS n FROM audit')).toEqual({ n: 33 });
    }
  });

  it('an audit trigger whose text contains the name of a virtual table by chance', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE VIRTUAL TABLE a USING fts5(x);
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(what);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES('a'); END;`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'x')`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM log')).toEqual([{ what: 'a' }]);
  });

  it('FTS5 without content', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE VIRTUAL TABLE f USING fts5(a, b, content='', contentless_delete=1); CREATE VIRTUAL TABLE g USING fts5(a, content='')`,
    );
    await cluster.a.run(`INSERT INTO f(rowid, a, b) VALUES(1, 'x y', 'z'), (2, 'x', 'q')`);
    await cluster.a.run(`INSERT INTO g(rowid, a) VALUES(5, 'word')`);
    await cluster.settle();
    await cluster.b.run(`DELETE FROM f WHERE rowid = 2`);
    await cluster.expectEqual();
    expect(await cluster.a.all(`SELECT rowid FROM f WHERE f MATCH 'x'`)).toEqual([{ rowid: 1 }]);
    expect(await cluster.b.all(`SELECT rowid FROM g WHERE g MATCH 'word'`)).toEqual([{ rowid: 5 }]);
  });

  it('FTS5 that is kept by hand: external content without triggers, rebuilt, deleted from, and written without content', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE docs(id INTEGER PRIMARY KEY, body);
      CREATE VIRTUAL TABLE f USING fts5(body, content='docs', content_rowid='id', tokenize='porter');
      CREATE VIRTUAL TABLE g USING fts5(body, content='');
      INSERT INTO docs VALUES(1, 'running fox'), (2, 'lazy dogs'); INSERT INTO f(f) VALUES('rebuild');
      INSERT INTO g(rowid, body) VALUES(1, 'running fox'), (2, 'lazy dogs');`);
    await cluster.settle();
    await cluster.b.transaction(async (tx) => {
      await tx.run(`INSERT INTO f(f, rowid, body) VALUES('delete', 2, 'lazy dogs')`);
      await tx.run(`UPDATE docs SET body = 'many cats' WHERE id = 2`);
      await tx.run(`INSERT INTO f(rowid, body) VALUES(2, 'many cats')`);
      await tx.run(`INSERT INTO g(g, rowid, body) VALUES('delete', ?, ?)`, [2n, 'lazy dogs']);
    });
    await cluster.expectEqual();
    for (const { db } of cluster.nodes) {
      const ids = (sql: string): Promise<unknown[]> => db.prepare(sql).pluck().all();
      expect(await ids(`SELECT rowid FROM f WHERE f MATCH 'run OR cat OR dog' ORDER BY 1`)).toEqual([1, 2]);
      expect(await ids(`SELECT rowid FROM f WHERE f MATCH 'dog'`)).toEqual([]);
      expect(await ids(`SELECT rowid FROM g WHERE g MATCH 'fox OR dogs'`)).toEqual([1]);
      await db.run(`INSERT INTO f(f, rank) VALUES('integrity-check', 1)`);
    }
    await cluster.a.exec(`INSERT INTO g(g) VALUES('delete-all'); INSERT INTO f(f) VALUES('delete-all')`);
    await cluster.settle();
    for (const { db } of cluster.nodes) {
      expect(await db.all(`SELECT rowid FROM g WHERE g MATCH 'fox'`)).toEqual([]);
      expect(await db.all(`SELECT rowid FROM f WHERE f MATCH 'fox'`)).toEqual([]);
    }
  });

  it('R-Tree', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE VIRTUAL TABLE r USING rtree(id, x0, x1, y0, y1, +label TEXT)`);
    await cluster.a.run(
      `INSERT INTO r VALUES(1, 0, 10, 0, 10, 'big'), (2, 2, 3, 2, 3, 'small'), (3, 50, 51, 50, 51, 'far')`,
    );
    await cluster.settle();
    await cluster.b.run(`UPDATE r SET x1 = ?, label = ? WHERE id = ?`, [3.5, 'wide', 2]);
    await cluster.a.run(`DELETE FROM r WHERE id = 3`);
    await cluster.a.run(`INSERT OR REPLACE INTO r VALUES(1, 1, 9, 1, 9, 'smaller')`);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT id, x0, x1, label FROM r WHERE x0 >= 1 ORDER BY id')).toEqual([
      { id: 1, x0: 1, x1: 9, label: 'smaller' },
      { id: 2, x0: 2, x1: 3.5, label: 'wide' },
    ]);
  });

  it('bind values of all kinds exactly', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE VIRTUAL TABLE f USING fts5(v, content='', contentless_delete=1); CREATE VIRTUAL TABLE g USING fts5(v)`,
    );
    for (const value of [1, 1n, 2.5, 2n ** 60n, 'text', 'nul\0', '\ud800 x', null, Buffer.from('ab'), -0, Infinity]) {
      await cluster.a.run('INSERT INTO g VALUES(?)', [value]);
    }
    await cluster.expectEqual();
  });

  it('DROP and rename', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE VIRTUAL TABLE f USING fts5(v); INSERT INTO f VALUES('a'); ALTER TABLE f RENAME TO g; INSERT INTO g VALUES('b')`,
    );
    await cluster.expectEqual();
    expect(await cluster.b.all(`SELECT * FROM g`)).toEqual([{ v: 'a' }, { v: 'b' }]);
    await cluster.settle();
    await cluster.b.exec('DROP TABLE g; CREATE TABLE f(v)');
    await cluster.expectEqual();
  });

  it('refuse writes that come through a trigger on a view', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE VIRTUAL TABLE f USING fts5(v); CREATE VIEW w AS SELECT v FROM f;
      CREATE TRIGGER tr INSTEAD OF INSERT ON w BEGIN INSERT INTO f VALUES(NEW.v); END;`);
    expect(await failureOf(cluster.a.run(`INSERT INTO w VALUES('through the view')`))).toMatchObject({
      code: 'HA_STATEMENT_REFUSED',
    });
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM f')).toEqual([]);
  });

  it('a trigger that writes a virtual table and an ordinary one', async () => {
    const cluster = await startCluster();
    await cluster.a
      .exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE log(what); CREATE VIRTUAL TABLE f USING fts5(v);
    CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO f(rowid, v) VALUES(NEW.id, NEW.v); INSERT INTO log VALUES(NEW.v); END;`);
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    await cluster.expectEqual();
  });
  it('FTS5 stays intact where a row of another node is replaced, or REPLACE is used', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE docs(id INTEGER PRIMARY KEY, u UNIQUE, body);
      CREATE VIRTUAL TABLE f USING fts5(body, content='docs', content_rowid='id');
      CREATE TRIGGER ai AFTER INSERT ON docs BEGIN INSERT INTO f(rowid, body) VALUES(NEW.id, NEW.body); END;
      CREATE TRIGGER ad AFTER DELETE ON docs BEGIN INSERT INTO f(f, rowid, body) VALUES('delete', OLD.id, OLD.body); END;
      CREATE TRIGGER au AFTER UPDATE ON docs BEGIN INSERT INTO f(f, rowid, body) VALUES('delete', OLD.id, OLD.body); INSERT INTO f(rowid, body) VALUES(NEW.id, NEW.body); END;
      INSERT INTO docs VALUES(1, 'a', 'fox'), (2, 'b', 'dog');`);
    await cluster.settle();
    // Two nodes insert one id at the same time: the later one replaces the row.
    await Promise.all([
      cluster.a.run(`INSERT INTO docs VALUES(3, 'x', 'cat')`),
      cluster.b.run(`INSERT INTO docs VALUES(3, 'y', 'cow')`).catch(() => undefined),
    ]);
    await cluster.settle();
    await cluster.a.run(`REPLACE INTO docs VALUES(4, 'a', 'cat')`);
    await cluster.a.run(`INSERT OR REPLACE INTO docs VALUES(2, 'z', 'dog and cat')`);
    await cluster.settle();
    for (const { db } of cluster.nodes) {
      expect(await db.prepare(`SELECT rowid FROM f WHERE f MATCH 'cat OR cow' ORDER BY 1`).pluck().all()).toEqual([
        2, 3, 4,
      ]);
      expect(await db.all(`SELECT rowid FROM f WHERE f MATCH 'fox'`)).toEqual([]);
      await db.run(`INSERT INTO f(f, rank) VALUES('integrity-check', 1)`);
    }
  });
  it('refuse statements whose values each node would make anew', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE VIRTUAL TABLE f USING fts5(v)`);
    for (const value of [
      'hex(randomblob(8))',
      'random()',
      'CURRENT_TIMESTAMP',
      `datetime('now')`,
      'last_insert_rowid()',
      'changes()',
      'unixepoch()',
    ]) {
      expect((await failureOf(cluster.a.run(`INSERT INTO f VALUES(${value})`))).code).toBe('HA_STATEMENT_REFUSED');
    }
    await cluster.a.run(`INSERT INTO f VALUES('random() now() ' || ?)`, ['bound']);
    await cluster.expectEqual();
  });
});

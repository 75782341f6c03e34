import { startCluster } from '../../helper/cluster.js';

describe('several nodes at once', () => {
  it('lose none of the ids that they generate', async () => {
    const cluster = await startCluster({ nodes: 3 });
    await cluster.a.exec(
      'CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)',
    );
    await cluster.settle();
    const ids = new Map<string, number>();
    await Promise.all(
      cluster.nodes.map(async ({ db }, node) => {
        await Promise.all(
          Array.from({ length: 300 }, async (_value, index) => {
            const table = index % 2 === 0 ? 't' : 's';
            const v = `n${node} ${index}`;
            const { lastInsertRowid } = await db.run(`INSERT INTO ${table}(v) VALUES(?)`, [v]);
            ids.set(v, Number(lastInsertRowid));
          }),
        );
      }),
    );
    await cluster.expectEqual();
    const rows = await cluster.a.all<{ id: number; v: string }>('SELECT * FROM t UNION ALL SELECT * FROM s');
    expect(rows).toHaveLength(900);
    for (const { id, v } of rows) expect([v, ids.get(v)]).toEqual([v, id]);
  });

  it('update one row 200 times each, and end with the same value', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'start'); CREATE TABLE bag(v); INSERT INTO bag VALUES('start')`,
    );
    await cluster.settle();
    await Promise.all(
      cluster.nodes.map(async ({ db }, node) => {
        for (let round = 0; round < 200; round++) {
          await db.run('UPDATE t SET v = ? WHERE id = 1', [`n${node} ${round}`]);
          // Two that meet here keep both rows: with each of these rounds the table may double.
          if (round % 40 === 0) await db.run('UPDATE bag SET v = ?', [`n${node} ${round}`]);
        }
      }),
    );
    await cluster.expectEqual();
    const last = (await cluster.messages()).findLast(({ text }) => text.includes('"table":"t"'))?.text ?? '';
    const { v } = (await cluster.a.get<{ v: string }>('SELECT v FROM t')) ?? { v: 'none' };
    expect(last).toContain(`"new_values":[1,"${v}"]`);
  });

  it('mix writes of every kind and stay equal', async () => {
    const cluster = await startCluster({ nodes: 3, query: '_foreign_keys=on' });
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE bag(v, w); CREATE TABLE k(a, b, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
      CREATE TABLE c(id INTEGER PRIMARY KEY, t REFERENCES t(id) ON DELETE CASCADE ON UPDATE CASCADE);
      CREATE TABLE log(id INTEGER PRIMARY KEY, what);
      CREATE TRIGGER tr AFTER UPDATE ON t BEGIN INSERT INTO log(what) VALUES(NEW.id || ' ' || NEW.v); END;`);
    await cluster.settle();
    let seed = 12345;
    const random = (n: number): number => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
    const step = async (db: typeof cluster.a): Promise<void> => {
      const [x, y] = [random(20), random(20)];
      const all: [string, unknown[]][] = [
        ['INSERT OR IGNORE INTO t VALUES(?, ?, 0)', [x, y]],
        ['INSERT OR REPLACE INTO t VALUES(?, ?, 1)', [x, y]],
        ['UPDATE OR IGNORE t SET u = ?, v = v + 1 WHERE id = ?', [x, y]],
        ['UPDATE OR REPLACE t SET id = ? WHERE id = ?', [x, y]],
        ['DELETE FROM t WHERE id = ?', [x]],
        ['INSERT INTO bag VALUES(?, ?)', [x % 3, y % 3]],
        ['DELETE FROM bag WHERE rowid = (SELECT rowid FROM bag WHERE v = ? LIMIT 1)', [x % 3]],
        ['UPDATE bag SET w = ? WHERE v = ?', [x, y % 3]],
        ['INSERT INTO k VALUES(?, ?, 1) ON CONFLICT DO UPDATE SET v = v + 1', [x % 4, y % 4]],
        ['UPDATE OR REPLACE k SET a = ? WHERE b = ?', [x % 4, y % 4]],
        ['INSERT OR IGNORE INTO c(t) SELECT id FROM t LIMIT 1', []],
      ];
      const [sql, params] = all[random(all.length)] ?? ['SELECT 1', []];
      await db.run(sql, params).catch((error: { code?: string }) => {
        if (error.code?.startsWith('SQLITE_CONSTRAINT') !== true) throw error;
      });
    };
    for (let round = 0; round < 60; round++) {
      await Promise.all(cluster.nodes.flatMap(({ db }) => [step(db), step(db), step(db)]));
    }
    await cluster.settle();
    const fold = await cluster.fold();
    cluster.nodes.forEach((_node, index) => expect(cluster.dump(index)).toEqual(fold));
  });

  it('change the schema at once: each change takes effect, in one order', async () => {
    const cluster = await startCluster({ nodes: 3 });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    for (let round = 0; round < 5; round++) {
      await Promise.all(
        cluster.nodes.flatMap(({ db }, node) => [
          db.run(`ALTER TABLE t ADD COLUMN c${node}_${round}`),
          db.run(`CREATE TABLE own${node}_${round} AS SELECT * FROM t`),
          db.run('INSERT INTO t(v) VALUES(?)', [`n${node} ${round}`]),
        ]),
      );
    }
    await cluster.expectEqual();
    const names = await cluster.a.prepare(`SELECT name FROM pragma_table_info('t')`).pluck().all();
    expect(names).toHaveLength(17);
    expect(await cluster.c.get('SELECT count(*) AS n FROM t')).toEqual({ n: 15 });
  });

  it('create the same table: one succeeds, the other is told', async () => {
    const cluster = await startCluster();
    const results = await Promise.allSettled([
      cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'a')`),
      cluster.b.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, b); INSERT INTO t VALUES(2, 'b')`),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const failed = results.find((result) => result.status === 'rejected');
    expect(failed?.reason).toMatchObject({ code: 'SQLITE_ERROR', message: 'table t already exists' });
    await cluster.expectEqual();
  });

  it('migrate at the same start with IF NOT EXISTS', async () => {
    const cluster = await startCluster({ nodes: 3 });
    const migration = `CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v); CREATE INDEX IF NOT EXISTS i ON t(v); INSERT INTO t SELECT 1, 'seed' WHERE NOT EXISTS (SELECT 1 FROM t)`;
    await Promise.all(cluster.nodes.map(({ db }) => db.exec(migration)));
    await cluster.expectEqual();
    expect(await cluster.c.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'seed' }]);
  });

  it('answer a write with the same rows that they hold when it was overtaken', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)');
    await cluster.settle();
    const results = await Promise.all(
      Array.from({ length: 100 }, (_value, index) =>
        (index % 2 ? cluster.a : cluster.b).get<{ id: number; v: string }>('INSERT INTO t(v) VALUES(?) RETURNING *', [
          `v${index}`,
        ]),
      ),
    );
    await cluster.expectEqual();
    for (const row of results) expect(await cluster.a.get('SELECT * FROM t WHERE v = ?', [row?.v])).toEqual(row);
  });
});

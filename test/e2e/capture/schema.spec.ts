import { describeInEveryIdentity, failureOf, startCluster, until } from '../../helper/cluster.js';
import type { TestNode } from '../../helper/cluster.js';

describeInEveryIdentity('changes of the schema', () => {
  it('ADD, RENAME and DROP COLUMN between writes of one transaction', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a')`);
    await cluster.a.transaction(async (tx) => {
      await tx.run(`INSERT INTO t VALUES(2, 'b')`);
      await tx.run(`ALTER TABLE t ADD COLUMN w DEFAULT 'def'`);
      await tx.run(`UPDATE t SET w = 'new' WHERE id = 2`);
      await tx.run(`ALTER TABLE t RENAME COLUMN v TO val`);
      await tx.run(`INSERT INTO t(id, val) VALUES(3, 'c')`);
      await tx.run(`ALTER TABLE t DROP COLUMN w`);
      await tx.run(`UPDATE t SET val = 'C' WHERE id = 3`);
      await tx.run(`ALTER TABLE t RENAME TO u`);
      await tx.run(`DELETE FROM u WHERE id = 1`);
    });
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM u')).toEqual([
      { id: 2, val: 'b' },
      { id: 3, val: 'C' },
    ]);
  });

  // SQLite keeps the trigger of a table that another connection dropped, and has it come back with the table.
  it.each(['this node', 'another node'])('DROP and CREATE of a table by %s, and many rows', async (where) => {
    const cluster = await startCluster();
    const fill = (table: string): Promise<unknown> =>
      cluster.a.run(
        `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO ${table} SELECT i, 'm' FROM n`,
      );
    const other = where === 'this node' ? cluster.a : cluster.b;
    await cluster.a.exec('CREATE TABLE alpha(x, y); CREATE TABLE beta(x, y); CREATE TABLE gamma(x, y)');
    await cluster.settle();
    for (const table of ['alpha', 'beta', 'gamma']) {
      await other.run(`DROP TABLE ${table}`);
      await cluster.settle();
      await cluster.a.run(`INSERT INTO ${table === 'alpha' ? 'gamma' : 'alpha'} VALUES(1, 1)`);
      await other.exec(`CREATE TABLE more_${table}(x); CREATE TABLE ${table}(x, y)`);
      await cluster.settle();
      await fill(table);
      await cluster.a.run(`DELETE FROM ${table} WHERE x > 90 AND y = 'm'`);
    }
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT count(*) AS n FROM beta')).toEqual([{ n: 90 }]);
  });

  it.each(['this node', 'another node'])('ALTER of other tables behind DROP and RENAME by %s', async (where) => {
    const cluster = await startCluster();
    const other = where === 'this node' ? cluster.a : cluster.b;
    await cluster.a.exec('CREATE TABLE staging(x, y); CREATE TABLE former(x, y); CREATE TABLE t(a, b, c)');
    await cluster.a.run('INSERT INTO t VALUES(0, 0, 0)');
    await cluster.settle();
    await other.run('DROP TABLE staging');
    await other.run('ALTER TABLE former RENAME TO latter');
    await cluster.settle();
    await cluster.a.run('INSERT INTO t VALUES(1, 2, 3)');
    for (const sql of [
      'ALTER TABLE t RENAME COLUMN a TO d',
      'ALTER TABLE t DROP COLUMN b',
      'ALTER TABLE t RENAME TO u',
      'CREATE TABLE staging(x)',
      'INSERT INTO staging VALUES(1)',
      'INSERT INTO latter VALUES(1, 2)',
      'UPDATE u SET c = 4',
    ]) {
      await cluster.a.run(sql);
    }
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM u WHERE d = 1')).toEqual([{ d: 1, c: 4 }]);
  });

  it('CREATE TABLE and INSERT in one script, CREATE TABLE AS with values that only one node can make', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a'), (2, 'b');
      CREATE TABLE copy AS SELECT id, v, random() AS r, x'00' AS b, json('[1]') AS j, 2.0 AS f FROM t;
      CREATE TABLE IF NOT EXISTS "odd ""name" AS SELECT 1 AS "a ""b", 9e999 AS inf;
      UPDATE copy SET v = 'B' WHERE id = 2;`);
    await cluster.expectEqual();
    const sql = 'SELECT id, v, CAST(r AS TEXT) AS r, b, j, typeof(f) AS f FROM copy';
    const rows = await cluster.b.all(sql);
    expect(rows).toEqual(await cluster.a.all(sql));
    expect(rows).toMatchObject([
      { id: 1, v: 'a', b: Buffer.from([0]), j: '[1]', f: 'real' },
      { id: 2, v: 'B' },
    ]);
    expect(await cluster.b.all('SELECT * FROM "odd ""name"')).toEqual([{ 'a "b': 1, inf: Infinity }]);
  });

  it('rebuilds a table in twelve steps', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=on' });
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, old); CREATE INDEX i ON t(v); CREATE TABLE log(w);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.v); END;
      CREATE VIEW w AS SELECT id, v FROM t;
      INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2);`);
    await cluster.a.exec(`
      BEGIN;
      CREATE TABLE new_t(id INTEGER PRIMARY KEY, v TEXT NOT NULL CHECK(length(v) > 0));
      INSERT INTO new_t SELECT id, v FROM t;
      DROP VIEW w; DROP TABLE t;
      ALTER TABLE new_t RENAME TO t;
      CREATE INDEX i ON t(v);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES('new ' || NEW.v); END;
      CREATE VIEW w AS SELECT id, v FROM t;
      COMMIT;`);
    await cluster.settle();
    await cluster.b.run(`INSERT INTO t VALUES(3, 'c')`);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM t')).toEqual([
      { id: 1, v: 'a' },
      { id: 2, v: 'b' },
      { id: 3, v: 'c' },
    ]);
    expect(await cluster.a.all('SELECT * FROM log')).toEqual([{ w: 'a' }, { w: 'b' }, { w: 'new c' }]);
  });

  it('rebuilds a table in twelve steps while two others insert, update and delete: no row is lost', async () => {
    const cluster = await startCluster({ nodes: 3 });
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, old); CREATE INDEX i ON t(v); CREATE TABLE log(id, v);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.id, NEW.v); END;`);
    await cluster.settle();
    const stop = new AbortController();
    const kept = new Map<number, string>();
    const writer = async ({ db }: TestNode, base: number): Promise<void> => {
      for (let n = 0; !stop.signal.aborted; n++) {
        // SQLite chooses ids above all others: ours are below.
        const id = -base - n;
        await db.run('INSERT INTO t(id, v) VALUES(?, ?)', [id, `v${id}`]);
        kept.set(id, `v${id}`);
        const { lastInsertRowid } = await db.run('INSERT INTO t(v) VALUES(?)', [`generated by ${base}`]);
        kept.set(Number(lastInsertRowid), `generated by ${base}`);
        if (n % 3 === 0) {
          await db.run(`UPDATE t SET v = v || '!' WHERE id = ?`, [id]);
          kept.set(id, `v${id}!`);
        } else if (n % 3 === 1) {
          await db.run('DELETE FROM t WHERE id = ?', [id]);
          kept.delete(id);
        }
      }
    };
    const running = [writer(cluster.node(1), 1_000_000), writer(cluster.node(2), 2_000_000)];
    for (let round = 0; round < 6; round++) {
      await until(() => kept.size > round * 20);
      await cluster.a.exec(`
        BEGIN;
        CREATE TABLE new_t(id INTEGER PRIMARY KEY, v TEXT NOT NULL, r${round} DEFAULT ${round});
        INSERT INTO new_t(id, v) SELECT id, v FROM t;
        DROP TABLE t;
        ALTER TABLE new_t RENAME TO t;
        CREATE INDEX i ON t(v);
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES(NEW.id, NEW.v); END;
        COMMIT;`);
    }
    stop.abort();
    await Promise.all(running);
    await cluster.expectEqual();
    const rows = await cluster.b.all<{ id: number; v: string }>('SELECT id, v FROM t');
    expect(new Map(rows.map(({ id, v }) => [id, v]))).toEqual(kept);
  });

  it('heals when the schema goes back with a savepoint or a transaction', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.transaction(async (tx) => {
      await failureOf(
        tx.savepoint(async () => {
          await tx.run('ALTER TABLE t ADD COLUMN w');
          await tx.run('CREATE TABLE gone(v)');
          await tx.run(`INSERT INTO t VALUES(1, 'a', 'b')`);
          throw new Error('back');
        }),
      );
      await tx.run(`INSERT INTO t VALUES(2, 'c')`);
    });
    await failureOf(
      cluster.a.transaction(async (tx) => {
        await tx.run('DROP TABLE t');
        await tx.run('CREATE TABLE t(id INTEGER PRIMARY KEY, other)');
        await tx.run(`INSERT INTO t VALUES(2, 'd')`);
        throw new Error('back');
      }),
    );
    await cluster.a.run(`INSERT INTO t VALUES(3, 'e')`);
    await failureOf(cluster.a.run('ALTER TABLE t ADD COLUMN id'));
    await failureOf(cluster.a.run('CREATE TABLE t(x)'));
    await cluster.a.run(`UPDATE t SET v = 'E' WHERE id = 3`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 2, v: 'c' },
      { id: 3, v: 'E' },
    ]);
  });

  it('sees DDL that came from the other node, in the same number of steps', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    for (let i = 0; i < 5; i++) {
      await failureOf(
        cluster.b.transaction(async (tx) => {
          await tx.run(`ALTER TABLE t ADD COLUMN mine${i}`);
          throw new Error('back');
        }),
      );
      await cluster.a.run(`ALTER TABLE t ADD COLUMN w${i}`);
      await cluster.settle();
      await cluster.b.run(`INSERT INTO t(id, w${i}) VALUES(?, 'x')`, [i]);
    }
    await cluster.expectEqual();
    expect(await cluster.a.get('SELECT * FROM t WHERE id = 4')).toEqual({
      id: 4,
      v: null,
      w0: null,
      w1: null,
      w2: null,
      w3: null,
      w4: 'x',
    });
  });

  it('publishes nothing for IF NOT EXISTS and IF EXISTS that change nothing', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(v); CREATE INDEX i ON t(v)');
    const before = await cluster.lastSequence();
    await cluster.a.exec(
      'CREATE TABLE IF NOT EXISTS t(other); CREATE INDEX IF NOT EXISTS i ON t(v); DROP TABLE IF EXISTS no_such; DROP VIEW IF EXISTS nor_this',
    );
    expect(await cluster.lastSequence()).toBe(before);
    await cluster.expectEqual();
  });

  it.each([
    'PRAGMA user_version = 42',
    'PRAGMA user_version(42)',
    'pragma main.user_version=42',
    '/*+ hint */ PRAGMA user_version = 42',
    ' /* c */ PRAGMA/**/user_version = 42 -- end',
  ])('replicates %s', async (sql) => {
    const cluster = await startCluster();
    await cluster.a.run(sql);
    await cluster.a.exec(`PRAGMA application_id = 77`);
    await cluster.expectEqual();
    expect(await cluster.b.get('PRAGMA user_version')).toEqual({ user_version: 42 });
    expect(await cluster.b.get('PRAGMA application_id')).toEqual({ application_id: 77 });
  });

  it('DDL with comments, qualified names and odd spelling', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      create /* a */ table/**/main . "T"(id integer primary key /* ; */, v default ';' -- end ;
      );
      CREATE UNIQUE INDEX main.[ix] ON T(v);
      CREATE TRIGGER main.tr AFTER INSERT ON T BEGIN UPDATE T SET v = 'x;y' WHERE id = NEW.id; SELECT CASE WHEN 1 THEN 2 END; END;
      INSERT INTO "T"(id) VALUES(1);
      ALTER TABLE main.t RENAME TO 'new t';
      DROP INDEX ix;
      INSERT INTO main.'new t'(id) VALUES(2);`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM "new t"')).toEqual([
      { id: 1, v: 'x;y' },
      { id: 2, v: 'x;y' },
    ]);
  });

  it('temp tables stay where they are', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.transaction(async (tx) => {
      await tx.exec('CREATE TEMP TABLE t(x); INSERT INTO temp.t VALUES(1), (2); INSERT INTO main.t VALUES(5, 6)');
      await tx.exec('DROP TABLE temp.t');
    });
    await cluster.a.run(`INSERT INTO t VALUES(7, 8)`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { id: 5, v: 6 },
      { id: 7, v: 8 },
    ]);
  });

  it('VACUUM: refused where it would renumber rows, else harmless', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE bag(v); INSERT INTO bag VALUES('a'), ('b'), ('c'); DELETE FROM bag WHERE v = 'a'`,
    );
    expect((await failureOf(cluster.a.run('VACUUM'))).code).toBe('HA_STATEMENT_REFUSED');
    await cluster.a.run(`UPDATE bag SET v = 'B' WHERE rowid = 2`);
    await cluster.expectEqual();
    await cluster.a.exec(
      `DROP TABLE bag; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a'), (5, 'b')`,
    );
    await cluster.a.run('VACUUM');
    await cluster.a.exec(`UPDATE t SET v = 'c' WHERE id = 5`);
    await cluster.settle();
    await cluster.b.exec('VACUUM; INSERT INTO t VALUES(6, 6)');
    await cluster.a.run(`INSERT INTO t VALUES(7, 'd')`);
    await cluster.expectEqual();
  });

  it('heals when a PRAGMA drops the TEMP triggers', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const { connections } = cluster.node(0).runtime.open ?? {};
    connections?.writer.pragma('temp_store = FILE');
    await cluster.a.run(`INSERT INTO t VALUES(1, 'a')`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'a' }]);
  });

  it('ANALYZE and REINDEX run everywhere', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v); INSERT INTO t VALUES(1, 1), (2, 1); ANALYZE; REINDEX i;`,
    );
    await cluster.expectEqual();
    expect(await cluster.b.all(`SELECT * FROM sqlite_stat1 WHERE tbl = 't'`)).toEqual([
      { tbl: 't', idx: 'i', stat: '2 2' },
    ]);
  });
});

import { describeInEveryIdentity, failureOf, startCluster } from '../../helper/cluster.js';

describeInEveryIdentity('kinds of tables', () => {
  it('WITHOUT ROWID with its key in reversed column order', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(a, b, c, PRIMARY KEY(c, a)) WITHOUT ROWID;
      INSERT INTO t VALUES(1, 'x', 'k1'), (2, 'y', 'k2');
      UPDATE t SET c = 'k3', a = 5 WHERE a = 1; DELETE FROM t WHERE c = 'k2'; INSERT INTO t VALUES(7, NULL, 'k0');`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { a: 7, b: null, c: 'k0' },
      { a: 5, b: 'x', c: 'k3' },
    ]);
  });

  it('equal rows without a key, of which one is deleted and one updated', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(v); INSERT INTO t VALUES('x'), ('x'), ('x'), ('x')`);
    await cluster.a.run('DELETE FROM t WHERE rowid = 2');
    await cluster.a.run(`UPDATE t SET v = 'y' WHERE rowid = 3`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT rowid, v FROM t')).toEqual([
      { rowid: 1, v: 'x' },
      { rowid: 3, v: 'y' },
      { rowid: 4, v: 'x' },
    ]);
  });

  it('NULL in the key', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(a, b, v, PRIMARY KEY(a, b)); INSERT INTO t VALUES(NULL, 1, 'p'), (NULL, 1, 'q'), (2, 1, 'r')`,
    );
    await cluster.a.run(`DELETE FROM t WHERE v = 'p'`);
    await cluster.a.run(`UPDATE t SET v = 'R' WHERE a = 2`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([
      { a: null, b: 1, v: 'q' },
      { a: 2, b: 1, v: 'R' },
    ]);
  });

  it('rowids that an UPDATE changes, up to the limits', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE bag(v); INSERT INTO bag VALUES('a'), ('b'), ('c');
      CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c');`);
    for (const table of ['bag', 't']) {
      await cluster.a.run(`UPDATE ${table} SET rowid = -9223372036854775808 WHERE v = 'a'`);
      await cluster.a.run(`UPDATE ${table} SET rowid = 9223372036854775807 WHERE v = 'b'`);
      await cluster.a.run(`UPDATE ${table} SET v = v || '!' WHERE v <> 'c'`);
    }
    await cluster.expectEqual();
    for (const table of ['bag', 't']) {
      const rows = await cluster.b.prepare(`SELECT rowid, v FROM ${table}`).raw().safeIntegers().all();
      expect(rows).toEqual([
        [-(2n ** 63n), 'a!'],
        [3n, 'c'],
        [2n ** 63n - 1n, 'b!'],
      ]);
    }
  });

  it('a row behind the largest rowid, for which SQLite chooses one at random', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(9223372036854775807, 'last')`,
    );
    await cluster.a.run(`INSERT INTO t(v) VALUES('random')`);
    await cluster.expectEqual();
    expect(await cluster.b.get(`SELECT count(*) AS n FROM t`)).toEqual({ n: 2 });
  });

  it('columns named rowid and oid, and all three names', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE two(rowid TEXT, oid, v); INSERT INTO two VALUES('r', 'o', 1), ('r', 'o', 1), ('s', 'p', 2);
      CREATE TABLE three(rowid, oid, _rowid_, v); INSERT INTO three VALUES(1, 2, 3, 'a'), (1, 2, 3, 'a'), (4, 5, 6, 'b');
      CREATE TABLE keyed(rowid TEXT PRIMARY KEY, oid, _rowid_); INSERT INTO keyed VALUES('a', 1, 2), ('b', 3, 4);
      CREATE TABLE alias(rowid, oid INTEGER PRIMARY KEY, _rowid_); INSERT INTO alias VALUES('a', 7, 2), ('b', 9, 4);`);
    await cluster.a.run('DELETE FROM two WHERE _rowid_ = 1');
    await cluster.a.run(`UPDATE two SET v = 9 WHERE rowid = 's'`);
    await cluster.a.run(`UPDATE three SET v = 'c', oid = 8 WHERE rowid = 4`);
    await cluster.a.run(`DELETE FROM three WHERE rowid = 1`);
    await cluster.a.run(`INSERT INTO three VALUES(NULL, NULL, NULL, NULL), (NULL, NULL, NULL, 2.0)`);
    await cluster.a.run(`UPDATE keyed SET rowid = 'z' WHERE oid = 1`);
    await cluster.a.run(`UPDATE alias SET oid = 8 WHERE oid = 7`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM two')).toEqual([
      { rowid: 'r', oid: 'o', v: 1 },
      { rowid: 's', oid: 'p', v: 9 },
    ]);
    expect(await cluster.b.all('SELECT * FROM three ORDER BY 4')).toEqual([
      { rowid: null, oid: null, _rowid_: null, v: null },
      { rowid: null, oid: null, _rowid_: null, v: 2 },
      { rowid: 4, oid: 8, _rowid_: 6, v: 'c' },
    ]);
    expect(await cluster.b.all('SELECT * FROM keyed ORDER BY 1')).toEqual([
      { rowid: 'b', oid: 3, _rowid_: 4 },
      { rowid: 'z', oid: 1, _rowid_: 2 },
    ]);
    expect(await cluster.b.all('SELECT * FROM alias ORDER BY oid')).toEqual([
      { rowid: 'a', oid: 8, _rowid_: 2 },
      { rowid: 'b', oid: 9, _rowid_: 4 },
    ]);
  });

  it('one of two equal rows that no name of the rowid reaches', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(rowid, oid, _rowid_); INSERT INTO t VALUES(1, 2, 3), (1, 2, 3), (1, 2, 3)`);
    await cluster.a.run('DELETE FROM t LIMIT 1');
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    await cluster.a.run('UPDATE t SET oid = 9 LIMIT 1');
    await cluster.expectEqual();
    expect(await cluster.b.prepare('SELECT oid FROM t ORDER BY oid').pluck().all()).toEqual([2, 9]);
  });

  it('names with quotes, spaces, emoji, keywords and no characters at all', async () => {
    const cluster = await startCluster();
    const names = ['a"b', `it's`, 'order', 'ünï ✓ 😀', '', 'x`[y]', 'new\nline', 'ha'];
    for (const name of names) {
      const quoted = `"${name.replaceAll('"', '""')}"`;
      await cluster.a.exec(
        `CREATE TABLE ${quoted}(${quoted} INTEGER PRIMARY KEY, "col ""${name.replaceAll('"', '""')}" TEXT)`,
      );
      await cluster.a.run(`INSERT INTO ${quoted} VALUES(1, 'one'), (2, 'two'), (3, 'three')`);
      await cluster.a.run(`UPDATE ${quoted} SET ${quoted} = 9 WHERE ${quoted} = 1`);
      await cluster.a.run(`DELETE FROM ${quoted} WHERE ${quoted} = 2`);
    }
    await cluster.expectEqual();
    for (const name of names) {
      const rows = await cluster.b
        .prepare(`SELECT * FROM "${name.replaceAll('"', '""')}"`)
        .raw()
        .all();
      expect(rows).toEqual([
        [3, 'three'],
        [9, 'one'],
      ]);
    }
  });

  it('odd names of tables and columns that are altered, indexed, copied and written by triggers', async () => {
    const cluster = await startCluster();
    for (const name of [
      'a"b',
      `it's`,
      'select',
      'ünï ✓ 😀',
      '',
      'x`[y]',
      ' ',
      '0',
      '--',
      '/*',
      ';',
      '?1',
      'main.t',
      'new.id',
    ]) {
      const n = `"${name.replaceAll('"', '""')}"`;
      await cluster.a.exec(`
        CREATE TABLE ${n}(${n}, v); INSERT INTO ${n} VALUES(1, 'a'), (1, 'a'), (2, 'b');
        CREATE TABLE log(what); CREATE INDEX "i ${n.slice(1)} ON ${n}(${n});
        CREATE TRIGGER "tr ${n.slice(1)} AFTER UPDATE ON ${n} BEGIN INSERT INTO log VALUES(new.${n}); END;`);
      await cluster.settle();
      await cluster.b
        .exec(`UPDATE ${n} SET ${n} = 5 WHERE rowid = 2; ALTER TABLE ${n} ADD COLUMN "w ${n.slice(1)} DEFAULT 7;
        CREATE TABLE copy AS SELECT * FROM ${n}; ALTER TABLE ${n} RENAME COLUMN ${n} TO plain; DELETE FROM ${n} WHERE plain = 2;`);
      await cluster.expectEqual();
      expect(await cluster.a.prepare(`SELECT * FROM ${n}`).raw().all()).toEqual([
        [1, 'a', 7],
        [5, 'a', 7],
      ]);
      expect(await cluster.a.prepare('SELECT * FROM log').raw().all()).toEqual([[5]]);
      await cluster.a.exec(`DROP TABLE ${n}; DROP TABLE copy; DROP TABLE log`);
    }
    await cluster.expectEqual();
  });

  it('generated columns, virtual and stored, also as a part of a unique index', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, v AS (a * 2), s TEXT AS (upper(b)) STORED, b TEXT);
      CREATE UNIQUE INDEX u ON t(s);
      INSERT INTO t(id, a, b) VALUES(1, 10, 'x'), (2, 20, 'y');
      UPDATE t SET a = 11, b = 'z' WHERE id = 1; DELETE FROM t WHERE id = 2;
      CREATE TABLE bag(a, g AS (a || '!')); INSERT INTO bag(a) VALUES('p'), ('p'); DELETE FROM bag WHERE rowid = 1;`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, a: 11, v: 22, s: 'Z', b: 'z' }]);
    expect(await cluster.b.all('SELECT rowid, * FROM bag')).toEqual([{ rowid: 2, a: 'p', g: 'p!' }]);
  });

  it('generated columns that are added later, in tables of every kind, and that collide', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE w(a TEXT PRIMARY KEY, n INT, g INT AS (n % 10) STORED, UNIQUE(g)) WITHOUT ROWID, STRICT;
      CREATE TABLE bag(a, g TEXT GENERATED ALWAYS AS (a || '!') STORED, b);
      INSERT INTO w(a, n) VALUES('x', 1), ('y', 2); INSERT INTO bag(a, b) VALUES('p', 1), ('p', 1), (NULL, 2.0);
      ALTER TABLE bag ADD COLUMN h AS (b * 2) VIRTUAL; CREATE INDEX i ON bag(h);`);
    await cluster.a.run(`INSERT OR REPLACE INTO w(a, n) VALUES('z', 11)`);
    await cluster.settle();
    await cluster.b.run(`UPDATE w SET n = 13 WHERE a = 'y'`);
    await cluster.b.run(`UPDATE bag SET b = 7 WHERE rowid = 2`);
    await cluster.b.run(`DELETE FROM bag WHERE h = 14`);
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT * FROM w')).toEqual([
      { a: 'y', n: 13, g: 3 },
      { a: 'z', n: 11, g: 1 },
    ]);
    expect(await cluster.a.all('SELECT rowid, * FROM bag')).toEqual([
      { rowid: 1, a: 'p', g: 'p!', b: 1, h: 2 },
      { rowid: 3, a: null, g: null, b: 2, h: 4 },
    ]);
  });

  it('STRICT tables, and 2, 2.0 and text 2 side by side', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE s(id INTEGER PRIMARY KEY, v ANY, i INT, r REAL, t TEXT, b BLOB) STRICT;
      INSERT INTO s VALUES(1, 2, 2, 2, '2', x'02'), (2, 2.0, 3, 2.5, 'x', x''), (3, '2', NULL, NULL, NULL, NULL), (4, x'32', 1, 1, '', NULL);
      CREATE TABLE u(v); INSERT INTO u VALUES(2), (2.0), ('2'), (x'32'), (NULL);`);
    await cluster.a.run(`DELETE FROM u WHERE typeof(v) = 'real'`);
    await cluster.a.run(`UPDATE u SET v = 2.0 WHERE typeof(v) = 'text'`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT id, typeof(v) AS v, typeof(r) AS r FROM s')).toEqual([
      { id: 1, v: 'integer', r: 'real' },
      { id: 2, v: 'real', r: 'real' },
      { id: 3, v: 'text', r: 'null' },
      { id: 4, v: 'blob', r: 'real' },
    ]);
    expect(await cluster.b.prepare('SELECT typeof(v) FROM u').pluck().all()).toEqual([
      'integer',
      'real',
      'blob',
      'null',
    ]);
  });

  it('1,200 columns, and more than the change of one row can bind at once', async () => {
    const cluster = await startCluster();
    const columns = Array.from({ length: 1_200 }, (_value, index) => `c${index}`);
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, ${columns.join(', ')})`);
    await cluster.a.exec(`CREATE TABLE bag(${columns.join(', ')})`);
    await cluster.a.run(`INSERT INTO t VALUES(1, ${columns.map((_c, index) => index).join(', ')})`);
    await cluster.a.run(`INSERT INTO bag SELECT ${columns.map((c) => `${c} || 'é'`).join(', ')} FROM t`);
    await cluster.a.run(`INSERT INTO bag(c0, c1199) VALUES(x'00ff', 9e999)`);
    await cluster.a.run(`UPDATE t SET c0 = -0.0, c499 = 'a', c500 = x'01', c999 = NULL, c1199 = 1e300`);
    await cluster.a.run(`UPDATE bag SET c700 = 'new' WHERE c0 = '0é'`);
    await cluster.a.run(`DELETE FROM bag WHERE c1199 = 9e999`);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT c0, c499, c500, c999, c1198, c1199 FROM t')).toEqual({
      c0: -0,
      c499: 'a',
      c500: Buffer.from([1]),
      c999: null,
      c1198: 1198,
      c1199: 1e300,
    });
    expect(await cluster.b.all('SELECT c0, c700 FROM bag')).toEqual([{ c0: '0é', c700: 'new' }]);
  });

  it('AUTOINCREMENT behind ignored inserts, direct edits and a schema change', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE); INSERT INTO t(v) VALUES('a'), ('b')`,
    );
    await cluster.a.run(`INSERT OR IGNORE INTO t VALUES(7, 'a')`);
    await cluster.a.run(`INSERT OR IGNORE INTO t(v) VALUES('a'), ('b'), ('c')`);
    await cluster.expectEqual();
    await cluster.a.run(`UPDATE sqlite_sequence SET seq = 500 WHERE name = 't'`);
    await cluster.expectEqual();
    expect((await cluster.b.run(`INSERT INTO t(v) VALUES('d')`)).lastInsertRowid).toBe(501);
    await cluster.settle();
    await cluster.a.run(`UPDATE t SET id = 900 WHERE v = 'd'`);
    await cluster.a.run('DELETE FROM sqlite_sequence');
    await cluster.expectEqual();
    await cluster.a.transaction(async (tx) => {
      await tx.run(`UPDATE sqlite_sequence SET seq = 2000`);
      await tx.run(`INSERT INTO t(v) VALUES('e')`);
      await tx.run(`UPDATE sqlite_sequence SET seq = 3000`);
      await tx.run(`ALTER TABLE t ADD COLUMN w`);
    });
    await cluster.expectEqual();
    await cluster.a.exec(
      `CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO u DEFAULT VALUES; DELETE FROM u; ALTER TABLE u RENAME TO w;`,
    );
    await cluster.a.exec(
      `CREATE TABLE x(id INTEGER PRIMARY KEY AUTOINCREMENT); UPDATE sqlite_sequence SET seq = 77 WHERE name = 'w'`,
    );
    await cluster.a.exec(`INSERT INTO x VALUES(5); DROP TABLE w;`);
    await cluster.expectEqual();
  });

  it('refuses rows and tables of the library itself', async () => {
    const cluster = await startCluster();
    const error = await failureOf(cluster.a.exec('CREATE TABLE ha_mine(v); INSERT INTO ha_mine VALUES(1)'));
    expect(error.code).toBe('HA_STATEMENT_REFUSED');
    expect((await failureOf(cluster.a.run('DELETE FROM ha_stats'))).code).toBe('HA_STATEMENT_REFUSED');
    await cluster.a.run('CREATE TABLE mine(v)');
    for (const sql of ['ALTER TABLE mine RENAME TO ha_mine', 'ALTER TABLE main.mine RENAME TO "HA_mine"']) {
      expect((await failureOf(cluster.a.run(sql))).code).toBe('HA_STATEMENT_REFUSED');
    }
    await cluster.expectEqual();
  });

  it('refuses what would reach into a table of the library', async () => {
    const cluster = await startCluster();
    await cluster.a.run('CREATE TABLE mine(v)');
    for (const sql of [
      'CREATE INDEX i ON ha_seen(lo)',
      'CREATE INDEX main.i ON "HA_seen"(lo)',
      'ALTER TABLE ha_seen ADD COLUMN x',
      'ALTER TABLE ha_seen RENAME COLUMN lo TO low',
      'CREATE TRIGGER i BEFORE DELETE ON ha_seen BEGIN SELECT 1; END',
      'CREATE TEMP TRIGGER i BEFORE DELETE ON main.ha_seen BEGIN SELECT 1; END',
      'CREATE TRIGGER i AFTER INSERT ON mine BEGIN DELETE FROM ha_seen; END',
      'CREATE TEMP TRIGGER i AFTER INSERT ON mine BEGIN DELETE FROM ha_seen; END',
      `CREATE TRIGGER i AFTER UPDATE OF v ON mine WHEN new.v BEGIN SELECT 1; UPDATE OR IGNORE [ha_seen] SET lo = 0; END`,
      `CREATE TRIGGER i AFTER INSERT ON mine BEGIN INSERT OR REPLACE INTO 'ha_seen' SELECT 'x', 1, 2; END`,
      'CREATE TABLE i(v REFERENCES ha_seen(origin))',
      'CREATE TABLE i(v, FOREIGN KEY(v) REFERENCES ha_origins ON DELETE CASCADE)',
      'ALTER TABLE mine ADD COLUMN w REFERENCES ha_seen(origin)',
    ]) {
      expect([sql, (await failureOf(cluster.a.run(sql))).code]).toEqual([sql, 'HA_STATEMENT_REFUSED']);
    }
    await cluster.a.run('INSERT INTO mine VALUES(1)');
    await cluster.expectEqual();
  });

  it('takes what only looks like it: views, functions and temporary tables', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE mine(v, ha_v);
      CREATE VIEW seen AS SELECT origin FROM ha_seen;
      CREATE TRIGGER i AFTER UPDATE OF ha_v ON mine BEGIN INSERT INTO mine VALUES(ha_id(), 'DELETE FROM ha_seen'); END;
      INSERT INTO mine VALUES(1, 1);
      UPDATE mine SET ha_v = 2;
      CREATE TEMP TABLE ha_own(v);
      CREATE TEMP TRIGGER j AFTER INSERT ON temp.ha_own BEGIN INSERT INTO mine VALUES(new.v, 0); END;
      INSERT INTO temp.ha_own VALUES(3);`);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT count(*) AS n FROM mine')).toEqual({ n: 3 });
  });
});

describe('the widest table', () => {
  it('has 2,000 columns, with and without a key', async () => {
    const cluster = await startCluster();
    const columns = Array.from({ length: 2_000 }, (_value, index) => `c${index}`);
    await cluster.a.exec(
      `CREATE TABLE bag(${columns.join(', ')}); CREATE TABLE t(${columns.join(', ')}, PRIMARY KEY(c0), UNIQUE(c1))`,
    );
    for (const table of ['bag', 't']) {
      await cluster.a.run(`INSERT INTO ${table}(c0, c1, c1999) VALUES(1, 'a', 'x'), (2, 'b', 'y'), (3, 'c', 'z')`);
      await cluster.a.run(`UPDATE ${table} SET c1999 = 'new' WHERE c0 = 1`);
      await cluster.a.run(`DELETE FROM ${table} WHERE c0 = 2`);
    }
    await cluster.a.run(`UPDATE OR REPLACE t SET c1 = 'c' WHERE c0 = 1`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT c0, c1, c1999 FROM t')).toEqual([{ c0: 1, c1: 'c', c1999: 'new' }]);
    expect(await cluster.b.all('SELECT c0, c1, c1999 FROM bag')).toEqual([
      { c0: 1, c1: 'a', c1999: 'new' },
      { c0: 3, c1: 'c', c1999: 'z' },
    ]);
  });
});

import { describeInEveryIdentity, startCluster } from '../../helper/cluster.js';

const INTEGERS = [0n, -1n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)];
const REALS = [
  0.1 + 0.2,
  5e-324,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
  2,
  -0,
  0,
  1e21,
  123456789012345680,
  Infinity,
  -Infinity,
  1e-7,
];
const TEXTS = [
  '',
  'a\0b',
  '\0',
  '\ud800',
  'x\udfffy',
  '\u0001\u001f\u007f\u0080',
  '"\\/\b\f\n\r\t',
  '😀 é \u2028',
  '{"$b":"00"}',
  '9.0e+999',
  '-9.0e+999',
  'null',
];
const BLOBS = [
  Buffer.alloc(0),
  Buffer.from([0]),
  Buffer.from('text'),
  Buffer.from('{"$b":"00"}'),
  Buffer.from([0xff, 0xfe, 0x80]),
];

describeInEveryIdentity('values', () => {
  it.each([
    ['untyped', 'v, w'],
    ['BLOB', 'v BLOB, w BLOB'],
    ['ANY in a STRICT table', 'v ANY, w ANY'],
  ])('arrive bit by bit in a column %s', async (kind, columns) => {
    const cluster = await startCluster();
    const strict = kind.includes('STRICT') ? ' STRICT' : '';
    await cluster.a.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, ${columns})${strict}; CREATE TABLE bag(${columns})${strict}`,
    );
    const values: unknown[] = [...INTEGERS, ...REALS, ...TEXTS, ...BLOBS, null];
    for (const [index, value] of values.entries()) {
      await cluster.a.run('INSERT INTO t VALUES(?, ?, ?)', [BigInt(index), value, values[(index + 1) % values.length]]);
      await cluster.a.run('INSERT INTO bag VALUES(?, ?)', [value, values[(index + 7) % values.length]]);
    }
    await cluster.expectEqual();
    for (const [index, value] of values.entries()) {
      await cluster.b.run('UPDATE t SET v = w, w = ? WHERE id = ?', [value, BigInt(index)]);
    }
    await cluster.a.run('UPDATE bag SET v = w, w = v WHERE rowid % 3 = 0');
    await cluster.a.run('DELETE FROM bag WHERE rowid % 3 = 1');
    await cluster.expectEqual();
    const row = (id: number): Promise<unknown> =>
      cluster.a.prepare('SELECT v FROM t WHERE id = ?').pluck().safeIntegers().get(BigInt(id));
    expect(await row(0)).toBe(-1n);
    expect(await row(1)).toBe(2n ** 53n + 1n);
    expect(await row(values.indexOf(2))).toBe(-0);
    expect(await row(values.indexOf(''))).toBe('a\0b');
    expect(await row(values.length - 2)).toBe(null);
  });

  it('of many kinds are compared one by one on the second node', async () => {
    const cluster = await startCluster();
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const values: unknown[] = [...INTEGERS, ...REALS, ...BLOBS, ...TEXTS.filter((text) => text.isWellFormed())];
    for (const [index, value] of values.entries())
      await cluster.a.run('INSERT INTO t VALUES(?, ?)', [BigInt(index), value]);
    await cluster.settle();
    expect(await cluster.b.prepare('SELECT v FROM t ORDER BY id').pluck().safeIntegers().all()).toEqual(values);
  });

  it('of a key are compared exactly: 2, 2.0, text, blob, with a collation', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`
      CREATE TABLE t(k PRIMARY KEY, v); CREATE TABLE n(k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;
      INSERT INTO t VALUES(2, 'int'), ('2', 'text'), (x'32', 'blob'); INSERT INTO n VALUES('Key', 1);`);
    await cluster.a.run(`UPDATE t SET k = 2.0, v = 'real' WHERE v = 'int'`);
    await cluster.a.run(`UPDATE n SET k = 'KEY', v = 2 WHERE k = 'key'`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT typeof(k) AS k, v FROM t ORDER BY v')).toEqual([
      { k: 'blob', v: 'blob' },
      { k: 'real', v: 'real' },
      { k: 'text', v: 'text' },
    ]);
    expect(await cluster.b.all('SELECT * FROM n')).toEqual([{ k: 'KEY', v: 2 }]);
  });

  it('made by json() stay text', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, w)`);
    await cluster.a.run(
      `INSERT INTO t VALUES(1, json('[1]'), json_object('a', json('{}'))), (2, json_quote('x'), jsonb('[1,2]'))`,
    );
    await cluster.a.run(`UPDATE t SET v = json_set(v, '$[0]', json('{"b":[]}')) WHERE id = 1`);
    await cluster.expectEqual();
    expect(await cluster.b.get('SELECT v, typeof(v) AS tv, w, typeof(w) AS tw FROM t WHERE id = 1')).toEqual({
      v: '[{"b":[]}]',
      tv: 'text',
      w: '{"a":{}}',
      tw: 'text',
    });
  });

  it('of a megabyte: blobs, and blobs that look like text', async () => {
    const cluster = await startCluster({ server: { maxPayload: 8 * 1024 * 1024 } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const megabyte = Buffer.alloc(1 << 20, 'text-like ');
    await cluster.a.run('INSERT INTO t VALUES(1, ?)', [megabyte]);
    await cluster.a.run('INSERT INTO t VALUES(2, randomblob(1048576)), (3, zeroblob(1048576))');
    await cluster.a.run('INSERT INTO t VALUES(4, ?)', ['\u0001'.repeat(300_000)]);
    await cluster.expectEqual();
    expect((await cluster.b.prepare('SELECT v FROM t WHERE id = 1').pluck().get()) as Buffer).toEqual(megabyte);
  });

  it('that are not UTF-8, in keys and in names of the row', async () => {
    const cluster = await startCluster();
    await cluster.a.exec(`CREATE TABLE t(k TEXT PRIMARY KEY, v) WITHOUT ROWID; CREATE TABLE bag(v)`);
    await cluster.a.run(`INSERT INTO t VALUES(CAST(x'ff00fe' AS TEXT), 1), (CAST(x'ff01' AS TEXT), 2)`);
    await cluster.a.run(`INSERT INTO bag VALUES(CAST(x'c3' AS TEXT)), (x'c3'), (CAST(x'efbfbd' AS TEXT))`);
    await cluster.a.run(`UPDATE t SET v = 9 WHERE v = 1`);
    await cluster.a.run(`DELETE FROM t WHERE v = 2`);
    await cluster.a.run(`DELETE FROM bag WHERE rowid = 1`);
    await cluster.expectEqual();
    expect(await cluster.b.all('SELECT hex(k) AS k, v FROM t')).toEqual([{ k: 'FF00FE', v: 9 }]);
    expect(await cluster.b.all('SELECT hex(v) AS v FROM bag')).toEqual([{ v: 'C3' }, { v: 'EFBFBD' }]);
  });
});

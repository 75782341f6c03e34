import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAError } from '../../../lib/common/ha-error.js';
import type { HAUndoConflict } from '../../../lib/write/history-port.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { MergeCounter } from '../../../lib/interceptors/merge-counter.js';
import { startCluster, temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { BACKENDS, listOf, pairOn, settled, summary } from './pairs.js';
import type { Pair } from './pairs.js';

const KINDS = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v, g AS (v || '!'));
  CREATE TABLE auto(id INTEGER PRIMARY KEY AUTOINCREMENT, v);
  CREATE TABLE keyless(x, y);
  CREATE TABLE named(k TEXT PRIMARY KEY NOT NULL, v);
  CREATE TABLE pair(a TEXT COLLATE NOCASE, b INT, v, PRIMARY KEY(a, b)) WITHOUT ROWID;
  CREATE TABLE hidden(rowid, _rowid_, oid);
  CREATE TABLE "odd ""name"(id INTEGER PRIMARY KEY, "a,b", "FROM main.");
  CREATE TABLE parent(id INTEGER PRIMARY KEY, name);
  CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent(id) ON DELETE CASCADE ON UPDATE CASCADE, v);
  CREATE TABLE log(what, id);
  CREATE TRIGGER logged AFTER UPDATE ON t BEGIN INSERT INTO log VALUES('update', NEW.id); END;`;

const ROWS = `
  INSERT INTO t(id, u, v) VALUES(1, 'a', 9223372036854775807), (2, 'b', 2.0), (3, NULL, x'00ff');
  INSERT INTO auto(v) VALUES('x'), (-0.0), (9e999);
  INSERT INTO keyless VALUES('same', 1), ('same', 1), ('SAME', 1.0), (CAST(x'ff41' AS TEXT), NULL);
  INSERT INTO named VALUES('k1', CAST(x'ff42' AS TEXT)), ('k2', NULL), ('k3', 3);
  INSERT INTO pair VALUES('Ab', 1, x''), ('c', 2, 'two');
  INSERT INTO hidden VALUES(1, 2, 3), (1, 2, 3), (4, 5, NULL);
  INSERT INTO "odd ""name" VALUES(1, 'x', 'y');
  INSERT INTO parent VALUES(1, 'one'), (2, 'two');
  INSERT INTO child VALUES(1, 1, 'x'), (2, 1, 'y'), (3, 2, 'z');`;

/** Each line is a transaction. */
const MISTAKES = [
  `UPDATE t SET id = id + 10, u = u || 'x', v = 'gone'`,
  `DELETE FROM keyless WHERE rowid IN (1, 4); UPDATE keyless SET x = 'other', rowid = 40 WHERE rowid = 3`,
  `UPDATE named SET k = 'k2x' WHERE k = 'k2'; DELETE FROM named WHERE k = 'k1'; INSERT INTO named VALUES('k1', 'again')`,
  `UPDATE pair SET a = 'new', b = 9 WHERE a = 'ab'; DELETE FROM pair WHERE a = 'C'; INSERT INTO pair VALUES('AB', 1, 'x')`,
  `DELETE FROM hidden WHERE rowid = 4; UPDATE hidden SET oid = 33 WHERE rowid = 1; INSERT INTO hidden VALUES(7, 8, 9)`,
  `UPDATE "odd ""name" SET "a,b" = 'changed', "FROM main." = CAST(x'ff' AS TEXT)`,
  `DELETE FROM parent WHERE id = 1; UPDATE parent SET id = 20 WHERE id = 2`,
  `INSERT INTO auto(v) VALUES('late'); DELETE FROM auto WHERE id < 3`,
  `UPDATE t SET u = NULL WHERE id = 12; UPDATE t SET u = 'bx' WHERE id = 11; UPDATE t SET u = 'ax' WHERE id = 12`,
  `DELETE FROM child; INSERT INTO child VALUES(3, 20, NULL)`,
];

async function runAll(db: HADatabase, transactions: readonly string[]): Promise<void> {
  for (const script of transactions) await db.exec(script);
}

function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'it went well',
    (error: HAError) => error.code,
  );
}

/** The sequence of what comes next. */
function nextOf({ a }: Pair): bigint {
  return a.position().received + 1n;
}

describe.each(BACKENDS)('undo on %s', (backend) => {
  it('brings back rows of every kind of table, with keys, rowids, cascades and what triggers wrote', async () => {
    const pair = await pairOn(backend);
    const { a, b } = pair;
    await a.exec(KINDS);
    await a.exec(ROWS);
    const before = await settled(pair);
    const from = nextOf(pair);
    await runAll(a, MISTAKES);
    const wrong = await settled(pair);
    const result = await b.undo({ from });
    expect(result).toMatchObject({ transactions: MISTAKES.length, conflicts: [], changes: [] });
    expect(await settled(pair)).toEqual(before);
    // It is one ordinary transaction: in the history, and undone like others.
    const [last] = await listOf(a.history(result.sequence));
    expect(last).toMatchObject({ sequence: result.sequence, outcome: 'committed' });
    expect(last?.changes).toHaveLength(result.inserted + result.updated + result.deleted);
    await a.undo({ from: result.sequence as bigint });
    expect(await settled(pair)).toEqual(wrong);
  });

  it('knows what REPLACE took away without a word, and what concurrent writers overwrote', async () => {
    const pair = await pairOn(backend, '_pragma=recursive_triggers(0)');
    const { a, b } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v); CREATE TABLE bag(x UNIQUE, y)');
    await a.exec(`INSERT INTO t VALUES(1, 'a', 1), (2, 'b', 2); INSERT INTO bag VALUES('p', 1), ('q', 2)`);
    const before = await settled(pair);
    const from = nextOf(pair);
    await a.run(`REPLACE INTO t VALUES(1, 'b', 'both are gone')`);
    await a.run(`REPLACE INTO bag VALUES('p', 3)`);
    await settled(pair);
    await Promise.all([
      a.run('UPDATE t SET v = ? WHERE id = 1', ['a']),
      b.run('UPDATE t SET v = ? WHERE id = 1', ['b']),
    ]);
    await Promise.all([a.run('UPDATE bag SET y = ?', ['a']), b.run('UPDATE bag SET y = ?', ['b'])]);
    await settled(pair);
    await a.undo({ from });
    expect(await settled(pair)).toEqual(before);
  });

  it('takes back a part: rows of a transaction, whole transactions, and named rows', async () => {
    const pair = await pairOn(backend);
    const { a } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID');
    await a.exec(`INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO w VALUES('x', 1)`);
    await a.run('UPDATE t SET v = 1 WHERE id = 1');
    const from = a.position().received;
    await a.exec(`UPDATE t SET v = 2 WHERE id <= 2; UPDATE w SET v = 2`);
    await a.run('UPDATE t SET v = 3 WHERE id = 3');
    const rows = (): Promise<unknown[]> =>
      a.all('SELECT v FROM t ORDER BY id').then((all) => all.map((row) => (row as { v: unknown }).v));
    const entities = await a.undo({ from, scope: 'entities' });
    expect(summary(entities)).toEqual({ transactions: 2, inserted: 0, updated: 1, deleted: 0, conflicts: [] });
    expect(await rows()).toEqual(['a', 2, 3]);
    await a.undo({ from: entities.sequence as bigint });
    const transactions = await a.undo({ from, scope: 'transactions' });
    expect(await rows()).toEqual(['a', 'b', 3]);
    expect(await a.get('SELECT v FROM w')).toEqual({ v: 1 });
    expect(transactions).toMatchObject({ tables: expect.arrayContaining(['t', 'w']), updated: 3 });
    await a.undo({ from: transactions.sequence as bigint });
    await a.undo({ from, rows: { T: [3], w: ['x'] } });
    expect(await rows()).toEqual([2, 2, 'c']);
    expect(await a.get('SELECT v FROM w')).toEqual({ v: 1 });
    await settled(pair);
  });

  it('lists rows that others changed since, refuses them, and takes them back with force', async () => {
    const pair = await pairOn(backend);
    const { a, b } = pair;
    await a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
    const from = nextOf(pair);
    await a.run('UPDATE t SET v = 1');
    await settled(pair);
    // It does not touch the first row, so it is no part of the selection of the transactions that did.
    const other = await b.run('UPDATE t SET v = 2 WHERE id = 2');
    const before = await settled(pair);
    const options = { from, scope: 'transactions', rows: { t: [1] } } as const;
    const preview = await a.undo({ ...options, dryRun: true });
    const conflict: HAUndoConflict = {
      table: 't',
      rowid: 2n,
      reason: 'changed',
      sequence: other.txseq,
      node: expect.any(String),
      current: { id: 2, v: 2 },
      restored: { id: 2, v: 'b' },
    };
    expect(preview).toMatchObject({ sequence: undefined, conflicts: [conflict], updated: 2 });
    expect(preview.changes.map(({ sql }) => sql)).toEqual([
      `UPDATE "t" SET "v" = 'a' WHERE "id" = 1`,
      `UPDATE "t" SET "v" = 'b' WHERE "id" = 2`,
    ]);
    await expect(a.undo(options)).rejects.toMatchObject({
      code: 'HA_UNDO_CONFLICT',
      details: { conflicts: [conflict] },
    });
    expect(await settled(pair)).toEqual(before);
    expect(summary(await a.undo({ ...options, force: true }))).toMatchObject({ updated: 2, conflicts: ['changed'] });
    await settled(pair);
    expect(await b.all('SELECT v FROM t')).toEqual([{ v: 'a' }, { v: 'b' }]);
  });

  it('refuses rows that would meet others in a unique index, or leave foreign keys behind', async () => {
    const pair = await pairOn(backend);
    const { a } = pair;
    await a.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE); INSERT INTO t VALUES(1, 'a');
      CREATE TABLE p(id INTEGER PRIMARY KEY, v); CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(id));
      INSERT INTO p VALUES(1, 'x'), (2, 'y'); INSERT INTO c VALUES(1, 1)`);
    const first = await a.run(`UPDATE t SET u = 'b' WHERE id = 1`);
    await a.run(`INSERT INTO t VALUES(2, 'a')`);
    const unique = { from: first.txseq as bigint, scope: 'entities' } as const;
    await expect(a.undo(unique)).rejects.toMatchObject({
      code: 'HA_UNDO_CONFLICT',
      details: { conflicts: [{ reason: 'unique' }] },
    });
    const parent = await a.run('INSERT INTO p VALUES(3, ?)', ['z']);
    await a.run('UPDATE c SET p = 3');
    const key = { from: parent.txseq as bigint, scope: 'entities' } as const;
    await expect(a.undo(key)).rejects.toMatchObject({ details: { conflicts: [{ reason: 'foreignKey', table: 'p' }] } });
    await a.run('DELETE FROM c');
    const gone = await a.run('DELETE FROM p WHERE id = 1');
    const child = a.position().received - 1n;
    const orphan = { from: child, scope: 'entities' } as const;
    expect(gone.txseq).toBe(child + 1n);
    // Its last parent is there again, the one before is not.
    await a.run('UPDATE p SET id = 30 WHERE id = 3');
    await expect(a.undo(orphan)).rejects.toMatchObject({
      details: { conflicts: [{ reason: 'foreignKey', table: 'c' }] },
    });
    await settled(pair);
    // Everything together breaks nothing.
    await a.undo({ from: first.txseq as bigint });
    expect(await a.all('SELECT * FROM c')).toEqual([{ id: 1, p: 1 }]);
    await settled(pair);
  });

  it('refuses changes of the schema, with sequence and statement', async () => {
    const pair = await pairOn(backend);
    const { a } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const insert = await a.run('INSERT INTO t VALUES(1, 1)');
    await a.exec('ALTER TABLE t ADD COLUMN w');
    const before = await settled(pair);
    await expect(a.undo({ from: insert.txseq as bigint })).rejects.toMatchObject({
      code: 'HA_UNDO_REFUSED',
      details: { sequence: Number(insert.txseq) + 1, statement: 'ALTER TABLE t ADD COLUMN w' },
    });
    expect(await settled(pair)).toEqual(before);
  });

  it.each([
    [{ from: 0n }, 'HA_HISTORY_INVALID'],
    [{ from: -5n }, 'HA_HISTORY_INVALID'],
    [{ from: 999_999n }, 'HA_HISTORY_INVALID'],
    [{ from: '-5m' }, 'HA_HISTORY_INVALID'],
    [{ from: 'soon' }, 'HA_HISTORY_INVALID'],
    [{ from: '17' }, 'HA_HISTORY_INVALID'],
    [{ from: '' }, 'HA_HISTORY_INVALID'],
    [{ from: 3 as unknown as bigint }, 'HA_HISTORY_INVALID'],
    [{ from: undefined as unknown as bigint }, 'HA_HISTORY_INVALID'],
    [{ from: 2n, scope: 'everything' as 'all' }, 'HA_HISTORY_INVALID'],
    [{ from: '0s' }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: {} }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { nope: [1] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [99] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [1, 99] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: ['x'] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [1.5] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [2 ** 60] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [[1, 2]] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { ha_stats: [1] } }, 'HA_UNDO_INVALID'],
  ] as const)('refuses %p with %s, and changes nothing', async (options, code) => {
    const pair = await pairOn('memory');
    await pair.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await pair.a.run('INSERT INTO t VALUES(1, 1)');
    const before = await settled(pair);
    const position = pair.a.position();
    expect(await codeOf(pair.a.undo(options))).toBe(code);
    expect(await settled(pair)).toEqual(before);
    expect(pair.a.position()).toEqual(position);
  });

  it('writes nothing where every row is what it was', async () => {
    const pair = await pairOn(backend);
    const { a } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)');
    const { txseq } = await a.run('UPDATE t SET v = 2');
    await a.run('UPDATE t SET v = 1');
    const position = a.position().received;
    expect(await a.undo({ from: txseq as bigint })).toMatchObject({ sequence: undefined, updated: 0, transactions: 2 });
    expect(a.position().received).toBe(position);
  });

  it('stays right while others write', async () => {
    const pair = await pairOn(backend);
    const { a, b } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE other(id INTEGER PRIMARY KEY, v)');
    await a.exec(
      `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50) INSERT INTO t SELECT x, 0 FROM n`,
    );
    const { txseq } = await a.run('UPDATE t SET v = 1 WHERE id <= 25');
    await settled(pair);
    const writing = (async () => {
      for (let id = 1; id <= 40; id++) await b.run('INSERT INTO other VALUES(?, ?)', [id, id]);
    })();
    await a.undo({ from: txseq as bigint, scope: 'entities' });
    await writing;
    await settled(pair);
    expect(await b.get('SELECT sum(v) AS v FROM t')).toEqual({ v: 0 });
    expect(await a.get('SELECT count(*) AS n FROM other')).toEqual({ n: 40 });
  });
});

it('a database keeps its past out of reach of SQL', async () => {
  const { a } = await pairOn('memory');
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)');
  for (const sql of ['SELECT ha_undo(1)', 'SELECT undo(1)', 'UNDO 1', 'HISTORY', 'SELECT * FROM history(1)']) {
    await expect(a.all(sql)).rejects.toMatchObject({ code: 'SQLITE_ERROR' });
  }
  await a.transaction(async () => {
    expect(await codeOf(a.undo({ from: 1n }))).toBe('HA_NESTED_TRANSACTION');
  });
});

it('an undo of several messages is one transaction', async () => {
  const pair = await pairOn('memory', '', 20_000);
  const { a } = pair;
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const before = await settled(pair);
  const { txseq } = await a.run(
    'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) INSERT INTO t SELECT x, hex(randomblob(20)) FROM n',
  );
  const wrong = await settled(pair);
  const { sequence, deleted } = await a.undo({ from: txseq as bigint });
  expect(deleted).toBe(2_000);
  expect(await settled(pair)).toEqual(before);
  expect(await codeOf(a.undo({ from: (sequence as bigint) - 1n }))).toBe('HA_HISTORY_INVALID');
  await a.undo({ from: sequence as bigint });
  expect(await settled(pair)).toEqual(wrong);
});

it('what interceptors decide on is not undone, and what is not theirs is', async () => {
  const { a, b } = await startCluster({ nodes: 2, interceptorsOf: () => [MergeCounter('stock', 'amount')] });
  await a.exec('CREATE TABLE stock(id INTEGER PRIMARY KEY, amount); CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await a.run('INSERT INTO stock VALUES(1, 10)');
  const counted = await a.run('UPDATE stock SET amount = 9');
  const plain = await a.run('INSERT INTO t VALUES(1, 1)');
  await expect(a.undo({ from: counted.txseq as bigint })).rejects.toMatchObject({
    code: 'HA_UNDO_REFUSED',
    details: { sequence: Number(counted.txseq), tables: ['stock'] },
  });
  const { sequence } = await a.undo({ from: plain.txseq as bigint });
  await b.waitFor(sequence as bigint);
  expect(await b.all('SELECT * FROM t')).toEqual([]);
  const folder = temporaryFolder();
  await a.restoreTo(plain.txseq as bigint, join(folder, 'copy.db'));
  expect(dumpFile(join(folder, 'copy.db')).tables['t']).toHaveLength(1);
  await expect(a.restoreTo((counted.txseq as bigint) - 1n, join(folder, 'x.db'))).rejects.toMatchObject({
    code: 'HA_UNDO_REFUSED',
  });
});

it('what the history does not tell of is a conflict', async () => {
  const { a, paths } = await pairOn('memory');
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)');
  const { txseq } = await a.run('UPDATE t SET v = 2');
  const other = new BetterSqlite3(paths[0]);
  other.exec('UPDATE t SET v = 3');
  other.close();
  await expect(a.undo({ from: txseq as bigint })).rejects.toMatchObject({
    code: 'HA_UNDO_CONFLICT',
    details: { conflicts: [{ reason: 'changed', sequence: undefined, current: { id: 1, v: 3 } }] },
  });
  expect(dumpFile(paths[0]).tables['t']).toHaveLength(1);
});

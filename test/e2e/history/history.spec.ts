import { existsSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import { BACKENDS, listOf, pairOn, settled } from './pairs.js';

describe.each(BACKENDS)('history on %s', (backend) => {
  it('tells every transaction in order, with its node, rows and SQL', async () => {
    const pair = await pairOn(backend);
    const { a, b } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(x)');
    await a.run('INSERT INTO t VALUES(?, ?)', [9007199254740993n, Buffer.from('x')]);
    await settled(pair);
    await b.exec(`UPDATE t SET v = 2.0; INSERT INTO u VALUES('a')`);
    await settled(pair);
    const all = await listOf(a.history());
    expect(all.map(({ sequence, node, outcome, sql }) => [sequence, node, outcome, sql])).toEqual([
      [1n, expect.any(String), 'committed', expect.stringMatching(/^CREATE TABLE/)],
      [2n, all[0]?.node, 'committed', `INSERT INTO "t"("id", "v") VALUES(9007199254740993, X'78');`],
      [
        3n,
        expect.any(String),
        'committed',
        `UPDATE "t" SET "v" = 2.0 WHERE "id" = 9007199254740993;\nINSERT INTO "u"("x") VALUES('a');`,
      ],
    ]);
    expect(all[2]?.node).not.toBe(all[0]?.node);
    expect(all[2]?.changes).toEqual([
      {
        table: 't',
        operation: 'update',
        rowid: 9007199254740993n,
        before: { id: 9007199254740993n, v: Buffer.from('x') },
        after: { id: 9007199254740993n, v: 2 },
        sql: `UPDATE "t" SET "v" = 2.0 WHERE "id" = 9007199254740993`,
      },
      {
        table: 'u',
        operation: 'insert',
        rowid: 1n,
        before: null,
        after: { x: 'a' },
        sql: `INSERT INTO "u"("x") VALUES('a')`,
      },
    ]);
    expect(all[0]?.statements).toHaveLength(2);
    for (const { time } of all) expect(Math.abs(time.getTime() - Date.now())).toBeLessThan(600_000);
  });

  it('begins where it is asked to, and leaves out what was not asked for', async () => {
    const pair = await pairOn(backend);
    const { a, b } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(x)');
    for (let id = 1; id <= 5; id++) await a.run('INSERT INTO t VALUES(?, ?)', [id, id]);
    await settled(pair);
    await b.run('INSERT INTO u VALUES(1)');
    await settled(pair);
    const sequences = async (...args: Parameters<typeof a.history>): Promise<bigint[]> =>
      (await listOf(a.history(...args))).map(({ sequence }) => sequence);
    expect(await sequences(5n)).toEqual([5n, 6n, 7n]);
    expect(await sequences(2n, { limit: 2 })).toEqual([2n, 3n]);
    expect(await sequences(undefined, { table: 'U' })).toEqual([7n]);
    const [{ node } = { node: '' }] = await listOf(a.history(7n));
    expect(await sequences(undefined, { node })).toEqual([7n]);
    expect(await sequences(undefined, { after: 3n, limit: 2 })).toEqual([4n, 5n]);
    expect(await sequences(undefined, { after: 7n })).toEqual([]);
    expect(await sequences('1h')).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n]);
    expect(await sequences('0s')).toEqual([]);
    expect(await sequences(undefined, { table: 'nobody' })).toEqual([]);
  });

  it.each([
    ['0', 0n],
    ['a sequence that is not there yet', 4_711n],
    ['a number', 5 as unknown as bigint],
    ['no duration', '5 minutes'],
    ['the future', '-5m'],
  ])('refuses %s', async (_name, from) => {
    const { a } = await pairOn('memory');
    await a.exec('CREATE TABLE t(x)');
    await expect(listOf(a.history(from))).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
  });

  it('writes a copy of the database as it was', async () => {
    const pair = await pairOn(backend);
    const { a } = pair;
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(x)');
    await a.exec(`INSERT INTO t VALUES(1, 'a'); INSERT INTO bag VALUES(1), (1), (x'00')`);
    const then = await settled(pair);
    const sequence = a.position().received;
    await new Promise((resolve) => setTimeout(resolve, 20));
    const time = new Date();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await a.exec(`ALTER TABLE t ADD COLUMN w; DELETE FROM bag; UPDATE t SET v = 'b'`);
    const now = await settled(pair);
    const dir = temporaryFolder();
    const [bySequence, byTime] = [join(dir, 'sequence.db'), join(dir, 'time.db')];
    expect(await a.restoreTo(sequence, bySequence)).toEqual({ sequence, path: bySequence });
    expect(await a.restoreTo(time, byTime)).toMatchObject({ path: byTime });
    for (const path of [bySequence, byTime]) {
      const { sequences: _counters, ...copy } = dumpFile(path);
      expect(copy).toEqual(then);
      const db = new BetterSqlite3(path);
      expect(db.prepare(`SELECT name FROM sqlite_schema WHERE name LIKE 'ha!_%' ESCAPE '!'`).all()).toEqual([]);
      expect(db.pragma('integrity_check', { simple: true })).toBe('ok');
      db.close();
      expect(existsSync(`${path}-wal`)).toBe(false);
    }
    expect(await settled(pair)).toEqual(now);
    await expect(a.restoreTo(sequence, byTime)).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
    await expect(a.restoreTo(99_999n, join(dir, 'x'))).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
    await expect(a.restoreTo(new Date(Date.now() + 60_000), join(dir, 'x'))).rejects.toMatchObject({
      code: 'HA_HISTORY_INVALID',
    });
    await expect(a.restoreTo(new Date('nonsense'), join(dir, 'x'))).rejects.toMatchObject({
      code: 'HA_HISTORY_INVALID',
    });
    expect(existsSync(join(dir, 'x'))).toBe(false);
  });
});

it('what the stream does not begin with is not rebuilt without it', async () => {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const a = memoryNode('a', dir, new MemoryStream({ broker, ...MEMORY_STREAM }));
  await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)');
  const { txseq } = await a.db.run(`REPLACE INTO t VALUES(1, 'a')`);
  const late = memoryNode('late', dir, new MemoryStream({ broker, ...MEMORY_STREAM }), {
    deliverPolicy: 'by_start_sequence=2',
  });
  await late.db.start();
  await expect(late.db.undo({ from: txseq as bigint })).rejects.toMatchObject({ code: 'HA_UNDO_INVALID' });
  await expect(late.db.restoreTo(txseq as bigint, join(dir, 'x'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
  // A stream whose first message speaks of a table that no message makes.
  const text = JSON.stringify({
    node: 'go',
    changes: [{ database: 'main', table: 'founded', columns: ['x'], operation: 'INSERT', new_values: [1] }],
  });
  const other = new MemoryBroker();
  other.ensure('s', 1);
  other.append({ subject: 's.db', data: Buffer.from(text), id: undefined, version: undefined, chunk: undefined }, 's');
  const b = memoryNode('b', dir, new MemoryStream({ broker: other, ...MEMORY_STREAM }));
  await b.db.exec('CREATE TABLE t(x)');
  await b.db.restoreTo(2n, join(dir, 'all-left-it-out.db'));
  const file = new BetterSqlite3(b.path);
  file.exec('DELETE FROM ha_skipped');
  file.close();
  await expect(b.db.restoreTo(1n, join(dir, 'y'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
});

it('another database of the same stream has another history', async () => {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const a = memoryNode('a', dir, new MemoryStream({ broker, ...MEMORY_STREAM }));
  const other = memoryNode('o', dir, new MemoryStream({ broker, stream: 's', subject: 's.other' }), {
    replicationID: 'other',
  });
  await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await other.db.exec('CREATE TABLE o(x)');
  const { txseq } = await other.db.run('INSERT INTO o VALUES(1)');
  await a.db.run('INSERT INTO t VALUES(1)');
  expect((await listOf(a.db.history())).map(({ sequence }) => sequence)).toEqual([1n, 4n]);
  for (const call of [
    listOf(a.db.history(txseq)),
    a.db.undo({ from: txseq as bigint }),
    a.db.restoreTo(txseq as bigint, join(dir, 'x')),
  ]) {
    await expect(call).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
  }
  expect(await other.db.all('SELECT * FROM o')).toHaveLength(1);
});

it('what the stream forgot is refused, and never waited for', async () => {
  const pair = await pairOn('memory');
  const { a, broker } = pair;
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  for (let id = 1; id <= 5; id++) await a.run('INSERT INTO t VALUES(?, 0)', [id]);
  await settled(pair);
  broker?.trim(3, 's');
  const gone = { code: 'HA_HISTORY_GONE', details: { first: 4 } };
  await expect(listOf(a.history(2n))).rejects.toMatchObject(gone);
  await expect(listOf(a.history('1h'))).rejects.toMatchObject(gone);
  await expect(a.undo({ from: 3n })).rejects.toMatchObject(gone);
  await expect(a.undo({ from: '1h' })).rejects.toMatchObject(gone);
  await expect(a.restoreTo(2n, join(temporaryFolder(), 'x'))).rejects.toMatchObject(gone);
  expect((await listOf(a.history())).map(({ sequence }) => sequence)).toEqual([4n, 5n, 6n]);
  // A copy is taken from what the database is now, as far as what came since tells.
  const copy = join(temporaryFolder(), 'copy.db');
  await a.restoreTo(5n, copy);
  expect(dumpFile(copy).tables['t']).toHaveLength(4);
  await a.undo({ from: 5n });
  expect(await a.all('SELECT id FROM t')).toEqual([1, 2, 3].map((id) => ({ id })));
});

it('what the stream forgets while it is read is not passed over', async () => {
  const { a, broker } = await pairOn('memory');
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  // More than is read ahead.
  for (let id = 1; id <= 1_200; id++) await a.run('INSERT INTO t VALUES(?)', [id]);
  const last = Number(a.position().received);
  const asked = a.history(2n);
  const all = a.history();
  for (const list of [asked, all]) await list.next();
  broker?.trim(last - 5, 's');
  await expect(listOf(asked)).rejects.toMatchObject({ code: 'HA_HISTORY_GONE', details: { first: last - 4 } });
  // Nobody asked for a sequence here.
  expect((await listOf(all)).at(-1)?.sequence).toBe(BigInt(last));
});

it('a stream that forgot what others wrote has not forgotten what a new database did', async () => {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const other = memoryNode('o', dir, new MemoryStream({ broker, stream: 's', subject: 's.other' }), {
    replicationID: 'other',
  });
  await other.db.exec('CREATE TABLE o(x)');
  await other.db.exec('INSERT INTO o VALUES(1)');
  const a = memoryNode('a', dir, new MemoryStream({ broker, ...MEMORY_STREAM }));
  await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  await a.db.run('INSERT INTO t VALUES(1)');
  broker.trim(2, 's');
  expect(await listOf(a.db.history('1h'))).toHaveLength(2);
  // Its place moves on before what lies in front of it goes.
  await other.db.exec('INSERT INTO o VALUES(2)');
  broker.trim(3, 's');
  await a.db.run('INSERT INTO t VALUES(2)');
  broker.trim(4, 's');
  await expect(listOf(a.db.history('1h'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
});

it('tells what the stream holds, and no node counts', async () => {
  const { a, broker } = await pairOn('memory', '', 3_000);
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  await a.run('INSERT INTO t VALUES(1, 0)');
  await a.run('UPDATE t SET v = hex(randomblob(900))');
  await a.exec(
    `UPDATE t SET v = 1; INSERT INTO t SELECT 2, hex(randomblob(900)); INSERT INTO t SELECT 3, hex(randomblob(900))`,
  );
  const last = Number(a.position().received);
  broker?.forgetIds();
  broker?.republish(2);
  await a.waitFor(BigInt(last + 1));
  const outcomes = (await listOf(a.history(undefined, { all: true }))).map(({ sequence, outcome }) => [
    Number(sequence),
    outcome,
  ]);
  expect(outcomes).toEqual([
    [1, 'committed'],
    [2, 'committed'],
    [3, 'committed'],
    [last, 'committed'],
    [last + 1, 'duplicate'],
  ]);
  expect(last).toBeGreaterThan(4);
  expect((await listOf(a.history(BigInt(last + 1)))).length).toBe(0);
  // The middle of a large transaction is none of its own.
  await expect(a.undo({ from: BigInt(last - 1) })).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
  await expect(a.undo({ from: BigInt(last + 1) })).rejects.toMatchObject({ code: 'HA_HISTORY_INVALID' });
});

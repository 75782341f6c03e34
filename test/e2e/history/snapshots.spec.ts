import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAOptions } from '../../../lib/config/options.js';
import { MessageEncoder } from '../../../lib/publish/message-encoder.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import type { OutgoingMessage } from '../../../lib/stream/replication-stream.js';
import { temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';
import { listOf } from './pairs.js';

type Node = MemoryNode<MemoryStream>;

function nodes(): { broker: MemoryBroker; dir: string; make: (name: string, options?: HAOptions) => Node } {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string, options: HAOptions = {}): Node =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }), { disableDBSnapshotter: true, ...options });
  return { broker, dir, make };
}

/** A file as an application without replication leaves it. */
function fileWithRows(dir: string, name: string): void {
  const db = new BetterSqlite3(join(dir, `${name}.db`));
  db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v, u UNIQUE); INSERT INTO t VALUES(1, 'one', 1), (2, 'two', 2);`);
  db.close();
}

async function caughtUp(...all: readonly Node[]): Promise<void> {
  const last = BigInt(await (all[0] as Node).stream.lastSubjectSequence());
  for (const { db } of all) await db.waitFor(last, { timeout: 30_000 });
}

const rowsOf = ({ db }: Node): Promise<unknown[]> => db.all('SELECT id, v FROM t ORDER BY id');

/** The rows of a copy of the past. */
async function restored({ db }: Node, point: bigint | Date): Promise<unknown> {
  const path = join(temporaryFolder(), 'copy.db');
  await db.restoreTo(point, path);
  expect(Object.keys(dumpFile(path).tables).filter((table) => table.startsWith('ha_'))).toEqual([]);
  const copy = new BetterSqlite3(path, { readonly: true });
  try {
    return copy.prepare('SELECT id, v FROM t ORDER BY id').all();
  } finally {
    copy.close();
  }
}

/** A transaction of another node that inserts rows 1 and 2, behind sequence 1. */
function inTwoParts(): [OutgoingMessage, OutgoingMessage] {
  const row = (id: number): Buffer => {
    const values = { columns: ['id', 'v'], operation: 'INSERT', new_values: [id, 'x'.repeat(400)] };
    return Buffer.from(JSON.stringify({ database: 'main', table: 't', ...values }));
  };
  const content = { pieces: [row(1), row(2)], sequences: [], epoch: 1, timestampNs: 0n };
  const encoder = new MessageEncoder('other', { node: 'o', processId: 1n, filename: 'db' });
  const parts = encoder.encode(content, 800);
  expect(parts).toHaveLength(2);
  return parts as [OutgoingMessage, OutgoingMessage];
}

const FOUNDED = [
  { id: 1, v: 'one' },
  { id: 2, v: 'two' },
];

describe('a cluster that a file with rows founded', () => {
  it('has a history from there on, takes it back, and copies what it was founded with', async () => {
    const { dir, make } = nodes();
    fileWithRows(dir, 'a');
    const [a, b] = [make('a'), make('b')];
    await a.db.start();
    await b.db.start();
    const founding = a.db.position().received;
    expect(founding).toBeGreaterThan(0n);
    expect(await listOf(a.db.history())).toEqual([]);
    const { txseq: first } = await b.db.run(`UPDATE t SET v = 'changed' WHERE id = 1`);
    await caughtUp(a, b);
    const { txseq: second } = await a.db.run(`INSERT INTO t VALUES(3, 'three', 3)`);
    await caughtUp(a, b);
    const before = await rowsOf(a);
    for (const { db } of [a, b]) {
      expect((await listOf(db.history(undefined, { all: true }))).map(({ sequence }) => sequence)).toEqual([
        first,
        second,
      ]);
    }
    // No copy of the present can be turned back behind this.
    await a.db.exec('ALTER TABLE t ADD COLUMN w');
    await caughtUp(a, b);
    for (const node of [a, b]) {
      expect(await restored(node, founding)).toEqual(FOUNDED);
      expect(await restored(node, first as bigint)).toEqual([{ id: 1, v: 'changed' }, FOUNDED[1]]);
      expect(await restored(node, second as bigint)).toEqual(before);
      await expect(node.db.restoreTo(new Date(0), join(dir, 'x'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
    }
    expect(existsSync(join(dir, 'x'))).toBe(false);
    expect(readdirSync(dir).filter((name) => /-ha-(?!lock)|\.part/.test(name))).toEqual([]);
  });

  it('goes back to what it was founded with where old values are not told', async () => {
    const { dir, make } = nodes();
    fileWithRows(dir, 'a');
    const [a, b] = [make('a'), make('b')];
    await a.db.start();
    await b.db.start();
    // Takes two rows away without a word.
    const { txseq } = await b.db.run(`REPLACE INTO t VALUES(1, 'other', 2)`);
    await caughtUp(a, b);
    expect(await rowsOf(a)).toEqual([{ id: 1, v: 'other' }]);
    await a.db.undo({ from: txseq as bigint });
    await caughtUp(a, b);
    for (const node of [a, b]) expect(await rowsOf(node)).toEqual(FOUNDED);
  });

  it('does not undo its founding', async () => {
    const { dir, make } = nodes();
    fileWithRows(dir, 'a');
    const a = make('a');
    await a.db.run(`UPDATE t SET v = 'changed'`);
    const refusal = { code: 'HA_UNDO_REFUSED', details: { sequence: 1 } };
    await expect(a.db.undo({ from: 1n })).rejects.toMatchObject(refusal);
    await expect(a.db.undo({ from: '1h' })).rejects.toMatchObject(refusal);
    await expect(a.db.undo({ from: 1n, scope: 'entities' })).rejects.toMatchObject(refusal);
    expect(await rowsOf(a)).toEqual([
      { id: 1, v: 'changed' },
      { id: 2, v: 'changed' },
    ]);
  });
});

describe('rows that all nodes took over', () => {
  it('end what can be undone, and belong to the past like others', async () => {
    const { broker, dir, make } = nodes();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const { txseq: early } = await a.db.run(`INSERT INTO t VALUES(1, 'early')`);
    await b.db.start();
    await caughtUp(a, b);
    await b.db.stop();
    const file = new BetterSqlite3(b.path);
    file.exec(`INSERT INTO t VALUES(7, 'repaired')`);
    file.close();
    await b.db.start();
    await b.db.resync({ from: 'this-node' });
    const taken = BigInt(await b.stream.lastSubjectSequence());
    await caughtUp(a, b);
    const { txseq: late } = await a.db.run(`UPDATE t SET v = 'late' WHERE id = 7`);
    await caughtUp(a, b);
    const all = [1n, early, late];
    for (const { db } of [a, b]) {
      expect((await listOf(db.history())).map(({ sequence }) => sequence)).toEqual(all);
      const refusal = { code: 'HA_UNDO_REFUSED', details: { sequence: Number(taken) } };
      await expect(db.undo({ from: early as bigint })).rejects.toMatchObject(refusal);
      await expect(db.undo({ from: taken })).rejects.toMatchObject(refusal);
    }
    await a.db.exec('ALTER TABLE t ADD COLUMN w');
    await caughtUp(a, b);
    for (const node of [a, b]) {
      expect(await restored(node, early as bigint)).toEqual([{ id: 1, v: 'early' }]);
      const repaired = { id: 7, v: 'repaired' };
      expect(await restored(node, taken)).toEqual([{ id: 1, v: 'early' }, repaired]);
      expect(await restored(node, late as bigint)).toEqual([
        { id: 1, v: 'early' },
        { id: 7, v: 'late' },
      ]);
    }
    const objects = broker.objects('s_SNAPSHOTS');
    for (const name of ['db', ...objects.names.filter((each) => each.startsWith('db/base/'))]) {
      const info = objects.info(name);
      if (info !== undefined) objects.delete(info.name, info.revision);
    }
    await expect(a.db.restoreTo(late as bigint, join(dir, 'x'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
  });
});

describe('behind a snapshot', () => {
  it('the past is there without what lies in front of it in the stream', async () => {
    const { broker, dir, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v, u UNIQUE)');
    const { txseq: first } = await a.db.run(`INSERT INTO t VALUES(1, 'one', 1), (2, 'two', 2)`);
    const { sequence } = await a.db.snapshot();
    expect(sequence).toBe(first);
    const { txseq: second } = await a.db.run(`REPLACE INTO t VALUES(1, 'other', 2)`);
    await a.db.run(`INSERT INTO t VALUES(3, 'three', 3)`);
    broker.trim(Number(sequence), 's');
    const b = make('b');
    await b.db.start();
    for (const node of [a, b]) {
      const gone = { code: 'HA_HISTORY_GONE', details: { first: Number(second) } };
      await expect(node.db.restoreTo(first as bigint, join(dir, 'x'))).rejects.toMatchObject(gone);
      await expect(node.db.undo({ from: first as bigint })).rejects.toMatchObject(gone);
      await expect(listOf(node.db.history('1h'))).rejects.toMatchObject(gone);
      expect(await restored(node, second as bigint)).toEqual([{ id: 1, v: 'other' }]);
    }
    await b.db.undo({ from: second as bigint });
    await caughtUp(a, b);
    for (const node of [a, b]) expect(await rowsOf(node)).toEqual(FOUNDED);
    await a.db.exec('ALTER TABLE t ADD COLUMN w');
    await a.db.snapshot();
    // Now the snapshot holds too much, and the stream too little.
    await expect(a.db.restoreTo(second as bigint, join(dir, 'x'))).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
  });

  it('nothing counts again that the snapshot has, and nothing is taken from another stream', async () => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const { txseq: first } = await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
    await a.db.run(`UPDATE t SET v = 'two'`);
    const { sequence } = await a.db.snapshot();
    broker.forgetIds();
    broker.republish(Number(first));
    broker.trim(Number(sequence), 's');
    const { txseq: last } = await a.db.run(`INSERT INTO t VALUES(2, 'two')`);
    await a.db.exec('ALTER TABLE t ADD COLUMN w');
    expect(await restored(a, last as bigint)).toEqual([
      { id: 1, v: 'two' },
      { id: 2, v: 'two' },
    ]);
    const store = broker.objects('s_SNAPSHOTS');
    const info = store.info('db');
    expect(info).toBeDefined();
    Object.assign(info?.headers ?? {}, { 'HA-Stream-Created': 'another' });
    await expect(a.db.restoreTo(last as bigint, join(temporaryFolder(), 'x'))).rejects.toMatchObject({
      code: 'HA_HISTORY_GONE',
    });
  });

  it.each([
    ['is there while the stream holds all of it', false],
    ['is not told by halves', true],
  ])('a large transaction that began in front of it %s', async (_what, isTrimmed) => {
    const { broker, make } = nodes();
    const a = make('a');
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    const [first, second] = inTwoParts();
    const { sequence: begun } = await a.stream.publish(first);
    await caughtUp(a);
    expect((await a.db.snapshot()).sequence).toBe(BigInt(begun));
    const { sequence: ended } = await a.stream.publish(second);
    await caughtUp(a);
    expect(await a.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    await a.db.exec('ALTER TABLE t ADD COLUMN w');
    if (isTrimmed) broker.trim(begun, 's');
    const copy = restored(a, BigInt(ended));
    if (isTrimmed) await expect(copy).rejects.toMatchObject({ code: 'HA_HISTORY_GONE' });
    else expect(await copy).toHaveLength(2);
  });
});

it('what is not undone in whole is not undone: the beginning of a large transaction that is gone', async () => {
  const { broker, make } = nodes();
  const a = make('a');
  await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const [first, second] = inTwoParts();
  const { sequence: begun } = await a.stream.publish(first);
  await caughtUp(a);
  const { txseq } = await a.db.run('INSERT INTO t VALUES(3, 3)');
  const { sequence: ended } = await a.stream.publish(second);
  await caughtUp(a);
  broker.trim(begun, 's');
  const gone = { code: 'HA_HISTORY_GONE', details: { first: ended + 1 } };
  await expect(a.db.undo({ from: txseq as bigint })).rejects.toMatchObject(gone);
  await expect(a.db.restoreTo(txseq as bigint, join(temporaryFolder(), 'x'))).rejects.toMatchObject({
    code: 'HA_HISTORY_GONE',
  });
  expect((await rowsOf(a)).length).toBe(3);
});

import { copyFileSync, existsSync, readdirSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import type { HAError } from '../../../lib/common/ha-error.js';
import { SetAside } from '../../../lib/sqlite/set-aside.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { dumpFile } from '../../helper/dump.js';
import { failureOf, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { MEMORY_STREAM, memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

interface Nodes {
  readonly broker: MemoryBroker;
  readonly a: MemoryNode<MemoryStream>;
  readonly b: MemoryNode<MemoryStream>;
  readonly dir: string;
  readonly make: (name: string) => MemoryNode<MemoryStream>;
}

const SCHEMA = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE bag(v)';

async function start(): Promise<Nodes> {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string): MemoryNode<MemoryStream> =>
    memoryNode(name, dir, new MemoryStream({ broker, ...MEMORY_STREAM }));
  const [a, b] = [make('a'), make('b')];
  await a.db.exec(SCHEMA);
  await b.db.start();
  await b.db.waitFor(1n);
  return { broker, dir, a, b, make };
}

/** Does something to a file from another connection. */
function outside<R>(path: string, work: (db: BetterSqlite3.Database) => R): R {
  const db = new BetterSqlite3(path);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

const alarms = ({ events }: MemoryNode<MemoryStream>): unknown[] =>
  events.filter(({ type }) => type === 'foreignWrite');
const setAside = (path: string): string[] =>
  readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.before-resync-`));

describe('a write of somebody else to the file', () => {
  it('is found while nobody writes', async () => {
    const { a } = await start();
    outside(a.path, (db) => db.exec(`INSERT INTO t VALUES(1, 'foreign')`));
    await until(() => alarms(a).length > 0);
    const { state, healthy, foreignWrite } = a.db.status();
    expect({ state, healthy }).toEqual({ state: 'running', healthy: false });
    expect(foreignWrite).toMatchObject({ code: 'HA_FOREIGN_WRITE', details: { path: a.path, received: 1 } });
    expect(a.log.filter((line) => line === foreignWrite?.message)).toHaveLength(1);
  });

  it.each([
    ['behind a transaction of this node', (nodes: Nodes) => nodes.a.db.run('INSERT INTO bag VALUES(1)')],
    [
      'behind one of the stream',
      async ({ a, b }: Nodes) => {
        const { txseq = 0n } = await b.db.run('INSERT INTO bag VALUES(1)');
        await a.db.waitFor(txseq);
      },
    ],
    ['behind VACUUM', (nodes: Nodes) => nodes.a.db.run('PRAGMA wal_checkpoint(TRUNCATE)')],
  ])('is found by the next transaction, %s, and writes go on', async (_name, before) => {
    const nodes = await start();
    const { a, b } = nodes;
    await before(nodes);
    expect(a.db.status().healthy).toBe(true);
    outside(a.path, (db) => db.exec(`INSERT INTO t VALUES(1, 'foreign')`));
    const { txseq = 0n } = await a.db.run('INSERT INTO t VALUES(2, 2)');
    expect(alarms(a)).toHaveLength(1);
    await b.db.waitFor(txseq);
    expect(await b.db.all('SELECT id FROM t')).toEqual([{ id: 2 }]);
  });

  it('is found where another node writes', async () => {
    const { a, b } = await start();
    outside(a.path, (db) => db.exec(`INSERT INTO t VALUES(1, 'foreign')`));
    const { txseq = 0n } = await b.db.run('INSERT INTO bag VALUES(1)');
    await a.db.waitFor(txseq);
    expect(alarms(a)).toHaveLength(1);
    expect(alarms(b)).toEqual([]);
  });

  it('raises one alarm, also behind a restart, until somebody acknowledges it; then the next one', async () => {
    const { a, make } = await start();
    const write = (): unknown => outside(a.path, (db) => db.exec(`INSERT INTO bag VALUES('foreign')`));
    write();
    await a.db.run('INSERT INTO t VALUES(1, 1)');
    write();
    await a.db.run('INSERT INTO t VALUES(2, 2)');
    expect(alarms(a)).toHaveLength(1);
    const { foreignWrite } = a.db.status();
    await a.db.close();
    const again = make('a');
    await again.db.start();
    expect(again.db.status().foreignWrite?.message).toBe(foreignWrite?.message);
    expect(alarms(again)).toHaveLength(1);
    await again.db.acknowledgeForeignWrite();
    expect(again.db.status()).toMatchObject({ healthy: true, foreignWrite: undefined });
    await again.db.run('INSERT INTO t VALUES(3, 3)');
    expect(alarms(again)).toHaveLength(1);
    write();
    await again.db.run('INSERT INTO t VALUES(4, 4)');
    expect(alarms(again)).toHaveLength(2);
    await again.db.acknowledgeForeignWrite();
    await again.db.stop();
    await again.db.start();
    expect(again.db.status().healthy).toBe(true);
  });

  it('is not suspected where somebody reads, or rolls back', async () => {
    const { a } = await start();
    outside(a.path, (db) => {
      db.prepare('SELECT * FROM t').all();
      db.exec(`BEGIN IMMEDIATE; INSERT INTO t VALUES(1, 'x'); ROLLBACK`);
      db.pragma('wal_checkpoint(PASSIVE)');
    });
    await a.db.run('INSERT INTO t VALUES(1, 1)');
    await pause(1_200);
    expect(alarms(a)).toEqual([]);
  });
});

describe('thousands of transactions of several nodes', () => {
  it('with checkpoints, VACUUM, refusals, roll backs and changes of the schema raise no alarm', async () => {
    const cluster = await startCluster({ query: '_synchronous=off' });
    await cluster.a.exec(SCHEMA);
    await cluster.settle();
    const blob = Buffer.alloc(40_000, 1);
    await Promise.all(
      [cluster.a, cluster.b].map(async (db, node) => {
        for (let round = 0; round < 60; round++) {
          await Promise.all([
            ...Array.from({ length: 4 }, () => db.run('INSERT INTO t(v) VALUES(?)', [round])),
            ...Array.from({ length: 4 }, () => db.run('INSERT INTO bag VALUES(?)', [blob])),
            db.run('INSERT OR ROLLBACK INTO t VALUES(1, 1)').catch(() => undefined),
            db
              .transaction(async (tx) => {
                await tx.run('UPDATE t SET v = v + 1 WHERE id = ?', [round]);
                if (round % 3 === 0) throw new Error('rolled back');
              }, {})
              .catch(() => undefined),
          ]);
          if (round % 20 === 7) await db.exec(`CREATE TABLE n${node}_${round}(v); DROP TABLE n${node}_${round}`);
          if (round % 30 === 11) await db.run('PRAGMA wal_checkpoint(TRUNCATE)');
          if (round % 40 === 13) await db.run('DELETE FROM bag');
        }
      }),
    );
    await cluster.expectEqual();
    for (const { events, db } of cluster.nodes) {
      expect(events.filter(({ type }) => type === 'foreignWrite')).toEqual([]);
      expect(db.status().healthy).toBe(true);
    }
  });
});

it('every foreign commit under load is found, and none twice', async () => {
  const { a, b } = await start();
  await a.db.exec('CREATE TABLE own(v)');
  const stop = new AbortController();
  const load = [a, b].map(async ({ db }, node) => {
    for (let n = 0; !stop.signal.aborted; n++) {
      await Promise.all([1, 2, 3].map(() => db.run('INSERT INTO bag VALUES(?)', [`${node} ${n}`])));
      if (n % 5 === 0) await db.run('INSERT INTO t(v) VALUES(?)', [n]);
      await pause(0);
    }
  });
  const other = new BetterSqlite3(a.path, { timeout: 0 });
  for (let n = 1; n <= 60; n++) {
    await until(() => {
      try {
        other.exec(`INSERT INTO own VALUES(${n})`);
        return true;
      } catch (error) {
        if (/locked/.test(String(error))) return false;
        throw error;
      }
    });
    await until(() => alarms(a).length >= n);
    await a.db.acknowledgeForeignWrite();
    await pause(n % 7);
    expect(alarms(a)).toHaveLength(n);
  }
  other.close();
  stop.abort();
  await Promise.all(load);
  expect(alarms(b)).toEqual([]);
});

describe('resync', () => {
  it('builds the file anew from the stream, and keeps the old one', async () => {
    const { a, b } = await start();
    await b.db.run(`INSERT INTO t VALUES(1, 'one')`);
    await a.db.run(`INSERT INTO bag VALUES('x')`);
    outside(a.path, (db) => db.exec(`INSERT INTO t VALUES(99, 'foreign'); DELETE FROM bag; CREATE TABLE own(v)`));
    const { txseq: last = 0n } = await a.db.run(`INSERT INTO bag VALUES('y')`);
    await b.db.waitFor(last);
    expect(a.db.status().healthy).toBe(false);
    const late = a.db.resync();
    await Promise.all([late, a.db.resync()]);
    expect(a.db.status()).toMatchObject({ healthy: true, state: 'running' });
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    const files = setAside(a.path);
    expect(files.filter((name) => !/-(wal|shm)$/.test(name))).toHaveLength(2);
    const old = files.toSorted()[0] ?? '';
    expect(outside(`${dirname(a.path)}/${old}`, (db) => db.prepare('SELECT id FROM t').pluck().all())).toEqual([1, 99]);
    const { txseq = 0n } = await a.db.run(`INSERT INTO bag VALUES('z')`);
    await b.db.waitFor(txseq);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    expect(a.events).toContainEqual({ type: 'resynced', path: expect.stringContaining('.before-resync-') as string });
  });

  it('answers calls meanwhile: writes fail with a code or wait, reads wait', async () => {
    const { a, b } = await start();
    for (let n = 0; n < 20; n++) await a.db.run('INSERT INTO bag VALUES(?)', [n]);
    const resync = a.db.resync();
    const results: string[] = [];
    const stop = new AbortController();
    const busy = (async () => {
      while (!stop.signal.aborted) {
        const call = a.db.run('INSERT INTO bag VALUES(?)', ['meanwhile']);
        await call.then(
          () => results.push('ok'),
          (error: HAError) => results.push(error.code),
        );
        await pause(1);
      }
    })();
    await resync;
    stop.abort();
    await busy;
    expect(results.filter((result) => result !== 'ok' && result !== 'HA_UNAVAILABLE')).toEqual([]);
    await b.db.waitFor(a.db.position().received, { timeout: 20_000 });
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    const rows = await b.db.get(`SELECT count(*) AS n FROM bag WHERE v = 'meanwhile'`);
    expect(rows).toEqual({ n: results.filter((result) => result === 'ok').length });
  });

  it('leaves everything as it was where the stream has lost its beginning', async () => {
    const { a, b, broker } = await start();
    await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
    await b.db.waitFor(a.db.position().received);
    broker.trim(1);
    expect((await failureOf(a.db.resync())).code).toBe('HA_STREAM_GAP');
    expect(a.db.status().state).toBe('running');
    expect(setAside(a.path)).toEqual([]);
    const { txseq = 0n } = await a.db.run(`INSERT INTO t VALUES(2, 'two')`);
    await b.db.waitFor(txseq);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
  });

  it('puts the old file back where the new one cannot be built', async () => {
    const { a, b, broker } = await start();
    await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
    await b.db.waitFor(a.db.position().received);
    const off = a.runtime.events.subscribe(({ type }) => {
      // Behind the first look at the stream.
      if (type === 'stopped') broker.trim(1);
    });
    expect((await failureOf(a.db.resync())).code).toBe('HA_STREAM_GAP');
    off.unsubscribe();
    expect(a.db.status().state).toBe('running');
    expect(setAside(a.path)).toEqual([]);
    expect(await a.db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'one' }]);
    const { txseq = 0n } = await a.db.run(`INSERT INTO t VALUES(2, 'two')`);
    await b.db.waitFor(txseq);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
  });

  it('keeps what an operator had left out, and the outcomes of earlier starts', async () => {
    const { a, broker } = await start();
    const subject = MEMORY_STREAM.subject;
    const broken = broker.append({ subject, id: 'x.1', version: '1', chunk: undefined, data: Buffer.from('no JSON') });
    await until(() => a.db.status().state === 'halted');
    await a.db.skip(BigInt(broken));
    a.stream.dropNext(1_000);
    const error = (await failureOf(a.db.run(`INSERT INTO bag VALUES('lost')`))) as HAError;
    a.stream.dropNext(0);
    await a.db.resync();
    expect(a.db.status()).toMatchObject({ state: 'running', skipped: [BigInt(broken)] });
    expect(await a.db.outcome(String(error.details['id']))).toEqual({ state: 'not_committed' });
  });

  it('is undone by the next start where the process dies on the way, whatever deliverPolicy says', async () => {
    const { a, b, broker, dir } = await start();
    const broken = broker.append({
      subject: MEMORY_STREAM.subject,
      id: 'x.1',
      version: '1',
      chunk: undefined,
      data: Buffer.from('no JSON'),
    });
    for (const { db } of [a, b]) {
      await until(() => db.status().state === 'halted');
      await db.skip(BigInt(broken));
    }
    await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
    const origins = await a.db.prepare('SELECT origin FROM ha_origins').pluck().all();
    await a.db.close();
    SetAside.begin(a.path, new Date()).move();
    // The new file as it is before it has a position.
    outside(a.path, (db) => db.pragma('journal_mode = WAL'));
    const stream = new MemoryStream({ broker, ...MEMORY_STREAM });
    const again = memoryNode('a', dir, stream, { deliverPolicy: 'new' });
    await again.db.start();
    expect(again.log.some((line) => line.includes('A resync was not finished'))).toBe(true);
    expect(again.db.status().skipped).toEqual([BigInt(broken)]);
    expect(await again.db.prepare('SELECT origin FROM ha_origins').pluck().all()).toEqual(
      expect.arrayContaining(origins),
    );
    await b.db.waitFor(again.db.position().received);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
    // Done to its end, it holds behind a restart.
    await again.db.resync();
    await again.db.stop();
    await again.db.start();
    expect(again.log.filter((line) => line.includes('A resync was not finished'))).toHaveLength(1);
    expect(setAside(a.path).filter((name) => !/-(wal|shm)$/.test(name))).toHaveLength(1);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
  });

  it('works for a database in memory', async () => {
    const broker = new MemoryBroker();
    const stream = new MemoryStream({ broker, ...MEMORY_STREAM });
    const a = memoryNode('a', ':memory:', stream);
    await a.db.exec(`${SCHEMA}; INSERT INTO bag VALUES('x')`);
    outside(a.runtime.open?.connections.path ?? '', (db) => db.exec(`INSERT INTO bag VALUES('foreign')`));
    await a.db.resync();
    expect(await a.db.all('SELECT v FROM bag')).toEqual([{ v: 'x' }]);
    expect(a.db.status().healthy).toBe(true);
  });

  it('works while another program has the file open in the middle of a read', async () => {
    const { a, b } = await start();
    await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
    const reader = new BetterSqlite3(a.path);
    reader.exec('BEGIN');
    reader.prepare('SELECT * FROM t').all();
    await a.db.run(`INSERT INTO t VALUES(2, 'two')`);
    await a.db.resync();
    expect(reader.prepare('SELECT count(*) FROM t').pluck().get()).toBe(1);
    reader.close();
    await a.db.run(`INSERT INTO t VALUES(3, 'three')`);
    await b.db.waitFor(a.db.position().received);
    expect(dumpFile(a.path)).toEqual(dumpFile(b.path));
  });
});

it('skip works where the start itself has halted', async () => {
  const { b, broker, make } = await start();
  await b.db.close();
  const subject = MEMORY_STREAM.subject;
  const broken = broker.append({ subject, id: 'x.1', version: '1', chunk: undefined, data: Buffer.from('no JSON') });
  const { db } = make('b');
  expect((await failureOf(db.start())).code).toBe('HA_APPLY_HALTED');
  await db.skip(BigInt(broken));
  expect(db.status()).toMatchObject({ state: 'running', skipped: [BigInt(broken)] });
  expect(await db.all('SELECT * FROM bag')).toEqual([]);
});

it('a copied file raises no alarm', async () => {
  const { a, make } = await start();
  await a.db.run(`INSERT INTO t VALUES(1, 'one')`);
  await a.db.stop();
  copyFileSync(a.path, a.path.replace('a.db', 'c.db'));
  expect(existsSync(`${a.path}-wal`)).toBe(false);
  const c = make('c');
  await c.db.run(`INSERT INTO t VALUES(2, 'two')`);
  await pause(1_200);
  expect(alarms(c)).toEqual([]);
});

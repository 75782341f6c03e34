import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../../../lib/common/ha-error.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';
import { failureOf, temporaryFolder, until } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { memoryNode } from '../../helper/memory-node.js';
import type { MemoryNode } from '../../helper/memory-node.js';

interface Cluster {
  readonly dir: string;
  make(name: string, replicationID?: string): MemoryNode<MemoryStream>;
}

/** Nodes of any database on one stream. */
function cluster(): Cluster {
  const broker = new MemoryBroker();
  const dir = temporaryFolder();
  const make = (name: string, replicationID = 'db'): MemoryNode<MemoryStream> => {
    const stream = new MemoryStream({ broker, stream: 's', subject: `s.${replicationID}` });
    return memoryNode(name, dir, stream, { disableDBSnapshotter: true, replicationID });
  };
  return { dir, make };
}

function sql(path: string, text: string): void {
  const db = new BetterSqlite3(path);
  try {
    db.exec(text);
  } finally {
    db.close();
  }
}

const FIRST = `CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'first')`;

describe('files that founded a cluster once', () => {
  it.each(['one after the other', 'at once'])('are files of their own in another one: %s', async (order) => {
    const { dir, make } = cluster();
    const old = make('old', 'old');
    sql(old.path, FIRST);
    await old.db.start();
    await old.db.close();
    for (const name of ['b', 'c']) {
      copyFileSync(old.path, join(dir, `${name}.db`));
      sql(join(dir, `${name}.db`), `INSERT INTO t(v) VALUES('only ${name}')`);
    }
    const [b, c] = [make('b', 'new'), make('c', 'new')];
    const before = [b, c].map(({ path }) => dumpFile(path));
    const starts = [b, c].map(
      ({ db }) =>
        (): Promise<void> =>
          db.start(),
    );
    const ends: PromiseSettledResult<void>[] = [];
    if (order === 'at once') ends.push(...(await Promise.allSettled(starts.map((start) => start()))));
    else for (const start of starts) ends.push(...(await Promise.allSettled([start()])));
    const failed = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
    expect(failed).toEqual([expect.objectContaining({ code: 'HA_FOREIGN_DATABASE' })]);
    expect([b, c].map(({ path }) => dumpFile(path))).toEqual(before);
    const fresh = make('fresh', 'new');
    await fresh.db.start();
    expect(dumpFile(fresh.path)).toEqual(before[ends.findIndex(({ status }) => status === 'fulfilled')]);
  });
});

describe('renames that a file has met in another stream', () => {
  /** What a schema change that rebuilds a table leaves: the old name was free again behind it. */
  const REBUILD = `CREATE TABLE rebuilt(id INTEGER PRIMARY KEY, v); ALTER TABLE rebuilt RENAME TO t`;

  async function expectOwnRows(a: MemoryNode<MemoryStream>, b: MemoryNode<MemoryStream>): Promise<void> {
    await a.db.exec('CREATE TABLE rebuilt(id INTEGER PRIMARY KEY, v)');
    await a.db.run(`INSERT INTO rebuilt VALUES(7, 'of rebuilt')`);
    await b.db.waitFor(a.db.position().received);
    expect(await b.db.all('SELECT id FROM rebuilt')).toEqual([{ id: 7 }]);
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
  }

  async function renamed({ make }: Cluster, replicationID: string): Promise<MemoryNode<MemoryStream>> {
    const old = make('a', replicationID);
    for (let n = 0; n < 10; n++) await old.db.exec(`CREATE TABLE other${n}(v)`);
    for (const statement of REBUILD.split('; ')) await old.db.exec(statement);
    await old.db.close();
    const db = new BetterSqlite3(old.path, { readonly: true });
    expect(db.prepare('SELECT old_name FROM ha_renames').pluck().all()).toEqual(['rebuilt']);
    db.close();
    return old;
  }

  it('are not those of the cluster that it founds', async () => {
    const { path } = await renamed(cluster(), 'old');
    const { dir, make } = cluster();
    copyFileSync(path, join(dir, 'a.db'));
    const [early, a] = [make('early', 'new'), make('a', 'new')];
    await early.db.start();
    await a.db.start();
    await until(() => early.events.some((event) => event.type === 'snapshot') && early.db.status().state === 'running');
    await expectOwnRows(a, early);
  });

  it('are not those of a stream that was made anew', async () => {
    const { path } = await renamed(cluster(), 'db');
    const { dir, make } = cluster();
    copyFileSync(path, join(dir, 'a.db'));
    const [a, b] = [make('a'), make('b')];
    expect(await failureOf(a.db.start())).toMatchObject({ code: 'HA_STREAM_RESET' });
    await a.db.resync({ from: 'this-node' });
    await b.db.start();
    await expectOwnRows(a, b);
  });

  it('go on to count where the rows of a node are made those of all in the same stream', async () => {
    const { make } = cluster();
    const [a, b] = [make('a'), make('b')];
    await a.db.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await b.db.start();
    await a.db.exec('ALTER TABLE t RENAME TO u');
    await b.db.waitFor(a.db.position().received);
    await a.db.resync({ from: 'this-node' });
    await until(() => b.events.some((event) => event.type === 'snapshot') && b.db.status().state === 'running');
    for (const { path } of [a, b]) {
      const db = new BetterSqlite3(path, { readonly: true });
      expect(db.prepare('SELECT old_name FROM ha_renames').pluck().all()).toEqual(['t']);
      db.close();
    }
  });
});

describe('a file with rows, where nothing of the stream can be reached', () => {
  it('is not taken for one that must not found the cluster', async () => {
    const { dir } = cluster();
    const stream = new MemoryStream({ broker: new MemoryBroker(), stream: 's', subject: 's.db' });
    const a = memoryNode('a', dir, stream, { asyncPublisher: true });
    sql(a.path, FIRST);
    const open = stream.open.bind(stream);
    let failures = 2;
    stream.open = () => {
      if (failures-- > 0) return Promise.reject(new HAError('HA_STREAM_CONNECT', 'away', { retryable: true }));
      return open();
    };
    await a.db.start();
    expect(failures).toBeLessThan(0);
    expect(await a.db.all('SELECT v FROM t')).toEqual([{ v: 'first' }]);
  });
});

describe('stopping a node while it founds a cluster', () => {
  it('ends the upload, and leaves it to the next start', async () => {
    const { make } = cluster();
    const a = make('a');
    sql(a.path, `${FIRST}; INSERT INTO t SELECT 100 + value, randomblob(400000) FROM json_each('[1,2,3,4,5,6,7,8,9]')`);
    const rows = dumpFile(a.path);
    let stopping: Promise<void> | undefined;
    a.runtime.events.subscribe((event) => {
      if (event.type === 'progress') stopping ??= a.db.stop();
    });
    expect(await failureOf(a.db.start())).toMatchObject({ code: 'HA_UNAVAILABLE' });
    await stopping;
    const told = a.events.filter((event) => event.type === 'progress');
    expect(told).toHaveLength(1);
    expect(told[0]).not.toMatchObject({ percent: 100 });
    await a.db.start();
    expect(dumpFile(a.path)).toEqual(rows);
  });
});

/** Stores the message that founds the cluster, and then loses the answer. */
function losingTheAnswer({ stream }: MemoryNode<MemoryStream>): void {
  const publish = stream.publish.bind(stream);
  let isLost = false;
  stream.publish = async (message) => {
    const receipt = await publish(message);
    if (isLost) return receipt;
    isLost = true;
    throw new Error('no answer');
  };
}

describe('a founding that was interrupted behind its message', () => {
  it('is resumed, and rows that were written since are kept', async () => {
    const { make } = cluster();
    const a = make('a');
    sql(a.path, FIRST);
    losingTheAnswer(a);
    await a.db.start();
    expect(await a.db.all('SELECT * FROM t')).toEqual([{ id: 1, v: 'first' }]);
    expect(a.log.join('\n')).toMatch(/An earlier start had made the rows/);
    const kept = /the file as it was is at (\S+)\. Rows/.exec(a.log.join('\n'))?.[1] ?? '';
    expect(dumpFile(kept)).toEqual(dumpFile(a.path));
    const b = make('b');
    await b.db.start();
    expect(dumpFile(b.path)).toEqual(dumpFile(a.path));
  });

  it('is not resumed by a copy of the file', async () => {
    const { dir, make } = cluster();
    const a = make('a');
    sql(a.path, FIRST);
    const publish = a.stream.publish.bind(a.stream);
    a.stream.publish = async (message) => {
      await publish(message);
      copyFileSync(a.path, join(dir, 'b.db'));
      copyFileSync(`${a.path}-wal`, join(dir, 'b.db-wal'));
      a.stream.publish = publish;
      throw new Error('no answer');
    };
    await a.db.start();
    sql(join(dir, 'b.db'), `INSERT INTO t(v) VALUES('only b')`);
    const before = dumpFile(join(dir, 'b.db'));
    expect(await failureOf(make('b').db.start())).toMatchObject({ code: 'HA_FOREIGN_DATABASE' });
    expect(dumpFile(join(dir, 'b.db'))).toEqual(before);
  });
});

describe('another program that has the file open', () => {
  it('loses no row while the cluster is founded', async () => {
    const { make } = cluster();
    const early = make('early');
    await early.db.start();
    const a = make('a');
    sql(a.path, `PRAGMA journal_mode = WAL; ${FIRST}`);
    const other = new BetterSqlite3(a.path, { timeout: 0 });
    const insert = other.prepare(`INSERT INTO t(v) VALUES('of the other')`);
    let written = 0;
    const ends: string[] = [];
    const write = (): void => {
      try {
        insert.run();
        written++;
        ends.push('written');
      } catch (error) {
        ends.push((error as { code: string }).code);
      }
    };
    const publish = a.stream.publish.bind(a.stream);
    a.stream.publish = (message) => {
      write();
      return publish(message);
    };
    try {
      await a.db.start();
      expect(ends).toEqual(['SQLITE_BUSY']);
      // What it writes behind that is what any other program's write to the file of a node is.
      write();
      expect(await a.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 1 + written });
      await a.db.run(`INSERT INTO t(v) VALUES('of the node')`);
      await until(() => a.db.status().foreignWrite !== undefined);
    } finally {
      other.close();
    }
    expect(await a.db.get(`SELECT count(*) AS n FROM t WHERE v = 'of the other'`)).toEqual({ n: written });
  });

  it('that never ends its transaction is named', async () => {
    const { dir } = cluster();
    const stream = new MemoryStream({ broker: new MemoryBroker(), stream: 's', subject: 's.db' });
    const path = join(dir, 'a.db');
    sql(path, `PRAGMA journal_mode = WAL; ${FIRST}`);
    const other = new BetterSqlite3(path, { timeout: 0 });
    try {
      other.exec(`BEGIN IMMEDIATE; INSERT INTO t(v) VALUES('of the other')`);
      const a = memoryNode('a', dir, stream, {}, undefined, '_busy_timeout=50');
      expect(await failureOf(a.db.start())).toMatchObject({ code: 'HA_DATABASE_LOCKED' });
      other.exec('COMMIT');
      await a.db.start();
      expect(await a.db.get('SELECT count(*) AS n FROM t')).toEqual({ n: 2 });
    } finally {
      other.close();
    }
  });
});

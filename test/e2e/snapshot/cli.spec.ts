import { execFile } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  truncateSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import { compileLib } from '../../support/compile-lib.js';

let lib = '';

beforeAll(async () => {
  mkdirSync('build', { recursive: true });
  lib = resolve(mkdtempSync(join('build', 'cli-')));
  await compileLib([''], lib);
});

afterAll(() => rmSync(lib, { recursive: true, force: true }));

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function cli(...args: string[]): Promise<Result> {
  return new Promise((done) => {
    execFile(process.execPath, [join(lib, 'cli', 'main.js'), ...args], (error, out, err) =>
      done({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

describe('nestjs-ha snapshot, restore and verify', () => {
  it('bring the rows of a running application to a file, and check both', async () => {
    const cluster = await startCluster({ nodes: 1, options: { disableDBSnapshotter: true } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run('INSERT INTO t VALUES(1, randomblob(300000))');
    const query = `?replicationURL=${cluster.url}&replicationStream=${cluster.stream}&replicationID=db`;
    const dsn = `file:${cluster.node(0).path}${query}`;
    const target = join(temporaryFolder(), 'copy.db');
    expect(await cli('restore', dsn, '--to', target)).toMatchObject({
      code: 1,
      err: expect.stringContaining('There is no snapshot') as string,
    });
    const sequence = cluster.a.position().received;
    expect(await cli('snapshot', dsn)).toMatchObject({
      code: 0,
      out: expect.stringMatching(new RegExp(`Stored a snapshot of 0[.]\\d MB at sequence ${sequence}[.]`)) as string,
    });
    expect((await cli('snapshot', dsn)).out).toContain('which is as new');
    expect((await cluster.node(0).runtime.snapshotter.latest())?.sequence).toBe(sequence);
    expect(await cli('restore', dsn, '--to', target)).toMatchObject({ code: 0, err: '' });
    expect(dumpFile(target)).toEqual(cluster.dump(0));
    expect(await cli('restore', dsn)).toMatchObject({ code: 1, err: expect.stringContaining('--force') as string });
    expect(await cli('restore', dsn, '--to', target, '--force')).toMatchObject({ code: 0 });
    const { code, out } = await cli('verify', dsn);
    expect(code).toBe(0);
    expect(out).toMatch(new RegExp(`: ok, sequence ${sequence}\\nsnapshot: ok, sequence ${sequence}, .*SHA-256=`));
    truncateSync(target, 200_000);
    expect(await cli('verify', `file:${target}${query}`)).toMatchObject({ code: 1 });
    // A node that starts on it goes on from there.
    rmSync(target);
    await cli('restore', `file:${target}${query}`);
    await cluster.a.run('INSERT INTO t VALUES(2, 2)');
    const b = await cluster.add({ path: target });
    expect(existsSync(`${target}-part`)).toBe(false);
    await cluster.expectEqual();
    expect(b.events.some(({ type }) => type === 'snapshot')).toBe(false);
  });

  it('neither take what only waits, nor lose it, nor replace a file that is in use', async () => {
    const cluster = await startCluster({
      nodes: 2,
      options: { disableDBSnapshotter: true, asyncPublisher: true },
      proxy: true,
    });
    const [a, b] = [cluster.a, cluster.b];
    await b.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.settle();
    cluster.proxy.cut();
    await until(() => !a.status().connected);
    await a.run(`INSERT INTO t VALUES(1, 'waits')`);
    const query = `?replicationURL=${cluster.url}&replicationStream=${cluster.stream}&replicationID=db`;
    const dsn = `file:${cluster.node(0).path}${query}`;
    const waits = expect.stringContaining('Transactions wait in the outbox') as string;
    expect(await cli('snapshot', dsn)).toMatchObject({ code: 1, err: waits });
    await b.snapshot();
    expect(await cli('restore', dsn, '--force')).toMatchObject({
      code: 1,
      err: expect.stringContaining('already open for replication') as string,
    });
    await a.stop();
    expect(await cli('restore', dsn, '--force')).toMatchObject({ code: 1, err: waits });
    expect(readdirSync(dirname(cluster.node(0).path)).filter((name) => /-part|-cli/.test(name))).toEqual([]);
    cluster.proxy.restore();
    await a.start();
    await until(() => a.status().outbox?.size === 0);
    await cluster.settle();
    await a.stop();
    await b.snapshot();
    expect(await cli('restore', dsn, '--force')).toMatchObject({ code: 0 });
    await a.start();
    await cluster.expectEqual();
    expect(await a.all('SELECT v FROM t')).toEqual([{ v: 'waits' }]);
  });

  it('do not take what a file that was removed has left for a part of the new one', async () => {
    const cluster = await startCluster({ nodes: 1, options: { disableDBSnapshotter: true } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run(`INSERT INTO t VALUES(1, 'of the cluster')`);
    await cluster.a.snapshot();
    const target = join(temporaryFolder(), 'x.db');
    const old = new BetterSqlite3(target);
    old.exec(`PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 'old')`);
    copyFileSync(`${target}-wal`, `${target}-left`);
    old.close();
    rmSync(target);
    renameSync(`${target}-left`, `${target}-wal`);
    const query = `?replicationURL=${cluster.url}&replicationStream=${cluster.stream}&replicationID=db`;
    expect(await cli('restore', `file:${target}${query}`)).toMatchObject({ code: 0 });
    expect(dumpFile(target)).toEqual(cluster.dump(0));
  });

  it('replace a file whose process died in the middle of a transaction, and leave nothing of its journal', async () => {
    const cluster = await startCluster({ nodes: 1, options: { disableDBSnapshotter: true } });
    await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
    await cluster.a.run(`INSERT INTO t VALUES(1, 'of the cluster')`);
    await cluster.a.snapshot();
    const target = join(temporaryFolder(), 'x.db');
    const old = new BetterSqlite3(`${target}-old`);
    old.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, v);
      INSERT INTO t WITH c(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM c WHERE n < 2000) SELECT n, hex(randomblob(100)) FROM c`);
    // So few pages are kept in memory that some of the transaction are in the file.
    old.exec(`PRAGMA cache_size = 5; BEGIN; UPDATE t SET v = 'half done'`);
    for (const suffix of ['', '-journal']) copyFileSync(`${target}-old${suffix}`, target + suffix);
    old.close();
    const read = new BetterSqlite3(target, { readonly: true });
    expect(() => read.prepare('SELECT * FROM t').all()).toThrow(
      expect.objectContaining({ code: 'SQLITE_READONLY_ROLLBACK' }),
    );
    read.close();
    const query = `?replicationURL=${cluster.url}&replicationStream=${cluster.stream}&replicationID=db`;
    expect(await cli('restore', `file:${target}${query}`, '--force')).toMatchObject({ code: 0, err: '' });
    expect(existsSync(`${target}-journal`)).toBe(false);
    expect(dumpFile(target)).toEqual(cluster.dump(0));
  });

  it('say what is wrong', async () => {
    expect(await cli('verify')).toMatchObject({ code: 2, err: expect.stringContaining('Name one DSN') as string });
    expect(await cli('verify', 'file:none.db')).toMatchObject({
      code: 1,
      err: expect.stringContaining('replicationURL') as string,
    });
    expect(await cli('restore', '--help')).toMatchObject({
      code: 0,
      out: expect.stringContaining('--to FILE') as string,
    });
  });
});

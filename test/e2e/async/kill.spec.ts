import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { HAOptions } from '../../../lib/config/options.js';
import { onCleanup, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { compileLib } from '../../support/compile-lib.js';

let lib = '';

beforeAll(async () => {
  // Inside the project, so that packages are found.
  mkdirSync('build', { recursive: true });
  lib = resolve(mkdtempSync(join('build', 'kill-')));
  await compileLib([''], lib);
});

afterAll(() => rmSync(lib, { recursive: true, force: true }));

interface Writer {
  readonly answered: number[];
  kill(): Promise<void>;
}

function start(options: HAOptions & { path: string; from: number }): Writer {
  const child: ChildProcess = fork('test/e2e/async/writer-process.mjs', [lib, JSON.stringify(options)], {
    silent: true,
  });
  const answered: number[] = [];
  let errors = '';
  child.on('message', (n) => answered.push(n as number));
  child.stderr?.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = once(child, 'exit');
  void ended.then(([code]) => {
    if (code !== null) throw new Error(`The writer ended with ${code}: ${errors}`);
  });
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  onCleanup(kill);
  return { answered, kill };
}

describe('SIGKILL', () => {
  it.each(['in the database', 'in a file of its own'])('loses no write that was answered; outbox %s', async (where) => {
    const cluster: Cluster = await startCluster({ nodes: 1, proxy: false });
    await cluster.a.exec('CREATE TABLE bag(v)');
    const dir = temporaryFolder();
    const options = {
      path: join(dir, 'killed.db'),
      name: 'killed',
      replicationID: 'db',
      replicationStream: cluster.stream,
      replicationURL: cluster.url,
      asyncPublisher: true,
      ...(where === 'in the database' ? {} : { asyncPublisherOutboxDir: join(dir, 'outbox') }),
    };
    const answered: string[] = [];
    for (let round = 0; round < 4; round++) {
      const writer = start({ ...options, from: round * 1_000_000 });
      await until(() => writer.answered.length > 40);
      await pause(round * 37);
      await writer.kill();
      answered.push(...writer.answered.map((n) => `w ${n}`));
      await cluster.a.run(`INSERT INTO bag VALUES('between')`);
    }
    const { path, ...others } = options;
    const last = await cluster.add({ path, options: others });
    await until(() => last.db.status().outbox?.size === 0);
    await cluster.expectEqual();
    const rows = (await cluster.a.prepare(`SELECT v FROM bag WHERE v LIKE 'w %'`).pluck().all()) as string[];
    const stored = new Set(rows);
    expect(stored.size).toBe(rows.length);
    expect(answered.filter((v) => !stored.has(v))).toEqual([]);
  });
});

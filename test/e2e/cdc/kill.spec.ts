import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { FileCDCTarget } from '../../../lib/cdc/targets/file-target.js';
import { parseExactJson } from '../../../lib/changeset/exact-json.js';
import { registered } from '../../helper/cdc-target.js';
import { onCleanup, pause, startCluster, temporaryFolder, until } from '../../helper/cluster.js';
import { compileLib } from '../../support/compile-lib.js';

let lib = '';

beforeAll(async () => {
  // Inside the project, so that packages are found.
  mkdirSync('build', { recursive: true });
  lib = resolve(mkdtempSync(join('build', 'cdc-kill-')));
  await compileLib([''], lib);
});

afterAll(() => rmSync(lib, { recursive: true, force: true }));

/** Runs a node until it is killed. */
async function killed(options: object, writes: number, later: number): Promise<void> {
  const child = fork('test/e2e/cdc/cdc-process.mjs', [lib, JSON.stringify(options)], { silent: true });
  let answered = 0;
  let errors = '';
  child.on('message', () => answered++);
  child.stderr?.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = once(child, 'exit');
  onCleanup(() => void child.kill('SIGKILL'));
  await until(() => {
    if (child.exitCode !== null) throw new Error(`The node ended with ${child.exitCode}: ${errors}`);
    return answered >= writes;
  });
  await pause(later);
  child.kill('SIGKILL');
  await ended;
}

interface Line {
  readonly key: { readonly id: bigint };
  readonly value: {
    readonly op: string;
    readonly after: { readonly id: bigint; readonly v: unknown } | null;
    readonly source: { readonly sequence: string };
  };
}

function readLines(file: string): { lines: Line[]; torn: number } {
  const lines: Line[] = [];
  let torn = 0;
  for (const text of readFileSync(file, 'utf8').split('\n').filter(Boolean)) {
    try {
      lines.push(parseExactJson(text) as unknown as Line);
    } catch {
      torn++;
    }
  }
  return { lines, torn };
}

const compare = (a: readonly bigint[], b: readonly bigint[]): number => Number(a[0]! - b[0]! || a[1]! - b[1]!);
const placeOf = ({ value }: Line): bigint[] => (JSON.parse(value.source.sequence) as string[]).map(BigInt);

it('loses no event to SIGKILL, and tells them in order', async () => {
  const cluster = await startCluster({ nodes: 1 });
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v)');
  const dir = temporaryFolder();
  const file = join(dir, 'events.jsonl');
  const settings = { name: 'file', snapshot: 'never', includeSchemaChanges: false, maxBatchSize: 5 } as const;
  const options = {
    path: join(dir, 'killed.db'),
    name: 'killed',
    replicationID: 'db',
    replicationStream: cluster.stream,
    replicationURL: cluster.url,
  };
  const started = { ...registered(new FileCDCTarget(file), settings) };
  for (let round = 0; round < 4; round++) {
    await killed({ ...options, file, settings: started.settings }, 40, round * 23);
    await cluster.a.run('INSERT OR REPLACE INTO t VALUES(?, ?)', [round, `between ${round}`]);
  }
  const { path, ...others } = options;
  const { db } = await cluster.add({ path, options: others, cdc: [started] });
  await cluster.settle();
  const left = db.reader.prepare('SELECT count(*) FROM ha_cdc_log WHERE sequence > ?').pluck();
  await until(() => left.get(db.status().cdc?.[0]?.position) === 0);

  const { lines, torn } = readLines(file);
  expect(torn).toBeLessThanOrEqual(4);
  const rows = new Map<bigint, unknown>();
  let last: bigint[] = [0n, 0n];
  let repeats = 0;
  for (const line of lines) {
    const place = placeOf(line);
    if (compare(place, last) <= 0) {
      repeats++;
      continue;
    }
    last = place;
    if (line.value.op === 'd') rows.delete(line.key.id);
    else rows.set(line.key.id, line.value.after?.v);
  }
  expect(lines.length - repeats).toBeGreaterThan(100);
  const stored = db.reader.prepare('SELECT id, v FROM t ORDER BY id').raw().safeIntegers().all();
  expect([...rows].sort(([a], [b]) => Number(a - b))).toEqual(stored);
}, 120_000);

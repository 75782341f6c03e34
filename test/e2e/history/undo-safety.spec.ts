import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { temporaryFolder } from '../../helper/cluster.js';
import { dumpFile } from '../../helper/dump.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { listOf, pairOn, settled } from './pairs.js';

const LONG =
  'WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) INSERT INTO t SELECT x, 0 FROM n';

/** Resolves with the code of the error; everything else is none. */
async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'it went well',
    (error: Error & { code?: string }) => error.code ?? error.message,
  );
}

it('an undo whose time is over leaves nothing in the transactions of others', async () => {
  const pair = await pairOn('memory');
  const { a } = pair;
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE other(id INTEGER PRIMARY KEY)');
  await a.run(LONG);
  const { txseq } = await a.run('UPDATE t SET v = 1');
  // Wherever it is when its time is over, it must not go on.
  for (const timeout of [1, 4, 7, 10, 15]) {
    const before = a.position().received;
    expect(await codeOf(a.undo({ from: txseq as bigint, timeout }))).toBe('HA_TRANSACTION_TIMEOUT');
    await a.transaction(async (tx) => {
      await tx.run('INSERT INTO other VALUES(NULL)');
      // Time enough to compute all of it.
      await sleep(600);
    });
    const since = await listOf(a.history(undefined, { after: before }));
    expect(since.map(({ changes }) => changes.map(({ table }) => table))).toEqual([['other']]);
  }
  await settled(pair);
  expect(await a.get('SELECT sum(v) AS v FROM t')).toEqual({ v: 20_000 });
});

it('an undo on a node that lags behind knows tables that are still on their way', async () => {
  const pair = await pairOn('memory');
  const { a, b } = pair;
  for (const [table, rows] of [
    ['t', undefined],
    ['u', { u: [1] }],
  ] as const) {
    let release = (): void => undefined;
    let isHeld = (): void => undefined;
    const begun = new Promise<void>((resolve) => (isHeld = resolve));
    // Nothing is applied on b while it writes.
    const held = b.transaction(() => {
      isHeld();
      return new Promise<void>((resolve) => (release = resolve));
    });
    await begun;
    await a.exec(`CREATE TABLE ${table}(id INTEGER PRIMARY KEY, v)`);
    const { txseq } = await a.run(`INSERT INTO ${table} VALUES(1, 2)`);
    const undone = b.undo({ from: txseq as bigint, ...(rows === undefined ? {} : { rows }) });
    undone.catch(() => undefined);
    await sleep(100);
    release();
    await held;
    expect(await undone).toMatchObject({ deleted: 1 });
    await settled(pair);
    expect(await a.all(`SELECT * FROM ${table}`)).toEqual([]);
  }
});

it('copies that are written at the same time to the same place do not mix', async () => {
  const { a } = await pairOn('memory');
  await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY)');
  for (let n = 0; n < 30; n++) await a.run('INSERT INTO t VALUES(NULL)');
  const dir = temporaryFolder();
  const path = join(dir, 'copy.db');
  const wanted = [3n, 25n, 10n];
  const results = await Promise.allSettled(wanted.map((sequence) => a.restoreTo(sequence, path)));
  const written = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
  expect(written).toHaveLength(1);
  for (const error of refused) expect(error).toMatchObject({ code: 'HA_HISTORY_INVALID' });
  expect(BigInt(dumpFile(path).tables['t']?.length ?? -1)).toBe((written[0]?.sequence ?? 0n) - 1n);
  expect(readdirSync(dir)).toEqual(['copy.db']);
});

describe('what makes no sense is refused', () => {
  let a: HADatabase;
  beforeEach(async () => {
    ({ a } = await pairOn('memory'));
    await a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)');
    await a.run('UPDATE t SET v = 2');
  });

  it.each([
    [undefined, 'HA_HISTORY_INVALID'],
    [null, 'HA_HISTORY_INVALID'],
    [{ from: 2n, rows: null }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: [1] }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: new Map([['t', [1]]]) }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: 1 } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: '1' } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, rows: { t: [[]] } }, 'HA_UNDO_INVALID'],
    [{ from: 2n, timeout: -1 }, 'HA_HISTORY_INVALID'],
    [{ from: 2n, timeout: Number.NaN }, 'HA_HISTORY_INVALID'],
    [{ from: 2n, timeout: 2 ** 31 }, 'HA_HISTORY_INVALID'],
    [{ from: 2n, timeout: '5s' }, 'HA_HISTORY_INVALID'],
  ])('undo(%p) with %s', async (options, code) => {
    expect(await codeOf(a.undo(options as never))).toBe(code);
    expect(await a.all('SELECT * FROM t')).toEqual([{ id: 1, v: 2 }]);
  });

  it.each([null, { limit: '5' }, { limit: 0 }, { table: 5 }, { node: 5 }, { after: 5 }, { after: 2n ** 70n }])(
    'history(undefined, %p)',
    async (options) => {
      expect(await codeOf(listOf(a.history(undefined, options as never)))).toBe('HA_HISTORY_INVALID');
    },
  );
});

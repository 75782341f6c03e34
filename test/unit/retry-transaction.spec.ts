import { jest } from '@jest/globals';
import { HAError } from '../../lib/common/ha-error.js';
import { retryTransaction } from '../../lib/common/retry-transaction.js';
import { LazyQuery } from '../helper/lazy-query.js';

const conflict = (): HAError => new HAError('HA_CONFLICT', 'Others came first.', { retryable: true });
/** As an ORM wraps it. */
const wrapped = (): Error => new Error('COMMIT failed', { cause: conflict() });
const QUICK = { minTimeout: 0, maxTimeout: 0 };

/** Fails so many times before it succeeds. */
function failing(
  times: number,
  failure: () => Error = wrapped,
): { runs: number[]; work: (n: number) => Promise<string> } {
  const runs: number[] = [];
  const work = async (attempt: number): Promise<string> => {
    runs.push(attempt);
    if (runs.length <= times) throw failure();
    return 'done';
  };
  return { runs, work };
}

afterEach(() => jest.restoreAllMocks());

it('runs again as long as others came first, and says which run it is', async () => {
  const { runs, work } = failing(3);
  expect(await retryTransaction(work, QUICK)).toBe('done');
  expect(runs).toEqual([1, 2, 3, 4]);
});

it('fails with what the last run failed with, and has 20 more than the first by default', async () => {
  for (const [options, expected] of [
    [{}, 21],
    [{ retries: 2 }, 3],
    [{ retries: 0 }, 1],
  ] as const) {
    const last = new Error('last', { cause: conflict() });
    const { runs, work } = failing(expected, () => (runs.length === expected ? last : wrapped()));
    expect(await retryTransaction(work, { ...QUICK, ...options }).catch((error: unknown) => error)).toBe(last);
    expect(runs).toHaveLength(expected);
  }
});

it('lets every other failure through at once', async () => {
  for (const failure of [new Error('no'), new HAError('HA_PUBLISH_UNKNOWN', 'Who knows.'), new TypeError('x')]) {
    const { runs, work } = failing(9, () => failure);
    expect(await retryTransaction(work, QUICK).catch((error: unknown) => error)).toBe(failure);
    expect(runs).toEqual([1]);
  }
});

it('awaits what begins where it is awaited', async () => {
  const { runs, work } = failing(1);
  expect(await retryTransaction((attempt) => new LazyQuery(() => work(attempt)), QUICK)).toBe('done');
  expect(runs).toEqual([1, 2]);
});

it('pauses by chance: not at all where chance says so, however long a pause may be', async () => {
  const random = jest.spyOn(Math, 'random').mockReturnValue(0);
  const { runs, work } = failing(4);
  await retryTransaction(work, { minTimeout: 3_600_000, maxTimeout: 7_200_000 });
  expect(runs).toHaveLength(5);
  expect(random).toHaveBeenCalledTimes(4);
});

it('ends where the signal says so, also in a pause', async () => {
  jest.spyOn(Math, 'random').mockReturnValue(1);
  const control = new AbortController();
  const gone = new Error('The client has gone.');
  const { runs, work } = failing(9);
  const retrying = retryTransaction(
    (attempt) => {
      setImmediate(() => control.abort(gone));
      return work(attempt);
    },
    { minTimeout: 3_600_000, maxTimeout: 3_600_000, signal: control.signal },
  );
  expect(await retrying.catch((error: unknown) => error)).toBe(gone);
  expect(runs).toEqual([1]);
  const late = retryTransaction(work, { signal: control.signal });
  expect(await late.catch((error: unknown) => error)).toBe(gone);
  expect(runs).toEqual([1]);
});

it('refuses numbers that are none', async () => {
  const { runs, work } = failing(0);
  for (const options of [{ retries: -1 }, { retries: Number.NaN }, { minTimeout: -5 }, { maxTimeout: 'x' as never }]) {
    await expect(retryTransaction(work, options)).rejects.toMatchObject({ code: 'HA_OPTIONS_INVALID' });
  }
  expect(runs).toEqual([]);
});

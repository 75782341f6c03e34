import type { HAChange } from '../../../lib/changeset/row-changes.js';
import { ChangeHandler } from '../../../lib/listeners/change-handler.js';
import { collect, until } from '../../helper/cluster.js';

const ANY = { connection: 'default', table: undefined, operations: undefined };

const change = (sequence: number, table = 't'): HAChange => ({
  table,
  operation: 'insert',
  before: null,
  after: { v: sequence },
  sequence: BigInt(sequence),
  node: 'a',
});

it('leaves out what comes while ten thousand changes wait, and says how many', async () => {
  const log: string[] = [];
  const got: number[] = [];
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const handler = new ChangeHandler(
    'Slow.handle',
    [ANY],
    ({ sequence }) => (got.push(Number(sequence)), gate),
    collect(log),
  );
  for (let n = 1; n <= 10_101; n++) handler.take(change(n));
  expect(got).toEqual([1]);
  go();
  await until(() => log.length > 0);
  // One is being handled, ten thousand wait.
  expect(got).toHaveLength(10_001);
  expect(got.at(-1)).toBe(10_001);
  expect(log).toEqual([expect.stringMatching(/^Slow\.handle was not told of 100 changes: .* 10000 were waiting/)]);
  handler.take(change(20_000));
  await until(() => got.at(-1) === 20_000);
  expect(log).toHaveLength(1);
});

it('calls a method once for a change that two of its listeners ask for', async () => {
  const got: string[] = [];
  const listeners = [ANY, { ...ANY, table: 't', operations: ['insert', 'delete'] }];
  const handler = new ChangeHandler('Both.handle', listeners, ({ table }) => got.push(table), collect([]));
  handler.take(change(1, 'T'));
  handler.take(change(2, 'u'));
  await until(() => got.length >= 2);
  expect(got).toEqual(['T', 'u']);
});

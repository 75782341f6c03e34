import { decodeChangeSet } from '../../lib/changeset/codec.js';
import { expectRows, marked, scenario, states } from './scenario.js';
import type { World } from './world.js';

describe('an undo of a transaction that did not see an own one in front of it, whose answer was lost', () => {
  const T = ['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'CREATE UNIQUE INDEX i ON t(v)', 'INSERT INTO t VALUES(1, 0)'];

  it.each<[string, string, string]>([
    ['wrote over with an INSERT', 'INSERT INTO t VALUES(2, 1)', 'INSERT INTO t VALUES(2, 2), (3, 3)'],
    ['updated', 'UPDATE t SET v = 1 WHERE k = 1', 'UPDATE t SET v = 2 WHERE k = 1'],
    ['deleted', 'UPDATE t SET v = 1 WHERE k = 1', 'DELETE FROM t WHERE k = 1'],
    ['took away by a unique index', 'INSERT INTO t VALUES(2, 9)', 'INSERT INTO t VALUES(3, 9)'],
  ])('brings back the row that it %s', (_what, lost, later) =>
    scenario(T, async (world) => {
      const { stream } = world.node(1);
      stream.loseAcks(Number.POSITIVE_INFINITY);
      const first = await world.answered(marked(world, 1, 'mark-1-', lost));
      stream.loseAcks(0);
      const second = marked(world, 1, 'mark-2-', later);
      await world.calm();
      await world.settle();
      expect(states([first, second])).toEqual(['HA_PUBLISH_UNKNOWN', 'resolved']);
      // The rows of before are compared with the fold at the end.
      world.undo(0, 0, 'all', false);
      await expectRows(world, 'SELECT mark FROM marks', ['mark-1-']);
      expect(states(world.undos.map(({ write }) => write))).toEqual(['resolved']);
    }),
  );
});

/** What messages say of how many in front of theirs were seen, by their mark. */
function behindOf(world: World): Record<string, number> {
  const entries: [string, number][] = [];
  for (let at = 1; at <= world.log.state().lastSequence; at++) {
    const text = Buffer.from(world.log.at(at)?.data ?? '').toString('utf8');
    const [mark] = /mark-\d+-/.exec(text) ?? [];
    if (mark !== undefined) entries.push([mark, decodeChangeSet(text).behind ?? 0]);
  }
  return Object.fromEntries(entries);
}

describe('a transaction says which own ones it was run behind, with asynchronous publishing', () => {
  const ASYNC = { asyncNodes: [true, false], generatedIds: 'overwrite' } as const;
  const T = ['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 0)'];
  const update = (world: World, n: number): unknown =>
    marked(world, 0, `mark-${n}-`, `UPDATE t SET v = ${n} WHERE k = 1`);

  it('those that are on their way, also of other groups', () =>
    scenario(
      T,
      async (world) => {
        world.node(0).stream.disconnect();
        for (const n of [1, 2, 3]) {
          update(world, n);
          if (n > 1) await world.calm();
        }
        await world.settle();
        update(world, 4);
        await world.settle();
        expect(behindOf(world)).toEqual({ 'mark-1-': 0, 'mark-2-': 1, 'mark-3-': 2, 'mark-4-': 0 });
        world.undo(1, 1, 'all', false);
        await expectRows(world, 'SELECT v FROM t', ['2']);
      },
      ASYNC,
    ));

  it('all of this start, where some of an earlier one are on their way', () =>
    scenario(
      T,
      async (world) => {
        world.node(0).stream.disconnect();
        update(world, 1);
        await world.calm();
        world.kill(0);
        world.node(0).stream.dropNext(Number.POSITIVE_INFINITY);
        await world.scheduler.until(world.node(0).ready);
        for (const n of [2, 3]) update(world, n);
        await world.calm();
        world.node(0).stream.dropNext(0);
        await world.settle();
        expect(behindOf(world)).toEqual({ 'mark-1-': 0, 'mark-2-': 0, 'mark-3-': 1 });
        world.undo(1, 0, 'all', false);
        await expectRows(world, 'SELECT v FROM t', ['2']);
      },
      ASYNC,
    ));
});

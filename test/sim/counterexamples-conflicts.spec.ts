import { expectRows, scenario, states } from './scenario.js';
import type { World } from './world.js';

const T = 'CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)';
/** No change names what REPLACE takes away. */
const SILENT = { recursiveTriggers: false };

const told = (world: World): unknown[] => world.nodes.map(({ conflicts }) => conflicts);
const onEveryNode = (...conflicts: unknown[]): unknown[] => [0, 1].map(() => conflicts);

/** A node writes twice, before it has what others wrote, and its first transaction is lost. */
async function loseFirst(world: World, first: string, second: string): Promise<void> {
  world.node(0).planPublishes(['dropNext']);
  const writes = [world.exec(0, first), world.exec(0, second)];
  await world.calm();
  await world.settle();
  expect(states(writes)).toEqual(['HA_PUBLISH_FAILED', 'resolved']);
}

describe('conflicts by rows that gave way to a unique index', () => {
  it.each(['pk', 'rowid'] as const)(
    'are told where the old image was never stored, for an own change in front was lost: %s',
    (rowIdentify) =>
      scenario(
        [T],
        async (world) => {
          world.exec(0, `INSERT INTO t VALUES(2, 'two', 3)`);
          await world.settle();
          world.exec(1, `INSERT OR REPLACE INTO t VALUES(1, 'two', 0)`);
          await world.calm();
          await loseFirst(world, 'UPDATE t SET v = v + 1', 'UPDATE t SET u = NULL WHERE id = 2');
          await expectRows(world, 'SELECT id, u, v FROM t ORDER BY id', ['1|two|0', '2|null|4']);
          expect(told(world)).toMatchObject(
            onEveryNode({ key: { id: 2n }, operation: 'UPDATE', lost: undefined, loser: { node: 'n1' } }),
          );
        },
        { ...SILENT, rowIdentify },
      ),
  );

  it('are none where the row was gone before, and only an own transaction that was lost made it again', () =>
    scenario(
      [T],
      async (world) => {
        world.exec(0, `INSERT INTO t VALUES(2, 'two', 0)`);
        await world.settle();
        world.exec(1, `INSERT OR REPLACE INTO t VALUES(1, 'two', 0)`);
        await world.settle();
        world.exec(1, 'UPDATE t SET v = 1 WHERE id = 1');
        await world.calm();
        await loseFirst(world, `INSERT OR REPLACE INTO t VALUES(2, 'two', 0)`, `UPDATE t SET u = 'new' WHERE id = 2`);
        await expectRows(world, 'SELECT id, u, v FROM t ORDER BY id', ['1|two|1', '2|new|0']);
        expect(told(world)).toEqual(onEveryNode());
      },
      SILENT,
    ));

  it('are told where a foreign key changed the row once more: that is logged in front, with an image that was never stored', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, p REFERENCES t(u) ON UPDATE CASCADE)'],
      async (world) => {
        world.exec(0, `INSERT INTO t VALUES(2, 'two', 'two')`);
        await world.settle();
        world.exec(1, `INSERT OR REPLACE INTO t VALUES(1, 'two', NULL)`);
        await world.calm();
        world.exec(0, `UPDATE t SET u = 'new' WHERE id = 2`);
        await world.calm();
        await expectRows(world, 'SELECT id, u FROM t ORDER BY id', ['1|two', '2|new']);
        expect(told(world)).toMatchObject(
          onEveryNode({ key: { id: 2n }, operation: 'UPDATE', lost: undefined, loser: { node: 'n1' } }),
        );
      },
      { ...SILENT, foreignKeys: true },
    ));
});

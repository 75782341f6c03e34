import { expectRows, scenario, states } from './scenario.js';
import type { Write } from './world.js';
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

/** A node writes, and gets no answer although it is stored: it goes on without it. */
async function loseAnswer(world: World, sql: string): Promise<Write> {
  world.node(0).stream.loseAcks(Number.POSITIVE_INFINITY);
  const write = await world.answered(world.exec(0, sql));
  world.node(0).stream.loseAcks(0);
  expect(states([write])).toEqual(['HA_PUBLISH_UNKNOWN']);
  return write;
}

describe('conflicts with an own write whose answer was lost', () => {
  const FILL = `INSERT INTO t VALUES(1, 'a', 0), (2, 'b', 0)`;
  const start = async (world: World, ...others: string[]): Promise<void> => {
    world.exec(0, FILL);
    await world.settle();
    for (const sql of others) world.exec(1, sql);
    await world.calm();
  };

  it.each<[string, string[], string, string, string[], object[]]>([
    [
      'somebody else wrote the same values in front of it',
      ['UPDATE t SET v = 2 WHERE id = 1'],
      'UPDATE t SET v = 2 WHERE id = 1',
      'UPDATE t SET v = 5 WHERE id = 1',
      ['1|a|5', '2|b|0'],
      [{ key: { id: 1n }, lost: { id: 1n, u: 'a', v: 2n }, winner: { node: 'n0' }, loser: { node: 'n0' } }],
    ],
    [
      'it overwrote what somebody else wrote, and is overwritten',
      ['UPDATE t SET v = 2 WHERE id = 1'],
      'UPDATE t SET v = 1 WHERE id = 1',
      'UPDATE t SET v = 5 WHERE id = 1',
      ['1|a|5', '2|b|0'],
      [
        { key: { id: 1n }, lost: { v: 2n }, winner: { node: 'n0' }, loser: { node: 'n1' } },
        { key: { id: 1n }, lost: { v: 1n }, winner: { node: 'n0' }, loser: { node: 'n0' } },
      ],
    ],
    [
      'it deleted a row that is brought back',
      ['UPDATE t SET v = 2 WHERE id = 2'],
      'DELETE FROM t WHERE id = 1',
      'UPDATE t SET v = 5 WHERE id = 1',
      ['1|a|5', '2|b|2'],
      [{ key: { id: 1n }, operation: 'UPDATE', lost: undefined, loser: { node: 'n0' } }],
    ],
    [
      'nobody else wrote',
      [],
      `UPDATE t SET u = 'x' WHERE id = 2`,
      `UPDATE t SET u = 'x' WHERE id = 1`,
      ['1|x|0'],
      [{ key: { id: 2n }, operation: 'UPDATE', lost: { id: 2n, u: 'x', v: 0n }, loser: { node: 'n0' } }],
    ],
  ])('are told where the next one overwrites it unseen: %s', (_name, others, first, second, rows, conflicts) =>
    scenario([T], async (world) => {
      await start(world, ...others);
      await loseAnswer(world, first);
      const write = world.exec(0, second);
      await world.calm();
      await world.settle();
      expect(states([write])).toEqual(['resolved']);
      await expectRows(world, 'SELECT id, u, v FROM t ORDER BY id', rows);
      expect(told(world)).toMatchObject(onEveryNode(...conflicts));
    }),
  );

  it('are none where the next one ran behind it', () =>
    scenario([T], async (world) => {
      await start(world, 'UPDATE t SET v = 2 WHERE id = 2');
      world.node(0).planPublishes(['loseAcks', 'ok']);
      const writes = [1, 5].map((v) => world.exec(0, `UPDATE t SET v = ${v} WHERE id = 1`));
      await world.settle();
      expect(states(writes)).toEqual(['resolved', 'resolved']);
      await expectRows(world, 'SELECT id, u, v FROM t ORDER BY id', ['1|a|5', '2|b|2']);
      expect(told(world)).toEqual(onEveryNode());
    }));

  it('are none where it was applied before the next one', () =>
    scenario([T], async (world) => {
      await start(world);
      await loseAnswer(world, 'UPDATE t SET v = 1 WHERE id = 1');
      await world.settle();
      world.exec(0, 'UPDATE t SET v = 5 WHERE id = 1');
      await world.settle();
      expect(told(world)).toEqual(onEveryNode());
    }));
});

import { BAG, expectRows, meet, rows, scenario } from './scenario.js';
import type { World } from './world.js';

const ASYNC = { asyncNodes: [true, false], generatedIds: 'overwrite', recursiveTriggers: false } as const;

/** Node 0 writes transactions that do not reach the stream yet. */
async function hold(world: World, ...transactions: string[]): Promise<void> {
  world.node(0).stream.disconnect();
  for (const sql of transactions) world.exec(0, sql);
  await world.calm();
  for (const { state, error } of world.writes)
    expect({ state, error }).toEqual({ state: 'resolved', error: undefined });
}

/** Node 0 dies, and comes again; what it sends reaches nobody. */
async function restart(world: World): Promise<void> {
  world.kill(0);
  world.node(0).stream.dropNext(Number.POSITIVE_INFINITY);
  await world.scheduler.until(world.node(0).ready);
}

const inFlight = (world: World): number | undefined => world.node(0).db.status().outbox?.size;

describe('transactions in flight, one test for each rule of the overlay', () => {
  it('are undone, for applying a keyless row again would double it', () =>
    scenario(
      [BAG],
      async (world) => {
        await hold(world, `INSERT INTO bag VALUES('y')`);
        await meet(world, `INSERT INTO bag VALUES('x')`);
        expect(rows(world, 0, 'SELECT rowid, x FROM bag')).toEqual(['1|x', '2|y']);
        expect(inFlight(world)).toBe(1);
        await expectRows(world, 'SELECT x FROM bag', ['x', 'y']);
        expect(inFlight(world)).toBe(0);
      },
      ASYNC,
    ));

  it('are applied at their place where changes of them were left out, for that has to be told there', () =>
    scenario(
      [BAG],
      async (world) => {
        await hold(world, `INSERT INTO bag VALUES('y')`);
        await meet(world, 'DROP TABLE bag');
        expect(inFlight(world)).toBe(1);
        expect(world.node(0).skipped).toEqual([]);
        await world.settle();
        const [own, other] = [world.node(0).skipped, world.node(1).skipped];
        expect(own).toEqual([expect.objectContaining({ node: 'n0', target: 'bag' })]);
        expect(own).toEqual(other);
      },
      ASYNC,
    ));

  it('pop only before any remote message was applied', () =>
    scenario(
      ['CREATE TABLE t(k PRIMARY KEY, v)'],
      async (world) => {
        await hold(world, `INSERT INTO t VALUES('k', 'n0')`);
        world.exec(1, `INSERT INTO t VALUES('k', 'n1')`);
        await world.finish(1);
        // Both messages come in one batch.
        void world.node(0).stream.connect();
        await world.calm();
        await world.deliver(0);
        await expectRows(world, 'SELECT k, v FROM t', ['k|n0']);
      },
      ASYNC,
    ));

  it('undo = effects of the last redo', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)', 'INSERT INTO t VALUES(1, 1)', BAG],
      async (world) => {
        await hold(world, 'UPDATE t SET u = 2 WHERE id = 1');
        await meet(world, 'INSERT OR REPLACE INTO t VALUES(2, 1)');
        expect(rows(world, 0, 'SELECT * FROM t')).toEqual(['1|2', '2|1']);
        await meet(world, 'INSERT INTO t VALUES(9, 9)');
        await expectRows(world, 'SELECT * FROM t', ['1|2', '2|1', '9|9']);
      },
      ASYNC,
    ));

  it('undo survives a restart, that of the last redo too', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)', 'INSERT INTO t VALUES(1, 1)', BAG],
      async (world) => {
        await hold(world, 'UPDATE t SET u = 2 WHERE id = 1', `INSERT INTO bag VALUES('x')`);
        await meet(world, 'INSERT OR REPLACE INTO t VALUES(2, 1)');
        await restart(world);
        expect(inFlight(world)).toBe(2);
        world.exec(1, 'INSERT INTO t VALUES(9, 9)', `INSERT INTO bag VALUES('y')`);
        await expectRows(world, 'SELECT * FROM t', ['1|2', '2|1', '9|9']);
        expect(rows(world, 1, 'SELECT x FROM bag')).toEqual(['y', 'x']);
      },
      ASYNC,
    ));

  it('undo before DDL, all tables', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', BAG],
      async (world) => {
        await hold(world, `INSERT INTO t VALUES(1, 'same'), (2, 'same')`, `INSERT INTO bag VALUES('x')`);
        await meet(world, 'CREATE UNIQUE INDEX u ON t(v)', 'ALTER TABLE bag ADD COLUMN w DEFAULT 7');
        await expectRows(world, 'SELECT id, v FROM t', ['2|same']);
        expect(rows(world, 0, 'SELECT * FROM bag')).toEqual(['x|7']);
      },
      ASYNC,
    ));

  it('follow what others rename', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 1)'],
      async (world) => {
        await hold(world, 'UPDATE t SET v = 2 WHERE id = 1');
        await meet(world, 'ALTER TABLE t RENAME TO t2; ALTER TABLE t2 RENAME COLUMN v TO w');
        await meet(world, 'INSERT INTO t2 VALUES(2, 2)');
        await expectRows(world, 'SELECT id, w FROM t2', ['1|2', '2|2']);
      },
      ASYNC,
    ));

  it('undo must not raise sequences', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)', 'INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)'],
      async (world) => {
        world.exec(0, 'UPDATE sqlite_sequence SET seq = 0', 'DELETE FROM t WHERE id = 3');
        await world.settle();
        await hold(world, 'DELETE FROM t WHERE id = 2');
        await meet(world, 'UPDATE t SET v = 7 WHERE id = 1');
        await meet(world, 'UPDATE t SET v = 8 WHERE id = 1');
        await expectRows(world, `SELECT seq FROM sqlite_sequence WHERE name = 't'`, ['1']);
      },
      ASYNC,
    ));

  it('undo stored after canonicalising too', () =>
    scenario(
      ['CREATE TABLE t(w UNIQUE, v)', `INSERT INTO t VALUES(1, 'old')`],
      async (world) => {
        await hold(world, `INSERT OR REPLACE INTO t VALUES(1, 'new')`);
        await restart(world);
        await meet(world, `UPDATE t SET w = 2 WHERE v = 'old'`);
        await expectRows(world, 'SELECT * FROM t', ['2|old', '1|new']);
      },
      ASYNC,
    ));

  it('bring back a keyed row that REPLACE killed without a trigger to tell', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, u)', 'CREATE UNIQUE INDEX x ON t(u)', 'INSERT INTO t VALUES(1, 1)'],
      async (world) => {
        await hold(world, 'REPLACE INTO t VALUES(2, 1)');
        expect(rows(world, 0, 'SELECT * FROM t')).toEqual(['2|1']);
        // At its place in the stream it kills nothing.
        await meet(world, 'DROP INDEX x');
        await expectRows(world, 'SELECT * FROM t', ['1|1', '2|1']);
      },
      ASYNC,
    ));

  it('stay where they are under messages that touch other tables only', () =>
    scenario(
      [BAG, 'CREATE TABLE other(x)'],
      async (world) => {
        await hold(world, `INSERT INTO bag VALUES('x')`);
        await meet(world, `INSERT INTO other VALUES(1)`);
        expect(world.node(0).db.reader.prepare('SELECT count(*) FROM ha_undo').pluck().get()).toBe(0);
        await expectRows(world, 'SELECT x FROM bag', ['x']);
      },
      ASYNC,
    ));

  it('do not take a trigger of theirs twice', () =>
    scenario(
      [BAG, 'CREATE TABLE audit(x)', 'CREATE TRIGGER g AFTER INSERT ON bag BEGIN INSERT INTO audit VALUES(new.x); END'],
      async (world) => {
        await hold(world, `INSERT INTO bag VALUES('x')`);
        await meet(world, `INSERT INTO audit VALUES('other')`);
        await expectRows(world, 'SELECT x FROM audit', ['other', 'x']);
      },
      ASYNC,
    ));

  it('wait with the schema until they have met their place', () =>
    scenario(
      [BAG],
      async (world) => {
        await hold(world, `INSERT INTO bag VALUES('x')`);
        const ddl = world.exec(0, 'ALTER TABLE bag ADD COLUMN y DEFAULT 1');
        const plain = world.exec(0, `INSERT INTO bag(x) VALUES('z')`);
        await world.answered(plain);
        expect(ddl.state).toBe('pending');
        await world.answered(ddl);
        expect(ddl.error?.code).toBe('HA_UNAVAILABLE');
        await world.settle();
        const again = world.exec(0, 'ALTER TABLE bag ADD COLUMN y DEFAULT 1');
        await expectRows(world, 'SELECT x, y FROM bag', ['x|1', 'z|1']);
        expect(again.state).toBe('resolved');
      },
      ASYNC,
    ));

  it('are published once, although their acknowledgements are lost and the duplicate window is over', () =>
    scenario(
      [BAG],
      async (world) => {
        world.node(0).stream.loseAcks(3);
        for (const x of [1, 2, 3]) world.exec(0, `INSERT INTO bag VALUES(${x})`);
        await world.calm();
        world.broker.forgetIds();
        world.kill(0);
        await expectRows(world, 'SELECT x FROM bag', ['1', '2', '3']);
        const { lastSequence } = world.log.state();
        const texts = Array.from({ length: lastSequence }, (_value, index) => world.log.at(index + 1)?.data.toString());
        expect(texts.filter((text) => text?.includes('"table":"bag"'))).toHaveLength(3);
      },
      ASYNC,
    ));

  it('are cut for the messages that the stream takes, although it is away', () =>
    scenario(
      [BAG],
      async (world) => {
        world.kill(0, true);
        await world.scheduler.until(world.node(0).ready);
        world.exec(
          0,
          `INSERT INTO bag VALUES${Array.from({ length: 200 }, (_value, i) => `('value ${i}')`).join(', ')}`,
        );
        await expectRows(world, 'SELECT count(*) FROM bag', ['200']);
      },
      { ...ASYNC, maxPayload: 3_000 },
    ));
});

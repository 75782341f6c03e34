import { markSql } from './check.js';
import { BAG, expectRows, marked, rows, scenario, states } from './scenario.js';
import type { Write, World } from './world.js';

describe('messages that come twice, late, or not at all', () => {
  const T = ['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 0)'];

  it('dedupe by id: does not revert a write by a late duplicate of the one before', () =>
    scenario(T, async (world) => {
      world.exec(0, 'UPDATE t SET v = 1 WHERE k = 1');
      await world.settle();
      world.exec(0, 'UPDATE t SET v = 2 WHERE k = 1');
      await world.settle();
      world.broker.forgetIds();
      world.broker.republish(world.log.state().lastSequence - 1);
      await expectRows(world, 'SELECT v FROM t', ['2']);
    }));

  it('still drops a duplicate behind a restart', () =>
    scenario([BAG], async (world) => {
      world.exec(0, `INSERT INTO bag VALUES('x')`);
      await world.settle();
      world.kill(0);
      world.kill(1);
      world.broker.forgetIds();
      world.broker.republish(world.log.state().lastSequence);
      await expectRows(world, 'SELECT x FROM bag', ['x']);
    }));

  it('acknowledges a write whose acknowledgement was lost, and stores it once', () =>
    scenario(T, async (world) => {
      world.node(1).stream.loseAcks(1);
      const write = marked(world, 1, 'mark-1-', 'UPDATE t SET v = v + 1');
      await world.calm();
      await world.settle();
      expect(write.state).toBe('resolved');
      await expectRows(world, 'SELECT v FROM t', ['1']);
    }));

  it('stores nothing where every attempt was lost', () =>
    scenario(T, async (world) => {
      world.node(1).stream.disconnect();
      const write = marked(world, 1, 'mark-1-', 'UPDATE t SET v = 9');
      await world.answered(write);
      expect(states([write])).toEqual(['HA_PUBLISH_FAILED']);
      await expectRows(world, 'SELECT v FROM t', ['0']);
    }));

  it('does not publish a message again whose successor was stored', () =>
    scenario(T, async (world) => {
      world.node(1).stream.dropNext(1);
      const first = marked(world, 1, 'mark-1-', 'UPDATE t SET v = 1');
      const second = marked(world, 1, 'mark-2-', 'UPDATE t SET v = 2');
      await world.calm();
      await world.settle();
      expect(states([first, second])).toEqual(['HA_PUBLISH_FAILED', 'resolved']);
      await expectRows(world, 'SELECT v FROM t', ['2']);
    }));
});

describe('a node that stops while its writes are under way', () => {
  it('does not say that nothing was written where an acknowledgement was lost', () =>
    scenario([BAG], async (world) => {
      world.node(1).stream.loseAcks(1);
      const first = marked(world, 1, 'mark-1-', `INSERT INTO bag VALUES('x')`);
      const second = marked(world, 1, 'mark-2-', `INSERT INTO bag VALUES('y')`);
      world.node(1).restart();
      await world.answered(first);
      await world.answered(second);
      await world.settle();
      expect(states([first, second])).toEqual(['HA_PUBLISH_UNKNOWN', 'resolved']);
      await expectRows(world, 'SELECT count(*) FROM bag', ['2']);
    }));
});

describe('a message that is stored twice, for its acknowledgement was lost', () => {
  it('does not hide what others stored in between', () =>
    scenario(['CREATE TABLE t(k INTEGER PRIMARY KEY, v)'], async (world) => {
      world.node(1).stream.loseAcks(1);
      const write = marked(world, 1, 'mark-1-', 'INSERT INTO t VALUES(1, 1)');
      await world.calm();
      await world.deliver(0);
      world.exec(0, 'INSERT INTO t VALUES(2, 2)');
      await world.calm();
      world.broker.forgetIds();
      void world.node(1).stream.deliver(1);
      while (world.log.state().lastSequence < 4) await world.scheduler.run(1);
      await world.calm();
      world.check(1);
      await world.settle();
      expect(states([write])).toEqual(['resolved']);
      await expectRows(world, 'SELECT k FROM t', ['1', '2']);
    }));
});

describe('ordered transactions', () => {
  const T = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';

  it('gives concurrent inserts without id an id each', () =>
    scenario([T], async (world) => {
      for (let index = 0; index < 6; index++) world.exec(index, `INSERT INTO t(v) VALUES(${index})`);
      await world.settle();
      expect(states(world.writes)).toEqual(world.writes.map(() => 'resolved'));
      await expectRows(world, 'SELECT count(*), max(id) FROM t', ['6|6']);
    }));

  it('never chained by predicted sequence: stores no tail without its middle where a chain is refused', () =>
    scenario([T], async (world) => {
      const serial = (id: number): Write =>
        world.write(
          1,
          ({ db }) =>
            db.transaction(
              async (tx) => {
                await tx.run(markSql(`mark-${id}-`));
                const last = await tx.get<{ n: number }>('SELECT coalesce(max(v), 0) AS n FROM t');
                await tx.run('INSERT INTO t VALUES(?, ?)', [id, (last?.n ?? 0) + 1]);
              },
              { serializable: true },
            ),
          `mark-${id}-`,
        );
      serial(10);
      await world.settle();
      [11, 12, 13, 14].map(serial);
      // The group is on its way: one of its messages is refused, and with it all behind.
      await world.scheduler.run(1, false);
      world.node(1).stream.refuseNext(1);
      world.exec(0, 'INSERT INTO t VALUES(99, 50)');
      await world.calm();
      await expectRows(world, 'SELECT count(DISTINCT v) = count(*) FROM t', ['1']);
      expect(states(world.writes)).toEqual(world.writes.map(() => 'resolved'));
    }));

  it('catches up before it runs again: recognises a retry that is refused although it is stored', () =>
    scenario([T], async (world) => {
      world.node(1).stream.loseAcks(1);
      const write = marked(world, 1, 'mark-1-', `INSERT INTO t(v) VALUES('once')`);
      await world.calm();
      await world.settle();
      expect(states([write])).toEqual(['resolved']);
      await expectRows(world, 'SELECT id, v FROM t', ['1|once']);
    }));

  it('answers a write whose acknowledgement was lost with its own sequence, though others wrote behind it', () =>
    scenario([T], async (world) => {
      world.node(1).stream.loseAcks(1);
      const write = world.write(1, ({ db }) => db.run(`INSERT INTO t(v) VALUES('once')`));
      await world.calm();
      const { lastSequence } = world.log.state();
      world.exec(0, 'INSERT INTO t VALUES(50, 50)');
      await world.calm();
      expect(world.log.state().lastSequence).toBe(lastSequence + 1);
      await world.settle();
      expect(write.sequence).toBe(BigInt(lastSequence));
    }));

  it('says that it does not know where such a retry cannot be told in time', () =>
    scenario([T], async (world) => {
      world.node(1).stream.loseAcks(1);
      const write = marked(world, 1, 'mark-1-', `INSERT INTO t(v) VALUES('once')`);
      // Nothing is delivered: the stream holds the message, and this node never sees it.
      await world.answered(write);
      expect(states([write])).toEqual(['HA_PUBLISH_UNKNOWN']);
      await expectRows(world, 'SELECT id, v FROM t', ['1|once']);
    }));

  it('says that nothing was written where others came first and their messages do not arrive', () =>
    scenario([T], async (world) => {
      await world.answered(world.exec(0, 'INSERT INTO t VALUES(5, 5)'));
      const write = marked(world, 1, 'mark-1-', `INSERT INTO t(v) VALUES('never')`);
      await world.answered(write);
      expect(states([write])).toEqual(['HA_PUBLISH_FAILED']);
      await expectRows(world, 'SELECT id FROM t', ['5']);
    }));

  it.each([1, 3])('keeps every row that others insert while a table is rebuilt, on %d replica(s)', (replicas) =>
    scenario(
      [T],
      async (world) => {
        world.exec(0, `INSERT INTO t VALUES(7, 'concurrent')`);
        world.exec(
          1,
          'CREATE TABLE new_t(id INTEGER PRIMARY KEY, v, w DEFAULT 1)',
          'INSERT INTO new_t(id, v) SELECT id, v FROM t',
          'DROP TABLE t',
          'ALTER TABLE new_t RENAME TO t',
        );
        await world.settle();
        world.exec(0, `INSERT INTO t(id, v) VALUES(8, 'behind')`);
        await expectRows(world, 'SELECT id, v, w FROM t', ['7|concurrent|1', '8|behind|1']);
      },
      { replicas },
    ),
  );

  it('undo before DDL, all tables: applies a unique index in front of a row that was under way', () =>
    scenario([T, `INSERT INTO t VALUES(1, 'same')`], async (world) => {
      world.exec(0, 'CREATE UNIQUE INDEX i ON t(v)');
      world.exec(1, `INSERT INTO t VALUES(2, 'same')`);
      await world.settle();
      world.check(0);
      world.check(1);
    }));

  it('leaves out DDL that fails at its position, on every node alike', () =>
    scenario([T, `INSERT INTO t VALUES(1, 'same')`], async (world) => {
      world.exec(1, `INSERT INTO t VALUES(2, 'same')`);
      await world.settle();
      const change = { operation: 'SQL', command: 'CREATE UNIQUE INDEX i ON t(v)', args: [] };
      const later = { operation: 'SQL', command: 'CREATE INDEX j ON t(v)', args: [] };
      const data = Buffer.from(
        JSON.stringify({ node: 'go', process_id: 1, filename: 'db', changes: [change, later], timestamp_ns: 1 }),
      );
      world.broker.append({ subject: 'sim.db', id: undefined, version: undefined, chunk: undefined, data });
      await expectRows(world, `SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 't'`, ['j']);
      expect(world.nodes.map(({ skipped }) => skipped.length)).toEqual([1, 1]);
    }));
});

describe('renames', () => {
  it('keeps a row that was written under the old name of a table', () =>
    scenario(['CREATE TABLE t(id INTEGER PRIMARY KEY, v)'], async (world) => {
      world.exec(0, 'ALTER TABLE t RENAME TO n');
      await world.calm();
      world.exec(1, `INSERT INTO t VALUES(1, 'x')`);
      await world.calm();
      await expectRows(world, 'SELECT id, v FROM n', ['1|x']);
    }));

  it('keeps a value that was written under the old name of a column', () =>
    scenario(['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', `INSERT INTO t VALUES(1, 'a')`], async (world) => {
      world.exec(0, 'ALTER TABLE t RENAME COLUMN v TO w');
      await world.calm();
      world.exec(1, `UPDATE t SET v = 'b' WHERE id = 1`);
      await world.calm();
      await expectRows(world, 'SELECT id, w FROM t', ['1|b']);
    }));
});

describe('VACUUM', () => {
  it('renumbers nothing: is refused where it would, for it does so on one node only', () =>
    scenario([BAG, 'INSERT INTO bag(rowid, x) VALUES(5, 5)'], async (world) => {
      const write = world.write(1, ({ db }) => db.run('VACUUM'));
      await world.settle();
      expect(states([write])).toEqual(['HA_STATEMENT_REFUSED']);
    }));
});

describe('transactions of several messages', () => {
  const WIDE = Array.from({ length: 12 }, (_value, index) => `(${index}, '${'x'.repeat(200)}')`).join(', ');

  it.each([1, 3])(
    'takes effect whole or not at all where another message comes between, on %d replica(s)',
    (replicas) =>
      scenario(
        ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', 'CREATE TABLE s(id INTEGER PRIMARY KEY, v)'],
        async (world) => {
          const ordered = marked(world, 1, 'mark-1-', 'INSERT INTO s(v) VALUES(1)');
          const plain = marked(world, 1, 'mark-2-', `INSERT INTO t VALUES${WIDE}`);
          for (let step = 0; step < 12; step++) {
            await world.scheduler.run(1, false);
            world.exec(0, `INSERT OR REPLACE INTO s VALUES(50, ${step})`);
          }
          await world.settle();
          expect(states([ordered, plain])).toEqual(['resolved', 'resolved']);
          expect(rows(world, 0, 'SELECT count(*) FROM t')).toEqual(['12']);
        },
        { maxPayload: 3_000, replicas },
      ),
  );
});

describe('the memory of what came last', () => {
  it.each([
    [
      'beyond it, UPDATE is told without a loser, and INSERT is not',
      2_500_000,
      [{ operation: 'UPDATE', loser: undefined }],
    ],
    ['within it, both are told, with their loser', 1_000, [{ loser: { node: 'n1' } }, { loser: { node: 'n1' } }]],
  ])('%s', (_name, size, conflicts) =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', `INSERT INTO t VALUES(1, 'start')`],
      async (world) => {
        world.node(0).stream.disconnect();
        world.exec(0, `INSERT INTO t VALUES(2, 'last')`, `UPDATE t SET v = 'last' WHERE id = 1`);
        await world.calm();
        world.exec(
          1,
          `UPDATE t SET v = printf('%.*c', ${size}, 'x')`,
          `INSERT INTO t VALUES(2, printf('%.*c', ${size}, 'x'))`,
        );
        await world.finish(1);
        await expectRows(world, 'SELECT id, v FROM t', ['1|last', '2|last']);
        for (const node of world.nodes) {
          expect(node.conflicts).toMatchObject(conflicts);
          expect(node.conflicts).toHaveLength(conflicts.length);
        }
      },
      { maxPayload: 8_388_608, generatedIds: 'overwrite', asyncNodes: [true, false] },
    ),
  );
});

describe('ordered transactions in an atomic batch', () => {
  const T = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';
  const THREE = { replicas: 3 };

  function insertThree(world: World): Write[] {
    return ['a', 'b', 'c'].map((v, index) => marked(world, 1, `mark-${index}-`, `INSERT INTO t(v) VALUES('${v}')`));
  }

  it('are acknowledged, and stored once, where the answer to the batch was lost', () =>
    scenario(
      [T],
      async (world) => {
        world.node(1).stream.loseAcks(1);
        const writes = insertThree(world);
        await world.settle();
        expect(states(writes)).toEqual(['resolved', 'resolved', 'resolved']);
        await expectRows(world, 'SELECT id, v FROM t', ['1|a', '2|b', '3|c']);
      },
      THREE,
    ));

  it('run again, all of them, where another node came first', () =>
    scenario(
      [T],
      async (world) => {
        world.exec(0, `INSERT INTO t(v) VALUES('first')`);
        const writes = insertThree(world);
        await world.settle();
        expect(states(writes)).toEqual(['resolved', 'resolved', 'resolved']);
        await expectRows(world, 'SELECT v FROM t ORDER BY v', ['a', 'b', 'c', 'first']);
      },
      THREE,
    ));

  it.each(['breakBatches', 'dropNext'] as const)('are sent again where the batch did not arrive whole: %s', (fault) =>
    scenario(
      [T],
      async (world) => {
        world.node(1).stream[fault](3);
        const writes = insertThree(world);
        await world.settle();
        expect(states(writes)).toEqual(['resolved', 'resolved', 'resolved']);
        await expectRows(world, 'SELECT id, v FROM t', ['1|a', '2|b', '3|c']);
      },
      THREE,
    ),
  );

  it('are not acknowledged where the node dies behind the batch, and are there all the same', () =>
    scenario(
      [T],
      async (world) => {
        world.node(1).stream.loseAcks(1);
        const writes = insertThree(world);
        await world.calm();
        world.kill(1);
        await world.settle();
        expect(writes.every(({ orphaned }) => orphaned)).toBe(true);
        await expectRows(world, 'SELECT id, v FROM t', ['1|a', '2|b', '3|c']);
      },
      THREE,
    ));
});

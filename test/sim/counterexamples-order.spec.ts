import { WIRE_VERSION } from '../../lib/changeset/codec.js';
import { BAG, expectRows, marked, scenario, states } from './scenario.js';
import { SUBJECT } from './sim-node.js';
import type { Write, World } from './world.js';

const T = ['CREATE TABLE t(k INTEGER PRIMARY KEY, v)', 'INSERT INTO t VALUES(1, 0)'];
const SEEDS = Array.from({ length: 6 }, (_value, index) => ({ seed: index + 1 }));

/** The new images that a message carries, as text. */
function imagesAt(world: World, sequence: number): string[] {
  const { data } = world.log.at(sequence) ?? { data: Buffer.from('{"changes":[]}') };
  const { changes } = JSON.parse(Buffer.from(data).toString('utf8')) as { changes: { new_values?: unknown[] }[] };
  return changes.map(({ new_values: image }) => (image ?? []).join('|'));
}

describe('own messages that come back behind those of others', () => {
  it.each(SEEDS)(
    'pop only before any remote message was applied: two nodes set one row, one batch (seed $seed)',
    (seed) =>
      scenario(
        T,
        async (world) => {
          world.exec(0, 'UPDATE t SET v = 10 WHERE k = 1');
          await world.calm();
          world.exec(1, 'UPDATE t SET v = 20 WHERE k = 1');
          world.exec(0, 'UPDATE t SET v = 30 WHERE k = 1');
          await world.calm();
          await world.deliver(1);
          world.check(1);
          await expectRows(world, 'SELECT k, v FROM t', imagesAt(world, world.log.state().lastSequence));
          expect(states(world.writes)).toEqual(['resolved', 'resolved', 'resolved', 'resolved']);
        },
        seed,
      ),
  );

  it.each([
    ['keyed', 'CREATE TABLE r(k INTEGER PRIMARY KEY, v)'],
    ['keyless', 'CREATE TABLE r(k, v)'],
  ])('pop only the head of the list: an insert is never stored behind its own update (%s)', (_kind, table) =>
    scenario([table], async (world) => {
      world.node(1).planPublishes(['dropNext']);
      const insert = marked(world, 1, 'mark-1-', 'INSERT INTO r(k, v) VALUES(1, 1)');
      const update = marked(world, 1, 'mark-2-', 'UPDATE r SET v = 2');
      await world.calm();
      await world.settle();
      expect(states([insert, update])).toEqual(['HA_PUBLISH_FAILED', 'resolved']);
      await expectRows(world, 'SELECT k, v FROM r', ['1|2']);
    }),
  );

  it.each(SEEDS)('undo must not raise sequences: the counter is lowered while others insert (seed $seed)', (seed) =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)', BAG, 'INSERT INTO t VALUES(3, 3)'],
      async (world) => {
        world.exec(0, `INSERT INTO bag VALUES('in front')`);
        await world.calm();
        world.exec(1, `UPDATE sqlite_sequence SET seq = 0 WHERE name = 't'`, 'DELETE FROM t WHERE id = 3');
        await world.calm();
        await world.deliver(1, 1);
        world.check(1);
        await expectRows(world, `SELECT seq FROM sqlite_sequence WHERE name = 't'`, ['0']);
        world.exec(0, 'INSERT INTO t(v) VALUES(1)');
        await expectRows(world, 'SELECT id, v FROM t', ['1|1']);
      },
      seed,
    ),
  );

  it.each(SEEDS)('undo = effects of the last redo: two more batches behind a taken unique value (seed $seed)', (seed) =>
    scenario(
      ['CREATE TABLE r(k INTEGER PRIMARY KEY, u UNIQUE)', BAG, 'INSERT INTO r VALUES(1, 1)'],
      async (world) => {
        world.exec(1, 'INSERT OR REPLACE INTO r VALUES(2, 1)');
        await world.calm();
        world.exec(0, 'UPDATE r SET u = 2 WHERE k = 1');
        world.exec(1, `INSERT INTO bag VALUES('anything')`);
        await world.calm();
        for (let step = 0; step < 4; step++) {
          await world.deliver(0, 1);
          world.check(0);
        }
        await world.settle();
        // The UPDATE came last: it takes the row that it names, as it saw it, and nothing of another key.
        await expectRows(world, 'SELECT k, u FROM r ORDER BY k', ['1|2', '2|1']);
      },
      seed,
    ),
  );
});

describe('VACUUM', () => {
  it.each(SEEDS)(
    'VACUUM with nothing in flight only: an overtaken delete of a row in the middle (seed $seed)',
    (seed) =>
      scenario(
        [BAG, `INSERT INTO bag VALUES('a'), ('b'), ('c')`],
        async (world) => {
          world.exec(0, `INSERT INTO bag VALUES('d')`);
          await world.calm();
          const gone = world.exec(1, `DELETE FROM bag WHERE x = 'b'`);
          const vacuum = world.write(1, ({ db }) => db.run('VACUUM'));
          const later = world.exec(1, `UPDATE bag SET x = 'C' WHERE x = 'c'`);
          await world.calm();
          await world.settle();
          expect(states([gone, later])).toEqual(['resolved', 'resolved']);
          // Where it ran, it ran while the rows had no gaps; behind the delete it would renumber and is refused.
          expect(['resolved', 'HA_STATEMENT_REFUSED']).toContain(states([vacuum])[0]);
          await expectRows(world, 'SELECT rowid, x FROM bag', ['1|a', '3|C', '4|d']);
        },
        seed,
      ),
  );
});

describe('dedupe by id as a set under reordering', () => {
  /** A message of a node that is not in this world. */
  function foreign(world: World, id: string, x: string): void {
    const change = { operation: 'INSERT', database: 'main', table: 'bag', columns: ['x'], new_values: [x] };
    const body = { node: 'other', process_id: 1, filename: 'db', changes: [change], epoch: 0, timestamp_ns: 1 };
    const data = Buffer.from(JSON.stringify(body));
    world.broker.append({ subject: SUBJECT, id, version: WIRE_VERSION, chunk: undefined, data });
  }

  it.each([[[3, 1, 2]], [[5, 1, 4, 2, 3]], [[2, 1, 2, 1, 3, 3, 1]]])(
    'the highest counter is not enough: ids arrive as %j, and then again',
    (order) =>
      scenario([BAG], async (world) => {
        for (const n of order) foreign(world, `origin.${n}`, `x${n}`);
        await world.deliver(0, 2);
        world.kill(0);
        await world.settle();
        for (const n of order) foreign(world, `origin.${n}`, `x${n}`);
        const expected = [...new Set(order)].sort((a, b) => a - b).map((n) => `x${n}`);
        await expectRows(world, 'SELECT x FROM bag ORDER BY x', expected);
      }),
  );

  it('tells origins apart, and never takes a message without an id for a duplicate', () =>
    scenario([BAG], async (world) => {
      for (const id of ['a.1', 'b.1', 'a.1.1', 'a.1']) foreign(world, id, id);
      for (let n = 0; n < 2; n++) {
        const change = { operation: 'INSERT', database: 'main', table: 'bag', columns: ['x'], new_values: ['none'] };
        const body = { node: 'go', process_id: 1, filename: 'db', changes: [change], timestamp_ns: 1 };
        const data = Buffer.from(JSON.stringify(body));
        world.broker.append({ subject: SUBJECT, id: undefined, version: undefined, chunk: undefined, data });
      }
      await expectRows(world, 'SELECT x FROM bag ORDER BY x', ['a.1', 'a.1.1', 'b.1', 'none', 'none']);
    }));

  it('duplicates of a whole group behind the duplicate window change nothing', () =>
    scenario([BAG, ...T], async (world) => {
      const first = world.log.state().lastSequence + 1;
      for (let n = 1; n <= 4; n++) world.exec(1, 'UPDATE t SET v = v + 1', `INSERT INTO bag VALUES('x')`);
      await world.settle();
      const last = world.log.state().lastSequence;
      world.broker.forgetIds();
      for (let sequence = last; sequence >= first; sequence--) world.broker.republish(sequence);
      world.exec(0, 'UPDATE t SET v = v + 1');
      await expectRows(world, 'SELECT v, (SELECT count(*) FROM bag) FROM t', ['5|4']);
    }));
});

/** What somebody else does to the schema while this node has transactions that were published or wait. */
const REMOTE_DDL = {
  'CREATE UNIQUE INDEX': ['CREATE UNIQUE INDEX i ON t(v)'],
  'a CHECK': ['ALTER TABLE t ADD COLUMN w DEFAULT 1 CHECK(v IS NULL OR v < 50)'],
  'NOT NULL by a rebuild': [
    'CREATE TABLE n(k INTEGER PRIMARY KEY, v NOT NULL)',
    'INSERT INTO n SELECT k, v FROM t WHERE v IS NOT NULL',
    'DROP TABLE t',
    'ALTER TABLE n RENAME TO t',
  ],
  'STRICT by a rebuild': [
    'CREATE TABLE n(k INTEGER PRIMARY KEY, v INT) STRICT',
    'INSERT INTO n SELECT k, v FROM t',
    'DROP TABLE t',
    'ALTER TABLE n RENAME TO t',
  ],
  'another key by a rebuild': [
    'CREATE TABLE n(k, v PRIMARY KEY) WITHOUT ROWID',
    'INSERT INTO n SELECT k, v FROM t',
    'DROP TABLE t',
    'ALTER TABLE n RENAME TO t',
  ],
  'DROP COLUMN': ['ALTER TABLE t DROP COLUMN v'],
  'RENAME COLUMN': ['ALTER TABLE t RENAME COLUMN v TO renamed'],
  'RENAME TABLE': ['ALTER TABLE t RENAME TO renamed'],
  'swapped table names': ['ALTER TABLE t RENAME TO x', 'ALTER TABLE s RENAME TO t', 'ALTER TABLE x RENAME TO s'],
  'DROP TABLE': ['DROP TABLE t'],
  'DROP and CREATE': ['DROP TABLE t', 'CREATE TABLE t(k INTEGER PRIMARY KEY, v DEFAULT 5, w DEFAULT 6)'],
  'a trigger': ['CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO s(v) VALUES(new.v); END'],
} as const;

describe('remote DDL while own transactions wait', () => {
  function own(world: World): Write[] {
    return [
      marked(world, 1, 'mark-1-', 'INSERT INTO t VALUES(2, 7)', 'INSERT INTO s(k, v) VALUES(9, 9)'),
      marked(world, 1, 'mark-2-', 'UPDATE t SET v = 99 WHERE k = 1'),
      marked(world, 1, 'mark-3-', 'INSERT INTO t VALUES(3, NULL)', `INSERT INTO t VALUES(4, 'text')`),
      marked(world, 1, 'mark-4-', 'INSERT INTO t(v) VALUES(8)'),
      marked(world, 1, 'mark-5-', 'DELETE FROM t WHERE k = 2'),
    ];
  }

  it.each(Object.entries(REMOTE_DDL))('undo before DDL, all tables: %s', async (_name, statements) => {
    for (const { seed } of SEEDS) {
      for (const delivered of [false, true]) {
        await scenario(
          ['CREATE TABLE s(k INTEGER PRIMARY KEY, v)', ...T, 'INSERT INTO t VALUES(100, 7)'],
          async (world) => {
            const ddl = marked(world, 0, 'mark-9-', ...statements);
            if (seed % 2 === 0) await world.calm();
            const writes = own(world);
            if (delivered) void world.node(1).stream.deliver(1);
            await world.scheduler.run(seed * 3, false);
            world.check(1);
            await world.settle();
            expect(ddl.state === 'resolved' || states([ddl])[0]?.startsWith('SQLITE_')).toBe(true);
            // A write fails only where its own SQL does not run on the schema that it met.
            const odd = states(writes).filter(
              (state) => state !== 'resolved' && !/^SQLITE_(CONSTRAINT|ERROR)/.test(state),
            );
            expect(odd).toEqual([]);
            // What one node leaves out, the other does too.
            const [a, b] = world.nodes.map(({ skipped }) => JSON.stringify(skipped, (_k, v: unknown) => String(v)));
            expect(a).toBe(b);
          },
          { seed },
        );
      }
    }
  });
});

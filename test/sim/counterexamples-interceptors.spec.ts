import type { HAChangeSet, HAInterceptor } from '../../lib/changeset/interceptor.js';
import type { HAError } from '../../lib/common/ha-error.js';
import { FirstWriteWins } from '../../lib/interceptors/first-write-wins.js';
import { IgnoreTables } from '../../lib/interceptors/ignore-tables.js';
import { LastWriteWinsByColumn } from '../../lib/interceptors/last-write-wins-by-column.js';
import { MergeCounter } from '../../lib/interceptors/merge-counter.js';
import { expectRows, marked, meet, rows, scenario, states } from './scenario.js';
import type { World } from './world.js';

const COUNTER = ['CREATE TABLE c(id INTEGER PRIMARY KEY, n, other)', `INSERT INTO c VALUES(1, 0, 'start')`];
const ROWS = ['CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, at, v)', `INSERT INTO t VALUES(1, 'one', 10, 'start')`];
const merging = { interceptors: () => [MergeCounter('c', 'n')] };
const ASYNC = { asyncNodes: [true, false], generatedIds: 'overwrite' } as const;

/** Both nodes run statements before they see each other's; those of node 0 are first in the stream. */
async function race(world: World, first: readonly string[], second: readonly string[]): Promise<void> {
  for (const sql of first) world.exec(0, sql);
  await world.calm();
  for (const sql of second) world.exec(1, sql);
  await world.calm();
  await world.settle();
  expect(states(world.writes).filter((state) => state !== 'resolved')).toEqual([]);
}

/** Node 0 writes transactions that do not reach the stream yet. */
async function hold(world: World, ...transactions: string[]): Promise<void> {
  world.node(0).stream.disconnect();
  for (const sql of transactions) world.exec(0, sql);
  await world.calm();
}

/** Which transactions were shown, by node: how many changes each had. */
function witness(log: [number, boolean][]): HAInterceptor {
  return {
    name: 'witness',
    afterApply: ({ changes }: HAChangeSet, { own }) => void log.push([changes.length, own]),
  };
}

describe('one that replaces changes whose writer did not know of a change of the schema', () => {
  const rewriting: HAInterceptor = {
    name: 'rewriting',
    beforeApply: ({ changes }) => changes.map((change) => ('table' in change ? { ...change } : change)),
  };
  const meets = (ddl: readonly string[], expected: readonly string[]) => (): Promise<void> =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v, w)', 'CREATE TABLE other(id INTEGER PRIMARY KEY)'],
      async (world) => {
        await race(world, ddl, ['INSERT INTO t VALUES(1, 2, 3)', 'INSERT INTO other VALUES(1)']);
        await expectRows(world, 'SELECT id FROM other', ['1']);
        await expectRows(world, `SELECT count(*) FROM pragma_table_info('t')`, expected);
      },
      { interceptors: () => [rewriting] },
    );

  it('has no say in it where a column is gone', meets(['ALTER TABLE t DROP COLUMN w'], ['2']));

  it('has no say in it where the table is gone', meets(['DROP TABLE t'], ['0']));
});

describe('one that fails on what has no place in the stream yet', () => {
  /** Fails while the gate holds one row, and only in front of the second row. */
  const guarded: HAInterceptor = {
    name: 'guarded',
    tables: ['t'],
    beforeRow: ({ newValues }, context) => {
      const open = context.get<{ n: bigint }>('SELECT count(*) AS n FROM gate')?.n === 1n;
      if (context.provisional && open && newValues?.[0] === 2n) throw new Error('the gate is open');
      return 'pass';
    },
  };
  /** The fold with what is in flight over it is another thing here: there the interceptor does not fail. */
  const comes = async (world: World, sql: string): Promise<void> => {
    world.exec(1, sql);
    await world.finish(1);
    await world.receive(0);
  };
  const GATE = ['CREATE TABLE gate(x)', 'CREATE TABLE t(id INTEGER PRIMARY KEY, n)', 'CREATE TABLE bag(x)'];
  const told = (world: World): unknown[] =>
    world.node(0).errors.filter((error) => (error as HAError).code === 'HA_INTERCEPTOR');

  it('decides nothing: what waits has no effect until it is asked at its place, and that is told once', () =>
    scenario(
      GATE,
      async (world) => {
        await hold(world, `INSERT INTO t VALUES(1, 'a'), (2, 'b')`, `INSERT INTO bag VALUES('behind')`);
        await comes(world, 'INSERT INTO gate VALUES(1)');
        // All of it, also the row in front of the one at which it failed; what is behind it stays.
        expect(rows(world, 0, 'SELECT id FROM t')).toEqual([]);
        expect(rows(world, 0, 'SELECT x FROM bag')).toEqual(['behind']);
        await comes(world, `INSERT INTO bag VALUES('again')`);
        expect(told(world)).toMatchObject([{ retryable: true, details: { interceptor: 'guarded' } }]);
        expect((told(world)[0] as Error).message).toMatch(
          /no place in the stream yet: the gate is open\. Its rows are left/,
        );
        expect(world.node(0).db.status()).toMatchObject({ state: 'running', outbox: { size: 2 } });
        await expectRows(world, 'SELECT id, n FROM t ORDER BY id', ['1|a', '2|b']);
      },
      { ...ASYNC, interceptors: () => [guarded] },
    ));

  it('has its effect back where it does not fail any more', () =>
    scenario(
      GATE,
      async (world) => {
        await hold(world, `INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
        await comes(world, 'INSERT INTO gate VALUES(1)');
        expect(rows(world, 0, 'SELECT id FROM t')).toEqual([]);
        await comes(world, 'INSERT INTO gate VALUES(2)');
        expect(rows(world, 0, 'SELECT id FROM t')).toEqual(['1', '2']);
        await expectRows(world, 'SELECT id FROM t', ['1', '2']);
      },
      { ...ASYNC, interceptors: () => [guarded] },
    ));

  it('keeps a write out whose caller can still be told', () =>
    scenario(
      GATE,
      async (world) => {
        world.exec(1, 'INSERT INTO gate VALUES(1)');
        await world.settle();
        const write = world.exec(0, `INSERT INTO t VALUES(1, 'a'), (2, 'b')`);
        await world.calm();
        expect(states([write])).toEqual(['HA_INTERCEPTOR']);
        expect(write.error?.message).toMatch(/the gate is open\. Nothing was written or published/);
        expect(world.node(0).db.status()).toMatchObject({ state: 'running', outbox: { size: 0 } });
        world.exec(0, `INSERT INTO t VALUES(3, 'c')`);
        await expectRows(world, 'SELECT id FROM t', ['3']);
      },
      { ...ASYNC, interceptors: () => [guarded] },
    ));
});

describe('a counter that is merged', () => {
  it('adds up what nodes do at once', () =>
    scenario(
      COUNTER,
      async (world) => {
        await race(world, ['UPDATE c SET n = n + 5'], [`UPDATE c SET n = n + 7, other = 'n1'`]);
        await expectRows(world, 'SELECT n, other FROM c', ['12|n1']);
        expect(world.node(0).intercepted).toHaveLength(1);
      },
      merging,
    ));

  it('counts what is in flight once, however often it is undone and done again', () =>
    scenario(
      COUNTER,
      async (world) => {
        await hold(world, 'UPDATE c SET n = n + 1', 'UPDATE c SET n = n + 10');
        await meet(world, 'UPDATE c SET n = n + 100');
        expect(rows(world, 0, 'SELECT n FROM c')).toEqual(['111']);
        await meet(world, 'UPDATE c SET n = n + 1000', 'UPDATE c SET n = n + 10000');
        expect(rows(world, 0, 'SELECT n FROM c')).toEqual(['11111']);
        await expectRows(world, 'SELECT n FROM c', ['11111']);
      },
      { ...merging, ...ASYNC },
    ));

  it('counts what is in flight once across a restart', () =>
    scenario(
      COUNTER,
      async (world) => {
        await hold(world, 'UPDATE c SET n = n + 1');
        await meet(world, 'UPDATE c SET n = n + 100');
        world.kill(0);
        world.node(0).stream.dropNext(Number.POSITIVE_INFINITY);
        await world.scheduler.until(world.node(0).ready);
        expect(rows(world, 0, 'SELECT n FROM c')).toEqual(['101']);
        world.exec(1, 'UPDATE c SET n = n + 1000');
        await expectRows(world, 'SELECT n FROM c', ['1101']);
      },
      { ...merging, ...ASYNC },
    ));

  it('counts once what was in flight before there were interceptors', async () => {
    let list: readonly HAInterceptor[] = [MergeCounter('c', 'n')];
    await scenario(
      COUNTER,
      async (world) => {
        list = [];
        world.kill(0);
        await world.scheduler.until(world.node(0).ready);
        await hold(world, 'UPDATE c SET n = n + 1');
        list = [MergeCounter('c', 'n')];
        world.kill(0);
        world.node(0).stream.dropNext(Number.POSITIVE_INFINITY);
        await world.scheduler.until(world.node(0).ready);
        await meet(world, 'UPDATE c SET n = n + 100');
        await expectRows(world, 'SELECT n FROM c', ['101']);
      },
      { ...ASYNC, interceptors: () => list },
    );
  });

  it('takes rows of a transaction one behind the other', () =>
    scenario(
      COUNTER,
      async (world) => {
        await race(world, ['UPDATE c SET n = n + 5'], ['UPDATE c SET n = n + 1; UPDATE c SET n = n * 3']);
        await expectRows(world, 'SELECT n FROM c', ['8']);
      },
      merging,
    ));

  it('goes by what the writer had, where a trigger had changed the row before', () =>
    scenario(
      [...COUNTER, 'CREATE TRIGGER g BEFORE UPDATE OF other ON c BEGIN UPDATE c SET n = n + 3 WHERE id = old.id; END'],
      async (world) => {
        await race(world, ['UPDATE c SET n = n + 100'], [`UPDATE c SET other = 'x', n = n + 1`]);
        const [alone] = rows(world, 0, 'SELECT n FROM c');
        expect(world.nodes.map((node) => rows(world, node.index, 'SELECT n FROM c'))).toEqual([[alone], [alone]]);
        // Alone the statement sets 0 + 1 over the 3 of the trigger.
        expect(alone).toBe('101');
      },
      { ...merging, recursiveTriggers: false },
    ));

  it('is exact to 64 bits, and as written where it would not fit or is no number', () =>
    scenario(
      [
        'CREATE TABLE c(id INTEGER PRIMARY KEY, n)',
        `INSERT INTO c VALUES(1, 9007199254740993), (2, 9223372036854775800), (3, NULL), (4, 'x'), (5, 0.5), (6, 1)`,
      ],
      async (world) => {
        await race(
          world,
          [
            'UPDATE c SET n = n + 1 WHERE id IN (1, 5); UPDATE c SET n = 9223372036854775807 WHERE id = 2; DELETE FROM c WHERE id = 6',
          ],
          [
            'UPDATE c SET n = n + 1 WHERE id IN (1, 5, 6); UPDATE c SET n = n + 3 WHERE id = 2',
            `UPDATE c SET n = 7 WHERE id = 3; UPDATE c SET n = 'y' WHERE id = 4`,
          ],
        );
        await expectRows(world, 'SELECT id, CAST(n AS TEXT) FROM c', [
          '1|9007199254740995',
          '2|9223372036854775803',
          '3|7',
          '4|y',
          '5|2.5',
          '6|2',
        ]);
      },
      merging,
    ));
});

describe('an interceptor', () => {
  it.each([
    ['at once', false],
    ['by and by', true],
  ])('sees a transaction in several messages as one, on every node, its writer too: %s', async (_name, waits) => {
    const log: [number, boolean][] = [];
    await scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)'],
      async (world) => {
        log.length = 0;
        const values = Array.from({ length: 200 }, (_value, index) => `(${index + 1}, 'some text to fill a message')`);
        world.exec(0, `INSERT INTO t VALUES${values.join(', ')}`);
        await world.settle();
        expect(world.log.state().lastSequence).toBeGreaterThan(4);
        expect(log.toSorted(([, a], [, b]) => Number(a) - Number(b))).toEqual([
          [200, false],
          [200, true],
        ]);
      },
      { maxPayload: 3_000, interceptors: () => [witness(log)], waitsForInterceptors: waits },
    );
  });

  it('is not asked about a message that comes again', async () => {
    const log: [number, boolean][] = [];
    await scenario(
      COUNTER,
      async (world) => {
        world.exec(0, 'UPDATE c SET n = n + 1');
        await world.settle();
        log.length = 0;
        world.broker.forgetIds();
        world.broker.republish(world.log.state().lastSequence);
        await expectRows(world, 'SELECT n FROM c', ['1']);
        expect(log).toEqual([]);
      },
      { interceptors: () => [MergeCounter('c', 'n'), witness(log)] },
    );
  });

  it('takes part in transactions that nobody came between, ordered ones too', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, v)', 'CREATE TABLE ignored(x)'],
      async (world) => {
        const [plain, ordered] = [
          marked(world, 0, 'mark-1-', `INSERT INTO ignored VALUES('plain')`),
          world.write(1, ({ db }) =>
            db.transaction(async (tx) => tx.run(`INSERT INTO ignored VALUES('ordered')`), { serializable: true }),
          ),
        ];
        await world.settle();
        expect(states([plain, ordered])).toEqual(['resolved', 'resolved']);
        await expectRows(world, 'SELECT count(*) FROM ignored', ['0']);
        expect(world.node(0).intercepted.map(({ applied, written }) => [applied, written])).toContainEqual([1, 2]);
        world.exec(0, 'ALTER TABLE ignored ADD COLUMN y');
        await expectRows(world, `SELECT name FROM pragma_table_info('ignored')`, ['x', 'y']);
      },
      { interceptors: () => [IgnoreTables('IGNORED')] },
    ));

  it('is asked at the place of what was in flight, and that is told, though nobody came between', () =>
    scenario(
      ['CREATE TABLE ignored(x)'],
      async (world) => {
        await hold(world, 'INSERT INTO ignored VALUES(1)');
        await world.settle();
        const told = world.nodes.map(({ intercepted }) => intercepted.map(({ node, applied }) => [node, applied]));
        expect(told).toEqual([[['n0', 0]], [['n0', 0]]]);
      },
      { ...ASYNC, interceptors: () => [IgnoreTables('ignored')] },
    ));

  it('keeps what it left out away from what this node runs next', () =>
    scenario(
      ['CREATE TABLE ignored(x)', 'CREATE TABLE t(n)'],
      async (world) => {
        for (let round = 0; round < 3; round++) {
          world.exec(0, `INSERT INTO ignored VALUES(1)`);
          world.exec(0, 'INSERT INTO t SELECT count(*) FROM ignored');
        }
        await expectRows(world, 'SELECT n FROM t', ['0', '0', '0']);
      },
      { interceptors: () => [IgnoreTables('ignored')] },
    ));

  it('that reads another table is asked again about what is in flight when that changes', () => {
    const byOther: HAInterceptor = {
      name: 'byOther',
      tables: ['t'],
      beforeApply: (_changeSet, context) =>
        context.get<{ n: bigint }>('SELECT count(*) AS n FROM gate')?.n === 0n ? 'pass' : 'skip',
    };
    return scenario(
      ['CREATE TABLE gate(x)', 'CREATE TABLE t(x)'],
      async (world) => {
        await hold(world, 'INSERT INTO t VALUES(1)');
        expect(rows(world, 0, 'SELECT x FROM t')).toEqual(['1']);
        await meet(world, 'INSERT INTO gate VALUES(1)');
        expect(rows(world, 0, 'SELECT x FROM t')).toEqual([]);
        await meet(world, 'DELETE FROM gate');
        expect(rows(world, 0, 'SELECT x FROM t')).toEqual(['1']);
        await meet(world, 'INSERT INTO gate VALUES(1)');
        await expectRows(world, 'SELECT x FROM t', []);
      },
      { ...ASYNC, interceptors: () => [byOther] },
    );
  });

  it('gives names as they are now to rows that were written before a rename', () =>
    scenario(
      COUNTER,
      async (world) => {
        await hold(world, 'UPDATE c SET n = n + 1');
        await meet(world, 'ALTER TABLE c RENAME COLUMN n TO total', 'ALTER TABLE c RENAME TO counters');
        await meet(world, 'UPDATE counters SET total = total + 10');
        expect(rows(world, 0, 'SELECT total FROM counters')).toEqual(['11']);
        await expectRows(world, 'SELECT total FROM counters', ['11']);
      },
      { ...ASYNC, interceptors: () => [MergeCounter('counters', 'total')] },
    ));
});

describe('the last write by a column', () => {
  const byTime = { interceptors: () => [LastWriteWinsByColumn('at')] };

  it.each([
    ['less', `UPDATE t SET at = 20, v = 'a'`, `UPDATE t SET at = 15, v = 'b'`, 'a'],
    ['equal', `UPDATE t SET at = 20, v = 'a'`, `UPDATE t SET at = 20, v = 'b'`, 'b'],
    ['greater', `UPDATE t SET at = 20, v = 'a'`, `UPDATE t SET at = 21, v = 'b'`, 'b'],
    ['NULL', `UPDATE t SET at = 20, v = 'a'`, `UPDATE t SET at = NULL, v = 'b'`, 'a'],
    ['behind NULL', `UPDATE t SET at = NULL, v = 'a'`, `UPDATE t SET at = -1, v = 'b'`, 'start'],
    ['text behind numbers', `UPDATE t SET at = 99, v = 'a'`, `UPDATE t SET at = '1', v = 'b'`, 'b'],
    ['an INSERT', `INSERT INTO t VALUES(2, 'two', 20, 'a')`, `INSERT INTO t VALUES(2, 'two', 15, 'b')`, 'start,a'],
    ['a row in the way', `INSERT INTO t VALUES(2, 'x', 20, 'a')`, `INSERT INTO t VALUES(3, 'x', 15, 'b')`, 'start,a'],
    ['another key', `INSERT INTO t VALUES(2, 'x', 20, 'a')`, 'UPDATE t SET id = 2, at = 15', 'start,a'],
    ['a DELETE', `UPDATE t SET at = 20, v = 'a'`, 'DELETE FROM t', 'a'],
    ['behind a DELETE', 'DELETE FROM t', `UPDATE t SET at = 5, v = 'b'`, 'b'],
  ])('%s', (_name, first, second, expected) =>
    scenario(
      ROWS,
      async (world) => {
        await race(world, [first], [second]);
        await expectRows(world, `SELECT group_concat(v) FROM (SELECT v FROM t ORDER BY id)`, [expected]);
      },
      byTime,
    ),
  );

  it('compares as the column does', () =>
    scenario(
      ['CREATE TABLE t(id INTEGER PRIMARY KEY, at TEXT COLLATE NOCASE, v)', `INSERT INTO t VALUES(1, 'a', 'start')`],
      async (world) => {
        await race(world, [`UPDATE t SET at = 'b', v = 'a'`], [`UPDATE t SET at = 'B', v = 'b'`]);
        await expectRows(world, 'SELECT v FROM t', ['b']);
      },
      byTime,
    ));

  it.each(['', ' WITHOUT ROWID'])(
    'compares with the row of the key, as its index tells keys apart: a table%s',
    (without) =>
      scenario(
        [
          `CREATE TABLE t(k TEXT COLLATE NOCASE, at, v, PRIMARY KEY(k COLLATE BINARY))${without}`,
          `INSERT INTO t VALUES('A', 100, 'other'), ('a', 10, 'start')`,
        ],
        async (world) => {
          await race(
            world,
            [`UPDATE t SET at = 20, v = 'a' WHERE at = 10`],
            [`UPDATE t SET at = 30, v = 'b' WHERE at = 10`],
          );
          await expectRows(world, 'SELECT k, v FROM t ORDER BY at', ['a|b', 'A|other']);
        },
        byTime,
      ),
  );
});

describe('the first write', () => {
  const first = { interceptors: () => [FirstWriteWins()] };

  it.each([
    ['UPDATE over UPDATE', `UPDATE t SET v = 'a'`, 'UPDATE t SET at = 11', '1 one 10 a'],
    ['DELETE over UPDATE', `UPDATE t SET v = 'a'`, 'DELETE FROM t', '1 one 10 a'],
    ['UPDATE behind DELETE', 'DELETE FROM t', `UPDATE t SET v = 'b'`, ''],
    [
      'INSERT over INSERT',
      `INSERT INTO t VALUES(2, 2, 2, 'a')`,
      `INSERT INTO t VALUES(2, 3, 3, 'b')`,
      '1 one 10 start,2 2 2 a',
    ],
    [
      'a unique value',
      `INSERT INTO t VALUES(2, 'x', 2, 'a')`,
      `INSERT INTO t VALUES(3, 'x', 3, 'b')`,
      '1 one 10 start,2 x 2 a',
    ],
    ['a key', `INSERT INTO t VALUES(2, 'x', 2, 'a')`, 'UPDATE t SET id = 2', '1 one 10 start,2 x 2 a'],
  ])('%s', (_name, one, other, expected) =>
    scenario(
      ROWS,
      async (world) => {
        await race(world, [one], [other]);
        const list = `SELECT coalesce(group_concat(id || ' ' || u || ' ' || at || ' ' || v), '') FROM (SELECT * FROM t ORDER BY id)`;
        await expectRows(world, list, [expected]);
        expect(world.node(0).intercepted).toHaveLength(1);
      },
      first,
    ),
  );

  it.each([
    ['by two statements', [], `UPDATE t SET v = 'b'; UPDATE t SET v = v || 'c'`, 'bc'],
    ['by a key that moves', [], `UPDATE t SET id = 5; UPDATE t SET v = 'b'`, 'b'],
    [
      'by a trigger on the row itself',
      ['CREATE TRIGGER g BEFORE UPDATE OF v ON t BEGIN UPDATE t SET at = at + 1 WHERE id = old.id; END'],
      `UPDATE t SET v = 'b'`,
      'b',
    ],
    [
      'by OR REPLACE of a row of its own',
      [],
      `DELETE FROM t; INSERT INTO t VALUES(1, 1, 1, 'x'); INSERT OR REPLACE INTO t VALUES(1, 1, 1, 'b')`,
      'b',
    ],
  ])('lets a transaction change its own rows again: %s', (_name, schema, sql, expected) =>
    scenario(
      [...ROWS, ...schema],
      async (world) => {
        world.exec(0, sql);
        await expectRows(world, 'SELECT v FROM t', [expected]);
        expect(world.node(0).intercepted).toEqual([]);
      },
      { ...first, recursiveTriggers: false },
    ),
  );

  it('holds for rows without a key', () =>
    scenario(
      ['CREATE TABLE bag(x, y)', `INSERT INTO bag VALUES('x', 1), ('x', 1)`],
      async (world) => {
        await race(world, [`UPDATE bag SET y = 2 WHERE rowid = 1`], [`UPDATE bag SET y = y + 5`]);
        // Of two equal rows one is changed by each; the third change finds none.
        await expectRows(world, 'SELECT y FROM bag ORDER BY y', ['2', '6']);
      },
      first,
    ));
});

describe('conflicts where interceptors decide', () => {
  /** No change names what REPLACE takes away. */
  const last = { interceptors: () => [LastWriteWinsByColumn('at')], recursiveTriggers: false };
  const told = (world: World): unknown[] => world.nodes.map(({ conflicts }) => conflicts);

  it.each([
    [
      'in its own transaction',
      [`INSERT OR REPLACE INTO t VALUES(3, 'x', 20, 'n1'); UPDATE t SET u = 'y' WHERE id = 3`],
    ],
    ['in one before', [`INSERT OR REPLACE INTO t VALUES(3, 'x', 20, 'n1')`, `UPDATE t SET u = 'y' WHERE id = 3`]],
  ])('are no more than rows that were there: not one whose INSERT was left out %s', (_name, second) =>
    scenario(
      ROWS,
      async (world) => {
        await hold(world, ...second);
        world.exec(1, `INSERT INTO t VALUES(2, 'x', 40, 'first')`);
        await world.finish(1);
        // What it updates was never there.
        await expectRows(world, 'SELECT id, u, v FROM t ORDER BY id', ['1|one|start', '2|x|first', '3|y|n1']);
        expect(told(world)).toEqual([[], []]);
      },
      { ...ASYNC, ...last },
    ),
  );

  it('tell nothing of a row whose INSERT was left out, also where a node has forgotten what its writer had not seen', () =>
    scenario(
      ROWS,
      async (world) => {
        await hold(world, `INSERT OR REPLACE INTO t VALUES(3, 'x', 20, 'n0'); UPDATE t SET u = 'y' WHERE id = 3`);
        world.exec(1, `INSERT INTO t VALUES(2, 'x', 40, 'first')`);
        await world.finish(1);
        world.kill(1);
        await expectRows(world, 'SELECT id, u FROM t ORDER BY id', ['1|one', '2|x', '3|y']);
        expect(told(world)).toEqual([[], []]);
      },
      { ...ASYNC, ...last },
    ));

  it('tell of a row that gave way while nobody else wrote, and is brought back', () =>
    scenario(
      ROWS,
      async (world) => {
        await race(
          world,
          [`INSERT OR REPLACE INTO t VALUES(2, 'one', 40, 'first')`],
          [`UPDATE t SET u = 'z' WHERE id = 1`],
        );
        await expectRows(world, 'SELECT id, u FROM t ORDER BY id', ['1|z', '2|one']);
        expect(told(world)).toMatchObject(
          [0, 1].map(() => [{ key: { id: 1n }, operation: 'UPDATE', lost: undefined, loser: { node: 'n0' } }]),
        );
      },
      last,
    ));

  it('tell of it also where the table was renamed since', () =>
    scenario(
      ROWS,
      async (world) => {
        await hold(world, `UPDATE t SET u = 'z' WHERE id = 1`);
        world.exec(1, `INSERT OR REPLACE INTO t VALUES(2, 'one', 40, 'first')`);
        await world.finish(1);
        world.exec(1, 'ALTER TABLE t RENAME TO s');
        await world.finish(1);
        await expectRows(world, 'SELECT id, u FROM s ORDER BY id', ['1|z', '2|one']);
        expect(told(world)).toMatchObject([0, 1].map(() => [{ table: 's', lost: undefined, loser: { node: 'n1' } }]));
      },
      { ...ASYNC, ...last },
    ));

  it('tell of it also where an own change of the row was left out in front', () =>
    scenario(
      ROWS,
      async (world) => {
        await hold(world, `UPDATE t SET u = 'two', at = 5; UPDATE t SET u = 'z'`);
        world.exec(1, `INSERT OR REPLACE INTO t VALUES(2, 'one', 40, 'first'), (3, 'two', 40, 'first')`);
        await world.finish(1);
        await expectRows(world, 'SELECT id, u FROM t ORDER BY id', ['1|z', '2|one', '3|two']);
        expect(told(world)).toMatchObject(
          [0, 1].map(() => [{ key: { id: 1n }, operation: 'UPDATE', lost: undefined, loser: { node: 'n1' } }]),
        );
      },
      { ...ASYNC, ...last },
    ));

  it('tell nothing of a row that an own transaction took away in front', () =>
    scenario(
      ROWS,
      async (world) => {
        // At its place the first one takes row 1 away; at its writer it was left out.
        await hold(world, `INSERT OR REPLACE INTO t VALUES(2, 'one', 5, 'n0')`);
        await hold(world, `UPDATE t SET u = 'z' WHERE id = 1`);
        world.exec(1, 'DELETE FROM t', `INSERT INTO t VALUES(1, 'one', 1, 'n1')`);
        await world.finish(1);
        await expectRows(world, 'SELECT id, u FROM t ORDER BY id', ['1|z', '2|one']);
        const lost = { id: 1n, at: 1n };
        expect(told(world)).toMatchObject([0, 1].map(() => [{ key: { id: 1n }, operation: 'INSERT', lost }]));
      },
      { ...ASYNC, ...last },
    ));
});

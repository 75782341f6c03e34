import { checkWorld, MARKS, markSql } from './check.js';
import type { Fault } from './history.js';
import { marked, scenario, states } from './scenario.js';
import type { NodeSettings } from './sim-node.js';
import { World } from './world.js';
import type { Write } from './world.js';

type Outcome = Fault | 'ok';

const OUTCOMES: readonly Outcome[] = ['ok', 'loseAcks', 'dropNext', 'refuseNext'];
const SCHEMA = [
  MARKS,
  'CREATE TABLE t(id INTEGER PRIMARY KEY, v)',
  'CREATE TABLE bag(x)',
  'INSERT INTO t VALUES(1, 0)',
  `INSERT INTO bag VALUES('first')`,
];

/** Every way in which so many publishes may go. */
function plans(length: number): Outcome[][] {
  if (length === 0) return [[]];
  return plans(length - 1).flatMap((plan) => OUTCOMES.map((outcome) => [...plan, outcome]));
}

/** What a group of three may consist of. */
const GROUPS: Readonly<Record<string, { settings?: Partial<NodeSettings>; start: (world: World) => Write[] }>> = {
  plain: {
    start: (world) =>
      [1, 2, 3].map((id) =>
        marked(
          world,
          1,
          `mark-${id}-`,
          'UPDATE t SET v = v + 1',
          `UPDATE bag SET x = '${id}'`,
          `INSERT INTO bag VALUES('x')`,
        ),
      ),
  },
  ordered: {
    start: (world) => [1, 2, 3].map((id) => marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('${id}')`)),
  },
  'one by one ordered': {
    settings: { replicas: 3, batchLimit: 1 },
    start: (world) => [1, 2, 3].map((id) => marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('${id}')`)),
  },
  'batched ordered': {
    settings: { replicas: 3, batchLimit: 2 },
    start: (world) => [1, 2, 3].map((id) => marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('${id}')`)),
  },
  serializable: {
    start: (world) =>
      [1, 2, 3].map((id) =>
        world.write(
          1,
          ({ db }) =>
            db.transaction(
              async (tx) => {
                await tx.run(markSql(`mark-${id}-`));
                await tx.run('UPDATE t SET v = v + 1 WHERE id = 1');
              },
              { serializable: true },
            ),
          `mark-${id}-`,
        ),
      ),
  },
};

describe('failure of one member of a group, or of several', () => {
  it.each(Object.keys(GROUPS).flatMap((name) => [[name, 'alone'] as const, [name, 'with others between'] as const]))(
    'a %s group, %s: each of the 64 ways in which its messages may be stored, lost or refused',
    async (name, company) => {
      const { settings, start } = GROUPS[name] as (typeof GROUPS)[string];
      for (const plan of plans(3)) {
        const world = await World.open(2, SCHEMA, settings ?? {});
        try {
          world.node(1).planPublishes([...plan]);
          if (company !== 'alone') world.exec(0, 'UPDATE t SET v = v + 100', `INSERT INTO bag VALUES('other')`);
          start(world);
          await world.scheduler.run(6, false);
          if (company !== 'alone') world.exec(0, 'UPDATE t SET v = v + 100', `UPDATE bag SET x = 'other'`);
          await world.calm();
          await settleWithoutHealing(world);
          checkWorld(world);
          if (name === 'serializable' && company === 'alone') expectCounted(world);
        } catch (error) {
          throw new Error(`With ${plan.join(', ')}: ${String(error)}`, { cause: error });
        } finally {
          world.close();
        }
      }
    },
  );
});

/** Healing would end the plan of faults before the retries met it. */
async function settleWithoutHealing(world: World): Promise<void> {
  for (let round = 0; round < 10; round++) {
    for (const node of world.nodes) void node.stream.deliver();
    await world.calm();
  }
  await world.settle();
}

/** Increments that succeeded, and nothing else, are in the counter; where nobody knows, the mark tells. */
function expectCounted(world: World): void {
  const value = world.oracle.column('SELECT v FROM t WHERE id = 1');
  const marks = world.oracle.column('SELECT count(*) FROM marks');
  expect(value).toEqual(marks);
}

describe('chunked transactions interrupted at each part', () => {
  const WIDE = Array.from({ length: 14 }, (_value, index) => `(${100 + index}, '${'x'.repeat(400)}')`).join(', ');
  const SMALL = { maxPayload: 3_000 };

  const start = (world: World, form: string): Write =>
    form === 'plain'
      ? marked(world, 1, 'mark-1-', `INSERT INTO t VALUES${WIDE}`, `INSERT INTO bag VALUES('x')`)
      : marked(world, 1, 'mark-1-', `INSERT INTO t VALUES${WIDE}`, `INSERT INTO t(v) VALUES('generated')`);

  const parts = async (form: string): Promise<number> => {
    let count = 0;
    await scenario(
      SCHEMA.slice(1),
      async (world) => {
        const before = world.log.state().lastSequence;
        start(world, form);
        await world.settle();
        count = world.log.state().lastSequence - before;
      },
      SMALL,
    );
    return count;
  };

  it.each(['plain', 'ordered'])(
    'a %s one whose n-th part is lost, refused, or stored without an answer',
    async (form) => {
      const count = await parts(form);
      expect(count).toBeGreaterThanOrEqual(3);
      for (let at = 0; at < count; at++) {
        for (const fault of ['loseAcks', 'dropNext', 'refuseNext'] as const) {
          for (const company of [false, true]) {
            await scenario(
              SCHEMA.slice(1),
              async (world) => {
                world.node(1).planPublishes([...Array.from({ length: at }, () => 'ok' as const), fault]);
                const write = start(world, form);
                await world.scheduler.run(2, false);
                if (company) world.exec(0, `INSERT OR REPLACE INTO t VALUES(100, 'other')`);
                await world.calm();
                await settleWithoutHealing(world);
                if (!company)
                  expect([at, fault, states([write])]).toEqual([
                    at,
                    fault,
                    [expectedState(form, fault, at < count - 1)],
                  ]);
              },
              SMALL,
            );
          }
        }
      }
    },
  );

  it('one whose writer dies behind each part, and whose other parts never come', async () => {
    const count = await parts('plain');
    for (let at = 1; at < count; at++) {
      await scenario(
        SCHEMA.slice(1),
        async (world) => {
          let published = 0;
          world.node(1).onStep = (step) => {
            if (step === 'behind a publish' && ++published === at) world.kill(1);
          };
          start(world, 'plain');
          await world.settle();
          for (const node of world.nodes) {
            expect(node.db.reader.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 1 });
          }
          // The next transaction of the same node is not taken for a part of the one that died.
          const next = marked(world, 1, 'mark-2-', `INSERT INTO t VALUES${WIDE}`);
          await world.settle();
          expect(states([next])).toEqual(['resolved']);
          for (const node of world.nodes) {
            expect(node.db.reader.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 15 });
          }
        },
        SMALL,
      );
    }
  });
});

/** A part behind which others were stored is never sent again: it would come behind them, and nobody could use it. */
function expectedState(form: string, fault: Fault, othersFollow: boolean): string {
  return form === 'plain' && fault === 'dropNext' && othersFollow ? 'HA_PUBLISH_UNKNOWN' : 'resolved';
}

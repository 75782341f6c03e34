import { checkWorld, MARKS, markSql } from './check.js';
import { marked, states } from './scenario.js';
import type { NodeSettings } from './sim-node.js';
import { World } from './world.js';

interface CrashScenario {
  readonly name: string;
  readonly settings?: Partial<NodeSettings>;
  /** Starts writes at node 1, and what comes into their way; nothing of it is waited for. */
  readonly start: (world: World) => void;
}

const T = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';
const SCHEMA = [MARKS, T, 'CREATE TABLE bag(x)', `INSERT INTO t VALUES(1, 0)`, `INSERT INTO bag VALUES('first')`];
const WIDE = Array.from({ length: 12 }, (_value, index) => `(${100 + index}, '${'x'.repeat(400)}')`).join(', ');

function serializable(world: World, mark: string): void {
  world.write(
    1,
    ({ db }) =>
      db.transaction(
        async (tx) => {
          await tx.run(markSql(mark));
          await tx.run('UPDATE t SET v = v + 1 WHERE id = 1');
        },
        { serializable: true },
      ),
    mark,
  );
}

const SCENARIOS: readonly CrashScenario[] = [
  {
    name: 'a plain write',
    start: (world) => void marked(world, 1, 'mark-1-', `INSERT INTO bag VALUES('x')`),
  },
  {
    name: 'a group of three',
    start: (world) => {
      for (const id of [1, 2, 3])
        marked(world, 1, `mark-${id}-`, `INSERT INTO bag VALUES('x')`, 'UPDATE t SET v = v + 1');
    },
  },
  {
    name: 'a group that somebody came before',
    start: (world) => {
      marked(world, 0, 'mark-9-', `INSERT INTO bag VALUES('x')`, 'UPDATE t SET v = 9');
      for (const id of [1, 2]) marked(world, 1, `mark-${id}-`, `INSERT INTO bag VALUES('x')`, 'UPDATE t SET v = v + 1');
    },
  },
  {
    name: 'an ordered group',
    start: (world) => {
      for (const id of [1, 2, 3]) marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('generated')`);
    },
  },
  {
    name: 'an ordered group that is refused first',
    start: (world) => {
      marked(world, 0, 'mark-9-', `INSERT INTO t(v) VALUES('other')`);
      for (const id of [1, 2]) serializable(world, `mark-${id}-`);
    },
  },
  {
    name: 'an ordered group on three replicas, one message at a time',
    settings: { replicas: 3, batchLimit: 1 },
    start: (world) => {
      for (const id of [1, 2]) marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('generated')`);
    },
  },
  {
    name: 'an ordered group in one atomic batch',
    settings: { replicas: 3 },
    start: (world) => {
      for (const id of [1, 2, 3]) marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('generated')`);
    },
  },
  {
    name: 'an ordered group in several atomic batches that somebody came before',
    settings: { replicas: 3, batchLimit: 2 },
    start: (world) => {
      marked(world, 0, 'mark-9-', `INSERT INTO t(v) VALUES('other')`);
      for (const id of [1, 2, 3]) marked(world, 1, `mark-${id}-`, `INSERT INTO t(v) VALUES('generated')`);
    },
  },
  {
    name: 'a change of the schema',
    start: (world) =>
      void marked(
        world,
        1,
        'mark-1-',
        'ALTER TABLE t RENAME COLUMN v TO w',
        'UPDATE t SET w = 5',
        'CREATE INDEX i ON t(w)',
      ),
  },
  {
    name: 'a transaction of several messages',
    settings: { maxPayload: 3_000 },
    start: (world) => {
      marked(world, 1, 'mark-1-', `INSERT INTO t VALUES${WIDE}`, `INSERT INTO bag VALUES('x')`);
      marked(world, 0, 'mark-9-', `INSERT INTO t VALUES(100, 'other')`, 'UPDATE bag SET x = 2');
    },
  },
  {
    name: 'a write whose acknowledgement is lost',
    start: (world) => {
      world.node(1).planPublishes(['loseAcks', 'ok', 'loseAcks']);
      for (const id of [1, 2]) marked(world, 1, `mark-${id}-`, `INSERT INTO bag VALUES('x')`);
    },
  },
  {
    name: 'a write that takes what applying cannot foresee',
    settings: { recursiveTriggers: false },
    start: (world) =>
      void marked(world, 1, 'mark-1-', 'UPDATE OR REPLACE bag SET rowid = 1', `INSERT OR REPLACE INTO t VALUES(1, 7)`),
  },
];

/** Runs a scenario; `onStep` hears of the steps of one node. */
async function runScenario(
  { settings, start }: CrashScenario,
  watched: number,
  onStep: (step: string, world: World) => void,
): Promise<World> {
  const world = await World.open(2, SCHEMA, settings ?? {});
  try {
    world.node(watched).onStep = (step) => onStep(step, world);
    start(world);
    // Deliveries come while the writer is at it, as on a network.
    for (let round = 0; round < 6; round++) {
      await world.scheduler.run(8, false);
      for (const node of world.nodes) void node.stream.deliver(1);
    }
    await world.settle();
    checkWorld(world);
    return world;
  } finally {
    world.close();
  }
}

/** The names of all steps that a node goes through where nobody dies: then every write succeeds. */
async function stepsOf(scenario: CrashScenario, node: number): Promise<string[]> {
  const steps: string[] = [];
  const { writes } = await runScenario(scenario, node, (step) => steps.push(step));
  expect(states(writes)).toEqual(writes.map(() => 'resolved'));
  return steps;
}

/** Runs the scenario once for each step, and kills the node there. */
async function killAtEachStep(scenario: CrashScenario, node: number): Promise<string[]> {
  const steps = await stepsOf(scenario, node);
  for (const [at, name] of steps.entries()) {
    let step = 0;
    let killed = false;
    try {
      await runScenario(scenario, node, (_name, world) => {
        if (step++ !== at) return;
        world.kill(node);
        killed = true;
      });
    } catch (error) {
      throw new Error(`Killed at step ${at + 1} of ${steps.length}, ${name}: ${String(error)}`, { cause: error });
    }
    expect([at, killed]).toEqual([at, true]);
  }
  return steps;
}

describe.each(SCENARIOS)('restart at any point: $name', (scenario) => {
  it('the writer dies at each of its steps: what it published is everywhere, the rest nowhere', async () => {
    const steps = await killAtEachStep(scenario, 1);
    expect(steps).toEqual(expect.arrayContaining(['before a publish', 'behind a publish']));
    expect(steps.some((step) => step.startsWith('behind COMMIT'))).toBe(true);
  });

  it('the other node dies at each of its steps: it goes on where its file stands', async () => {
    const steps = await killAtEachStep(scenario, 0);
    expect(steps).toEqual(expect.arrayContaining(['before COMMIT of the applier', 'behind COMMIT of the applier']));
  });
});

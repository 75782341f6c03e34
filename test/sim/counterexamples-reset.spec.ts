import { BAG, rows, states } from './scenario.js';
import { MARKS } from './check.js';
import { SUBJECT } from './sim-node.js';
import { World } from './world.js';

/** A world whose nodes have all applied the same three rows. */
async function threeRows(run: (world: World) => Promise<void>): Promise<void> {
  const world = await World.open(2, [MARKS, BAG, 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)']);
  try {
    for (const x of ['a', 'b', 'c']) {
      world.exec(0, `INSERT INTO bag VALUES('${x}')`);
      await world.settle();
    }
    await run(world);
  } finally {
    world.close();
  }
}

function append(world: World, x: string): void {
  const change = { operation: 'INSERT', database: 'main', table: 'bag', columns: ['x'], new_values: [x] };
  const body = { node: 'other', process_id: 1, filename: 'db', changes: [change], epoch: 0, timestamp_ns: 1 };
  const data = Buffer.from(JSON.stringify(body));
  world.broker.append({ subject: SUBJECT, id: `other.${x.length}`, version: '1', chunk: undefined, data });
}

describe('a stream that lost its end and was written again', () => {
  it.each([
    ['as far as the position', ['other']],
    ['beyond the position, so that it looks gapless', ['other', 'another']],
    ['not at all', []],
  ])('halts every node with HA_STREAM_RESET when it is back, and takes no write: %s', async (_name, texts) =>
    threeRows(async (world) => {
      for (const node of world.nodes) node.stream.disconnect();
      world.broker.truncate(world.log.state().lastSequence - 1);
      for (const text of texts) append(world, text);
      for (const node of world.nodes) void node.stream.connect();
      await world.calm();
      const writes = [0, 1].flatMap((node) => [
        world.exec(node, `INSERT INTO bag VALUES('late')`),
        world.exec(node, `INSERT INTO t(v) VALUES('late')`),
      ]);
      for (const write of writes) await world.answered(write);
      expect(states(writes)).toEqual(writes.map(() => 'HA_STREAM_RESET'));
      for (const node of world.nodes) {
        expect(node.db.status()).toMatchObject({ state: 'halted', lastError: { code: 'HA_STREAM_RESET' } });
        expect(rows(world, node.index, 'SELECT x FROM bag')).toEqual(['a', 'b', 'c']);
      }
    }),
  );
});

describe('a subject that was emptied by age or size', () => {
  it('goes on: plain and ordered writes, and changes of the schema, of every node', () =>
    threeRows(async (world) => {
      for (let round = 0; round < 3; round++) {
        world.broker.trim(world.log.state().lastSequence);
        const writes = [0, 1].flatMap((node) => [
          world.exec(node, `INSERT INTO t(v) VALUES('generated ${round}')`),
          world.exec(node, `INSERT INTO bag VALUES('plain ${round}')`),
          world.exec(node, `CREATE TABLE own_${node}_${round}(v)`),
        ]);
        await world.settle();
        expect(states(writes)).toEqual(writes.map(() => 'resolved'));
      }
      // The fold has lost its beginning: the nodes are compared with each other.
      const [a, b] = world.nodes.map((node) => node.state());
      expect(a).toEqual(b);
      expect(rows(world, 1, 'SELECT count(*), count(DISTINCT id) FROM t')).toEqual(['6|6']);
      expect(rows(world, 1, 'SELECT count(*) FROM bag')).toEqual(['9']);
    }));

  it('goes on for a node that is started again, and refuses one that missed messages', () =>
    threeRows(async (world) => {
      world.broker.trim(world.log.state().lastSequence);
      world.kill(1);
      await world.settle();
      const write = world.exec(1, `INSERT INTO t(v) VALUES('generated')`);
      await world.settle();
      expect(states([write])).toEqual(['resolved']);
      world.node(1).stream.disconnect();
      world.exec(0, `INSERT INTO bag VALUES('missed')`);
      await world.calm();
      world.broker.trim(world.log.state().lastSequence);
      void world.node(1).stream.connect();
      await world.calm();
      expect(world.node(1).db.status()).toMatchObject({ state: 'halted', lastError: { code: 'HA_STREAM_GAP' } });
      const late = world.exec(1, `INSERT INTO bag VALUES('late')`);
      await world.answered(late);
      expect(states([late])).toEqual(['HA_STREAM_GAP']);
    }));
});

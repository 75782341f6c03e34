import { BAG, marked, scenario, states } from './scenario.js';
import { markSql } from './check.js';
import type { Write, World } from './world.js';

/** A write whose result names its place; the mark is in its message alone. */
function placed(world: World, node: number, mark: string, serializable = false): Write {
  if (!serializable) return world.write(node, ({ db }) => db.run(markSql(mark)), mark);
  return world.write(node, ({ db }) => db.run(`INSERT INTO t(v) VALUES('${mark}')`), undefined);
}

function textAt(world: World, sequence: bigint | undefined): string {
  return Buffer.from(world.log.at(Number(sequence))?.data ?? []).toString('utf8');
}

describe('a result names the sequence of its own message', () => {
  const T = 'CREATE TABLE t(id INTEGER PRIMARY KEY, v)';

  it('where all went well, and where others came first', () =>
    scenario([BAG], async (world) => {
      world.exec(0, `INSERT INTO bag VALUES('first')`);
      const writes = [1, 2, 3].map((n) => placed(world, 1, `mark-${n}-`));
      world.exec(0, `INSERT INTO bag VALUES('last')`);
      await world.settle();
      expect(states(writes)).toEqual(['resolved', 'resolved', 'resolved']);
      for (const { sequence, mark } of writes) expect(textAt(world, sequence)).toContain(mark);
    }));

  it('where its acknowledgement was lost, that of the next was not, and others wrote behind', () =>
    scenario([BAG], async (world) => {
      world.node(1).planPublishes(['loseAcks', 'ok']);
      const writes = [1, 2].map((n) => placed(world, 1, `mark-${n}-`));
      await world.scheduler.run(4, false);
      for (let n = 0; n < 3; n++) world.exec(0, `INSERT INTO bag VALUES('behind')`);
      await world.calm();
      await world.settle();
      expect(states(writes)).toEqual(['resolved', 'resolved']);
      for (const { sequence, mark } of writes) expect(textAt(world, sequence)).toContain(mark);
    }));

  it('where a retry was refused although it was stored', () =>
    scenario([T, BAG], async (world) => {
      world.node(1).planPublishes(['loseAcks', 'refuseNext']);
      const write = placed(world, 1, 'mark-1-', true);
      await world.scheduler.run(4, false);
      for (let n = 0; n < 3; n++) world.exec(0, `INSERT INTO bag VALUES('behind')`);
      await world.calm();
      await world.settle();
      expect(states([write])).toEqual(['resolved']);
      expect(textAt(world, write.sequence)).toContain('mark-1-');
    }));

  it('where it takes several messages: the last of them', () =>
    scenario(
      [T, BAG],
      async (world) => {
        world.node(1).planPublishes(['ok', 'ok', 'loseAcks', 'ok']);
        const many = Array.from({ length: 10 }, (_value, index) => `(${index}, '${'x'.repeat(600)}')`).join(', ');
        const wide = world.write(1, ({ db }) => db.run(`INSERT INTO t VALUES${many}`));
        const next = marked(world, 1, 'mark-1-', `INSERT INTO bag VALUES('x')`);
        await world.scheduler.run(4, false);
        world.exec(0, `INSERT INTO bag VALUES('behind')`);
        await world.settle();
        expect(states([wide, next])).toEqual(['resolved', 'resolved']);
        const message = world.log.at(Number(wide.sequence));
        const [, part] = message?.chunk?.split(';') ?? [];
        expect(part).toMatch(/^(\d+)\/\1$/);
      },
      { maxPayload: 3_000 },
    ));
});

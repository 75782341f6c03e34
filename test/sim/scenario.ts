import { checkWorld, MARKS, markSql } from './check.js';
import { World } from './world.js';
import type { Write } from './world.js';

type Options = NonNullable<Parameters<typeof World.open>[2]>;

/** Runs a scenario on nodes that hold a schema, and compares all of them with the fold of the stream at its end. */
export async function scenario(
  schema: readonly string[],
  run: (world: World) => Promise<void>,
  options: Options = {},
): Promise<void> {
  const world = await World.open(2, [MARKS, ...schema], options);
  try {
    await run(world);
    await world.settle();
    checkWorld(world);
  } finally {
    world.close();
  }
}

/** The rows of a table on a node, each as one text. */
export function rows(world: World, node: number, sql: string): string[] {
  const found = world.node(node).db.reader.prepare(sql).raw().all() as unknown[][];
  return found.map((row) => row.map(String).join('|'));
}

/** Expects the same rows on every node, once everything has arrived. */
export async function expectRows(world: World, sql: string, expected: readonly string[]): Promise<void> {
  await world.settle();
  for (const node of world.nodes) expect(rows(world, node.index, sql)).toEqual(expected);
}

/** Node 1 writes, and node 0 gets what is in the stream; node 0 publishes nothing. */
export async function meet(world: World, ...transactions: string[]): Promise<void> {
  for (const sql of transactions) {
    world.exec(1, sql);
    await world.finish(1);
  }
  await world.receive(0);
  world.check(0);
}

/** What became of writes: a state, or the code of the error. */
export function states(writes: readonly Write[]): string[] {
  return writes.map(({ state, error }) => error?.code ?? state);
}

/** A transaction that leaves a mark. */
export function marked(world: World, node: number, mark: string, ...statements: string[]): Write {
  return world.write(node, ({ db }) => db.exec([markSql(mark), ...statements].join(';\n')), mark);
}

/** A table without a key. */
export const BAG = 'CREATE TABLE bag(x)';

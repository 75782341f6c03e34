import type { Verdict } from './check.js';
import type { RandomSelect } from './random-select.js';
import type { World } from './random-world.js';

export interface Counterexample {
  readonly world: World;
  readonly query: RandomSelect;
  readonly verdict: Verdict;
}

/** Leaves out databases, rows and clauses as long as the answer stays wrong. */
export async function shrink(
  world: World,
  query: RandomSelect,
  wrong: (world: World, query: RandomSelect) => Promise<Verdict | undefined>,
): Promise<Counterexample> {
  let best: Counterexample = {
    world,
    query,
    verdict: (await wrong(world, query)) ?? { kind: 'wrong', how: 'not repeatable', plan: '' },
  };
  for (let again = true, rounds = 0; again && rounds < 20; rounds++) {
    again = false;
    for (const candidate of candidates(best.world, best.query)) {
      const verdict = await wrong(candidate.world, candidate.query).catch(() => undefined);
      if (verdict === undefined) continue;
      best = { ...candidate, verdict };
      again = true;
      break;
    }
  }
  return best;
}

function* candidates(world: World, query: RandomSelect): Generator<{ world: World; query: RandomSelect }> {
  for (const shorter of shorterQueries(query)) yield { world, query: shorter };
  for (let d = 0; d < world.rows.length && world.rows.length > 1; d++) {
    yield { world: { ...world, rows: world.rows.filter((_, i) => i !== d) }, query };
  }
  for (const half of [true, false]) yield* fewerRows(world, query, half);
}

function* fewerRows(
  world: World,
  query: RandomSelect,
  half: boolean,
): Generator<{ world: World; query: RandomSelect }> {
  for (const [d, tables] of world.rows.entries()) {
    for (const [t, rows] of tables.entries()) {
      const cuts = half
        ? [rows.slice(0, rows.length >> 1), rows.slice(rows.length >> 1)]
        : rows.map((_, r) => rows.filter((__, i) => i !== r));
      for (const cut of cuts) {
        if (cut.length === rows.length) continue;
        const smaller = world.rows.map((list, i) => (i === d ? list.map((own, j) => (j === t ? cut : own)) : list));
        yield { world: { ...world, rows: smaller }, query };
      }
    }
  }
}

function* shorterQueries(query: RandomSelect): Generator<RandomSelect> {
  if (query.limit !== '') yield { ...query, limit: '' };
  if (query.orderBy.length > 0) yield { ...query, orderBy: [] };
  if (query.orderBy.length > 1)
    for (let i = 0; i < query.orderBy.length; i++) yield { ...query, orderBy: query.orderBy.filter((_, j) => j !== i) };
  if (query.distinct) yield { ...query, distinct: false };
  if (query.having !== '') yield { ...query, having: '' };
  if (query.where !== '') yield { ...query, where: '' };
  if (query.compound !== '') yield { ...query, compound: '' };
  if (query.columns.length > 1)
    for (let i = 0; i < query.columns.length; i++) yield { ...query, columns: query.columns.filter((_, j) => j !== i) };
  for (let i = 0; i < query.groupBy.length; i++) yield { ...query, groupBy: query.groupBy.filter((_, j) => j !== i) };
}

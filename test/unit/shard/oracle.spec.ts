import { Random } from '../../support/random.js';
import { Oracle } from './oracle/check.js';
import type { Verdict } from './oracle/check.js';
import { SelectGenerator, selectText } from './oracle/random-select.js';
import { randomWorld } from './oracle/random-world.js';
import { shrink } from './oracle/shrink.js';

const QUERIES = Number(process.env['SHARD_QUERIES'] ?? 1_000);
const FIRST_SEED = Number(process.env['SHARD_SEED'] ?? 1);
const QUERIES_OF_A_WORLD = 25;

describe('SELECT across databases', () => {
  it(
    `answers ${QUERIES} random queries as one database with all rows does`,
    async () => {
      const counts: Record<string, number> = {};
      const count = (name: string): void => void (counts[name] = (counts[name] ?? 0) + 1);
      let seen = 0;
      for (let seed = FIRST_SEED; seen < QUERIES; seed++) {
        const random = new Random(seed);
        const world = randomWorld(random, 1 + random.below(6));
        const oracle = new Oracle(world, seed);
        try {
          const generator = new SelectGenerator(random, world);
          for (let i = 0; i < QUERIES_OF_A_WORLD; i++) {
            const query = generator.next();
            const gatherOnly = random.below(5) === 0;
            const verdict: Verdict = await oracle.check(query, gatherOnly);
            if (verdict.kind === 'wrong') throw new Error(await report(seed, world, query, gatherOnly));
            count(verdict.kind);
            if (verdict.kind === 'exact') count(`exact, ${verdict.plan}`);
            if (verdict.kind !== 'invalid') seen++;
          }
        } finally {
          oracle.close();
        }
      }
      if (process.env['SHARD_SHOW'] !== undefined) process.stderr.write(`${JSON.stringify(counts)}\n`);
      const { exact = 0, indeterminate = 0, refused = 0 } = counts;
      expect(refused / seen).toBeLessThanOrEqual(0.05);
      // Else the queries would prove little.
      expect(exact / seen).toBeGreaterThan(0.8);
      expect(exact + indeterminate + refused).toBe(seen);
      for (const plan of ['stream', 'groups', 'merge']) expect(counts[`exact, ${plan}`]).toBeGreaterThan(seen / 40);
    },
    4 * 3_600_000,
  );
});

async function report(
  seed: number,
  world: ReturnType<typeof randomWorld>,
  query: ReturnType<SelectGenerator['next']>,
  gatherOnly: boolean,
): Promise<string> {
  const small = await shrink(world, query, async (smaller, shorter) => {
    const oracle = new Oracle(smaller, seed);
    try {
      const verdict = await oracle.check(shorter, gatherOnly);
      return verdict.kind === 'wrong' ? verdict : undefined;
    } finally {
      oracle.close();
    }
  });
  const tables = small.world.tables.map(
    (table) =>
      `${table.name}(${table.columns.map((column) => `"${column.name}" ${column.declared}`).join(', ')})${table.options} ${table.indexes.join('; ')}`,
  );
  const rows = small.world.rows.map(
    (database, d) =>
      `d${d}: ${database.map((list) => JSON.stringify(list, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))).join(' ')}`,
  );
  return [
    `seed ${seed}: ${small.verdict.how}`,
    `plan: ${small.verdict.plan}`,
    selectText(small.query),
    JSON.stringify(small.query.args, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v)),
    ...tables,
    ...small.world.views.map((view) => view.sql),
    ...rows,
  ].join('\n');
}

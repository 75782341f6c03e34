import { SeenIds } from '../../../lib/sqlite/seen-ids.js';
import type { RangeChange } from '../../../lib/sqlite/seen-ids.js';
import { forSeeds } from '../../support/random.js';

type Row = { origin: string; lo: number; hi: number };

/** The control table, as the changes make it. */
class Table {
  readonly rows = new Map<string, Row>();

  write(changes: readonly RangeChange[]): void {
    for (const { origin, lo, hi } of changes) {
      if (hi === undefined) this.rows.delete(`${origin} ${lo}`);
      else this.rows.set(`${origin} ${lo}`, { origin, lo, hi });
    }
  }
}

it('is the set that was added, also when it is read back from what was written', () => {
  forSeeds(300, (random) => {
    const known = new Set<string>();
    const table = new Table();
    let seen = new SeenIds();
    const limit = random.pick([5, 30, 200]);
    for (let step = 0; step < 150; step++) {
      const origin = random.pick(['a', 'b.1', 'b']);
      const n = 1 + random.below(limit);
      const isKnown = known.has(`${origin} ${n}`);
      if (seen.has(origin, n) !== isKnown || seen.add(origin, n) === isKnown) throw new Error(`step ${step}: ${n}`);
      known.add(`${origin} ${n}`);
      if (random.below(4) === 0) table.write(seen.takeChanges());
      if (random.below(20) === 0) {
        table.write(seen.takeChanges());
        // In any order: the table is not read sorted by number.
        seen = new SeenIds([...table.rows.values()].sort(() => random.next() - 0.5));
      }
    }
    table.write(seen.takeChanges());
    const expanded = [...table.rows.values()].flatMap(({ origin, lo, hi }) =>
      Array.from({ length: hi - lo + 1 }, (_, index) => `${origin} ${lo + index}`),
    );
    expect(expanded.sort()).toEqual([...known].sort());
    expect(adjacent([...table.rows.values()])).toEqual([]);
    for (const origin of ['a', 'b.1', 'b', 'c']) {
      for (let n = 0; n <= limit + 1; n++) {
        if (seen.has(origin, n) !== known.has(`${origin} ${n}`)) throw new Error(`in the end: ${n}`);
      }
    }
  });
});

/** Rows that should have been one. */
function adjacent(rows: readonly Row[]): Row[] {
  return rows.filter((row) => rows.some((other) => other.origin === row.origin && other.lo === row.hi + 1));
}

it('keeps one row for numbers that come in order', () => {
  const seen = new SeenIds();
  for (let n = 1; n <= 1_000; n++) seen.add('a', n);
  expect(seen.takeChanges()).toEqual([{ origin: 'a', lo: 1, hi: 1_000 }]);
  expect(seen.takeChanges()).toEqual([]);
});

it('joins two ranges when the number between them comes', () => {
  const seen = new SeenIds();
  for (const n of [1, 2, 4, 5]) seen.add('a', n);
  seen.takeChanges();
  expect(seen.add('a', 3)).toBe(true);
  expect(new Set(seen.takeChanges())).toEqual(
    new Set([
      { origin: 'a', lo: 4, hi: undefined },
      { origin: 'a', lo: 1, hi: 5 },
    ]),
  );
});

it('notes nothing for what it knows', () => {
  const seen = new SeenIds([{ origin: 'a', lo: 1, hi: 9 }]);
  expect(seen.add('a', 9)).toBe(false);
  expect(seen.takeChanges()).toEqual([]);
});

import { ID_EPOCH_MS, IdGenerator, randomSlot } from '../../../lib/sqlite/id-generator.js';

/** A generator whose clock and slot the test sets. */
function generator(slot = 0): { ids: IdGenerator; state: { now: number; slot: number } } {
  const state = { now: ID_EPOCH_MS + 1_000, slot };
  return { state, ids: new IdGenerator({ slot: () => state.slot }, () => state.now) };
}

function parts(id: bigint): { ms: number; slot: number; counter: number } {
  return { ms: Number(id >> 12n), slot: Number((id >> 4n) & 255n), counter: Number(id & 15n) };
}

describe('IdGenerator', () => {
  it('puts milliseconds, slot and counter side by side', () => {
    const { ids, state } = generator(0xab);
    expect(parts(ids.next())).toEqual({ ms: 1_000, slot: 0xab, counter: 0 });
    expect(parts(ids.next())).toEqual({ ms: 1_000, slot: 0xab, counter: 1 });
    state.now += 2;
    expect(parts(ids.next())).toEqual({ ms: 1_002, slot: 0xab, counter: 0 });
    expect(ids.highest()).toBe(ID_EPOCH_MS + 1_002);
  });

  it('runs ahead of the clock where 16 ids a millisecond are not enough', () => {
    const { ids, state } = generator(3);
    expect(ids.highest()).toBe(0);
    const made = Array.from({ length: 33 }, () => parts(ids.next()));
    expect(made[15]).toEqual({ ms: 1_000, slot: 3, counter: 15 });
    expect(made[16]).toEqual({ ms: 1_001, slot: 3, counter: 0 });
    expect(made[32]).toEqual({ ms: 1_002, slot: 3, counter: 0 });
    expect(ids.highest()).toBe(ID_EPOCH_MS + 1_002);
    state.now += 1;
    expect(parts(ids.next())).toEqual({ ms: 1_002, slot: 3, counter: 1 });
    state.now += 9;
    expect(parts(ids.next())).toEqual({ ms: 1_010, slot: 3, counter: 0 });
  });

  it('never goes backwards, whatever the clock does', () => {
    const { ids, state } = generator();
    const first = ids.next();
    state.now = 0;
    const second = ids.next();
    expect(second).toBe(first + 1n);
    state.now = ID_EPOCH_MS - 1;
    let last = second;
    for (let count = 0; count < 100; count++) {
      const id = ids.next();
      expect(id).toBeGreaterThan(last);
      last = id;
    }
  });

  it('is positive also where the clock stands before the epoch', () => {
    const { ids, state } = generator();
    state.now = 0;
    expect(parts(ids.next())).toEqual({ ms: 1, slot: 0, counter: 0 });
  });

  it('keeps growing when it gets another slot', () => {
    const { ids, state } = generator(255);
    const first = ids.next();
    state.slot = 0;
    const second = ids.next();
    expect(second).toBeGreaterThan(first);
    expect(parts(second)).toEqual({ ms: 1_001, slot: 0, counter: 0 });
  });

  it('begins behind what the last holder of its slot reached', () => {
    const lease = { at: 0, floor: ID_EPOCH_MS + 5_000, slot: () => lease.at };
    const ids = new IdGenerator(lease, () => ID_EPOCH_MS + 100);
    expect(parts(ids.next())).toEqual({ ms: 5_001, slot: 0, counter: 0 });
    Object.assign(lease, { at: 1, floor: ID_EPOCH_MS + 10 });
    expect(parts(ids.next())).toEqual({ ms: 5_002, slot: 1, counter: 0 });
    Object.assign(lease, { at: 2, floor: ID_EPOCH_MS + 7_000 });
    expect(parts(ids.next())).toEqual({ ms: 7_001, slot: 2, counter: 0 });
    // Lost to another node, which ran ahead, and had back.
    lease.floor = ID_EPOCH_MS + 9_000;
    expect(parts(ids.next())).toEqual({ ms: 9_001, slot: 2, counter: 0 });
  });

  it('makes a million ids that are unique, increasing and below 2^53', () => {
    const ids = new IdGenerator({ slot: () => 255 });
    let last = 0n;
    for (let count = 0; count < 1_000_000; count++) {
      const id = ids.next();
      if (id <= last) throw new Error(`${id} is not above ${last}`);
      last = id;
    }
    expect(Number.isSafeInteger(Number(last))).toBe(true);
    expect(ids.highest()).toBeGreaterThanOrEqual(Date.now());
  });

  it('makes other ids in other slots at the same time', () => {
    const made = new Set<bigint>();
    for (let slot = 0; slot < 256; slot++) {
      const { ids } = generator(slot);
      for (let count = 0; count < 40; count++) made.add(ids.next());
    }
    expect(made.size).toBe(256 * 40);
  });

  it('stays below 2^53 to the last id there is, and says so behind it', () => {
    const { ids, state } = generator(255);
    state.now = ID_EPOCH_MS + 2 ** 41 - 1;
    const last = Array.from({ length: 16 }, () => ids.next()).at(-1);
    expect(last).toBe(2n ** 53n - 1n);
    expect(() => ids.next()).toThrow(expect.objectContaining({ code: 'HA_UNAVAILABLE' }));
  });

  it('hands on what the lease throws, and refuses a slot that does not fit', () => {
    const failing = new IdGenerator({
      slot: () => {
        throw new Error('no slot now');
      },
    });
    expect(() => failing.next()).toThrow('no slot now');
    for (const slot of [-1, 256, 1.5, Number.NaN]) {
      expect(() => new IdGenerator({ slot: () => slot }).next()).toThrow(RangeError);
    }
  });
});

it('randomSlot draws from all slots', () => {
  expect(randomSlot(() => 0)).toBe(0);
  expect(randomSlot(() => 1 - Number.EPSILON)).toBe(255);
});

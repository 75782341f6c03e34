import { ID_SLOTS } from '../../../lib/sqlite/id-generator.js';
import { IdSlotLease } from '../../../lib/stream/membership/id-slots.js';
import type { IdSlotOwner } from '../../../lib/stream/membership/id-slots.js';
import { MemoryBroker } from '../../../lib/stream/memory/memory-broker.js';
import { MemoryStream } from '../../../lib/stream/memory/memory-stream.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let now: number;
let stream: MemoryStream;
let sessions: number;

beforeEach(async () => {
  now = 1_800_000_000_000;
  sessions = 0;
  stream = new MemoryStream({ broker: new MemoryBroker({ now: () => now }), stream: 's', subject: 's.db' });
  await stream.open();
});

async function owner(node: string): Promise<IdSlotOwner> {
  return { bucket: await stream.keyValue('ids', {}), replicationID: 'db', node, session: `session ${++sessions}` };
}

async function lease(node: string, highest = 0): Promise<IdSlotLease> {
  const made = new IdSlotLease(() => now);
  made.holder = { highest: () => highest };
  await made.claim(await owner(node));
  return made;
}

const recordOf = async (slot: number): Promise<unknown> =>
  JSON.parse((await (await stream.keyValue('ids', {})).get(`db.${slot}`))?.value ?? 'null');

describe('the lease of a slot of ids', () => {
  it('gives each node its own, also where all ask at once', async () => {
    const leases = await Promise.all(Array.from({ length: 40 }, (_, index) => lease(`n${index}`)));
    expect(leases.map((one) => one.slot()).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 40 }, (_, index) => index),
    );
  });

  it('stores up to which ids were handed out, with every renewal and at the end', async () => {
    let highest = now + 5;
    const one = await lease('n1');
    one.holder = { highest: () => highest };
    now += 1_000;
    await one.renew();
    expect(await recordOf(0)).toEqual({ node: 'n1', session: 'session 1', until: highest, used: now, released: false });
    highest += 10;
    now += 1_000;
    await one.release();
    expect(await recordOf(0)).toEqual({ node: 'n1', session: 'session 1', until: highest, used: now, released: true });
    expect(() => one.slot()).toThrow(expect.objectContaining({ code: 'HA_ID_SLOTS' }));
  });

  it('goes back to a node of the same name at once where it was given back and its ids are in the past', async () => {
    await (await lease('n1', now - 1)).release();
    const again = await lease('n1');
    expect(again.slot()).toBe(0);
    expect(again.floor).toBe(now - 1);
  });

  it('does not go back while ids were handed out for the future', async () => {
    await (await lease('n1', now + 100)).release();
    expect((await lease('n1')).slot()).toBe(1);
    now += 101;
    const third = await lease('n1');
    expect(third.slot()).toBe(0);
    expect(third.floor).toBe(now - 1);
  });

  it('goes to a node of the same name 20 minutes after the last renewal, and to no other', async () => {
    await lease('n1');
    now += 20 * MINUTE;
    expect((await lease('n1')).slot()).toBe(1);
    now += 1;
    expect((await lease('other')).slot()).toBe(2);
    expect((await lease('n1')).slot()).toBe(0);
  });

  it('goes to others only where no slot is fresh: given back a minute ago, or left for 48 hours', async () => {
    const all = await Promise.all(Array.from({ length: ID_SLOTS }, (_, index) => lease(`n${index}`)));
    const none = await lease('late');
    expect(() => none.slot()).toThrow(/all 256 are taken/);
    const given = all.find((one) => one.slot() === 17) as IdSlotLease;
    const newest = now;
    given.holder = { highest: () => newest };
    await given.release();
    now += MINUTE;
    await none.renew();
    expect(() => none.slot()).toThrow(expect.objectContaining({ code: 'HA_ID_SLOTS' }));
    now += 1;
    await none.renew();
    expect(none.slot()).toBe(17);
    now += 48 * HOUR - MINUTE - 1;
    expect(() => none.slot()).toThrow(/15 minutes/);
    const next = await lease('another');
    expect(() => next.slot()).toThrow(/all 256 are taken/);
    now += 1;
    await next.renew();
    expect(next.slot()).toBeGreaterThanOrEqual(0);
  });

  it('is not used any more before another node could have it', async () => {
    const one = await lease('n1');
    now += 15 * MINUTE;
    expect(one.slot()).toBe(0);
    now += 1;
    expect(() => one.slot()).toThrow(expect.objectContaining({ code: 'HA_ID_SLOTS', retryable: true }));
    await one.renew();
    expect(one.slot()).toBe(0);
  });

  it('takes another slot where it was away for so long that its own went to somebody', async () => {
    const paused = await lease('n1');
    now += 21 * MINUTE;
    const second = await lease('n1');
    expect(second.slot()).toBe(0);
    await paused.renew();
    expect(paused.slot()).toBe(1);
    expect(second.slot()).toBe(0);
  });

  it('finds a claim or renewal whose answer was lost', async () => {
    const held = await owner('n1');
    const { bucket } = held;
    let lost = 1;
    const lossy = async <T>(answer: Promise<T>): Promise<T> => {
      const value = await answer;
      if (lost-- > 0) throw new Error('no answer');
      return value;
    };
    const one = new IdSlotLease(() => now);
    const owned = {
      ...held,
      bucket: {
        ...bucket,
        create: (key: string, value: string) => lossy(bucket.create(key, value)),
        update: (key: string, value: string, revision: number) => lossy(bucket.update(key, value, revision)),
      },
    };
    await expect(one.claim(owned)).rejects.toThrow('no answer');
    await one.renew();
    expect(one.slot()).toBe(0);
    lost = 1;
    await expect(one.renew()).rejects.toThrow('no answer');
    await one.renew();
    expect(one.slot()).toBe(0);
  });

  describe('behind a renewal whose answer was lost', () => {
    type Fault = 'get' | 'create' | 'update' | 'entries';

    /** A node that holds slot 0, whose bucket has stored a renewal that the node does not know of. */
    async function unanswered() {
      const held = await owner('n1');
      const { bucket } = held;
      const failing = new Set<Fault>();
      const asked: string[] = [];
      let isLost = false;
      const ask = async <T>(fault: Fault, call: () => Promise<T>): Promise<T> => {
        asked.push(fault);
        if (failing.has(fault)) throw new Error('no answer');
        const answer = await call();
        if (isLost) throw new Error('no answer');
        return answer;
      };
      const one = new IdSlotLease(() => now);
      const flaky = {
        ...bucket,
        get: (key: string) => ask('get', () => bucket.get(key)),
        create: (key: string, value: string) => ask('create', () => bucket.create(key, value)),
        update: (key: string, value: string, revision: number) =>
          ask('update', () => bucket.update(key, value, revision)),
        entries: (prefix: string) => ask('entries', () => bucket.entries(prefix)),
      };
      await one.claim({ ...held, bucket: flaky });
      now += 5_000;
      isLost = true;
      await expect(one.renew()).rejects.toThrow('no answer');
      isLost = false;
      asked.length = 0;
      return { one, bucket, failing, asked, session: held.session };
    }

    it.each(['get', 'entries', 'update'] as const)('keeps the slot while %s fails', async (fault) => {
      const { one, failing } = await unanswered();
      failing.add(fault);
      for (let beat = 0; beat < 3; beat++) {
        await one.renew().catch(() => undefined);
        expect(one.slot()).toBe(0);
        now += 5_000;
      }
      failing.clear();
      await one.renew();
      expect(one.slot()).toBe(0);
      expect(await recordOf(0)).toMatchObject({ session: 'session 1', used: now });
    });

    it('keeps it while the answer to the look is under way', async () => {
      const { one } = await unanswered();
      const renewal = one.renew();
      for (let turn = 0; turn < 50; turn++) {
        expect(one.slot()).toBe(0);
        await Promise.resolve();
      }
      await renewal;
      expect(one.slot()).toBe(0);
    });

    it('looks at its own record only', async () => {
      const { one, asked } = await unanswered();
      await one.renew();
      expect(asked).toEqual(['update', 'get', 'update']);
    });

    it('stores its record anew where the bucket lost it', async () => {
      const { one, bucket } = await unanswered();
      await bucket.delete('db.0');
      await one.renew();
      expect(one.slot()).toBe(0);
      expect(await recordOf(0)).toMatchObject({ session: 'session 1', used: now });
    });

    it('does not use it longer than 15 minutes without a renewal', async () => {
      const { one, failing } = await unanswered();
      failing.add('get');
      now += 15 * MINUTE;
      await expect(one.renew()).rejects.toThrow('no answer');
      expect(() => one.slot()).toThrow(/not renewed for 15 minutes/);
    });

    it('gives it up at the sight of another session, and says that the next may come', async () => {
      const { one, failing } = await unanswered();
      now += 20 * MINUTE + 1;
      expect((await lease('n1')).slot()).toBe(0);
      failing.add('entries');
      await expect(one.renew()).rejects.toThrow('no answer');
      expect(() => one.slot()).toThrow(
        expect.objectContaining({
          code: 'HA_ID_SLOTS',
          retryable: true,
          message: expect.stringMatching(/went to another node .* not yet answered/) as string,
        }),
      );
      failing.clear();
      await one.renew();
      expect(one.slot()).toBe(1);
    });
  });

  it('says that a first claim was not answered, and that the next may be', async () => {
    const held = await owner('n1');
    let isAway = true;
    const { bucket } = held;
    const entries = async (prefix: string) => {
      if (isAway) throw new Error('no answer');
      return bucket.entries(prefix);
    };
    const one = new IdSlotLease(() => now);
    await expect(one.claim({ ...held, bucket: { ...bucket, entries } })).rejects.toThrow('no answer');
    expect(() => one.slot()).toThrow(
      expect.objectContaining({ retryable: true, message: expect.stringMatching(/not yet answered/) as string }),
    );
    isAway = false;
    await one.renew();
    expect(one.slot()).toBe(0);
  });

  it('says why there is no slot, and always has one without a cluster', () => {
    const one = new IdSlotLease(() => now);
    expect(() => one.slot()).toThrow(/not started/);
    one.withhold('the account has no buckets');
    expect(() => one.slot()).toThrow(/the account has no buckets/);
    one.fix(9);
    expect([one.slot(), one.floor]).toEqual([9, 0]);
  });
});

import { HAError } from '../../common/ha-error.js';
import { ID_SLOTS } from '../../sqlite/id-generator.js';
import type { IdSlot } from '../../sqlite/id-generator.js';
import type { KeyValueBucket, KeyValueEntry } from '../key-value.js';
import { keyToken, readJson } from './member.js';

/** What the lease of a slot has to know of the generator. */
export interface IdSlotHolder {
  /** Milliseconds since 1970 that the newest id stands for; 0 where none was handed out. */
  highest(): number;
}

const MINUTE = 60_000;
/** A lease that was not renewed for so long, ms, is not used any more. Less than the shortest time to a takeover. */
const LEASE_MS = 15 * MINUTE;
/** After so long without renewal, ms, a slot goes to a node of the same name. */
const OWN_ABANDONED_MS = 20 * MINUTE;
/** After so long without renewal, ms, a slot goes to any node. */
const ABANDONED_MS = 48 * 60 * MINUTE;
/** How long a slot that was given back rests before another node gets it, ms: clocks differ. */
const REST_MS = MINUTE;

/** The value of a slot in the bucket. Times are milliseconds since 1970, by the holder's clock. */
interface SlotRecord {
  readonly node: string;
  readonly session: string;
  /** Up to which ids were handed out. */
  readonly until: number;
  /** Last renewal. */
  readonly used: number;
  readonly released: boolean;
}

interface Slot extends SlotRecord {
  readonly slot: number;
  readonly revision: number;
}

/** Who leases, and where. */
export interface IdSlotOwner {
  /** Without a time to live: what a slot was used for must not be forgotten. */
  readonly bucket: KeyValueBucket;
  readonly replicationID: string;
  readonly node: string;
  readonly session: string;
}

/**
 * The lease of one of 256 slots. A node claims, by compare-and-set and in this order: one that a node of its name gave back
 * or left 20 minutes ago; one that was never used; one that anybody gave back a minute ago or left 48 hours ago. Renewed
 * with every heartbeat; a lease that could not be renewed for 15 minutes is not used any more, so that its next holder
 * never shares it. Until then it is given up only where its record shows another session: an answer that is lost, or an
 * error, takes nothing away.
 */
export class IdSlotLease implements IdSlot {
  /** The generator that uses the slot; set by the owner. */
  holder: IdSlotHolder = { highest: () => 0 };
  private owner: IdSlotOwner | undefined;
  private held: Slot | undefined;
  private absence: Absence = { reason: 'the database is not started', retryable: false };
  private fixed: number | undefined;

  constructor(private readonly now: () => number = Date.now) {}

  slot(): number {
    const { held, fixed } = this;
    if (fixed !== undefined) return fixed;
    if (held === undefined) throw noSlot(this.absence);
    if (this.now() - held.used > LEASE_MS) {
      throw noSlot({ reason: 'it was not renewed for 15 minutes, for NATS cannot be reached', retryable: true });
    }
    return held.slot;
  }

  get floor(): number {
    return this.held?.until ?? 0;
  }

  /** Always this slot: a database without a cluster shares its ids with nobody. */
  fix(slot: number): void {
    this.fixed = slot;
  }

  /** There is no slot, for this reason. */
  withhold(reason: string): void {
    this.held = undefined;
    this.owner = undefined;
    this.absence = { reason, retryable: false };
  }

  /** Takes a slot. Where all are taken this is no error: {@link slot} raises it. */
  async claim(owner: IdSlotOwner): Promise<void> {
    this.owner = owner;
    this.held = undefined;
    this.absence = CLAIMING;
    await this.claimAny(owner);
  }

  /** Renews the lease, or claims another slot where there is none or it went to somebody else. */
  async renew(): Promise<void> {
    const { owner, held } = this;
    if (owner === undefined) return;
    if (held === undefined) return this.claimAny(owner);
    if (await this.keep(owner, held, this.until(held))) return;
    await this.regain(owner, held);
  }

  /** Looks who has the slot, behind a refusal: the answer to an earlier renewal may have been lost. */
  private async regain(owner: IdSlotOwner, held: Slot): Promise<void> {
    const entry = await owner.bucket.get(slotKey(owner, held.slot));
    // Given up meanwhile.
    if (this.owner !== owner) return;
    const found = entry === undefined ? undefined : slotOf(entry);
    if (found !== undefined && found.session !== owner.session) {
      this.held = undefined;
      this.absence = LOST;
      return this.claimAny(owner);
    }
    // A refusal means that an earlier request arrived just now; the next heartbeat finds it.
    await this.keep(owner, { slot: held.slot, revision: found?.revision ?? 0, until: held.until }, this.until(held));
  }

  private async claimAny(owner: IdSlotOwner): Promise<void> {
    const known = await readSlots(owner);
    for (const candidate of candidates(known, owner, this.now())) {
      if (await this.keep(owner, candidate, candidate.until)) return;
    }
    if (this.owner === owner) this.absence = ALL_TAKEN;
  }

  /** Gives the slot back. */
  async release(): Promise<void> {
    const { owner, held } = this;
    this.withhold('the database is not started');
    if (owner === undefined || held === undefined) return;
    await store(owner, held, { ...this.record(owner, this.until(held)), released: true });
  }

  private until({ until }: Slot): number {
    return Math.max(until, this.holder.highest());
  }

  private record({ node, session }: IdSlotOwner, until: number): SlotRecord {
    return { node, session, until, used: this.now(), released: false };
  }

  private async keep(owner: IdSlotOwner, candidate: Candidate, until: number): Promise<boolean> {
    const record = this.record(owner, until);
    const revision = await store(owner, candidate, record);
    // Given up meanwhile.
    if (this.owner !== owner) return true;
    if (revision !== undefined) this.held = { ...record, slot: candidate.slot, revision };
    return revision !== undefined;
  }
}

/** Why there is no slot, and whether one may come by itself soon. */
interface Absence {
  readonly reason: string;
  readonly retryable: boolean;
}

const CLAIMING: Absence = { reason: 'NATS has not yet answered the claim of one', retryable: true };
const LOST: Absence = {
  reason: 'it went to another node while this one was away, and NATS has not yet answered the claim of another',
  retryable: true,
};
const ALL_TAKEN: Absence = {
  reason: `all ${ID_SLOTS} are taken. Slots come free when nodes stop in an orderly way, 20 minutes after one of the same name ended, else after 48 hours`,
  retryable: false,
};

/** A slot that may be claimed; revision 0 where it was never used. */
type Candidate = Pick<Slot, 'slot' | 'revision' | 'until'>;

async function readSlots({ bucket, replicationID }: IdSlotOwner): Promise<Map<number, Slot>> {
  const slots = (await bucket.entries(keyToken(replicationID))).map(slotOf);
  return new Map(slots.map((slot) => [slot.slot, slot]));
}

function slotOf({ key, value, revision }: KeyValueEntry): Slot {
  const types = { node: 'string', session: 'string', until: 'number', used: 'number', released: 'boolean' };
  const slot = Number(key.slice(key.lastIndexOf('.') + 1));
  // What cannot be read counts as just used by somebody.
  const used = Number.POSITIVE_INFINITY;
  const record = (readJson(value, types) as SlotRecord | undefined) ?? {
    node: '',
    session: '',
    until: used,
    used,
    released: false,
  };
  return { ...record, slot, revision };
}

function slotKey({ replicationID }: IdSlotOwner, slot: number): string {
  return `${keyToken(replicationID)}.${slot}`;
}

async function store(
  owner: IdSlotOwner,
  { slot, revision }: Candidate,
  record: SlotRecord,
): Promise<number | undefined> {
  const { bucket } = owner;
  const key = slotKey(owner, slot);
  const value = JSON.stringify(record);
  return revision === 0 ? bucket.create(key, value) : bucket.update(key, value, revision);
}

/** In the order in which they are to be tried. */
function candidates(known: ReadonlyMap<number, Slot>, { node, session }: IdSlotOwner, now: number): Candidate[] {
  const slots = [...known.values()].sort((a, b) => a.used - b.used);
  const own = slots.filter((slot) => slot.session === session && !slot.released);
  const former = slots.filter((slot) => slot.node === node && isFree(slot, now, 0, OWN_ABANDONED_MS));
  const fresh = Array.from({ length: ID_SLOTS }, (_, slot) => ({ slot, revision: 0, until: 0 })).filter(
    ({ slot }) => !known.has(slot),
  );
  const others = slots.filter((slot) => isFree(slot, now, REST_MS, ABANDONED_MS));
  return [...own, ...former, ...fresh, ...others];
}

function isFree({ released, until, used }: Slot, now: number, restMs: number, abandonedMs: number): boolean {
  return released ? until < now - restMs : until < now && used < now - abandonedMs;
}

function noSlot({ reason, retryable }: Absence): HAError {
  return new HAError(
    'HA_ID_SLOTS',
    `This node has no slot for generated ids: ${reason}. Until it has one, give the ids yourself, or let SQLite choose them.`,
    { retryable },
  );
}

import { HAError } from '../common/ha-error.js';

/** Where the ids of a node get the part from that no other node has. */
export interface IdSlot {
  /**
   * A number from 0 to 255 that no other node of the cluster uses now; asked for with every id.
   *
   * @throws HAError where this node has none at the moment: then the statement that asked for an id fails with it.
   */
  slot(): number;
  /** Milliseconds since 1970 up to which former users of the slot have handed out ids. Default: none had it before. */
  readonly floor?: number;
}

/** Milliseconds of 2024-01-01T00:00:00Z: what the time in an id is counted from. */
export const ID_EPOCH_MS = Date.UTC(2024, 0, 1);
/** Number of slots. */
export const ID_SLOTS = 256;

const COUNTER_BITS = 4n;
const SLOT_BITS = 8n;
const COUNTS_PER_MS = 16;
/** 41 bits, which last until 2093. */
const MAX_MS = 2 ** 41 - 1;

/**
 * Makes integer ids that no two nodes have in common: 41 bits of milliseconds since {@link ID_EPOCH_MS}, 8 bits of slot,
 * 4 bits of counter. So they are positive, below 2^53 (exact as a JavaScript number) and in the order of time.
 *
 * They never go backwards: where the system clock does, or where more than 16 ids are asked for in one millisecond, the
 * time in the ids runs ahead of the clock. {@link highest} says how far, for whoever lends the slot to the next node.
 */
export class IdGenerator {
  /** Time of the last id, in milliseconds since the epoch of ids. At least 1, so that no id is 0. */
  private time = 0;
  private count = COUNTS_PER_MS;
  private slot = -1;
  private floor = 0;

  constructor(
    private readonly lease: IdSlot,
    private readonly now: () => number = Date.now,
  ) {}

  /** The next id. */
  next(): bigint {
    const slot = this.lease.slot();
    if (!Number.isInteger(slot) || slot < 0 || slot >= ID_SLOTS) throw new RangeError(`No slot for ids: ${slot}`);
    const { floor = 0 } = this.lease;
    // Also where the number is the same again: another node may have had it in between.
    if (floor !== this.floor) this.beginAfter(floor);
    this.floor = floor;
    const present = Math.floor(this.now()) - ID_EPOCH_MS;
    // Another slot may be a smaller one: only a later time keeps the order.
    if (present > this.time || slot !== this.slot || this.count >= COUNTS_PER_MS) {
      this.time = Math.max(present, this.time + 1);
      this.count = 0;
    }
    this.slot = slot;
    if (this.time > MAX_MS) throw exhausted();
    const counter = BigInt(this.count++);
    return (((BigInt(this.time) << SLOT_BITS) | BigInt(slot)) << COUNTER_BITS) | counter;
  }

  /**
   * The latest time in an id so far, in milliseconds since 1970; 0 before the first. May lie ahead of the clock: whoever gets
   * the slot next must begin behind it.
   */
  highest(): number {
    return this.time === 0 ? 0 : this.time + ID_EPOCH_MS;
  }

  /** Makes all further ids later than this time, in milliseconds since 1970: what a slot's last holder reached. */
  private beginAfter(ms: number): void {
    const time = Math.ceil(ms) - ID_EPOCH_MS;
    if (time < this.time) return;
    this.time = time;
    this.count = COUNTS_PER_MS;
  }
}

/**
 * A slot drawn at random. For a database that no other node writes: two nodes may draw the same.
 *
 * @param random From 0 to 1, that not included.
 */
export function randomSlot(random: () => number = Math.random): number {
  return Math.floor(random() * ID_SLOTS);
}

function exhausted(): HAError {
  return new HAError(
    'HA_UNAVAILABLE',
    'ha_id() has no ids for a time beyond 2093. Set the clock of this machine right, and start the application again.',
  );
}

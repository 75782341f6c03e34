import { HAError } from '../common/ha-error.js';
import { sleep, within } from '../common/timing.js';
import type { KeyValueBucket, KeyValueEntry } from '../stream/key-value.js';
import { isResignation, readAnnouncement } from './announcement.js';
import type { Announcement } from './announcement.js';
import { Candidates } from './candidates.js';
import type { LeaderTimings } from './timings.js';
import { WakeableLoop } from './wakeable-loop.js';

/** The key of the leader; go-ha and its clients read it. */
export const REDIRECT_KEY = 'redirect';
/** How often it is looked whose an unknown address is, ms. */
const LOOK_WHOSE_MS = 2_000;
/** How long giving up may take while the server is slow, ms. */
const RESIGN_MS = 2_000;

export interface ElectionPorts {
  readonly bucket: KeyValueBucket;
  readonly node: string;
  /** Random for each start of the database. */
  readonly session: string;
  /** Addresses of this node, as they are stored. */
  readonly target: string;
  readonly timings: LeaderTimings;
  /** Whether this node could lead now. */
  readonly isCandidate: () => boolean;
  /** Whether so many nodes are there that one of them may be elected; one that is known to be gone does not count. */
  readonly hasQuorum: (gone: string | undefined) => boolean;
  /**
   * Applies everything that is in the stream, and stores the announcement behind it. `mayGoOn` is false once there is no use
   * in it. Rejects where it has to be tried again.
   */
  readonly establish: (announcement: Announcement, mayGoOn: () => boolean) => Promise<void>;
  /** Tells the others that there is a leader to be elected. */
  readonly tellResigned: () => Promise<void>;
  readonly changed: () => void;
  readonly failed: (error: unknown) => void;
  /** Milliseconds of a monotonic clock. */
  readonly now: () => number;
}

/** What this node holds of the leadership. */
interface Lease {
  /** Revision of the key at which it was elected. */
  readonly term: number;
  /** Of the key, as this node stored it last. */
  revision: number;
  until: number;
  /** The announcement is stored, and everything before it applied. */
  serving: boolean;
}

/** What the key held when this node looked last. */
interface Sight {
  readonly revision: number;
  /** Empty where the key has gone since. */
  readonly value: string;
  /** When this revision was seen first. */
  readonly at: number;
  readonly node: string | undefined;
  /** When it was looked whose it is. */
  readonly lookedAt: number;
}

/** Who leads, as the key says. */
export interface KnownLeader {
  readonly value: string;
  readonly node: string | undefined;
}

/**
 * Elects the leader by compare-and-set on one key.
 *
 * ```
 * watching ──key is free, or not renewed for `takeover`, and a quorum is there: compare-and-set──▶ elected
 *    ▲                                                                                              │ everything applied,
 *    │                                                                                              ▼ announcement stored
 *    └──lease over, key is somebody else's, a later announcement in the stream, resigned──────── leading (renews)
 * ```
 * The revision of the key is all that is looked at: each renewal stores the same text again. So the key stays readable for
 * everybody, and no clock is compared with another: the leader counts `lease` from before it sent a renewal, the others
 * `takeover`, which is longer, from after they have seen it. A leader that slept through all of that (its clock too) is held
 * off by the stream: it publishes only right behind what it has applied, and the announcement of its successor, once applied,
 * ends its leadership.
 */
export class Election {
  private lease: Lease | undefined;
  private sight: Sight | undefined;
  private abstainUntil = -Infinity;
  private expiry: NodeJS.Timeout | undefined;
  private stopping = false;
  private readonly candidates: Candidates;
  private readonly loop: WakeableLoop;

  constructor(private readonly ports: ElectionPorts) {
    const { bucket, node, session, target, now } = ports;
    this.candidates = new Candidates(bucket, { node, session, target }, now);
    this.loop = new WakeableLoop(
      () => this.step(),
      (error) => ports.failed(error),
    );
  }

  /** True while this node leads: right now, by the clock. */
  get isLeading(): boolean {
    const { lease } = this;
    return lease !== undefined && lease.serving && this.ports.now() < lease.until;
  }

  /** Of the lease that this node has. */
  get term(): number | undefined {
    return this.lease?.term;
  }

  /** Undefined where the key is empty, or holds what this node stored, and it does not lead yet, or any more. */
  get known(): KnownLeader | undefined {
    const { lease, sight, ports } = this;
    if (lease !== undefined) return lease.serving ? { value: ports.target, node: ports.node } : undefined;
    return sight === undefined || sight.value === '' || sight.value === ports.target ? undefined : sight;
  }

  async start(): Promise<void> {
    await this.candidates.tell();
    await this.step();
    this.loop.start(() => (this.lease === undefined ? this.ports.timings.look : this.ports.timings.renew));
  }

  /** Looks at the key at once. */
  look(): void {
    this.loop.wake();
  }

  /** Sees the commands of the stream in order, behind the commit of each. */
  observe(commands: readonly string[]): void {
    for (const command of commands) {
      const announcement = readAnnouncement(command);
      if (announcement !== undefined) this.meet(announcement);
      else if (isResignation(command)) this.look();
    }
  }

  /** Gives the leadership up. Nothing is published any more when this returns; it resolves when the key is free. */
  async resign(): Promise<void> {
    const { lease, ports } = this;
    if (lease === undefined) return;
    this.abstainUntil = ports.now() + ports.timings.abstain;
    this.end();
    await this.loop.idle();
    await this.candidates.tellResigned(lease.revision);
    const isFree = await ports.bucket.delete(REDIRECT_KEY, lease.revision);
    this.sight = undefined;
    ports.changed();
    if (isFree) await ports.tellResigned();
  }

  /** Ends it for good; never fails. */
  async stop(): Promise<void> {
    this.stopping = true;
    // A key that could not be given up ends with its lease.
    await within(
      RESIGN_MS,
      this.resign().catch(() => undefined),
    );
    this.loop.stop();
    this.end();
  }

  private async step(): Promise<void> {
    if (this.stopping) return;
    const { ports } = this;
    await this.candidates.tell();
    const { lease } = this;
    if (lease !== undefined && !ports.isCandidate()) {
      // Not awaited: it waits for this step.
      void this.resign().catch((error: unknown) => ports.failed(error));
    } else if (lease !== undefined) await this.renew(lease);
    else await this.watch();
  }

  private async renew(lease: Lease): Promise<void> {
    const { bucket, target, timings, now } = this.ports;
    const sentAt = now();
    const revision = await bucket.update(REDIRECT_KEY, target, lease.revision);
    if (revision !== undefined) return this.renewed(lease, revision, sentAt);
    const entry = await bucket.get(REDIRECT_KEY);
    const isOver = this.lease !== lease || now() >= lease.until;
    if (!isOver && entry?.value === target) {
      // Nobody takes it over before the lease ends: an answer of ours was lost.
      lease.revision = entry.revision;
      return this.renew(lease);
    }
    if (!isOver && entry === undefined) {
      // Gone before its time, by somebody's hand or a short time to live.
      const created = await bucket.create(REDIRECT_KEY, target);
      if (created !== undefined) return this.renewed(lease, created, sentAt);
    }
    if (this.lease === lease) this.end();
    await this.see(entry, timings.look);
  }

  private renewed(lease: Lease, revision: number, sentAt: number): void {
    lease.revision = revision;
    if (this.lease !== lease) return;
    const { now, timings } = this.ports;
    lease.until = sentAt + timings.lease;
    clearTimeout(this.expiry);
    const expire = (): void => {
      if (this.lease !== lease) return;
      const left = lease.until - now();
      // Timers may be early by a little.
      if (left > 0) this.expiry = setTimeout(expire, Math.ceil(left)).unref();
      else this.end();
    };
    this.expiry = setTimeout(expire, timings.lease).unref();
  }

  private async watch(): Promise<void> {
    const { bucket, isCandidate, hasQuorum, now } = this.ports;
    const entry = await bucket.get(REDIRECT_KEY);
    await this.see(entry, LOOK_WHOSE_MS);
    if (!isCandidate() || now() < this.abstainUntil || this.stopping) return;
    if (!(await this.mayTake(entry)) || !hasQuorum(this.goneLeader(entry))) return;
    await this.campaign(entry);
  }

  /** Notes what the key holds. */
  private async see(entry: KeyValueEntry | undefined, lookEvery: number): Promise<void> {
    const before = this.sight;
    if (entry === undefined) {
      // What was seen last still counts for how long it has to be waited.
      if (before !== undefined && before.value !== '') this.sight = { ...before, value: '', node: undefined };
    } else {
      const at = before?.revision === entry.revision ? before.at : this.ports.now();
      const isSame = before?.value === entry.value;
      let { node, lookedAt } = isSame ? before : { node: undefined, lookedAt: -Infinity };
      if (node === undefined && this.ports.now() >= lookedAt + lookEvery) {
        node = await this.candidates.nodeAt(entry.value);
        lookedAt = this.ports.now();
      }
      this.sight = { revision: entry.revision, value: entry.value, at, node, lookedAt };
    }
    if (before?.value !== this.sight?.value || before?.node !== this.sight?.node) this.ports.changed();
  }

  /** Whether nobody leads any more, as far as the clock of this node can tell. */
  private async mayTake(entry: KeyValueEntry | undefined): Promise<boolean> {
    const { sight, ports } = this;
    if (sight === undefined) return true;
    const silent = ports.now() - sight.at;
    if (entry !== undefined)
      return silent >= (sight.node === undefined ? ports.timings.foreign : ports.timings.takeover);
    return silent >= ports.timings.takeover || (await this.candidates.hasResigned(sight.revision));
  }

  /** Who led, and has not renewed its lease; undefined where it gave the leadership up: it may be there. */
  private goneLeader(entry: KeyValueEntry | undefined): string | undefined {
    const { sight, ports } = this;
    return entry === undefined || sight === undefined || sight.node === ports.node ? undefined : sight.node;
  }

  private async campaign(entry: KeyValueEntry | undefined): Promise<void> {
    const { bucket, target, now, timings, changed } = this.ports;
    const sentAt = now();
    const term =
      entry === undefined
        ? await bucket.create(REDIRECT_KEY, target)
        : await bucket.update(REDIRECT_KEY, target, entry.revision);
    if (term === undefined) return this.look();
    if (this.stopping) {
      await bucket.delete(REDIRECT_KEY, term);
      return;
    }
    const lease: Lease = { term, revision: term, until: sentAt + timings.lease, serving: false };
    this.lease = lease;
    this.renewed(lease, term, sentAt);
    changed();
    void this.establish(lease);
  }

  private async establish(lease: Lease): Promise<void> {
    const { establish, session, failed, timings } = this.ports;
    const mayGoOn = (): boolean => this.lease === lease && this.ports.now() < lease.until;
    while (mayGoOn()) {
      try {
        await establish({ term: lease.term, session }, mayGoOn);
        if (lease.serving) return;
      } catch (error) {
        failed(error);
      }
      await sleep(timings.look / 10);
    }
  }

  /** An announcement has its place in the stream, and everything before it is applied. */
  private meet({ term, session }: Announcement): void {
    const { lease, ports } = this;
    if (lease === undefined) return this.look();
    if (session === ports.session) {
      if (term !== lease.term || lease.serving) return;
      lease.serving = true;
      ports.changed();
    } else if (lease.serving || term > lease.term) {
      // It was published by somebody who knew of this leader's announcement, or was elected later.
      this.end();
      this.look();
    }
  }

  private end(): void {
    clearTimeout(this.expiry);
    if (this.lease === undefined) return;
    this.lease = undefined;
    this.ports.changed();
  }
}

/** A leader's publish that was not sent, for it leads no more. */
export function deposed(): HAError {
  return new HAError(
    'HA_NOT_LEADER',
    'This node does not lead the cluster any more, or not yet, and nothing was written. Run this again: it goes to the leader.',
    { retryable: true },
  );
}

import { randomUUID } from 'node:crypto';
import { KeyValueDenied } from '../stream/key-value.js';
import type { KeyValueBucket } from '../stream/key-value.js';
import { keyToken } from '../stream/membership/member.js';
import { MEMBER_TTL_MS } from '../stream/membership/membership.js';
import type { ReplicationStream } from '../stream/replication-stream.js';

/** A third of the time that it lasts: two renewals may get lost. */
const RENEW_MS = MEMBER_TTL_MS / 3;

/**
 * Lets one node of a database at a time take a snapshot. It spares work, no more: the store itself sees to it that an older
 * snapshot never replaces a newer one. So where the server permits no buckets, everybody has it.
 */
export class SnapshotLease {
  private readonly mark = randomUUID();
  private readonly key: string;
  private bucket: Promise<KeyValueBucket | undefined> | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly stream: ReplicationStream,
    private readonly streamName: string,
    replicationID: string,
  ) {
    // Two tokens behind that of the database: keys of members have one.
    this.key = `${keyToken(replicationID)}.snapshot.lease`;
  }

  /** Takes the lease, and keeps it until {@link release}. False where another node has it. */
  async take(): Promise<boolean> {
    const isHeld = await this.hold();
    if (isHeld) this.timer ??= setInterval(() => void this.hold().catch(() => undefined), RENEW_MS).unref();
    return isHeld;
  }

  /** Gives it back. Never fails: it ends by itself too. */
  async release(): Promise<void> {
    clearInterval(this.timer);
    this.timer = undefined;
    try {
      const bucket = await this.open();
      const entry = await bucket?.get(this.key);
      if (entry?.value === this.mark) await bucket?.delete(this.key, entry.revision);
    } catch {
      // It ends with its time to live.
    }
  }

  private async hold(): Promise<boolean> {
    const bucket = await this.open();
    if (bucket === undefined) return true;
    const entry = await bucket.get(this.key);
    if (entry === undefined) return (await bucket.create(this.key, this.mark)) !== undefined;
    return entry.value === this.mark && (await bucket.update(this.key, this.mark, entry.revision)) !== undefined;
  }

  private open(): Promise<KeyValueBucket | undefined> {
    const opened = (this.bucket ??= this.bind());
    void opened.catch(() => (this.bucket = undefined));
    return opened;
  }

  private async bind(): Promise<KeyValueBucket | undefined> {
    try {
      return await this.stream.keyValue?.(`${this.streamName}_MEMBERS`, { ttlMs: MEMBER_TTL_MS });
    } catch (error) {
      if (error instanceof KeyValueDenied) return undefined;
      throw error;
    }
  }
}

import { HAError } from '../../common/ha-error.js';
import { KeyValueDenied } from '../key-value.js';
import type { KeyValueBucket } from '../key-value.js';
import { LateStream } from '../late-stream.js';
import type { ReplicationStream } from '../replication-stream.js';
import type { IdSlotLease } from './id-slots.js';
import { keyToken, memberOf, ownMember, readRecord } from './member.js';
import type { HAMember, MemberFacts, MemberRecord } from './member.js';
import { NodeName } from './node-name.js';
import { Session } from './session.js';
import { SubjectClaim } from './subject-claim.js';

export const HEARTBEAT_MS = 5_000;
/** A node that was not heard of for so long is no member any more. */
export const MEMBER_TTL_MS = 30_000;
/** How long leaving may take while the server is slow, ms. */
const LEAVE_MS = 2_000;

export interface MembershipSettings {
  readonly stream: ReplicationStream;
  /** Option `replicationStream`. */
  readonly streamName: string;
  readonly subject: string;
  readonly replicationID: string;
  /** Default {@link HEARTBEAT_MS}; the same on all nodes. */
  readonly heartbeatMs?: number | undefined;
  /** What this node is at this moment. */
  readonly facts: () => MemberFacts;
  readonly idSlots: IdSlotLease;
  readonly warn: (line: string) => void;
  /** Another node has this one's name or subject: it must not go on. */
  readonly lost: (error: HAError) => void;
  /** Sees every other node that is there when this one joins. */
  readonly met?: ((member: MemberRecord) => void) | undefined;
}

/**
 * A node's place among the nodes of its database: who they are, that no two have one name, that no other database has
 * their subject, and which slot of ids each has.
 *
 * Order of events: claim the subject, take the name, lease a slot of ids; then every 5 seconds all of them anew. An answer
 * that does not come changes nothing: only the sight of somebody else's entry ends a node. Where the server does not permit
 * buckets the node goes on without all this, with a warning; no promise about the data rests on it.
 */
export class Membership {
  private readonly session = Session.begin();
  private bucket: KeyValueBucket | undefined;
  private name: NodeName | undefined;
  private readonly renewals: (() => Promise<void>)[] = [];
  private readonly running = new Map<() => Promise<void>, Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private isDenied = false;

  constructor(private readonly settings: MembershipSettings) {}

  /** @throws HAError `HA_SUBJECT_TAKEN`, `HA_NODE_NAME_TAKEN`; `HA_STREAM_CONNECT` where the server does not answer. */
  async join(): Promise<void> {
    const { stream, idSlots, heartbeatMs = HEARTBEAT_MS } = this.settings;
    if (stream.keyValue === undefined) {
      idSlots.withhold('the stream has no key-value buckets');
      return;
    }
    await this.unlessDenied(
      () => this.enter(heartbeatMs),
      'members() shows this node only, and a second node of its name is not noticed',
    );
    const isLeased = await this.unlessDenied(() => this.lease(), 'no ids can be generated');
    if (!isLeased) idSlots.withhold('the server does not permit the key-value bucket that they are leased in');
    this.timer = setInterval(() => this.beat(), heartbeatMs).unref();
  }

  /** All nodes of this database; only this one where the server permits no buckets. */
  async members(): Promise<HAMember[]> {
    const { stream, replicationID } = this.settings;
    const { session } = this.session.mark;
    const last = await stream.lastSubjectSequence();
    const self = ownMember(this.settings.facts(), last);
    const entries = (await this.bucket?.entries(keyToken(replicationID))) ?? [];
    const others = entries.flatMap(({ value, stored }) => {
      const record = readRecord(value);
      return record === undefined || record.session === session
        ? []
        : [memberOf(record, last, new Date(stored), false)];
    });
    return [self, ...others].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The other nodes that may lead, and the revisions of their records: one that lives stores its own again and again. */
  async sightings(): Promise<{ readonly node: string; readonly session: string; readonly revision: number }[]> {
    const own = this.session.mark.session;
    const entries = (await this.bucket?.entries(keyToken(this.settings.replicationID))) ?? [];
    return entries.flatMap(({ value, revision }) => {
      const record = readRecord(value);
      const mayLead = record?.role === 'leader' || record?.role === 'follower';
      if (record === undefined || !mayLead || record.session === own) return [];
      return [{ node: record.node, session: record.session, revision }];
    });
  }

  /** Random for each start. */
  get sessionId(): string {
    return this.session.mark.session;
  }

  /** Whether another node has applied anything of this database. One that does not tell counts by its position. */
  async othersHaveApplied(): Promise<boolean> {
    const { session } = this.session.mark;
    const entries = (await this.bucket?.entries(keyToken(this.settings.replicationID))) ?? [];
    return entries.some(({ value }) => {
      const record = readRecord(value);
      return record !== undefined && record.session !== session && (record.applied ?? record.received) > 0;
    });
  }

  /** Renews everything now: with each heartbeat, and when this node has something new to tell. */
  beat(): void {
    for (const renewal of this.renewals) {
      // A slow answer must not hold up the other renewals, nor let requests pile up.
      if (this.running.has(renewal)) continue;
      const run = renewal()
        .catch((error: unknown) => this.failed(error))
        .finally(() => this.running.delete(renewal));
      this.running.set(renewal, run);
    }
  }

  /** Gives name and slot back, as far as the server can be reached. Never fails. */
  async leave(): Promise<void> {
    clearInterval(this.timer);
    let limit: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      limit = setTimeout(resolve, LEAVE_MS);
    });
    await Promise.race([this.giveBack(), late]);
    clearTimeout(limit);
    this.settings.idSlots.withhold('the database is not started');
    this.session.end();
  }

  private async enter(heartbeatMs: number): Promise<void> {
    const { stream, streamName, subject, replicationID, facts } = this.settings;
    const bucket = await stream.keyValue?.(`${streamName}_MEMBERS`, { ttlMs: MEMBER_TTL_MS });
    if (bucket === undefined) return;
    const claim = new SubjectClaim(bucket, subject, replicationID);
    const name = new NodeName(bucket, replicationID, facts, this.session, heartbeatMs);
    // From here on an entry may be stored, and has to be taken away also where the start fails.
    this.name = name;
    await claim.hold();
    await name.take();
    await this.lookAround(bucket);
    this.bucket = bucket;
    this.renewals.push(
      () => name.renew(),
      () => claim.hold(),
    );
  }

  /** Shows the nodes that are there already. */
  private async lookAround(bucket: KeyValueBucket): Promise<void> {
    const { replicationID, met } = this.settings;
    if (met === undefined) return;
    const { session } = this.session.mark;
    for (const { value } of await bucket.entries(keyToken(replicationID))) {
      const record = readRecord(value);
      if (record !== undefined && record.session !== session) met(record);
    }
  }

  private async lease(): Promise<void> {
    const { stream, streamName, replicationID, facts, idSlots } = this.settings;
    const bucket = await stream.keyValue?.(`${streamName}_IDS`, {});
    if (bucket === undefined) return;
    await idSlots.claim({ bucket, replicationID, node: facts().node, session: this.session.mark.session });
    this.renewals.push(() => idSlots.renew());
  }

  private async unlessDenied(work: () => Promise<void>, consequence: string): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      if (!(error instanceof KeyValueDenied)) throw error;
      this.settings.warn(
        `${error.message}. Replication goes on, but ${consequence}. Allow this account to create and use the key-value buckets '${this.settings.streamName}_MEMBERS' and '${this.settings.streamName}_IDS'.`,
      );
      return false;
    }
  }

  private failed(error: unknown): void {
    if (error instanceof HAError) {
      // The connection tells by itself that it is lost.
      if (error.retryable) return;
      clearInterval(this.timer);
      this.settings.lost(error);
    } else if (!this.isDenied) {
      this.isDenied = true;
      this.settings.warn(
        `The heartbeat of this node fails: ${error instanceof Error ? error.message : String(error)}.`,
      );
    }
  }

  private async giveBack(): Promise<void> {
    await Promise.all(this.running.values());
    const { stream } = this.settings;
    if (!(stream instanceof LateStream ? stream.isReachable : stream.isConnected)) return;
    await Promise.allSettled([this.name?.release(), this.settings.idSlots.release()]);
  }
}

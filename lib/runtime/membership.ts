import { hostname } from 'node:os';
import type { Interceptors } from '../apply/interceptors.js';
import { HAError } from '../common/ha-error.js';
import type { Leadership } from '../leader/leadership.js';
import type { IdSlotLease } from '../stream/membership/id-slots.js';
import { ownMember } from '../stream/membership/member.js';
import type { HAMember, MemberFacts, MemberRecord } from '../stream/membership/member.js';
import { Membership } from '../stream/membership/membership.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { StreamSource } from '../stream/stream-source.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import { interceptorsDiffer } from './messages.js';
import type { Messages } from './messages.js';
import type { Replication } from './opened.js';
import type { Profile } from './profile.js';

/** What the place of a node is made of, and who is told of it. */
export interface ClusterParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly leader: Leadership;
  readonly source: StreamSource;
  readonly subscriber: ReplicationSubscriber;
  readonly idSlots: IdSlotLease;
  readonly interceptors: Interceptors | undefined;
  readonly heartbeatMs: number | undefined;
  /** What is open now. */
  readonly replication: () => Replication | undefined;
}

/** This node's place among the nodes of its database: one membership for each start, while there is one. */
export class ClusterPlace {
  private membership: Membership | undefined;
  private lost: HAError | undefined;

  constructor(private readonly parts: ClusterParts) {}

  get isJoined(): boolean {
    return this.membership !== undefined;
  }

  /** Why this node may go on no more, although nothing is wrong with what it applied. */
  get expelled(): HAError | undefined {
    return this.lost;
  }

  /** Random for each membership. */
  get sessionId(): string | undefined {
    return this.membership?.sessionId;
  }

  /**
   * Call in front of everything that is applied or written: two nodes of one name, or two databases on one subject, must not.
   *
   * @throws HAError `HA_SUBJECT_TAKEN`, `HA_NODE_NAME_TAKEN`.
   */
  async join(stream: ReplicationStream): Promise<void> {
    const { profile, messages, heartbeatMs, idSlots } = this.parts;
    const { replicationStream: streamName, replicationID } = profile.options;
    this.membership = new Membership({
      stream,
      streamName,
      subject: profile.subject,
      replicationID,
      heartbeatMs,
      facts: () => this.facts(),
      idSlots,
      warn: (line) => messages.logger.warn(line),
      lost: (error) => this.expel(error),
      met: (member) => this.compareInterceptors(member),
    });
    await this.membership.join();
  }

  /** As {@link join}, for a stream that is reached behind the start: nobody waits for the error, so the node halts. */
  async joinLate(stream: ReplicationStream): Promise<void> {
    await this.join(stream).catch((error: unknown) => {
      if (error instanceof HAError && !error.retryable) this.expel(error);
      throw error;
    });
  }

  async leave(): Promise<void> {
    const { membership } = this;
    this.membership = undefined;
    await membership?.leave();
  }

  /** Is no member from now on. What it returns tells the others, and is called where nothing is written any more. */
  detach(): () => Promise<void> {
    const { membership } = this;
    this.membership = undefined;
    return async () => {
      await membership?.leave();
      this.lost = undefined;
    };
  }

  /** @throws HAError why another node is in this one's place. */
  refuseExpelled(): void {
    if (this.lost !== undefined) throw this.lost;
  }

  /** Tells the others at once what this node is now. */
  beat(): void {
    this.membership?.beat();
  }

  async members(): Promise<HAMember[]> {
    return this.membership?.members() ?? [ownMember(this.facts(), 0)];
  }

  /** The other nodes that may lead; undefined where this one is no member. */
  sightings(): ReturnType<Membership['sightings']> | undefined {
    return this.membership?.sightings();
  }

  async othersHavePosition(): Promise<boolean> {
    return (await this.members()).some(({ self, received }) => !self && received > 0n);
  }

  async othersHaveApplied(): Promise<boolean> {
    return (await this.membership?.othersHaveApplied()) === true;
  }

  /** Another node took this one's place: nothing is applied or written any more. */
  private expel(error: HAError): void {
    const { subscriber, messages } = this.parts;
    this.lost = error;
    if (subscriber.state === 'stopped') messages.emit({ type: 'halted', sequence: 0n, error });
    else subscriber.halt(error);
  }

  private compareInterceptors({ node, role, interceptors }: MemberRecord): void {
    const { profile, messages } = this.parts;
    if (interceptors === undefined || role === 'publisher' || !profile.follows) return;
    const own = this.interceptorNames;
    if (own.join('\n') === interceptors.join('\n')) return;
    messages.emit(interceptorsDiffer(node, interceptors, own));
  }

  private facts(): MemberFacts {
    const { profile, leader, source } = this.parts;
    const { position } = this.parts.replication() ?? {};
    return {
      node: profile.options.name,
      process: String(profile.origin.processId),
      role: profile.roleUnder(leader),
      received: position?.received ?? 0,
      applied: position?.cursor.subjectSequence ?? 0,
      address: source.address,
      host: hostname(),
      interceptors: this.interceptorNames,
    };
  }

  private get interceptorNames(): readonly string[] {
    return this.parts.interceptors?.names ?? [];
  }
}

import { VERSION } from '../../common/version.js';
import { normalizeIdentifier } from '../../config/normalize.js';
import type { SessionMark } from './session.js';

/**
 * What a node does: `peer` reads and writes, `replica` only follows (`disablePublisher`), `publisher` only writes
 * (`disableSubscriber`), `standalone` has no stream. In a cluster with a leader a node is `leader` or `follower` instead of
 * `peer`.
 */
export type HARole = 'standalone' | 'peer' | 'leader' | 'follower' | 'replica' | 'publisher';

/** A node of the cluster, as `HADatabase.members()` tells it. */
export interface HAMember {
  /** Option `name`. */
  readonly name: string;
  readonly role: HARole;
  /** Version of this library there. */
  readonly version: string;
  readonly host: string;
  readonly pid: number;
  /** IP address that the NATS server sees the node at; undefined where that is not known. */
  readonly address: string | undefined;
  /** Sequence up to which it had applied the stream when it was last seen. */
  readonly received: bigint;
  /**
   * Sequences of the stream between `received` and the last message of this database: 0 where it has everything. Messages
   * of other databases on the stream count too. Undefined where the node does not follow the stream.
   */
  readonly lag: bigint | undefined;
  /** When it was last seen, by the clock of the NATS server. At most 30 s ago. */
  readonly seen: Date;
  /** True for the node that was asked. */
  readonly self: boolean;
}

/** What a node tells about itself. */
export interface MemberFacts {
  readonly node: string;
  /** Start of the process, nanoseconds since 1970: beyond 2^53, so decimal text. */
  readonly process: string;
  readonly role: HARole;
  readonly received: number;
  /** Sequence of the last message of the database that it has applied; 0 where there was none. */
  readonly applied: number;
  readonly address: string | undefined;
  readonly host: string;
  /** Names of its interceptors, in order; undefined for versions that had none. */
  readonly interceptors?: readonly string[] | undefined;
}

/** The value of a node in the members' bucket. */
export interface MemberRecord extends Omit<MemberFacts, 'applied'>, SessionMark {
  /** Absent in what earlier versions wrote. */
  readonly applied?: number;
  readonly version: string;
  /** By the node's own clock, RFC 3339. */
  readonly time: string;
}

/** Who is described, and when. */
type Sight = Omit<MemberFacts, 'applied'> & Pick<MemberRecord, 'version' | 'pid'>;

/** @param last Sequence of the last message on the subject. */
export function memberOf(sight: Sight, last: number, seen: Date, self: boolean): HAMember {
  const { node, role, version, host, pid, address, received } = sight;
  const lag = role === 'publisher' ? undefined : BigInt(Math.max(0, last - received));
  return { name: node, role, version, host, pid, address, received: BigInt(received), lag, seen, self };
}

/** This node, as it is now. */
export function ownMember(facts: MemberFacts, last: number): HAMember {
  return memberOf({ ...facts, version: VERSION, pid: process.pid }, last, new Date(), true);
}

export function writeRecord(facts: MemberFacts, mark: SessionMark): string {
  const record: MemberRecord = { ...facts, version: VERSION, time: new Date().toISOString(), ...mark };
  return JSON.stringify(record);
}

/** Undefined where the value is not one of ours. */
export function readRecord(value: string): MemberRecord | undefined {
  return readJson(value, { node: 'string', session: 'string', received: 'number' }) as MemberRecord | undefined;
}

/** Parses a value, undefined where it is no object with members of these types. */
export function readJson(value: string, types: Readonly<Record<string, string>>): unknown {
  try {
    const parsed = JSON.parse(value) as Record<string, unknown> | null;
    return Object.entries(types).every(([name, type]) => typeof parsed?.[name] === type) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** A replication ID or node name as one token of a key. An empty one becomes `_`, which no other becomes. */
export function keyToken(name: string): string {
  return normalizeIdentifier(name) || '_';
}

import type { Logger } from '@nestjs/common';
import type { Registration } from '../cdc/target-runner.js';
import type { MessageOrigin } from '../changeset/codec.js';
import type { HAInterceptor } from '../changeset/interceptor.js';
import { subjectOf } from '../config/normalize.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import type { LeaderTimings } from '../leader/timings.js';
import type { ConfigureConnection } from '../sqlite/connection.js';
import type { IdSlot } from '../sqlite/id-generator.js';
import type { LocalStream } from '../stream/local/local-stream.js';
import type { HARole } from '../stream/membership/member.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import { localHistory, localSubject } from '../subscribe/local-history.js';
import type { CrossPort } from '../write/cross-port.js';

/** What the runtime needs besides the options. */
export interface RuntimeExtras {
  readonly logger: Logger;
  readonly configure?: ConfigureConnection | undefined;
  /** Decide on every transaction of the stream, in this order. */
  readonly interceptors?: readonly HAInterceptor[] | undefined;
  /** How often connecting is tried again at start. */
  readonly retryAttempts: number;
  /** Milliseconds between tries. */
  readonly retryDelay: number;
  /** The part of `ha_id()` that belongs to this node alone. Default: leased from the cluster. */
  readonly idSlot?: IdSlot | undefined;
  /** Replaces the stream that the options describe: tests and simulators bring their own. */
  readonly stream?: ReplicationStream | undefined;
  /** Who receives what the stream changes here. */
  readonly cdc?: readonly Registration[] | undefined;
  /** Answers SELECTs from several databases. */
  readonly cross?: CrossPort | undefined;
  /** Milliseconds between the heartbeats of a member, which tests shorten. */
  readonly heartbeatMs?: number | undefined;
  /** How long an election takes, which tests change. */
  readonly leaderTimings?: LeaderTimings | undefined;
  /** Milliseconds of a monotonic clock, for elections. Default: the machine's. */
  readonly leaderClock?: (() => number) | undefined;
}

/** Who leads, as far as the role of this node depends on it. */
interface Lead {
  readonly isConfigured: boolean;
  isLeader(): boolean;
}

const DEFAULT_BUSY_TIMEOUT_MS = 5_000;

/** What one database is, by its options: nothing of it changes while the module lives. */
export class Profile {
  /** The history of a standalone database, where it keeps one. */
  readonly local: LocalStream | undefined;

  constructor(
    readonly options: ResolvedHAOptions,
    private readonly extras: Pick<RuntimeExtras, 'stream' | 'cdc'>,
  ) {
    this.local = extras.stream === undefined ? localHistory(options) : undefined;
  }

  /** It has no other nodes. */
  get isStandalone(): boolean {
    const { mode, disablePublisher, disableSubscriber } = this.options;
    if (disablePublisher && disableSubscriber) return true;
    return mode === 'standalone' && this.extras.stream === undefined;
  }

  /** Also where that is a history of its own. */
  get hasStream(): boolean {
    return !this.isStandalone || this.local !== undefined;
  }

  /** It applies what other nodes write. */
  get follows(): boolean {
    return !this.isStandalone && !this.options.disableSubscriber;
  }

  /** Its own writes are committed before they are in the stream. */
  get publishesLater(): boolean {
    const { asyncPublisher, disablePublisher } = this.options;
    return asyncPublisher && !disablePublisher && !this.isStandalone;
  }

  get subject(): string {
    if (this.local !== undefined) return localSubject(this.options);
    return subjectOf(this.options.replicationStream, this.options.replicationID);
  }

  /** The targets of change data capture. */
  get targets(): readonly Registration[] {
    return this.extras.cdc ?? [];
  }

  /** How long to wait for other programs that write to the file, ms. */
  get busyTimeout(): number {
    const pragma = this.options.pragmas.find(({ name }) => name === 'busy_timeout');
    return pragma === undefined ? DEFAULT_BUSY_TIMEOUT_MS : Number(pragma.value);
  }

  /** What every message of this node says about where it comes from. */
  get origin(): MessageOrigin {
    return { node: this.options.name, processId: processId(), filename: this.options.replicationID };
  }

  /** What this node does in its cluster, now that somebody leads. */
  roleUnder(leader: Lead): HARole {
    const { disablePublisher, disableSubscriber } = this.options;
    if (this.isStandalone) return 'standalone';
    if (disablePublisher) return 'replica';
    if (disableSubscriber) return 'publisher';
    if (!leader.isConfigured) return 'peer';
    return leader.isLeader() ? 'leader' : 'follower';
  }
}

/** When this process began, nanoseconds since 1970. */
function processId(): bigint {
  return BigInt(Math.round(performance.timeOrigin * 1e3)) * 1_000n;
}

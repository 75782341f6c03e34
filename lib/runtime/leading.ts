import { decodeChangeSet } from '../changeset/codec.js';
import type { WriteAnswer } from '../changeset/changeset.js';
import { parseMessageId } from '../changeset/message-id.js';
import { HAError } from '../common/ha-error.js';
import type { Telemetry } from '../common/telemetry.js';
import type { ResolvedHAOptions } from '../config/resolved.js';
import type { LeaderReach } from '../grpc/client/leader-reach.js';
import type { ForwardingPorts } from '../grpc/client/leader-client.js';
import { isOwnAddress } from '../leader/own-address.js';
import { Leadership } from '../leader/leadership.js';
import { leaderUnknown } from '../leader/leader-errors.js';
import type { LeaderTimings } from '../leader/timings.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { Position } from '../sqlite/position.js';
import type { ReplicationStream } from '../stream/replication-stream.js';
import type { OutcomeFinder } from '../write/outcome.js';
import type { RemoteWriter } from '../write/write-router.js';
import { WriteRouter, notLeader } from '../write/write-router.js';

const PACKAGES = '@grpc/grpc-js @grpc/proto-loader';

/** What does not change while the application lives. */
export interface LeadingSettings {
  readonly options: ResolvedHAOptions;
  readonly heartbeatMs: number;
  readonly timings?: LeaderTimings | undefined;
  readonly now?: (() => number) | undefined;
  readonly failed: (error: unknown) => void;
}

/** A database that is open. */
export interface LeadingPorts {
  readonly stream: ReplicationStream;
  readonly position: Position;
  readonly publisher: ReplicationPublisher;
  readonly outcomes: OutcomeFinder | undefined;
  /** Notes a write of this process. */
  readonly written: (sequence: number) => void;
  readonly telemetry: Telemetry;
}

export function makeLeadership({ options, heartbeatMs, timings, now, failed }: LeadingSettings): Leadership {
  const { leaderProvider: provider, name, clusterSize, disablePublisher } = options;
  const addresses = provider?.kind === 'static' ? provider.targets : [];
  return new Leadership({
    provider,
    node: name,
    clusterSize,
    mayLead: !disablePublisher,
    isNamed: !disablePublisher && addresses.some((address) => !isHttp(address) && isOwnAddress(address, options)),
    heartbeatMs,
    timings,
    now,
    failed,
  });
}

/** Writes of a node in a cluster with a leader: here where it leads, else at the leader over gRPC. */
export class Leading {
  readonly router: WriteRouter;
  private reach: Promise<LeaderReach> | undefined;
  private readonly watching;

  constructor(
    private readonly leadership: Leadership,
    private readonly options: ResolvedHAOptions,
    private readonly ports: LeadingPorts,
  ) {
    const { grpcTimeout } = options;
    this.router = new WriteRouter(
      {
        isLeader: () => leadership.isLeader(),
        isStatic: leadership.isStatic,
        known: (timeout, signal) => leadership.known(timeout, signal),
        writer: () => this.writer(),
        look: () => leadership.look(),
        unknown: (timeout, cause) => leaderUnknown(timeout, messageOf(cause), cause),
      },
      grpcTimeout,
    );
    this.watching = leadership.changes.subscribe(({ isLeader, target }) => {
      void this.reach?.then((reach) => reach.leave(isLeader ? undefined : target?.grpc)).catch(() => undefined);
    });
  }

  close(): void {
    this.watching.unsubscribe();
    void this.reach?.then((reach) => reach.close()).catch(() => undefined);
  }

  private async writer(): Promise<RemoteWriter> {
    const target = this.leadership.target();
    // It went a moment ago.
    if (target === undefined) throw notLeader();
    if (target.grpc === undefined) throw noGrpc(target.text);
    const deadline = performance.now() + this.options.grpcTimeout;
    this.ports.telemetry.sink?.forwarded(1);
    return (await (this.reach ??= this.load())).call(target.grpc, deadline);
  }

  private async load(): Promise<LeaderReach> {
    const { grpcToken: token, grpcTimeout: timeout } = this.options;
    try {
      const { LeaderReach: Reach } = await import('../grpc/client/leader-reach.js');
      return new Reach({ token, tls: tlsOf(this.options), timeout }, this.forwarding());
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
      throw new HAError(
        'HA_LEADER_NO_GRPC',
        `Writes go to the leader over gRPC, which needs packages that are not installed: npm install ${PACKAGES} (${(error as Error).message}).`,
        { cause: error },
      );
    }
  }

  private forwarding(): ForwardingPorts {
    const { publisher, position, outcomes, written } = this.ports;
    return {
      replicationID: this.options.replicationID,
      takeId: () => publisher.takeId(),
      giveBackId: (id) => publisher.giveBackId(id),
      outcome: async (id) => {
        const outcome = (await outcomes?.find(id)) ?? { state: 'unknown' };
        if (outcome.state !== 'committed' || outcome.sequence !== undefined) return outcome;
        const parsed = parseMessageId(id);
        const sequence = parsed === undefined ? undefined : position.sequenceOf(parsed);
        return { state: 'committed', sequence: BigInt(sequence ?? position.received) };
      },
      applied: async (sequence, timeout) => {
        written(Number(sequence));
        await position.waitFor(Number(sequence), { timeout });
      },
      answerAt: (sequence, id) => this.answerAt(Number(sequence), id),
    };
  }

  /** Asks the stream what the writer of a transaction was to be told. */
  private async answerAt(sequence: number, id: string): Promise<WriteAnswer | undefined> {
    const message = await this.ports.stream.messageAt(sequence).catch(() => undefined);
    // Where its place is no longer known, another transaction stands there.
    const isMeant = message?.id === id || message?.chunk?.startsWith(`${id};`) === true;
    return message === undefined || !isMeant
      ? undefined
      : decodeChangeSet(Buffer.from(message.data).toString('utf8')).answer;
  }
}

/** As the server of this node: the nodes of a cluster are alike. */
function tlsOf(options: ResolvedHAOptions): { ca?: string; cert?: string; key?: string } | undefined {
  const { grpcInsecure, grpcTlsCa: ca, grpcTlsCert: cert, grpcTlsKey: key } = options;
  if (grpcInsecure || cert === undefined) return undefined;
  return { cert, ...(ca === undefined ? {} : { ca }), ...(key === undefined ? {} : { key }) };
}

/** What an operator should know who elects a node that nobody can write through; undefined where that is well. */
export function unservedWarning({ leaderProvider, grpcPort }: ResolvedHAOptions): string | undefined {
  if (leaderProvider?.kind !== 'dynamic' || grpcPort !== undefined) return undefined;
  const address = leaderProvider.targets.find((target) => !isHttp(target));
  if (address === undefined) return undefined;
  return `Other nodes will send their writes to ${address} over gRPC when this one leads, but it has no grpcPort: set it, unless the application serves gRPC itself (HAGrpcModule).`;
}

function isHttp(address: string): boolean {
  return /^https?:/i.test(address);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'it does not answer';
}

function noGrpc(target: string): HAError {
  return new HAError(
    'HA_LEADER_NO_GRPC',
    `The leader '${target}' has no gRPC address, so writes of this node's code cannot be sent to it. Give its leaderProvider host:port too (dynamic:host:5001,http://host:8080, and grpcPort), or let the requests that write be forwarded over HTTP.`,
    { details: { target } },
  );
}

import { HAError } from '../common/ha-error.js';
import type { Connections } from '../sqlite/connections.js';
import type { StreamCursor } from '../sqlite/control-tables.js';
import { knownPayload } from '../sqlite/outbox-tables.js';
import { LateStream } from '../stream/late-stream.js';
import type { ReplicationStream, StartPoint, StreamStatus } from '../stream/replication-stream.js';
import type { StreamSource } from '../stream/stream-source.js';
import { cursorWithoutStream, streamGap } from '../subscribe/establish-cursor.js';
import type { LagMeter } from '../subscribe/lag.js';
import { alignHistory } from '../subscribe/local-history.js';
import type { ReplicationSubscriber } from '../subscribe/replication-subscriber.js';
import type { Launch } from './launch.js';
import type { ClusterPlace } from './membership.js';
import type { Messages } from './messages.js';
import type { Profile } from './profile.js';
import type { Snapshotting } from './snapshotting.js';

/** A stream, and where the database stands in it. */
export interface Connected {
  readonly stream: ReplicationStream;
  readonly cursor: StreamCursor;
}

/** What connecting goes by, and what it tells of the connection. */
export interface ConnectingParts {
  readonly profile: Profile;
  readonly messages: Messages;
  readonly source: StreamSource;
  readonly cluster: ClusterPlace;
  readonly snapshotting: Snapshotting;
  readonly subscriber: ReplicationSubscriber;
  readonly lagMeter: LagMeter;
}

/** Largest message, bytes, as long as the server could not be asked: a little below what nats-server takes by default. */
const ASSUMED_PAYLOAD = 1_000_000;

/** Brings a database that was just opened to its stream; to one that is still to come, where it can do without. */
export class Connecting {
  constructor(private readonly parts: ConnectingParts) {}

  /** @throws StagedSnapshot where the file has to be replaced first. */
  async connect(connections: Connections, launch: Launch, signal: AbortSignal): Promise<Connected> {
    const { profile } = this.parts;
    const start = launch.startPoint ?? profile.options.deliverPolicy;
    if (launch.halted !== undefined) {
      const cursor = cursorWithoutStream(connections.applier, profile.subject, start);
      if (cursor === undefined) throw launch.halted;
      return { stream: this.lateStream(), cursor };
    }
    try {
      return await this.connectNow(connections, start, launch, signal);
    } catch (error) {
      // Whoever asked for other rows must not be told that they are there.
      const isDemanded = launch.snapshots !== undefined && launch.staged === undefined;
      if (!profile.publishesLater || isDemanded || !isUnreachable(error)) throw error;
      return this.goWithout(connections, start, error);
    }
  }

  private async connectNow(
    connections: Connections,
    start: StartPoint,
    launch: Launch,
    signal: AbortSignal,
  ): Promise<Connected> {
    const { profile, source, cluster, snapshotting, lagMeter } = this.parts;
    const { subject, local } = profile;
    const stream = await source.open(subject);
    stream.onStatus = (status) => this.followStatus(status);
    lagMeter.connection(true);
    if (local === undefined) await cluster.join(stream);
    else alignHistory(connections.applier, subject, local);
    return { stream, cursor: await snapshotting.findStart(connections, stream, start, launch, signal) };
  }

  /** Writes wait in the outbox until the stream can be reached. */
  private async goWithout({ applier }: Connections, start: StartPoint, error: HAError): Promise<Connected> {
    const { profile, messages, source, cluster } = this.parts;
    const cursor = cursorWithoutStream(applier, profile.subject, start);
    if (cursor === undefined) throw error;
    await cluster.leave();
    await source.close();
    messages.failed(error);
    return { stream: this.lateStream(knownPayload(applier)), cursor };
  }

  private lateStream(payload = ASSUMED_PAYLOAD): LateStream {
    const { profile, source, lagMeter } = this.parts;
    const { subject } = profile;
    const stream = new LateStream(() => source.open(subject), payload, `the stream of '${subject}'`);
    stream.onStatus = (status) => this.followStatus(status);
    lagMeter.connection(false);
    return stream;
  }

  private followStatus(status: StreamStatus): void {
    const { profile, messages, subscriber, lagMeter } = this.parts;
    if (status.type === 'gap') {
      subscriber.halt(streamGap(profile.subject, status.after, status.first));
      return;
    }
    if (status.type !== 'error') lagMeter.connection(status.type === 'connected');
    messages.emit(status);
  }
}

/** Nothing is wrong but that NATS is away. */
function isUnreachable(error: unknown): error is HAError {
  return error instanceof HAError && error.code === 'HA_STREAM_CONNECT';
}

import type { Interceptors } from '../apply/interceptors.js';
import { ConflictDetector } from '../apply/conflict-detector.js';
import type { Telemetry } from '../common/telemetry.js';
import type { Leadership } from '../leader/leadership.js';
import { MessageEncoder } from '../publish/message-encoder.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { Connections } from '../sqlite/connections.js';
import { CursorWriter } from '../sqlite/control-tables.js';
import type { WriteTurn } from '../sqlite/write-turn.js';
import { LateStream } from '../stream/late-stream.js';
import { readBase } from '../subscribe/base.js';
import type { ChangeFeed } from '../subscribe/change-feed.js';
import type { SubscriberPorts } from '../subscribe/replication-subscriber.js';
import type { ReplicationPorts } from '../write/committer.js';
import { openApplySide } from './apply-side.js';
import type { ApplySide } from './apply-side.js';
import { Connecting } from './connecting.js';
import type { ConnectingParts } from './connecting.js';
import { findFooting } from './footing.js';
import type { Footing } from './footing.js';
import type { Launch } from './launch.js';
import type { Opened } from './opened.js';
import { StreamIdentity } from './stream-identity.js';
import type { Targets } from './targets.js';
import { writePorts } from './write-ports.js';

/** What joining the stream brings together. */
export interface JoiningParts extends ConnectingParts {
  readonly telemetry: Telemetry;
  readonly leader: Leadership;
  readonly publisher: ReplicationPublisher;
  readonly changeFeed: ChangeFeed;
  readonly targets: Targets;
  readonly interceptors: Interceptors | undefined;
  readonly opened: Opened;
}

/** Joins the stream: connects, takes a place among the nodes, finds the position, and follows from there. */
export class Joining {
  private readonly connecting: Connecting;
  private readonly identity: StreamIdentity;

  constructor(private readonly parts: JoiningParts) {
    this.connecting = new Connecting(parts);
    this.identity = new StreamIdentity(parts);
  }

  /**
   * Returns when the stream is followed, with what the write path needs of it.
   *
   * @throws StagedSnapshot where the file has to be replaced first.
   */
  async join(
    connections: Connections,
    turn: WriteTurn,
    launch: Launch,
    signal: AbortSignal,
  ): Promise<ReplicationPorts> {
    const { parts, identity } = this;
    const { profile, messages, cluster, publisher, opened } = parts;
    const footing = await findFooting({
      connections,
      turn,
      launch,
      messages,
      busyTimeout: profile.busyTimeout,
      connect: () => this.connecting.connect(connections, launch, signal),
    });
    const { stream, position, alarm, foreign } = footing;
    const side = await openApplySide({ ...parts, identity }, footing, launch);
    const { async, cdc, idle } = side;
    const { outcomes, origins, skips, control } = footing;
    opened.replication = { stream, position, outcomes, origins, skips, control, alarm, async, cdc, idle };
    stream.passed = () => Math.max(position.received, position.proven);
    alarm.start(connections.applier, foreign);
    cluster.refuseExpelled();
    const conflicts = this.conflictDetector(footing, side);
    identity.watch(stream, position);
    publisher.attach(stream, new MessageEncoder(position.origin, profile.origin));
    await this.follow(footing, side, conflicts);
    if (stream instanceof LateStream && launch.halted === undefined) stream.begin();
    async?.start();
    idle?.start();
    return writePorts({ ...parts, identity }, footing, side, conflicts);
  }

  private conflictDetector({ connections, cursor, position }: Footing, { applier }: ApplySide): ConflictDetector {
    const { events } = this.parts.messages;
    return new ConflictDetector({
      db: connections.applier,
      applier,
      received: cursor.received,
      isObserved: () => events.observed,
      wasApplied: (origin, n) => position.seen.has(origin, n),
    });
  }

  private async follow(footing: Footing, side: ApplySide, conflicts: ConflictDetector): Promise<void> {
    const { profile, messages, subscriber } = this.parts;
    if (profile.options.disableSubscriber) return;
    const { connections, stream, turn, foreign, position, skips } = footing;
    await subscriber.start({
      stream,
      db: connections.applier,
      applier: side.applier,
      conflicts,
      turn,
      foreign,
      position,
      cursorWriter: new CursorWriter(connections.applier, profile.subject),
      skips,
      base: readBase(connections.applier),
      emit: messages.emit,
      overlay: side.async?.overlay,
      effects: side.cdc?.recorder,
      ...this.witnesses(side),
    });
  }

  /** Who is told of what the stream brings. */
  private witnesses({ hold, cdc }: ApplySide): Pick<SubscriberPorts, 'observe' | 'applied' | 'met'> {
    const { leader, telemetry, changeFeed } = this.parts;
    return {
      observe: (node, commands) => {
        hold.observe(node, commands);
        leader.observe(commands);
      },
      applied: (sequence, changeSet, skipped) => {
        telemetry.sink?.applied(Math.max(0, Date.now() - Number(changeSet.timestampNs / 1_000_000n)));
        changeFeed.applied(sequence, changeSet, skipped);
        cdc?.wake();
      },
      met: (sequence, messages) => {
        changeFeed.committed(sequence, messages);
        cdc?.wake();
      },
    };
  }
}

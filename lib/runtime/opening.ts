import type { HASnapshotter } from '../snapshot/snapshotter.js';
import { Checkpointer } from '../sqlite/checkpointer.js';
import type { Connections } from '../sqlite/connections.js';
import type { ConfigureConnection } from '../sqlite/connection.js';
import { randomSlot } from '../sqlite/id-generator.js';
import { WriteTurn } from '../sqlite/write-turn.js';
import { LateStream } from '../stream/late-stream.js';
import type { IdSlotLease } from '../stream/membership/id-slots.js';
import { endLocalHistory, localSubject } from '../subscribe/local-history.js';
import { Committer } from '../write/committer.js';
import type { ReplicationPorts } from '../write/committer.js';
import type { OpenDatabase } from '../write/open-database.js';
import { Reads } from '../write/reads.js';
import { StatementInfos } from '../write/statement-info.js';
import { TransactionRunner } from '../write/transaction-runner.js';
import type { DatabaseFile } from './database-file.js';
import { Joining } from './joining.js';
import type { JoiningParts } from './joining.js';
import type { Launch } from './launch.js';
import type { LeaderWiring } from './leader-wiring.js';
import { generatedIdWarning } from './messages.js';
import { historyOf, outcomeFinder, snapshotSource } from './services.js';
import type { OpenParts } from './services.js';

/** What a start opens, and what it attaches to it. */
export interface OpeningParts extends JoiningParts {
  readonly file: DatabaseFile;
  readonly idSlots: IdSlotLease;
  readonly snapshotter: HASnapshotter;
  readonly leaderWiring: LeaderWiring;
  readonly configure: ConfigureConnection | undefined;
}

/** The write path, before anybody may use it. */
interface Writing extends OpenParts {
  readonly infos: StatementInfos;
}

const NEVER_INTERCEPTS =
  'This node follows no stream, so its interceptors are never asked: its own writes stay as they are, whatever other nodes make of them.';

/** Opens a database in order, once: what is open when it fails is in {@link Opened}, to be taken down. */
export class Opening {
  private readonly joining: Joining;

  constructor(private readonly parts: OpeningParts) {
    this.joining = new Joining(parts);
  }

  /**
   * The numbers are those of the order that `HARuntime` describes.
   *
   * @throws StagedSnapshot where the file has to be replaced, and the start begun anew.
   */
  async open(launch: Launch, signal: AbortSignal): Promise<OpenDatabase> {
    const { profile, messages, cluster, opened, subscriber, leaderWiring } = this.parts;
    // 1.
    const turn = new WriteTurn();
    const connections = this.openFile(launch, turn);
    // 2. to 5.
    const ports = profile.hasStream ? await this.joining.join(connections, turn, launch, signal) : undefined;
    const writing = this.writePath(connections, turn, ports);
    await this.catchUp();
    cluster.refuseExpelled();
    cluster.beat();
    launch.onReady?.();
    // 6.
    const database = this.takeCalls(writing, ports);
    opened.database = database;
    opened.replication?.cdc?.start();
    if (launch.halted !== undefined) subscriber.halt(launch.halted);
    this.takeSnapshots(connections);
    // 7.
    await leaderWiring.follow();
    messages.events.next({ type: 'started' });
    return database;
  }

  private openFile(launch: Launch, turn: WriteTurn): Connections {
    const { profile, messages, file, opened, idSlots } = this.parts;
    const connections = file.open(launch);
    opened.files = connections;
    opened.checkpointer = new Checkpointer(connections.path, connections.reader, turn, messages.failed);
    if (profile.isStandalone) idSlots.fix(randomSlot());
    if (profile.local === undefined) endLocalHistory(connections.applier, localSubject(profile.options));
    return connections;
  }

  private writePath(connections: Connections, turn: WriteTurn, ports: ReplicationPorts | undefined): Writing {
    const { profile, messages, telemetry, interceptors } = this.parts;
    const { publisherTimeout } = profile.options;
    const infos = new StatementInfos();
    const runner = this.runner(connections, infos, ports);
    const committer = new Committer(connections.writer, runner, turn, ports, {
      publisherTimeout,
      busyTimeout: profile.busyTimeout,
      telemetry,
    });
    if (interceptors !== undefined && !profile.follows) messages.logger.warn(NEVER_INTERCEPTS);
    return { connections, committer, runner, infos };
  }

  private runner(
    { writer, reader }: Connections,
    infos: StatementInfos,
    ports: ReplicationPorts | undefined,
  ): TransactionRunner {
    const { profile, messages, leader, interceptors } = this.parts;
    const { generatedIds, concurrency, disableDDLSync, disableSubscriber } = profile.options;
    return new TransactionRunner(writer, reader, ports?.capture, infos, {
      orderGeneratedIds: generatedIds === 'ordered' && !disableSubscriber,
      busyTimeout: profile.busyTimeout,
      orderAll: concurrency === 'serializable' || leader.isConfigured,
      replicateDDL: !disableDDLSync,
      followsStream: !disableSubscriber,
      onGeneratedId: ({ name }) => messages.emit(generatedIdWarning(name)),
      publishesLater: ports?.outbox !== undefined,
      intercepts: profile.follows ? interceptors?.concern.bind(interceptors) : undefined,
      tellsEffects: ports?.record !== undefined,
    });
  }

  /** Waits until what the stream held at this moment is applied: an application must not begin with stale data. */
  private async catchUp(): Promise<void> {
    const { profile, opened } = this.parts;
    const { replication } = opened;
    if (replication === undefined || profile.options.disableSubscriber) return;
    if (replication.stream instanceof LateStream && !replication.stream.isConnected) return;
    const last = await replication.stream.lastSubjectSequence();
    await replication.position.waitFor(last);
  }

  private takeCalls(writing: Writing, ports: ReplicationPorts | undefined): OpenDatabase {
    const { profile, leader, publisher, opened, leaderWiring, interceptors, configure } = this.parts;
    const { disablePublisher, disableSubscriber } = profile.options;
    const { connections, committer, runner, infos } = writing;
    const { replication } = opened;
    const outcomes = replication && outcomeFinder(profile, replication, committer, publisher, leader.isConfigured);
    opened.leading = leaderWiring.open(outcomes);
    return {
      connections,
      committer,
      runner,
      reads: new Reads(connections, infos, profile.busyTimeout),
      infos,
      busyTimeout: profile.busyTimeout,
      position: ports?.position,
      router: opened.leading?.router,
      latest: ports === undefined ? undefined : () => publisher.lastSubjectSequence(),
      outcomes,
      history:
        replication && historyOf(profile, replication, { connections, committer, runner }, interceptors, configure),
      readOnly: disablePublisher && !profile.isStandalone,
      publishesOnly: disableSubscriber && !profile.isStandalone,
    };
  }

  private takeSnapshots(connections: Connections): void {
    const { profile, opened, subscriber, snapshotter, snapshotting } = this.parts;
    const { replication } = opened;
    const source = replication && snapshotSource(profile, replication, connections, subscriber, snapshotting);
    if (source !== undefined) snapshotter.attach(source);
  }
}

import { hostname } from 'node:os';
import type { Logger } from '@nestjs/common';
import { Subject } from 'rxjs';
import { Applier } from './apply/applier.js';
import { AsyncPublishing, refusePending } from './async-publishing.js';
import { Capture } from './capture/capture.js';
import type { HAEvent } from './common/events.js';
import { HAError } from './common/ha-error.js';
import { sleep } from './common/timing.js';
import { subjectOf } from './config/normalize.js';
import type { ResolvedHAOptions } from './config/resolved.js';
import { refuseUnsupported } from './config/unsupported.js';
import type { MessageOrigin } from './changeset/codec.js';
import { MessageEncoder } from './publish/message-encoder.js';
import { ReplicationPublisher } from './publish/replication-publisher.js';
import type { ConfigureConnection } from './sqlite/connection.js';
import { Checkpointer } from './sqlite/checkpointer.js';
import { Connections } from './sqlite/connections.js';
import { CursorWriter, newOrigin, readSeen } from './sqlite/control-tables.js';
import type { StreamCursor } from './sqlite/control-tables.js';
import { IdGenerator, randomSlot } from './sqlite/id-generator.js';
import type { IdSlot } from './sqlite/id-generator.js';
import { knownPayload, rememberPayload } from './sqlite/outbox-tables.js';
import { Position } from './sqlite/position.js';
import { WriteTurn } from './sqlite/write-turn.js';
import { IdSlotLease } from './stream/membership/id-slots.js';
import { ownMember } from './stream/membership/member.js';
import type { HAMember, HARole, MemberFacts } from './stream/membership/member.js';
import { Membership } from './stream/membership/membership.js';
import type { ReplicationStream } from './stream/replication-stream.js';
import { LateStream } from './stream/late-stream.js';
import { StreamSource } from './stream/stream-source.js';
import { cursorWithoutStream, establishCursor, verifyCursor } from './subscribe/establish-cursor.js';
import { ReplicationSubscriber } from './subscribe/replication-subscriber.js';
import { Committer } from './write/committer.js';
import type { ReplicationPorts } from './write/committer.js';
import { HoldGate } from './write/hold-gate.js';
import type { DatabaseLifecycle, OpenDatabase } from './write/ha-database.js';
import { Reads } from './write/reads.js';
import { StatementInfos } from './write/statement-info.js';
import type { HAStatus } from './write/status.js';
import { TransactionRunner } from './write/transaction-runner.js';

/** What the runtime needs besides the options. */
export interface RuntimeExtras {
  readonly logger: Logger;
  readonly configure?: ConfigureConnection | undefined;
  /** How often connecting is tried again at start. */
  readonly retryAttempts: number;
  /** Milliseconds between tries. */
  readonly retryDelay: number;
  /** The part of `ha_id()` that belongs to this node alone. Default: leased from the cluster. */
  readonly idSlot?: IdSlot | undefined;
  /** Replaces the stream that the options describe: tests and simulators bring their own. */
  readonly stream?: ReplicationStream | undefined;
  /** Milliseconds between the heartbeats of a member, which tests shorten. */
  readonly heartbeatMs?: number | undefined;
}

interface Replication {
  readonly stream: ReplicationStream;
  readonly position: Position;
  readonly async: AsyncPublishing | undefined;
}

/** Largest message, bytes, as long as the server could not be asked: a little below what nats-server takes by default. */
const ASSUMED_PAYLOAD = 1_000_000;
const DEFAULT_BUSY_TIMEOUT_MS = 5_000;

/** Assembles one database from its parts, starts it and takes it down: the only place that knows all of them. */
export class HARuntime implements DatabaseLifecycle {
  readonly events = new Subject<HAEvent>();
  readonly publisher = new ReplicationPublisher();
  readonly subscriber = new ReplicationSubscriber();
  /** Makes the values of `ha_id()`; kept when the database is stopped and started, so that they never repeat. */
  readonly ids: IdGenerator;
  /** The slot of this node for them. */
  readonly idSlots = new IdSlotLease();
  private opened: OpenDatabase | undefined;
  private files: Connections | undefined;
  private checkpointer: Checkpointer | undefined;
  private replication: Replication | undefined;
  private membership: Membership | undefined;
  /** Why this node may go on no more, although nothing is wrong with what it applied. */
  private expelled: HAError | undefined;
  private readonly source: StreamSource;
  private starting: Promise<OpenDatabase> | undefined;
  private stopping: Promise<void> | undefined;
  private closed = false;
  private stopped = false;

  constructor(
    readonly options: ResolvedHAOptions,
    private readonly extras: RuntimeExtras,
  ) {
    refuseUnsupported(options);
    this.ids = new IdGenerator(extras.idSlot ?? this.idSlots);
    this.idSlots.holder = this.ids;
    this.source = new StreamSource(options, (line) => extras.logger.warn(line), extras.stream);
  }

  get autoStart(): boolean {
    return this.options.autoStart && !this.closed && !this.stopped;
  }

  get transactionTimeout(): number {
    return this.options.transactionTimeout;
  }

  get open(): OpenDatabase | undefined {
    return this.opened;
  }

  get isStandalone(): boolean {
    const { mode, disablePublisher, disableSubscriber } = this.options;
    if (disablePublisher && disableSubscriber) return true;
    return mode === 'standalone' && this.extras.stream === undefined;
  }

  async start(): Promise<OpenDatabase> {
    if (this.closed) throw closedError();
    this.stopped = false;
    return (this.starting ??= this.startPatiently().catch(async (error: unknown) => {
      await this.tearDown();
      this.starting = undefined;
      throw error;
    }));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    if (this.starting === undefined) return;
    await this.starting.catch(() => undefined);
    await (this.stopping ??= this.stopOnce().finally(() => {
      this.starting = undefined;
      this.stopping = undefined;
    }));
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.stop();
    this.events.complete();
  }

  status(): HAStatus {
    const { options, opened, replication, subscriber } = this;
    return {
      state: this.stateName(),
      role: this.role,
      node: options.name,
      connected: replication?.stream.isConnected ?? false,
      position: {
        received: BigInt(replication?.position.received ?? 0),
        published: BigInt(replication?.position.published ?? 0),
      },
      backlog: subscriber.backlog,
      waitingWrites: opened?.committer.waiting ?? 0,
      lastError: this.expelled ?? subscriber.error,
      ...(replication?.async === undefined ? {} : { outbox: replication.async.status }),
    };
  }

  async members(): Promise<HAMember[]> {
    return this.membership?.members() ?? [ownMember(this.facts(), 0)];
  }

  private get role(): HARole {
    const { disablePublisher, disableSubscriber } = this.options;
    if (this.isStandalone) return 'standalone';
    if (disablePublisher) return 'replica';
    return disableSubscriber ? 'publisher' : 'peer';
  }

  private facts(): MemberFacts {
    const { options, replication } = this;
    return {
      node: options.name,
      process: String(processId()),
      role: this.role,
      received: replication?.position.received ?? 0,
      address: this.source.address,
      host: hostname(),
    };
  }

  private stateName(): HAStatus['state'] {
    if (this.closed) return 'closed';
    if (this.opened === undefined) return this.starting === undefined ? 'stopped' : 'starting';
    if (this.expelled !== undefined) return 'halted';
    const { state } = this.subscriber;
    return state === 'halted' || state === 'retrying' ? state : 'running';
  }

  /** Starts, as often as Nest's other database modules would: the stream may fall silent at any step. */
  private async startPatiently(): Promise<OpenDatabase> {
    const { logger, retryAttempts, retryDelay } = this.extras;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.startOnce();
      } catch (error) {
        const retryable = error instanceof HAError && error.retryable;
        if (!retryable || attempt >= retryAttempts || this.closed) throw error;
        await this.tearDown();
        logger.warn(`${error.message} Trying again (${attempt + 1}/${retryAttempts}) …`);
        await sleep(retryDelay);
      }
    }
  }

  private async startOnce(): Promise<OpenDatabase> {
    const { options, extras } = this;
    const connections = new Connections({
      filename: options.filename,
      memory: options.memory,
      pragmas: options.pragmas,
      configure: extras.configure,
      ids: this.ids,
      exclusive: !this.isStandalone,
    });
    this.files = connections;
    const turn = new WriteTurn();
    this.checkpointer = new Checkpointer(connections.path, connections.reader, turn, (error) =>
      this.emit({ type: 'error', error }),
    );
    if (this.isStandalone) this.idSlots.fix(randomSlot());
    const ports = this.isStandalone ? undefined : await this.joinStream(connections, turn);
    const infos = new StatementInfos();
    const runner = new TransactionRunner(connections.writer, connections.reader, ports?.capture, infos, {
      orderGeneratedIds: options.generatedIds === 'ordered' && !options.disableSubscriber,
      orderAll: options.concurrency === 'serializable',
      replicateDDL: !options.disableDDLSync,
      followsStream: !options.disableSubscriber,
      onGeneratedId: ({ name }) => this.emit(generatedIdWarning(name)),
      publishesLater: ports?.outbox !== undefined,
    });
    const committer = new Committer(connections.writer, runner, turn, ports, {
      publisherTimeout: options.publisherTimeout,
      busyTimeout: busyTimeout(options),
    });
    await this.catchUp();
    this.refuseExpelled();
    this.membership?.beat();
    this.opened = {
      connections,
      committer,
      runner,
      reads: new Reads(connections),
      infos,
      position: ports?.position,
      readOnly: options.disablePublisher && !this.isStandalone,
      publishesOnly: options.disableSubscriber && !this.isStandalone,
    };
    this.events.next({ type: 'started' });
    return this.opened;
  }

  private async joinStream(connections: Connections, turn: WriteTurn): Promise<ReplicationPorts> {
    const { options } = this;
    const subject = subjectOf(options.replicationStream, options.replicationID);
    const { stream, cursor } = await this.connect(connections, subject);
    const origin = newOrigin();
    const position = new Position(cursor, readSeen(connections.applier), origin);
    const hold = new HoldGate(options.name);
    const applier = new Applier(connections.applier, options.rowIdentify, () => async?.overlay.stepAside());
    const async = this.publishesLater ? this.openOutbox(connections, applier, { stream, position, hold }) : undefined;
    if (async === undefined) refusePending(connections.applier);
    this.replication = { stream, position, async };
    this.refuseExpelled();
    if (stream instanceof LateStream) stream.verify = () => this.verifyLate(stream, position, subject);
    else if (!options.disableSubscriber) stream.verify = () => this.verify(stream, position, subject);
    this.publisher.attach(stream, new MessageEncoder(origin, this.messageOrigin()));
    if (!options.disableSubscriber) {
      await this.subscriber.start({
        stream,
        db: connections.applier,
        applier,
        turn,
        position,
        cursorWriter: new CursorWriter(connections.applier, subject),
        emit: (event) => this.emit(event),
        observe: (node, commands) => hold.observe(node, commands),
        overlay: async?.overlay,
      });
    }
    if (stream instanceof LateStream) stream.begin();
    async?.start();
    return {
      publisher: this.publisher,
      position,
      capture: new Capture(connections.writer, {
        markGeneratedIds: options.generatedIds === 'ordered' ? 'always' : 'once',
        rowIdentify: options.rowIdentify,
        pieceBytes: () => Math.min(256 * 1024, Math.floor(stream.maxPayload / 4)),
      }),
      cursorWriter: new CursorWriter(connections.writer, subject),
      feed: options.disableSubscriber ? undefined : this.subscriber,
      hold,
      outbox: async,
      applied: (sequence, changes) => {
        if (!this.events.observed) return;
        this.events.next({ type: 'applied', sequence: BigInt(sequence), node: options.name, changes });
      },
      lostStream: (sequence) => this.lostStream(sequence, position.received),
    };
  }

  /** In front of everything that is applied or written: two nodes of one name, or two databases on one subject, must not. */
  private async joinCluster(stream: ReplicationStream, subject: string): Promise<void> {
    const { options, extras } = this;
    this.membership = new Membership({
      stream,
      streamName: options.replicationStream,
      subject,
      replicationID: options.replicationID,
      heartbeatMs: extras.heartbeatMs,
      facts: () => this.facts(),
      idSlots: this.idSlots,
      warn: (line) => extras.logger.warn(line),
      lost: (error) => this.expel(error),
    });
    await this.membership.join();
  }

  /** What a start without the stream left out is done when it can be reached. */
  private async verifyLate(stream: LateStream, position: Position, subject: string): Promise<void> {
    if (this.membership === undefined) {
      try {
        await this.joinCluster(stream, subject);
      } catch (error) {
        await this.leaveCluster();
        if (error instanceof HAError && !error.retryable) this.expel(error);
        throw error;
      }
    }
    await this.verify(stream, position, subject);
  }

  private async leaveCluster(): Promise<void> {
    const { membership } = this;
    this.membership = undefined;
    await membership?.leave();
  }

  /** Another node took this one's place: nothing is applied or written any more. */
  private expel(error: HAError): void {
    this.expelled = error;
    if (this.subscriber.state === 'stopped') this.emit({ type: 'halted', sequence: 0n, error });
    else this.subscriber.halt(error);
  }

  private refuseExpelled(): void {
    if (this.expelled !== undefined) throw this.expelled;
  }

  private get publishesLater(): boolean {
    const { asyncPublisher, disablePublisher } = this.options;
    return asyncPublisher && !disablePublisher && !this.isStandalone;
  }

  private openOutbox(
    connections: Connections,
    applier: Applier,
    { stream, position, hold }: { stream: ReplicationStream; position: Position; hold: HoldGate },
  ): AsyncPublishing {
    const store = AsyncPublishing.openStore(connections, this.options, position.seen);
    if (!(stream instanceof LateStream)) rememberPayload(connections.applier, stream.maxPayload);
    return new AsyncPublishing(
      connections.applier,
      applier,
      AsyncPublishing.capture(connections, this.options.rowIdentify),
      store,
      this.options.name,
      {
        stream,
        position,
        pass: () => hold.pass(),
        lostStream: (sequence) => this.lostStream(sequence, position.received),
        failed: (error) => this.emit({ type: 'error', error }),
      },
    );
  }

  /** Makes sure that the stream is the one that was followed so far; else nothing is applied or written any more. */
  private async verify(stream: ReplicationStream, position: Position, subject: string): Promise<void> {
    try {
      const { created } = await verifyCursor(position.cursor, stream, subject);
      // A database that was started without the stream did not know it yet.
      if (position.cursor.streamCreated === '') position.cursor = { ...position.cursor, streamCreated: created };
    } catch (error) {
      if (error instanceof HAError && !error.retryable) this.subscriber.halt(error);
      throw error;
    }
  }

  private lostStream(sequence: number, received: number): HAError {
    const error = new HAError(
      'HA_STREAM_RESET',
      `The stream gave sequence ${sequence} to a new transaction, but this database has applied up to ${received}: it was made anew, or restored from an older copy. Nothing is applied or written any more. Restore the stream, or start with a new file to take over what it holds now.`,
      { details: { sequence, received } },
    );
    this.subscriber.halt(error);
    return error;
  }

  private messageOrigin(): MessageOrigin {
    return {
      node: this.options.name,
      processId: processId(),
      filename: this.options.replicationID,
    };
  }

  private async connect(
    connections: Connections,
    subject: string,
  ): Promise<{ readonly stream: ReplicationStream; readonly cursor: StreamCursor }> {
    const { deliverPolicy } = this.options;
    const { applier, path } = connections;
    try {
      const stream = await this.source.open(subject);
      stream.onStatus = (status) => this.emit(status);
      await this.joinCluster(stream, subject);
      return { stream, cursor: await establishCursor(applier, path, subject, stream, deliverPolicy) };
    } catch (error) {
      if (!this.publishesLater || !(error instanceof HAError && error.retryable)) throw error;
      const cursor = cursorWithoutStream(applier, path, subject, deliverPolicy);
      if (cursor === undefined) throw error;
      await this.leaveCluster();
      await this.source.close();
      this.emit({ type: 'error', error });
      const payload = knownPayload(applier) ?? ASSUMED_PAYLOAD;
      const stream = new LateStream(() => this.source.open(subject), payload, `the stream of '${subject}'`);
      stream.onStatus = (status) => this.emit(status);
      return { stream, cursor };
    }
  }

  /** Waits until what the stream held at this moment is applied: an application must not begin with stale data. */
  private async catchUp(): Promise<void> {
    const { replication } = this;
    if (replication === undefined || this.options.disableSubscriber) return;
    if (replication.stream instanceof LateStream && !replication.stream.isConnected) return;
    const last = await replication.stream.lastSubjectSequence();
    await replication.position.waitFor(last);
  }

  private async stopOnce(): Promise<void> {
    await this.finishWrites();
    this.opened = undefined;
    await this.tearDown();
    this.events.next({ type: 'stopped' });
  }

  /** Waits for the writes under way; for those that only the stream can bring back, no longer than for a publish. */
  private async finishWrites(): Promise<void> {
    const { position } = this.replication ?? {};
    const timer = setTimeout(() => position?.fail(stoppedError()), this.options.publisherTimeout);
    await this.opened?.committer.close(stoppedError());
    clearTimeout(timer);
    await this.replication?.async?.flush(this.options.publisherTimeout);
  }

  private async tearDown(): Promise<void> {
    const { replication, files, membership } = this;
    this.opened = undefined;
    this.membership = undefined;
    this.replication = undefined;
    this.files = undefined;
    replication?.position.fail(stoppedError());
    replication?.async?.stop();
    await this.subscriber.stop();
    this.publisher.detach();
    await membership?.leave();
    this.expelled = undefined;
    await replication?.stream.close();
    await this.source.close();
    replication?.async?.close();
    await this.checkpointer?.close();
    files?.close();
  }

  private emit(event: HAEvent): void {
    const { logger } = this.extras;
    if (event.type === 'halted') {
      logger.error(event.error.message);
      this.opened?.committer.halt(event.error);
      this.replication?.async?.stop();
    } else if (event.type === 'error') logger.warn(event.error.message);
    else if (event.type === 'skipped') {
      logger.warn(
        `Left out a change of '${event.target}' by ${event.node} at sequence ${event.sequence}: ${event.reason}`,
      );
    } else if (event.type === 'warning') logger.warn(event.message);
    else if (event.type === 'disconnected') logger.warn('The connection to NATS is lost; reads go on, writes wait.');
    else if (event.type === 'connected') logger.log('Connected to NATS again.');
    if (event.type === 'connected') this.replication?.async?.kick();
    this.events.next(event);
  }
}

/** When this process began, nanoseconds since 1970. */
function processId(): bigint {
  return BigInt(Math.round(performance.timeOrigin * 1e3)) * 1_000n;
}

function busyTimeout(options: ResolvedHAOptions): number {
  const pragma = options.pragmas.find(({ name }) => name === 'busy_timeout');
  return pragma === undefined ? DEFAULT_BUSY_TIMEOUT_MS : Number(pragma.value);
}

function generatedIdWarning(table: string): HAEvent {
  const message = `SQLite chose the id of a new row in '${table}', and generatedIds is 'overwrite': two nodes that insert at once choose the same id, and the later row replaces the earlier one on every node. Insert ha_id() as the id, or set generatedIds=ordered where the option allows it.`;
  return { type: 'warning', code: 'HA_GENERATED_IDS', table, message };
}

function stoppedError(): HAError {
  return new HAError('HA_UNAVAILABLE', 'The database is stopped. Await db.start() to go on.');
}

function closedError(): HAError {
  return new HAError(
    'HA_DATABASE_CLOSED',
    'The database is closed for good. Open it anew with another module instance.',
  );
}

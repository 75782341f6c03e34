import { retry, sleep } from '../../common/timing.js';
import { connect, ConsumerEvents, DiscardPolicy, NatsError, RetentionPolicy, StorageType, nanos } from 'nats';
import type {
  Consumer,
  ConsumerMessages,
  JetStreamClient,
  JetStreamManager,
  JsMsg,
  NatsConnection,
  StreamInfo,
} from 'nats';
import { HAError } from '../../common/ha-error.js';
import { StreamUnavailable } from '../replication-stream.js';
import type {
  IncomingMessage,
  MessageHandler,
  OrderedForm,
  OutgoingMessage,
  PublishReceipt,
  ReplicationStream,
  StartPoint,
  StreamState,
  StreamStatus,
  StreamSubscription,
} from '../replication-stream.js';
import type { KeyValueBucket, KeyValueSettings } from '../key-value.js';
import type { ObjectStore } from '../object-store.js';
import { AckChannel, BatchIgnored, BatchTooLarge } from './ack-channel.js';
import { connectError } from './connect-error.js';
import { connectOptions, describeServers } from './connect-options.js';
import type { NatsAccess } from './connect-options.js';
import { PendingRequests } from './pending-requests.js';
import { JetStreamKeyValue } from './key-value.js';
import type { KeyValueClient } from './key-value.js';
import { JetStreamObjectStore } from './object-store.js';
import type { ObjectClient } from './object-store.js';
import { mayBreakExpectations, takesBatches } from './server-version.js';

/** What the stream is, and how to make it where it is missing. */
export interface JetStreamSettings {
  readonly access: NatsAccess;
  readonly stream: string;
  readonly subject: string;
  readonly replicas: number;
  /** Milliseconds; undefined keeps messages for ever. */
  readonly maxAge: number | undefined;
  /** Undefined: no limit. */
  readonly maxBytes?: number | undefined;
  readonly warn: (message: string) => void;
}

/** How often a delivery looks whether the connection is back, ms. */
const RECONNECT_PAUSE_MS = 20;
/** A delivery that misses so many heartbeats, of which there is one a second, goes on from a new consumer. */
const SILENT_BEATS = 4;
/** Pause between two attempts to find out whether this is still the same stream, ms. */
const VERIFY_PAUSE_MS = 250;
/** Messages asked for ahead of their use. */
const PREFETCH = 128;
/** The server's default limit. */
const LARGEST_BATCH = 1_000;
/** Room that headers and envelope may take beside a payload. */
const HEADER_ROOM = 4_096;
/** How long an answer is waited for, ms. */
const SLOWEST_ANSWER_MS = 5_000;
/** Error codes of the server: https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const NO_MESSAGE_FOUND = 10_037;
const STREAM_NOT_FOUND = 10_059;
/** In a stream without limits messages go only where somebody removes them, and never within this time, ms. */
const ASSUMED_AGE_MS = 60_000;

/** A subscription on its way; without `messages` a new consumer has to be made. */
interface Delivery {
  /** Sequence of the last message that was handed over. */
  position: number;
  ended: boolean;
  messages: ConsumerMessages | undefined;
  /** When the server stored that message, ms since 1970; 0 where nobody knows. */
  storedAt: number;
  /** So many of the next messages were delivered before the stream was last asked where it begins. */
  covered: number;
}

/** What makes the stream drop messages. */
interface Limits {
  /** Milliseconds. */
  readonly age: number;
  readonly bySize: boolean;
}

/** What this version of the client does not know of a stream's configuration; it is passed on to the server. */
interface BatchConfig {
  readonly allow_atomic?: boolean;
}

interface Session {
  readonly nc: NatsConnection;
  readonly js: JetStreamClient;
  readonly jsm: JetStreamManager;
  readonly acks: AckChannel;
  readonly requests: PendingRequests;
}

/** The replication stream on NATS JetStream, 2.9 or later. */
export class JetStreamStream implements ReplicationStream {
  onStatus: (status: StreamStatus) => void = () => undefined;
  verify: () => Promise<void> = () => Promise.resolve();
  passed: () => number = () => 0;
  readonly description: string;
  private session: Session | undefined;
  private connected = false;
  /** The line is up, also while it is not verified that this is the stream that was followed. */
  private reachable = false;
  private limits: Limits = { age: ASSUMED_AGE_MS, bySize: true };
  private replicas = 1;
  private mostInBatch = 1;
  /** Ends the deliveries that go on. */
  private readonly endings = new Set<() => void>();
  /** Each has a delivery go on from a new consumer. */
  private readonly renewals = new Set<() => void>();

  constructor(private readonly settings: JetStreamSettings) {
    this.description = `${describeServers(settings.access.servers)}, subject '${settings.subject}'`;
  }

  get maxPayload(): number {
    return (this.current().nc.info?.max_payload ?? 1_048_576) - HEADER_ROOM;
  }

  get isConnected(): boolean {
    return this.connected;
  }

  get address(): string | undefined {
    return this.session?.nc.info?.client_ip;
  }

  get ordering(): OrderedForm {
    if (this.replicas === 1) return 'chained';
    return this.batchLimit > 1 ? 'batch' : 'single';
  }

  get batchLimit(): number {
    return takesBatches(this.session?.nc.info?.version) ? this.mostInBatch : 1;
  }

  async open(): Promise<StreamState> {
    const { settings } = this;
    try {
      const session = await connectSession(settings);
      this.session = session;
      this.connected = true;
      this.reachable = true;
      void this.watch(session);
      return stateOf(await this.ensureStream(session.jsm));
    } catch (error) {
      await this.close();
      throw error instanceof HAError ? error : connectError(error, describeServers(settings.access.servers));
    }
  }

  async state(): Promise<StreamState> {
    const info = await this.ask(({ jsm }) => jsm.streams.info(this.settings.stream));
    this.learn(info);
    return stateOf(info);
  }

  async lastSubjectSequence(): Promise<number> {
    try {
      const { stream, subject } = this.settings;
      const message = await this.ask(({ jsm }) => jsm.streams.getMessage(stream, { last_by_subj: subject }));
      return message.seq;
    } catch (error) {
      if (isApiError(error, NO_MESSAGE_FOUND)) return 0;
      throw error;
    }
  }

  async messageAt(sequence: number): Promise<IncomingMessage | undefined> {
    // The server takes 0 for a malformed request.
    if (sequence < 1) return undefined;
    try {
      const message = await this.ask(({ jsm }) => jsm.streams.getMessage(this.settings.stream, { seq: sequence }));
      if (message.subject !== this.settings.subject) return undefined;
      return {
        sequence: message.seq,
        data: message.data,
        id: headerOf(message.header, 'Nats-Msg-Id'),
        version: headerOf(message.header, 'HA-Version'),
        chunk: headerOf(message.header, 'HA-Chunk'),
        time: String(message.time.getTime()),
      };
    } catch (error) {
      if (isApiError(error, NO_MESSAGE_FOUND)) return undefined;
      throw error;
    }
  }

  async startPosition(point: StartPoint): Promise<number> {
    if (point.kind === 'startSequence') return Math.max(0, Number(point.sequence) - 1);
    if (point.kind === 'all') return 0;
    if (point.kind === 'startTime') return this.positionAt(point.time);
    const last = await this.lastSubjectSequence();
    return point.kind === 'new' ? last : Math.max(0, last - 1);
  }

  publish(message: OutgoingMessage, timeoutMs: number): Promise<PublishReceipt> {
    if (!this.connected || this.session === undefined) {
      return Promise.reject(new StreamUnavailable(`not connected to ${this.description}`));
    }
    return this.session.acks.publish(message, timeoutMs);
  }

  async publishBatch(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<readonly PublishReceipt[]> {
    const [first, ...others] = messages;
    if (first === undefined) return [];
    if (others.length === 0) return [await this.publish(first, timeoutMs)];
    if (!this.connected || this.session === undefined) {
      throw new StreamUnavailable(`not connected to ${this.description}`);
    }
    try {
      return await this.session.acks.publishBatch(messages, timeoutMs);
    } catch (error) {
      if (error instanceof BatchTooLarge) this.mostInBatch = Math.min(this.mostInBatch, Math.max(1, error.limit));
      if (error instanceof BatchIgnored) this.mostInBatch = 1;
      throw error;
    }
  }

  async consume(afterSequence: number, handler: MessageHandler): Promise<StreamSubscription> {
    const messages = await this.subscribe(afterSequence);
    const run: Delivery = { position: afterSequence, ended: false, messages, storedAt: 0, covered: 0 };
    const end = (): void => {
      this.endings.delete(end);
      this.renewals.delete(renew);
      run.ended = true;
      run.messages?.stop();
    };
    const renew = (): void => {
      run.messages?.stop();
      run.messages = undefined;
    };
    this.endings.add(end);
    this.renewals.add(renew);
    const delivery = this.deliver(run, handler);
    return {
      stop: async () => {
        end();
        await delivery;
      },
    };
  }

  /** A bucket with as many replicas as the stream has. */
  async keyValue(bucket: string, { ttlMs }: KeyValueSettings): Promise<KeyValueBucket> {
    const servers = describeServers(this.settings.access.servers);
    const client = (): KeyValueClient => {
      if (this.connected && this.session !== undefined) return this.session;
      throw connectError(new StreamUnavailable('not connected'), servers);
    };
    const made = new JetStreamKeyValue(client, { bucket, ttlMs, replicas: this.replicas, servers });
    await made.open();
    return made;
  }

  /** A store with as many replicas as the stream has. */
  async objects(bucket: string): Promise<ObjectStore> {
    const servers = describeServers(this.settings.access.servers);
    const client = (): ObjectClient => {
      const { session } = this;
      if (!this.reachable || session === undefined) throw connectError(new StreamUnavailable('not connected'), servers);
      const { nc, js, jsm } = session;
      return { js, jsm, maxPayload: this.maxPayload, version: nc.info?.version };
    };
    const made = new JetStreamObjectStore(client, {
      bucket,
      replicas: this.replicas,
      servers,
      access: this.settings.access,
    });
    await made.open();
    return made;
  }

  async close(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    this.connected = false;
    this.reachable = false;
    // The client would go on to look for their heartbeats.
    for (const end of this.endings) end();
    session?.requests.fail(new StreamUnavailable('the connection was closed'));
    session?.acks.close();
    await session?.nc.close();
  }

  /** Who asks for the first message since then has to know whether there is one: no answer in time looks the same as none. */
  private async positionAt(time: Date): Promise<number> {
    const last = await this.messageAt(await this.lastSubjectSequence());
    if (last === undefined) return 0;
    if (Number(last.time) < time.getTime()) return last.sequence;
    const consumer = await this.ask(({ js }) =>
      js.consumers.get(this.settings.stream, {
        filterSubjects: this.settings.subject,
        opt_start_time: time.toISOString(),
      }),
    );
    const first = await consumer.next({ expires: SLOWEST_ANSWER_MS }).finally(() => forget(consumer));
    if (first === null)
      throw new StreamUnavailable(`${this.description} did not tell what it has since ${time.toISOString()}`);
    return first.seq - 1;
  }

  private current(): Session {
    if (this.session === undefined) throw new StreamUnavailable(`not connected to ${this.description}`);
    return this.session;
  }

  /** The client drops what it is given while it has no line: who asks waits for one as long as he would for an answer. */
  private async reached(): Promise<Session> {
    const deadline = performance.now() + SLOWEST_ANSWER_MS;
    while (this.session !== undefined && !this.reachable && performance.now() < deadline)
      await sleep(RECONNECT_PAUSE_MS);
    const session = this.current();
    if (this.reachable) return session;
    throw connectError(new StreamUnavailable('not connected'), describeServers(this.settings.access.servers));
  }

  /** Asks the server. Where it does not answer, the caller may ask again: a bare error of the client would not say so. */
  private async ask<T>(request: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.reached();
    try {
      return await session.requests.run(request(session));
    } catch (error) {
      // What the server says itself is an answer, unless it is that it cannot tell now.
      if (error instanceof StreamUnavailable || (error instanceof NatsError && (error.api_error?.code ?? 503) >= 500)) {
        throw connectError(error, describeServers(this.settings.access.servers));
      }
      throw error;
    }
  }

  private async subscribe(afterSequence: number): Promise<ConsumerMessages> {
    let isAwaited = true;
    const subscribing = this.ask(async ({ js }) => {
      const consumer = await js.consumers.get(this.settings.stream, {
        filterSubjects: this.settings.subject,
        opt_start_seq: afterSequence + 1,
      });
      const messages = await consumer.consume({ max_messages: PREFETCH, expires: 5_000, idle_heartbeat: 1_000 });
      void this.watchConsumer(messages).finally(() => forget(consumer));
      if (!isAwaited) messages.stop();
      return messages;
    });
    return subscribing.finally(() => (isAwaited = false));
  }

  /** Delivers until it is ended, from one consumer after another. */
  private async deliver(run: Delivery, handler: MessageHandler): Promise<void> {
    let failures = 0;
    let isTold = false;
    while (!run.ended) {
      if (!this.connected) {
        await sleep(RECONNECT_PAUSE_MS);
        continue;
      }
      try {
        run.messages ??= await this.subscribe(run.position);
        failures = 0;
        isTold = false;
        if (!run.ended) await this.deliverFrom(run.messages, run, handler);
      } catch (error) {
        failures++;
        // That the connection is gone is told for itself.
        if (!isTold && this.connected && !run.ended) {
          isTold = true;
          this.onStatus({ type: 'error', error: error instanceof Error ? error : new Error(String(error)) });
        }
      }
      run.messages?.stop();
      run.messages = undefined;
      if (!run.ended && failures > 0) await sleep(Math.min(100 * 2 ** failures, 5_000));
    }
  }

  private async deliverFrom(messages: ConsumerMessages, run: Delivery, handler: MessageHandler): Promise<void> {
    run.covered = 0;
    for await (const message of messages) {
      // The client goes on to hand over what it has fetched ahead.
      if (run.ended || run.messages !== messages) return;
      const isCovered = run.covered-- > 0;
      if (message.seq <= run.position) continue;
      if (!isCovered && message.seq > run.position + 1 && (await this.lacks(run, messages))) return;
      run.position = message.seq;
      run.storedAt = Number(millisecondsOf(message));
      const held = handler(incoming(message));
      if (held !== undefined) await held;
    }
  }

  /**
   * True where messages behind the last one may have gone before they were delivered. What the client holds already was
   * delivered before the answer, so that one question serves for all of it.
   */
  private async lacks(run: Delivery, messages: ConsumerMessages): Promise<boolean> {
    const { age, bySize } = this.limits;
    // Nothing that came behind it can have reached its age; half of it is left to clocks that differ.
    if (!bySize && Math.abs(Date.now() - run.storedAt) < age / 2) return false;
    const { firstSequence } = await this.state();
    run.covered = messages.getReceived() - messages.getProcessed();
    const after = Math.max(run.position, this.passed());
    if (firstSequence <= after + 1) return false;
    run.ended = true;
    this.onStatus({ type: 'gap', after, first: firstSequence });
    return true;
  }

  private async watchConsumer(messages: ConsumerMessages): Promise<void> {
    for await (const status of await messages.status()) {
      if (status.type === ConsumerEvents.OrderedConsumerRecreated && this.session !== undefined) {
        // Made anew under the same name, a stream takes the consumer without a word.
        void this.isVerified(this.session);
      }
      // On a server that is gone the consumer is missed for as long as that is away: the client asks for it, and only for it.
      if (status.type === ConsumerEvents.HeartbeatsMissed && Number(status.data) >= SILENT_BEATS) messages.stop();
      if (status.type === ConsumerEvents.StreamNotFound) {
        this.onStatus({
          type: 'error',
          error: new HAError(
            'HA_STREAM_RESET',
            `The stream '${this.settings.stream}' is gone from ${this.description}. Nothing more can be replicated until it is restored.`,
          ),
        });
      }
    }
  }

  private async watch(session: Session): Promise<void> {
    for await (const status of session.nc.status()) {
      if (this.session !== session) return;
      if (status.type === 'disconnect') {
        this.connected = false;
        this.reachable = false;
        // Stopped now, and not behind the reconnect: the client would revive its watch for heartbeats, and keep it.
        for (const renew of this.renewals) renew();
        session.acks.fail('the connection was lost');
        session.requests.fail(new StreamUnavailable('the connection was lost'));
        this.onStatus({ type: 'disconnected' });
      } else if (status.type === 'reconnect') {
        this.reachable = true;
        void this.resume(session);
      }
    }
  }

  /** Goes on behind a reconnect, once it is sure that this is the stream that was followed. */
  private async resume(session: Session): Promise<void> {
    if (!(await this.isVerified(session))) return;
    this.connected = true;
    // What the server sent into the broken line is delivered for it, and nothing tells before the next message comes.
    for (const renew of this.renewals) renew();
    this.onStatus({ type: 'connected' });
  }

  /** Asks until there is an answer. False where it is another stream, or the connection was closed or lost meanwhile. */
  private async isVerified(session: Session): Promise<boolean> {
    const verify = async (): Promise<boolean> => {
      if (this.session === session) await this.verify();
      return this.session === session && !session.nc.isClosed();
    };
    try {
      return await retry(verify, (error) => !(error instanceof HAError) || error.retryable, VERIFY_PAUSE_MS);
    } catch {
      this.connected = false;
      for (const end of this.endings) end();
      return false;
    }
  }

  private learn({ config }: StreamInfo): void {
    this.replicas = config.num_replicas;
    this.mostInBatch = (config as BatchConfig).allow_atomic === true ? LARGEST_BATCH : 1;
    const { max_age: age, max_bytes: bytes, max_msgs: count, max_msgs_per_subject: perSubject } = config;
    this.limits = { age: age > 0 ? age / 1e6 : ASSUMED_AGE_MS, bySize: bytes > 0 || count > 0 || perSubject > 0 };
  }

  /** A stream that exists belongs to the whole cluster: it is used as it is, and differences are only told. */
  private async ensureStream(jsm: JetStreamManager): Promise<StreamInfo> {
    const { settings } = this;
    const info = (await find(jsm, settings.stream)) ?? (await this.createStream(jsm));
    const { config } = info;
    this.learn(info);
    if (!config.subjects.some((pattern) => covers(pattern, settings.subject))) {
      throw new HAError(
        'HA_STREAM_CONFIG',
        `The stream '${settings.stream}' listens to ${config.subjects.join(', ')}, but not to '${settings.subject}'. Choose another replicationStream, or add the subject to the stream.`,
      );
    }
    const age = config.max_age / 1e6;
    const wanted = settings.maxAge ?? 0;
    if (config.num_replicas !== settings.replicas) {
      settings.warn(
        `The stream '${settings.stream}' has ${config.num_replicas} replicas, the option replicas says ${settings.replicas}. The stream is left as it is.`,
      );
    }
    const version = this.session?.nc.info?.version;
    if (config.num_replicas > 1 && mayBreakExpectations(version)) {
      settings.warn(
        `nats-server ${version} may store two ordered transactions of different nodes that both expected to be the next, where a stream has several replicas: serializable transactions and generated ids can overwrite each other. Upgrade the servers to 2.12 or later.`,
      );
    }
    if (age !== wanted) {
      settings.warn(
        `The stream '${settings.stream}' keeps messages for ${describeAge(age)}, the option streamMaxAge says ${describeAge(wanted)}. The stream is left as it is.`,
      );
    }
    const bytes = Math.max(0, config.max_bytes);
    if (bytes !== (settings.maxBytes ?? 0)) {
      settings.warn(
        `The stream '${settings.stream}' may take ${describeBytes(bytes)}, the option streamMaxBytes says ${describeBytes(settings.maxBytes ?? 0)}. The stream is left as it is.`,
      );
    }
    return info;
  }

  private async createStream(jsm: JetStreamManager): Promise<StreamInfo> {
    const { settings } = this;
    try {
      const batches: BatchConfig = takesBatches(this.session?.nc.info?.version) ? { allow_atomic: true } : {};
      return await jsm.streams.add({
        ...batches,
        name: settings.stream,
        subjects: [settings.stream, `${settings.stream}.>`],
        storage: StorageType.File,
        retention: RetentionPolicy.Limits,
        discard: DiscardPolicy.Old,
        num_replicas: settings.replicas,
        max_age: nanos(settings.maxAge ?? 0),
        ...(settings.maxBytes === undefined ? {} : { max_bytes: settings.maxBytes }),
        duplicate_window: nanos(
          Math.min(120_000, settings.maxAge === undefined || settings.maxAge === 0 ? 120_000 : settings.maxAge),
        ),
      });
    } catch (error) {
      // Another node may have made it at the same moment.
      const made = await find(jsm, settings.stream);
      if (made !== undefined) return made;
      throw new HAError(
        'HA_STREAM_CONFIG',
        `The stream '${settings.stream}' cannot be created: ${error instanceof Error ? error.message : String(error)}. Check that JetStream is enabled and has ${settings.replicas} server(s) for its replicas.`,
        { cause: error },
      );
    }
  }
}

async function connectSession({ access, subject }: JetStreamSettings): Promise<Session> {
  const nc = await connect(connectOptions(access));
  try {
    const jsm = await nc.jetstreamManager();
    return { nc, js: nc.jetstream(), jsm, acks: new AckChannel(nc, subject), requests: new PendingRequests() };
  } catch (error) {
    // It would reconnect for ever, with nobody left to close it.
    await nc.close();
    throw error;
  }
}

/** Else the server keeps it for minutes, and there may be one for every page of a history. */
function forget(consumer: Consumer): void {
  // Without a connection, or where it is gone already, there is nothing to be done.
  consumer.delete().catch(() => undefined);
}

async function find(jsm: JetStreamManager, stream: string): Promise<StreamInfo | undefined> {
  try {
    return await jsm.streams.info(stream);
  } catch (error) {
    if (isApiError(error, STREAM_NOT_FOUND)) return undefined;
    throw error;
  }
}

function incoming(message: JsMsg): IncomingMessage {
  const { headers } = message;
  return {
    sequence: message.seq,
    data: message.data,
    id: headerOf(headers, 'Nats-Msg-Id'),
    version: headerOf(headers, 'HA-Version'),
    chunk: headerOf(headers, 'HA-Chunk'),
    time: millisecondsOf(message),
  };
}

/**
 * When a message was stored, cut out of its acknowledgement subject: as the client's number the nanoseconds have lost
 * their last digits, and may be rounded into the next millisecond.
 */
function millisecondsOf(message: JsMsg): string {
  const { reply } = message as JsMsg & { readonly reply: string };
  const tokens = reply.split('.');
  return (tokens[tokens.length === 9 ? 7 : 9] ?? '').slice(0, -6);
}

function headerOf(headers: JsMsg['headers'], name: string): string | undefined {
  const value = headers?.get(name);
  return value === undefined || value === '' ? undefined : value;
}

function stateOf(info: StreamInfo): StreamState {
  return {
    created: info.created,
    firstSequence: info.state.first_seq,
    lastSequence: info.state.last_seq,
    replicas: info.config.num_replicas,
  };
}

function isApiError(error: unknown, code: number): boolean {
  return error instanceof Error && (error as { api_error?: { err_code?: number } }).api_error?.err_code === code;
}

/** True where a subject pattern matches a subject: https://docs.nats.io/nats-concepts/subjects */
function covers(pattern: string, subject: string): boolean {
  const want = pattern.split('.');
  const have = subject.split('.');
  for (let i = 0; i < want.length; i++) {
    if (want[i] === '>') return have.length > i;
    if (want[i] !== '*' && want[i] !== have[i]) return false;
  }
  return want.length === have.length;
}

function describeBytes(bytes: number): string {
  return bytes === 0 ? 'any number of bytes' : `${bytes} bytes`;
}

function describeAge(ms: number): string {
  return ms === 0 ? 'ever' : `${ms / 1000} s`;
}

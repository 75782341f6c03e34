import { WIRE_VERSION } from '../../changeset/codec.js';
import { HAError } from '../../common/ha-error.js';
import { StreamBatchBroken, StreamRefusal, StreamTimeout, StreamUnavailable } from '../replication-stream.js';
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
import type { MemoryBroker } from './memory-broker.js';
import type { MemoryBucket } from './memory-bucket.js';
import type { MemoryLog, StoredMessage } from './memory-log.js';
import { MemorySubscription } from './memory-subscription.js';

/** One node's place at a broker. */
export interface MemoryStreamSettings {
  readonly broker: MemoryBroker;
  readonly stream: string;
  /** `<stream>` or `<stream>.<name>`. */
  readonly subject: string;
  /** Bytes. Default 1 MiB. */
  readonly maxPayload?: number;
  /** Replicas of the stream, should this be the node that makes it. Default 1. */
  readonly replicas?: number;
  /** Most messages in an atomic batch. Default 1,000; 1 stands for a server that has no batches. */
  readonly batchLimit?: number;
  /** True leaves it to {@link MemoryStream.deliver} when messages arrive. Default false: they arrive by themselves. */
  readonly manual?: boolean;
}

interface PendingAck {
  readonly reject: (error: Error) => void;
}

/**
 * The replication stream on a {@link MemoryBroker}, with the faults that a network has: a connection that comes and goes,
 * acknowledgements that are lost, messages that never arrive, refusals.
 */
export class MemoryStream implements ReplicationStream {
  onStatus: (status: StreamStatus) => void = () => undefined;
  verify: () => Promise<void> = () => Promise.resolve();
  passed: () => number = () => 0;
  readonly maxPayload: number;
  readonly batchLimit: number;
  readonly description: string;
  private readonly broker: MemoryBroker;
  private readonly pending = new Set<PendingAck>();
  private readonly subscriptions = new Set<MemorySubscription>();
  private readonly faults = { refuse: 0, drop: 0, loseAck: 0, breakBatch: 0 };
  private reachable = true;
  /** False behind a disconnect, until it is sure that the stream is still the one that was followed. */
  private verified = true;
  private opened = false;
  private replicas: number;
  private unlisten: () => void = () => undefined;

  constructor(private readonly settings: MemoryStreamSettings) {
    this.broker = settings.broker;
    this.maxPayload = settings.maxPayload ?? 1_048_576;
    this.batchLimit = settings.batchLimit ?? 1_000;
    this.replicas = settings.replicas ?? 1;
    this.description = `memory, subject '${settings.subject}'`;
  }

  get isConnected(): boolean {
    return this.opened && this.reachable && this.verified;
  }

  get ordering(): OrderedForm {
    if (this.replicas === 1) return 'chained';
    return this.batchLimit > 1 ? 'batch' : 'single';
  }

  async open(): Promise<StreamState> {
    const { stream, subject } = this.settings;
    if (!this.reachable) throw notConnected(this.description);
    if (subject !== stream && !subject.startsWith(`${stream}.`)) {
      throw new HAError(
        'HA_STREAM_CONFIG',
        `The stream '${stream}' listens to ${stream}, ${stream}.>, but not to '${subject}'. Choose another subject.`,
      );
    }
    const state = this.broker.ensure(stream, this.replicas).state();
    this.replicas = state.replicas;
    this.unlisten();
    this.unlisten = this.broker.onChange(() => this.wake());
    this.opened = true;
    this.verified = true;
    return state;
  }

  async state(): Promise<StreamState> {
    return this.log().state();
  }

  async lastSubjectSequence(): Promise<number> {
    return this.log().lastOn(this.settings.subject);
  }

  async messageAt(sequence: number): Promise<IncomingMessage | undefined> {
    const message = this.log().at(sequence);
    return message?.subject === this.settings.subject ? incoming(message) : undefined;
  }

  async startPosition(point: StartPoint): Promise<number> {
    return this.log().startPosition(this.settings.subject, point);
  }

  /** Stores now and answers later. There is no clock: what a network would let time out fails at once. */
  publish(message: OutgoingMessage): Promise<PublishReceipt> {
    return this.answerLater(() => this.attempt(message));
  }

  async publishBatch(messages: readonly OutgoingMessage[]): Promise<readonly PublishReceipt[]> {
    const [first] = messages;
    if (first === undefined) return [];
    return messages.length === 1
      ? [await this.publish(first)]
      : await this.answerLater(() => this.attemptBatch(messages));
  }

  async consume(afterSequence: number, handler: MessageHandler): Promise<StreamSubscription> {
    this.log();
    const source = {
      next: (after: number) => (this.lacks(after, subscription) ? undefined : this.next(after)),
      failed: (error: Error) => this.onStatus({ type: 'error', error }),
    };
    const subscription: MemorySubscription = new MemorySubscription(source, afterSequence, handler);
    this.subscriptions.add(subscription);
    this.wake();
    return {
      stop: () => {
        this.subscriptions.delete(subscription);
        return subscription.stop();
      },
    };
  }

  async keyValue(bucket: string, { ttlMs }: KeyValueSettings): Promise<KeyValueBucket> {
    const ask = async <T>(request: (values: MemoryBucket) => T): Promise<T> => {
      if (!this.isConnected) throw notConnected(this.description);
      const answer = request(this.broker.bucket(bucket, ttlMs));
      await new Promise<void>((resolve) => this.broker.defer(resolve));
      return answer;
    };
    return {
      get: (key) => ask((values) => values.get(key)),
      create: (key, value) => ask((values) => values.put(key, value, 0)),
      update: (key, value, revision) => ask((values) => values.put(key, value, revision)),
      delete: (key, revision) => ask((values) => values.delete(key, revision)),
      entries: (prefix) => ask((values) => values.entries(prefix)),
    };
  }

  async objects(bucket: string): Promise<ObjectStore> {
    const store = this.broker.objects(bucket);
    const step = async (): Promise<void> => {
      // Also where the stream is no longer the one that was followed: a snapshot may be the way out.
      if (!this.opened || !this.reachable) throw notConnected(this.description);
      await new Promise<void>((resolve) => this.broker.defer(resolve));
    };
    await step();
    return {
      info: async (name) => step().then(() => store.info(name)),
      put: async (upload) => step().then(() => store.put(upload, step)),
      read: (info) => store.read(info, step),
      delete: async (name, revision) => step().then(() => store.delete(name, revision)),
    };
  }

  async close(): Promise<void> {
    this.opened = false;
    this.unlisten();
    this.endSubscriptions();
    this.failPending('the connection was closed');
  }

  /** Cuts the connection: pending acknowledgements time out, deliveries pause. */
  disconnect(): void {
    if (!this.reachable) return;
    this.reachable = false;
    if (!this.opened) return;
    this.verified = false;
    this.failPending('the connection was lost');
    this.onStatus({ type: 'disconnected' });
  }

  /** Restores the connection: deliveries go on where they stopped, once {@link verify} has let them. */
  async connect(): Promise<void> {
    if (this.reachable) return;
    this.reachable = true;
    if (this.opened) await this.resume();
  }

  /** The next `count` publishes reach the stream, but their answers are lost: they end with `StreamTimeout`. */
  loseAcks(count: number): void {
    this.faults.loseAck = count;
  }

  /** The next `count` publishes are lost on the way and never stored: they end with `StreamTimeout`. */
  dropNext(count: number): void {
    this.faults.drop = count;
  }

  /** Of the next `count` batches a part is lost on the way, and none of it is stored: they end with `StreamBatchBroken`. */
  breakBatches(count: number): void {
    this.faults.breakBatch = count;
  }

  /** The next `count` publishes are refused, whatever they expect. */
  refuseNext(count: number): void {
    this.faults.refuse = count;
  }

  /**
   * Lets up to `count` messages arrive at each subscription, and waits for their handlers. For streams that are `manual`:
   * at others all arrive by themselves.
   *
   * @returns How many arrived.
   */
  async deliver(count = Number.POSITIVE_INFINITY): Promise<number> {
    const counts = await Promise.all([...this.subscriptions].map((subscription) => subscription.deliver(count)));
    if (Number.isFinite(count)) this.wake();
    return counts.reduce((sum, one) => sum + one, 0);
  }

  private answerLater<T>(attempt: () => T | Error): Promise<T> {
    if (!this.isConnected) return Promise.reject(this.unavailable());
    return new Promise((resolve, reject) => {
      const answer = attempt();
      const waiting = { reject };
      this.pending.add(waiting);
      this.broker.defer(() => {
        if (!this.pending.delete(waiting)) return;
        if (answer instanceof Error) reject(answer);
        else resolve(answer);
      });
    });
  }

  private async resume(): Promise<void> {
    try {
      await this.verify();
    } catch (error) {
      if (error instanceof HAError && !error.retryable) this.endSubscriptions();
      return;
    }
    if (this.verified || !this.opened || !this.reachable) return;
    this.verified = true;
    this.onStatus({ type: 'connected' });
    this.wake();
  }

  private endSubscriptions(): void {
    for (const subscription of this.subscriptions) void subscription.stop();
    this.subscriptions.clear();
  }

  private attempt(message: OutgoingMessage): PublishReceipt | Error {
    if (message.data.length > this.maxPayload) return new StreamUnavailable('maximum payload exceeded');
    if (message.expect?.lastMessageId !== undefined && this.replicas > 1) {
      // nats-server 2.15 takes it, and one refusal then stops the replicas for good.
      return new TypeError('Only a stream of one replica may be sent an expected message id.');
    }
    return this.store((log) => log.publish(this.settings.subject, message, WIRE_VERSION));
  }

  private attemptBatch(messages: readonly OutgoingMessage[]): PublishReceipt[] | Error {
    if (messages.some(({ expect }, index) => expect?.lastMessageId !== undefined || (index > 0 && expect))) {
      return new TypeError('Only the first message of a batch may expect something, and no message id.');
    }
    if (messages.some(({ data }) => data.length > this.maxPayload)) {
      return new StreamUnavailable('maximum payload exceeded');
    }
    if (messages.length > this.batchLimit) {
      return new StreamUnavailable(`atomic publish batch is too large: ${this.batchLimit}`);
    }
    if (this.take('breakBatch')) return new StreamBatchBroken('atomic publish batch is incomplete');
    return this.store((log) => log.publishBatch(this.settings.subject, messages, WIRE_VERSION));
  }

  /** Stores something with the faults that were asked for. */
  private store<T>(publish: (log: MemoryLog) => T): T | Error {
    if (this.take('drop')) return new StreamTimeout('the message was lost');
    try {
      const log = this.log();
      if (this.take('refuse')) {
        const last = log.lastOn(this.settings.subject);
        return new StreamRefusal(`wrong last sequence: ${last}`, last);
      }
      const before = log.state().lastSequence;
      const answer = publish(log);
      if (log.state().lastSequence > before) this.broker.changed();
      return this.take('loseAck') ? new StreamTimeout('the acknowledgement was lost') : answer;
    } catch (error) {
      return error instanceof Error ? error : new StreamUnavailable(String(error));
    }
  }

  private take(fault: keyof MemoryStream['faults']): boolean {
    if (this.faults[fault] <= 0) return false;
    this.faults[fault]--;
    return true;
  }

  /** True where messages behind a sequence may have gone before they were delivered: then nothing goes on. */
  private lacks(delivered: number, subscription: MemorySubscription): boolean {
    const after = Math.max(delivered, this.passed());
    const next = this.next(delivered);
    const { firstSequence: first } = this.broker.log(this.settings.stream)?.state() ?? { firstSequence: 0 };
    if (next === undefined || first <= after + 1) return false;
    this.subscriptions.delete(subscription);
    void subscription.stop();
    this.onStatus({ type: 'gap', after, first });
    return true;
  }

  private next(after: number): IncomingMessage | undefined {
    if (!this.isConnected) return undefined;
    const message = this.broker.log(this.settings.stream)?.next(this.settings.subject, after);
    return message === undefined ? undefined : incoming(message);
  }

  private wake(): void {
    if (this.settings.manual === true || this.subscriptions.size === 0) return;
    this.broker.defer(() => void this.deliver());
  }

  private log(): MemoryLog {
    const log = this.broker.log(this.settings.stream);
    if (!this.opened || !this.reachable || log === undefined) throw this.unavailable();
    return log;
  }

  private unavailable(): StreamUnavailable {
    return new StreamUnavailable(`not connected to ${this.description}`);
  }

  private failPending(reason: string): void {
    for (const { reject } of this.pending) reject(new StreamTimeout(reason));
    this.pending.clear();
  }
}

function notConnected(description: string): HAError {
  return new HAError('HA_STREAM_CONNECT', `${description} cannot be reached. Call connect() first.`, {
    retryable: true,
  });
}

function incoming(message: StoredMessage): IncomingMessage {
  const { sequence, data, id, version, chunk, time } = message;
  return { sequence, data, id, version, chunk, time };
}

import { HAError } from '../common/ha-error.js';
import { within } from '../common/timing.js';
import { StreamUnavailable } from './replication-stream.js';
import type {
  IncomingMessage,
  MessageHandler,
  OutgoingMessage,
  PublishReceipt,
  ReplicationStream,
  StartPoint,
  StreamState,
  StreamStatus,
  StreamSubscription,
} from './replication-stream.js';

interface Waiting {
  readonly after: number;
  readonly handler: MessageHandler;
  real: StreamSubscription | undefined;
  ended: boolean;
}

const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 5_000;
/** How long an end waits for a server that does not answer. */
const SETTLE_MS = 5_000;

/**
 * A stream that could not be reached when the database was started, and is opened when it can. Until then it is like one
 * whose connection is lost: nothing is sent, and deliveries wait.
 */
export class LateStream implements ReplicationStream {
  onStatus: (status: StreamStatus) => void = () => undefined;
  verify: () => Promise<void> = () => Promise.resolve();
  passed: () => number = () => 0;
  private real: ReplicationStream | undefined;
  /** True once the stream is known to be the one that was followed. */
  private isVerified = false;
  private readonly waiting: Waiting[] = [];
  private closed = false;
  private connecting: Promise<void> | undefined;
  private wake: () => void = () => undefined;
  private readonly ended = new Promise<void>((resolve) => {
    this.wake = resolve;
  });

  constructor(
    /** Opens the stream; fails with a retryable HAError while it cannot be reached. */
    private readonly openStream: () => Promise<ReplicationStream>,
    /** Bytes, as long as nobody knows better. */
    private readonly assumedPayload: number,
    readonly description: string,
  ) {}

  get maxPayload(): number {
    return this.real?.maxPayload ?? this.assumedPayload;
  }

  get isConnected(): boolean {
    return this.isVerified && this.real?.isConnected === true;
  }

  /** True also while it is not known yet whether it is the stream that was followed. */
  get isReachable(): boolean {
    return this.real?.isConnected === true;
  }

  get ordering(): ReplicationStream['ordering'] {
    return this.real?.ordering ?? 'single';
  }

  get batchLimit(): number {
    return this.real?.batchLimit ?? 1;
  }

  get address(): string | undefined {
    return this.real?.address;
  }

  get keyValue(): ReplicationStream['keyValue'] {
    const { real } = this;
    return real?.keyValue === undefined ? undefined : real.keyValue.bind(real);
  }

  get objects(): ReplicationStream['objects'] {
    const { real } = this;
    return real?.objects === undefined ? undefined : real.objects.bind(real);
  }

  /** Begins to connect. */
  begin(): void {
    this.connecting ??= this.connectPatiently();
  }

  open(): Promise<StreamState> {
    return this.connected().open();
  }

  async state(): Promise<StreamState> {
    return this.connected().state();
  }

  async lastSubjectSequence(): Promise<number> {
    return this.connected().lastSubjectSequence();
  }

  async messageAt(sequence: number): Promise<IncomingMessage | undefined> {
    return this.connected().messageAt(sequence);
  }

  async startPosition(point: StartPoint): Promise<number> {
    return this.connected().startPosition(point);
  }

  async publish(message: OutgoingMessage, timeoutMs: number): Promise<PublishReceipt> {
    if (!this.isVerified || this.real === undefined) {
      throw new StreamUnavailable(`not connected to ${this.description}`);
    }
    return this.real.publish(message, timeoutMs);
  }

  async publishBatch(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<readonly PublishReceipt[]> {
    if (!this.isVerified || this.real === undefined) {
      throw new StreamUnavailable(`not connected to ${this.description}`);
    }
    return this.real.publishBatch(messages, timeoutMs);
  }

  async consume(after: number, handler: MessageHandler): Promise<StreamSubscription> {
    if (this.isVerified && this.real !== undefined) return this.real.consume(after, handler);
    const entry: Waiting = { after, handler, real: undefined, ended: false };
    this.waiting.push(entry);
    return {
      stop: async () => {
        entry.ended = true;
        await entry.real?.stop();
      },
    };
  }

  /** Begins nothing any more, and waits for what it has begun; what it reached by then can be used until {@link close}. */
  async settle(): Promise<void> {
    this.closed = true;
    this.wake();
    if (this.connecting !== undefined) await within(SETTLE_MS, this.connecting);
  }

  async close(): Promise<void> {
    await this.settle();
    await this.real?.close();
  }

  private connected(): ReplicationStream {
    if (this.real !== undefined) return this.real;
    throw new HAError('HA_STREAM_CONNECT', `${this.description} cannot be reached yet. It is tried again and again.`, {
      retryable: true,
    });
  }

  private async connectPatiently(): Promise<void> {
    for (let failures = 0; !this.closed; failures++) {
      try {
        await this.connectOnce();
        return;
      } catch (error) {
        if (this.closed) return;
        if (failures === 0 || !isRetryable(error)) this.onStatus({ type: 'error', error: error as Error });
        // Another stream than the one that was followed, say: the owner was told by its own verification.
        if (!isRetryable(error)) return;
      }
      await within(Math.min(FIRST_PAUSE_MS * 2 ** failures, MAX_PAUSE_MS), this.ended);
    }
  }

  private async connectOnce(): Promise<void> {
    const stream = await this.openStream();
    try {
      if (this.closed) throw closed();
      this.real = stream;
      stream.passed = () => this.passed();
      await this.verify();
      for (const entry of this.waiting) {
        if (!entry.ended) entry.real = await stream.consume(entry.after, entry.handler);
        if (entry.ended) await entry.real?.stop();
      }
    } catch (error) {
      this.real = undefined;
      await stream.close();
      throw error;
    }
    this.waiting.length = 0;
    this.isVerified = true;
    if (this.closed) return;
    stream.onStatus = (status) => this.onStatus(status);
    stream.verify = () => this.verify();
    this.onStatus({ type: 'connected' });
  }
}

function closed(): StreamUnavailable {
  return new StreamUnavailable('closed');
}

function isRetryable(error: unknown): boolean {
  return !(error instanceof HAError) || error.retryable;
}

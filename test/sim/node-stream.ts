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
} from '../../lib/stream/replication-stream.js';
import type { MemoryStream } from '../../lib/stream/memory/memory-stream.js';
import type { Fault } from './history.js';
import { aroundStep } from './steps.js';
import type { StepListener } from './steps.js';

const never = new Promise<never>(() => undefined);

/** The stream of a node that can be killed: from then on it hears nothing, and nobody hears it. */
export class NodeStream implements ReplicationStream {
  /** What happens to the next publishes, one by one; behind them all go well. */
  plan: (Fault | 'ok')[] = [];
  private killed = false;
  private consumers = 0;

  constructor(
    readonly inner: MemoryStream,
    /** The same without faults, from which the past is read: it arrives by itself. */
    private readonly past: MemoryStream,
    private readonly onStep: StepListener = () => undefined,
  ) {}

  get isKilled(): boolean {
    return this.killed;
  }

  get maxPayload(): number {
    return this.inner.maxPayload;
  }

  get isConnected(): boolean {
    return this.inner.isConnected;
  }

  get ordering(): OrderedForm {
    return this.inner.ordering;
  }

  get batchLimit(): number {
    return this.inner.batchLimit;
  }

  get description(): string {
    return this.inner.description;
  }

  get passed(): () => number {
    return this.inner.passed;
  }

  set passed(passed: () => number) {
    this.inner.passed = passed;
  }

  get verify(): () => Promise<void> {
    return this.inner.verify;
  }

  set verify(verify: () => Promise<void>) {
    this.inner.verify = verify;
  }

  get onStatus(): (status: StreamStatus) => void {
    return this.inner.onStatus;
  }

  set onStatus(handler: (status: StreamStatus) => void) {
    this.inner.onStatus = handler;
  }

  kill(): void {
    this.killed = true;
  }

  open(): Promise<StreamState> {
    return this.alive(async () => {
      await this.past.open();
      return this.inner.open();
    });
  }

  state(): Promise<StreamState> {
    return this.alive(() => this.inner.state());
  }

  lastSubjectSequence(): Promise<number> {
    return this.alive(() => this.inner.lastSubjectSequence());
  }

  messageAt(sequence: number): Promise<IncomingMessage | undefined> {
    return this.alive(() => this.inner.messageAt(sequence));
  }

  startPosition(point: StartPoint): Promise<number> {
    return this.alive(() => this.inner.startPosition(point));
  }

  publish(message: OutgoingMessage): Promise<PublishReceipt> {
    return this.planned(() => this.inner.publish(message));
  }

  publishBatch(messages: readonly OutgoingMessage[]): Promise<readonly PublishReceipt[]> {
    return this.planned(() => this.inner.publishBatch(messages));
  }

  consume(afterSequence: number, handler: MessageHandler): Promise<StreamSubscription> {
    const stream = this.consumers++ === 0 ? this.inner : this.past;
    return this.alive(() => stream.consume(afterSequence, (message) => (this.killed ? never : handler(message))));
  }

  async close(): Promise<void> {
    await this.past.close();
    await this.inner.close();
  }

  private planned<T>(publish: () => Promise<T>): Promise<T> {
    const fault = this.plan.shift() ?? 'ok';
    return aroundStep('a publish', this.onStep, () =>
      this.alive(() => {
        if (fault !== 'ok') this.inner[fault](1);
        return publish();
      }),
    );
  }

  private async alive<T>(work: () => Promise<T>): Promise<T> {
    if (this.killed) return never;
    try {
      const value = await work();
      return this.killed ? await never : value;
    } catch (error) {
      if (this.killed) return never;
      throw error;
    }
  }
}

import { HAError } from '../common/ha-error.js';
import type { OrderedForm, OutgoingMessage, ReplicationStream } from '../stream/replication-stream.js';
import type { MessageEncoder, TransactionContent } from './message-encoder.js';
import { PublishGroup } from './publish-group.js';

interface Channel {
  readonly stream: ReplicationStream;
  readonly encoder: MessageEncoder;
}

/** How long other subjects of the stream are taken for busy behind the last trouble with them, ms. */
const SHARED_MS = 30_000;

/** Sends committed transactions to the stream. It exists for the life of the module, and works while attached. */
export class ReplicationPublisher {
  private channel: Channel | undefined;
  private sharedUntil = 0;

  /** Random id of this start of the database; the ids of its messages begin with it. Undefined while stopped. */
  get origin(): string | undefined {
    return this.channel?.encoder.originId;
  }

  get isConnected(): boolean {
    return this.channel?.stream.isConnected ?? false;
  }

  /**
   * True where a stored ordered message certainly follows the one that it expected. Servers below 2.11 may store two that
   * expect the same on a stream of several replicas (https://github.com/nats-io/nats-server/pull/6194): there nothing is
   * taken on trust.
   */
  get ordersSurely(): boolean {
    return this.current().stream.ordering === 'chained';
  }

  attach(stream: ReplicationStream, encoder: MessageEncoder): void {
    this.channel = { stream, encoder };
  }

  detach(): void {
    this.channel = undefined;
  }

  /**
   * Opens a group. `expected` makes it an ordered one: refused unless that is the last sequence on the subject. `permit` is
   * asked right before anything is sent. `linked` has each message of a plain group stored only right behind the one before,
   * where the stream can do so at no cost.
   */
  group(expected: number | undefined, permit?: () => HAError | undefined, linked = false): PublishGroup {
    const { stream } = this.current();
    return new PublishGroup(stream, expected, this.orderedForm(stream), permit, linked);
  }

  /**
   * Other subjects of the stream broke an ordered group, which nobody on this subject did: for a while no group is chained
   * by message ids, which are those of the whole stream.
   */
  noteSharedStream(): void {
    this.sharedUntil = performance.now() + SHARED_MS;
  }

  /** The messages of a transaction. */
  encode(content: TransactionContent): OutgoingMessage[] {
    const { stream, encoder } = this.current();
    return encoder.encode(content, stream.maxPayload);
  }

  customMessage(command: string): OutgoingMessage {
    return this.current().encoder.custom(command);
  }

  /** A message that takes an id, so that the transaction of that id can never count. */
  voidMessage(id: string): OutgoingMessage {
    return this.current().encoder.void(id);
  }

  /** The same where another node may publish the transaction at this moment, and others right behind it. */
  voidOtherMessage(id: string): OutgoingMessage {
    return this.current().encoder.voidOther(id);
  }

  /** An id for a transaction that another node publishes for this one. */
  takeId(): string {
    return this.current().encoder.takeId();
  }

  /** Takes back an id that was surely never published. */
  giveBackId(id: string): void {
    this.channel?.encoder.giveBackId(id);
  }

  /** Number of the last id that was given out since the start. */
  get lastNumber(): number {
    return this.current().encoder.lastNumber;
  }

  abortMessage(transactionId: string): OutgoingMessage {
    return this.current().encoder.abort(transactionId);
  }

  /** Sequence of the last message on the subject, as the server says. */
  lastSubjectSequence(): Promise<number> {
    return this.current().stream.lastSubjectSequence();
  }

  private orderedForm(stream: ReplicationStream): OrderedForm {
    if (stream.ordering !== 'chained' || performance.now() >= this.sharedUntil) return stream.ordering;
    return stream.batchLimit > 1 ? 'batch' : 'single';
  }

  private current(): Channel {
    if (this.channel === undefined) throw new HAError('HA_UNAVAILABLE', 'Nothing can be published before db.start().');
    return this.channel;
  }
}

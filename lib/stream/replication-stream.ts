import type { DeliverPolicy } from '../config/resolved.js';
import type { KeyValueBucket, KeyValueSettings } from './key-value.js';
import type { ObjectStore } from './object-store.js';

/**
 * The replication stream: one totally ordered, append-only log of messages for each database ("subject"), on a stream
 * that many databases may share. Its order is the truth: what the nodes hold is the fold of it.
 *
 * What an implementation promises:
 *
 * 1. `publish` resolves with the sequence once the message is stored, and never before. Messages of one node are handed
 *    over in the order of the calls.
 * 2. A message whose id was stored within the duplicate window is not stored again; the first one's sequence is answered,
 *    with `duplicate`.
 * 3. An expectation that does not hold refuses the message ({@link StreamRefusal}), and nothing is stored.
 * 4. `publishBatch` stores all of its messages at consecutive sequences, or none of them.
 * 5. `consume` delivers every message of the subject from a sequence on, in order, once, and goes on by itself after
 *    disconnects. Where the stream may have dropped one that was not delivered, it ends and tells (`gap`).
 *
 * Sequences are counted across the whole stream: on one subject they grow, but need not be consecutive. They stay far
 * below 2^53 and are numbers inside the library; the public API has bigint.
 */

/** Condition under which a message may be stored. */
export interface PublishExpectation {
  /** Sequence of the last message on the subject; 0 where it has none. */
  readonly lastSubjectSequence?: number;
  /** Id of the last message of the whole stream. Streams of one replica only. */
  readonly lastMessageId?: string;
}

export interface OutgoingMessage {
  /** Unique in the stream; the same on every attempt. */
  readonly id: string;
  readonly data: Buffer;
  /** `<transaction id>;<part>/<parts>` where a transaction is cut into several messages. */
  readonly chunk?: string;
  readonly expect?: PublishExpectation;
}

/**
 * How a group of ordered messages is sent: all at once, each chained to the id of the one before (one replica only); as
 * one atomic batch; or one after another, each when the one before is answered.
 */
export type OrderedForm = 'chained' | 'batch' | 'single';

export interface PublishReceipt {
  readonly sequence: number;
  readonly duplicate: boolean;
}

export interface IncomingMessage {
  readonly sequence: number;
  readonly data: Uint8Array;
  /** Absent on messages of go-ha. */
  readonly id: string | undefined;
  /** Value of the header `HA-Version`; absent on messages of go-ha. */
  readonly version: string | undefined;
  readonly chunk: string | undefined;
  /** When the server stored it, RFC 3339 or nanoseconds; opaque but equal for one message. */
  readonly time: string;
}

/** State of the stream, as the server tells it. */
export interface StreamState {
  /** When the stream was made, which tells it from one made anew under the same name. */
  readonly created: string;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly replicas: number;
}

/** A delivery that goes on until it is stopped. */
export interface StreamSubscription {
  stop(): Promise<void>;
}

/** Receives messages. A promise holds the delivery back until it is settled. */
export type MessageHandler = (message: IncomingMessage) => void | Promise<void>;

export type StreamStatus =
  | { readonly type: 'connected' }
  | { readonly type: 'disconnected' }
  | {
      /** The stream dropped messages behind `after` that were not delivered: it begins at `first`. Nothing goes on. */
      readonly type: 'gap';
      readonly after: number;
      readonly first: number;
    }
  | { readonly type: 'error'; readonly error: Error };

/** Where to start without a stored position: what the option says. */
export type StartPoint = DeliverPolicy;

export interface ReplicationStream {
  /** Largest message in bytes, headers included. */
  readonly maxPayload: number;
  readonly isConnected: boolean;
  /** How a group of ordered messages is sent best. */
  readonly ordering: OrderedForm;
  /** Most messages in an atomic batch; 1 where the stream takes none. It falls when the server says so. */
  readonly batchLimit: number;
  /** What the messages go to, for logs: server and subject. */
  readonly description: string;
  /** The IP address that the server sees this client at; undefined where there is none. */
  readonly address?: string | undefined;
  /** Called on every change of the connection; set by the owner. */
  onStatus: (status: StreamStatus) => void;
  /**
   * Called before anything goes on behind a disconnect or a new consumer: throws an HAError where the stream is not the one
   * that was followed. Then nothing goes on. Set by the owner.
   */
  verify: () => Promise<void>;
  /**
   * Sequence up to which nothing is missing, whatever was delivered: messages of other subjects move it too. Set by the
   * owner.
   */
  passed: () => number;
  /** Connects, and creates the stream where it is missing. */
  open(): Promise<StreamState>;
  state(): Promise<StreamState>;
  /** Sequence of the last message on the subject; 0 where it has none. */
  lastSubjectSequence(): Promise<number>;
  /** The message at a sequence, undefined where the stream no longer (or not yet) holds it. */
  messageAt(sequence: number): Promise<IncomingMessage | undefined>;
  /** Position from which a database without one starts: everything up to it counts as applied. */
  startPosition(point: StartPoint): Promise<number>;
  /**
   * Sends a message now; retries are the caller's.
   *
   * @throws StreamRefusal where an expectation did not hold, {@link StreamTimeout} where no answer came in time,
   * {@link StreamUnavailable} where it was surely not sent or not stored.
   */
  publish(message: OutgoingMessage, timeoutMs: number): Promise<PublishReceipt>;
  /**
   * Stores all messages or none; retries are the caller's. Only the first may have an expectation, and that of the last
   * sequence on the subject. One message alone is sent as by {@link publish}.
   *
   * @returns Their sequences, which are consecutive.
   * @throws What {@link publish} throws, and {@link StreamRepetition}; nothing is stored by this call then, except that
   * behind a {@link StreamTimeout} all may be.
   */
  publishBatch(messages: readonly OutgoingMessage[], timeoutMs: number): Promise<readonly PublishReceipt[]>;
  consume(afterSequence: number, handler: MessageHandler): Promise<StreamSubscription>;
  /**
   * A key-value bucket beside the stream, made where it is missing. A stream without this method has no members: nodes do
   * not see each other, and nothing else changes.
   *
   * @throws KeyValueDenied where the server does not permit it.
   */
  keyValue?(bucket: string, settings: KeyValueSettings): Promise<KeyValueBucket>;
  /**
   * A store of large objects beside the stream, made where it is missing. A stream without this method has no snapshots.
   *
   * @throws HAError `HA_SNAPSHOT_STORE` where the server does not permit it.
   */
  objects?(bucket: string): Promise<ObjectStore>;
  close(): Promise<void>;
}

/** The stream refused a message because somebody else's came first. */
export class StreamRefusal extends Error {
  constructor(
    message: string,
    /** Last sequence on the subject, where the server said so. */
    readonly lastSequence: number | undefined,
  ) {
    super(message);
    this.name = 'StreamRefusal';
  }
}

/**
 * A batch was not stored, because one of its ids is known: an earlier attempt is stored, or being stored. The server does
 * not say at which sequences.
 */
export class StreamRepetition extends Error {
  override readonly name = 'StreamRepetition';
}

/** No answer came: the message may be stored or not. */
export class StreamTimeout extends Error {
  override readonly name = 'StreamTimeout';
}

/** The message was surely not stored: not connected, or the server said why. */
export class StreamUnavailable extends Error {
  override readonly name = 'StreamUnavailable';
}

/** A part of a batch was missing when its end came, or too many batches were open: nothing of it was stored. */
export class StreamBatchBroken extends StreamUnavailable {}

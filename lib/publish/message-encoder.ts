import { HAError } from '../common/ha-error.js';
import { customChangeJson, messageHead, messageTail } from '../changeset/codec.js';
import type { MessageNotes, MessageOrigin } from '../changeset/codec.js';
import type { SequenceChange } from '../changeset/changeset.js';
import type { OutgoingMessage } from '../stream/replication-stream.js';
import { voidCommand } from './void-message.js';

/** A transaction ready to be sent. */
export interface TransactionContent extends MessageNotes {
  /** JSON of changes, each piece joined by commas. */
  readonly pieces: readonly Buffer[];
  readonly sequences: readonly SequenceChange[];
  /** Stream position that the transaction saw. */
  readonly epoch: number;
  readonly timestampNs: bigint;
  /** Id of its first message, where the node has given one for which it is published. */
  readonly id?: string | undefined;
}

const COMMA = Buffer.from(',');

/**
 * Makes messages of transactions. Ids are `<origin>.<n>`: the origin is random for each start of the process, `n` counts
 * messages, so a retry is recognised by the stream and by every node.
 */
export class MessageEncoder {
  private readonly head: Buffer;
  private counter = 0;
  /** Ids that were taken and never published: used again, so that what the nodes remember has no holes. */
  private readonly unused: string[] = [];

  constructor(
    readonly originId: string,
    origin: MessageOrigin,
  ) {
    this.head = Buffer.from(messageHead(origin));
  }

  /**
   * The messages of a transaction: one, or several chunks where it is larger than a message may be.
   *
   * @throws HAError `HA_MESSAGE_TOO_LARGE` where a single change does not fit into a message.
   */
  encode(content: TransactionContent, maxPayload: number): OutgoingMessage[] {
    const tail = Buffer.from(messageTail(content.sequences, BigInt(content.epoch), content.timestampNs, content));
    const room = maxPayload - this.head.length - tail.length;
    const parts = pack(content.pieces, room);
    if (parts.length === 1) return [{ id: content.id ?? this.nextId(), data: this.join(parts[0] ?? [], tail) }];
    const plainTail = Buffer.from(messageTail([], BigInt(content.epoch), content.timestampNs, content));
    const ids = parts.map((_part, index) => (index === 0 ? content.id : undefined) ?? this.nextId());
    return parts.map((part, index) => ({
      id: ids[index] ?? '',
      chunk: `${ids[0]};${index + 1}/${parts.length}`,
      data: this.join(part, index === parts.length - 1 ? tail : plainTail),
    }));
  }

  /** A message that changes no row. */
  custom(command: string, id: string = this.nextId()): OutgoingMessage {
    const tail = Buffer.from(messageTail([], 0n, BigInt(Date.now()) * 1_000_000n));
    return { id, data: this.join([Buffer.from(customChangeJson(command))], tail) };
  }

  /** Takes an id: nothing that comes under it later has any effect. */
  void(id: string): OutgoingMessage {
    return this.custom(voidCommand(), id);
  }

  /** The same by a message with an id of its own: nothing that expects the transaction in front of it is stored behind that. */
  voidOther(id: string): OutgoingMessage {
    return this.custom(voidCommand(id));
  }

  /** Tells all nodes to forget the chunks of a transaction that will never be complete. */
  abort(transactionId: string): OutgoingMessage {
    const data = this.join([], Buffer.from(messageTail([], 0n, BigInt(Date.now()) * 1_000_000n)));
    return { id: this.nextId(), chunk: `${transactionId};abort`, data };
  }

  /** An id for a transaction that another node publishes. */
  takeId(): string {
    return this.unused.pop() ?? this.nextId();
  }

  giveBackId(id: string): void {
    if (id.startsWith(`${this.originId}.`)) this.unused.push(id);
  }

  /** Number of the last id that was given out. */
  get lastNumber(): number {
    return this.counter;
  }

  private nextId(): string {
    return `${this.originId}.${++this.counter}`;
  }

  private join(pieces: readonly Buffer[], tail: Buffer): Buffer {
    if (pieces.length === 1) return Buffer.concat([this.head, pieces[0] as Buffer, tail]);
    const list: Buffer[] = [this.head];
    pieces.forEach((piece, index) => list.push(...(index === 0 ? [piece] : [COMMA, piece])));
    return Buffer.concat([...list, tail]);
  }
}

/** Packs pieces into parts of at most `room` bytes, in order. */
function pack(pieces: readonly Buffer[], room: number): Buffer[][] {
  const parts: Buffer[][] = [[]];
  let size = 0;
  for (const piece of pieces) {
    if (piece.length > room) throw tooLarge(piece.length, room);
    if (size > 0 && size + 1 + piece.length > room) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1)?.push(piece);
    size += piece.length + 1;
  }
  return parts;
}

function tooLarge(size: number, room: number): HAError {
  return new HAError(
    'HA_MESSAGE_TOO_LARGE',
    `One change takes ${size} bytes, but a message may hold ${room}. Raise max_payload of the NATS server (natsMaxPayload where it is embedded).`,
    { details: { size, room } },
  );
}

import { StreamRefusal, StreamRepetition } from '../replication-stream.js';
import type {
  IncomingMessage,
  OutgoingMessage,
  PublishReceipt,
  StartPoint,
  StreamState,
} from '../replication-stream.js';

/** A message as a {@link MemoryLog} holds it. */
export interface StoredMessage extends IncomingMessage {
  readonly subject: string;
}

/** What is appended; a message of go-ha has neither id nor version. */
export type NewMessage = Omit<StoredMessage, 'sequence' | 'time'>;

/**
 * One stream in memory: a log whose sequences count across all its subjects. It answers as nats-server 2.15 does, which
 * looks at the expected subject sequence first, then for a duplicate, then at the expected message id.
 */
export class MemoryLog {
  private readonly bySequence = new Map<number, StoredMessage>();
  private readonly bySubject = new Map<string, StoredMessage[]>();
  /** The duplicate window; like the server's it outlives the messages. */
  private readonly ids = new Map<string, number>();
  private lastMessageId: string | undefined;
  private first = 1;
  private last = 0;

  constructor(
    private readonly created: string,
    readonly replicas: number,
    private readonly now: () => number,
  ) {}

  state(): StreamState {
    return { created: this.created, firstSequence: this.first, lastSequence: this.last, replicas: this.replicas };
  }

  /**
   * Stores a message, or answers as for a duplicate.
   *
   * @throws StreamRefusal where an expectation does not hold.
   */
  publish(subject: string, message: OutgoingMessage, version: string): PublishReceipt {
    const { id, data, chunk, expect } = message;
    const last = this.lastOn(subject);
    if (expect?.lastSubjectSequence !== undefined && expect.lastSubjectSequence !== last) {
      throw new StreamRefusal(`wrong last sequence: ${last}`, last);
    }
    const stored = this.ids.get(id);
    if (stored !== undefined) return { sequence: stored, duplicate: true };
    if (expect?.lastMessageId !== undefined && expect.lastMessageId !== this.lastMessageId) {
      throw new StreamRefusal(`wrong last msg ID: ${this.lastMessageId ?? ''}`, undefined);
    }
    // A copy: the caller may use its buffer again.
    const { sequence } = this.append({ subject, id, data: Buffer.from(data), version, chunk });
    return { sequence, duplicate: false };
  }

  /**
   * Stores all messages or none. As the server it looks for known ids before it looks at the expectation.
   *
   * @throws StreamRepetition, StreamRefusal where nothing is stored.
   */
  publishBatch(subject: string, messages: readonly OutgoingMessage[], version: string): PublishReceipt[] {
    const ids = new Set(messages.map(({ id }) => id));
    if (ids.size < messages.length || messages.some(({ id }) => this.ids.has(id))) {
      throw new StreamRepetition('atomic publish batch contains duplicate message id');
    }
    const expected = messages[0]?.expect?.lastSubjectSequence;
    const last = this.lastOn(subject);
    if (expected !== undefined && expected !== last) throw new StreamRefusal(`wrong last sequence: ${last}`, last);
    return messages.map(({ id, data, chunk }) => {
      const { sequence } = this.append({ subject, id, data: Buffer.from(data), version, chunk });
      return { sequence, duplicate: false };
    });
  }

  /** Stores a message as it is, without looking for duplicates. */
  append(message: NewMessage): StoredMessage {
    const stored = { ...message, sequence: ++this.last, time: String(this.now()) };
    this.bySequence.set(stored.sequence, stored);
    const list = this.bySubject.get(stored.subject);
    if (list === undefined) this.bySubject.set(stored.subject, [stored]);
    else list.push(stored);
    this.lastMessageId = stored.id;
    if (stored.id !== undefined) this.ids.set(stored.id, stored.sequence);
    return stored;
  }

  at(sequence: number): StoredMessage | undefined {
    return this.bySequence.get(sequence);
  }

  /** Sequence of the last message on a subject; 0 where it has none, or none any more. */
  lastOn(subject: string): number {
    return this.bySubject.get(subject)?.at(-1)?.sequence ?? 0;
  }

  /** The first message on a subject behind a sequence. */
  next(subject: string, after: number): StoredMessage | undefined {
    const list = this.bySubject.get(subject) ?? [];
    return list[firstIndex(list, (message) => message.sequence > after)];
  }

  /** The position that stands for a start point on a subject. */
  startPosition(subject: string, point: StartPoint): number {
    if (point.kind === 'startSequence') return Math.max(0, Number(point.sequence) - 1);
    if (point.kind === 'all') return 0;
    const last = this.lastOn(subject);
    if (point.kind !== 'startTime') return point.kind === 'new' ? last : Math.max(0, last - 1);
    const list = this.bySubject.get(subject) ?? [];
    const first = list[firstIndex(list, (message) => Number(message.time) >= point.time.getTime())];
    return first === undefined ? last : first.sequence - 1;
  }

  /** Forgets all ids: what is published again from now on is outside the duplicate window. */
  forgetIds(): void {
    this.ids.clear();
  }

  /** Removes everything up to a sequence, that included, as a limit of age or size does. */
  trim(toSequence: number): void {
    const to = Math.min(toSequence, this.last);
    if (to < this.first) return;
    this.first = to + 1;
    this.remove((message) => message.sequence <= to);
  }

  /** Removes all messages of one subject, as an operator does; others stay where they are. */
  purge(subject: string): void {
    this.remove((message) => message.subject === subject);
  }

  /** Removes everything behind a sequence, as a server that lost its unsynced end; sequences are then used again. */
  truncate(afterSequence: number): void {
    if (afterSequence >= this.last) return;
    this.last = afterSequence;
    this.first = Math.min(this.first, afterSequence + 1);
    this.remove((message) => message.sequence > afterSequence);
    for (const [id, sequence] of this.ids) if (sequence > afterSequence) this.ids.delete(id);
    this.lastMessageId = this.bySequence.get(afterSequence)?.id;
  }

  private remove(gone: (message: StoredMessage) => boolean): void {
    for (const message of this.bySequence.values()) if (gone(message)) this.bySequence.delete(message.sequence);
    for (const [subject, list] of this.bySubject) {
      const rest = list.filter((message) => !gone(message));
      if (rest.length > 0) this.bySubject.set(subject, rest);
      else this.bySubject.delete(subject);
    }
  }
}

/** Index of the first message for which a condition that stays true holds. */
function firstIndex(list: readonly StoredMessage[], holds: (message: StoredMessage) => boolean): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(list[middle] as StoredMessage)) high = middle;
    else low = middle + 1;
  }
  return low;
}

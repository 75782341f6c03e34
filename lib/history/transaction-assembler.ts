import { isRowChange } from '../changeset/changeset.js';
import type { Change, ChangeSet } from '../changeset/changeset.js';
import { decodeChangeSet } from '../changeset/codec.js';
import { parseMessageId } from '../changeset/message-id.js';
import type { MessageId } from '../changeset/message-id.js';
import { HAError } from '../common/ha-error.js';
import { voidedId } from '../publish/void-message.js';
import { SeenIds } from '../sqlite/seen-ids.js';
import type { IncomingMessage } from '../stream/replication-stream.js';
import { baseOf } from '../subscribe/base.js';
import type { HAHistoryOutcome } from '../write/history-port.js';

/** A transaction as the stream holds it. */
export interface StreamTransaction {
  /** Sequence of its last message. */
  readonly sequence: number;
  /** When that was stored, ms since 1970. */
  readonly time: number;
  readonly outcome: HAHistoryOutcome;
  /** It is go-ha's. */
  readonly foreign: boolean;
  /** All changes of all its messages. */
  readonly changeSet: ChangeSet;
  readonly doubts: Doubts;
  /** Id of its last message; undefined where that is go-ha's. */
  readonly id: MessageId | undefined;
  /** Parts of it are missing that the stream may have forgotten: then nobody can tell from it whether it counts. */
  readonly isCut: boolean;
  /** The state that took the place of all rows here: it is no transaction, and nothing of it is in `changeSet`. */
  readonly base: string | undefined;
}

/**
 * Lower-case names of the tables in which its old values may not be what stood there; `all` of them: somebody else came between
 * what its writer saw and its place, something that it may have seen was lost, or it does not tell of every row that it took away.
 */
export type Doubts = 'all' | ReadonlySet<string>;

/** Who wrote last to a table, and who else. */
interface Writers {
  origin: string;
  sequence: number;
  /** The last transaction that is not of {@link origin}. */
  other: number;
}

const NO_DOUBTS: ReadonlySet<string> = new Set();

interface Parts {
  readonly changes: Change[];
  count: number;
}

/**
 * Puts transactions together from messages in stream order, by the rules by which the nodes take them: an id counts once, parts
 * of a large transaction count at the place of the last one, and only if all came before it.
 *
 * What it says of a transaction holds if it was fed every message behind the position that its writer had seen (`epoch`).
 */
export class TransactionAssembler {
  private readonly seen = new SeenIds();
  private readonly committed = new SeenIds();
  private readonly ended = new Map<string, HAHistoryOutcome>();
  private readonly parts = new Map<string, Parts>();
  /** By lower-case name; those of statements, which may reach every table, under an empty one. */
  private readonly writers = new Map<string, Writers>();

  constructor(private readonly skips: ReadonlySet<number>) {}

  /** Takes the next message; returns the transaction that it completes, counted or not. */
  feed(message: IncomingMessage): StreamTransaction | undefined {
    const id = message.id === undefined ? undefined : parseMessageId(message.id);
    const isNew = id === undefined || this.seen.add(id.origin, id.n);
    if (this.skips.has(message.sequence)) return this.leftOut(message);
    const part = read(message);
    if (!isNew) return this.again(message, part);
    if (message.chunk !== undefined) return this.takePart(message, id, part);
    const base = baseOf(part);
    if (base !== undefined) return this.takeBase(message, part, base);
    if (part.changes.length > 0 && part.changes.every(({ operation }) => operation === 'CUSTOM')) {
      this.takeVoid(message.id ?? '', part);
      return undefined;
    }
    return this.complete(message, part, id, id);
  }

  /** Where a transaction, or the first part of one, came under the id before, that has it. */
  private takeVoid(messageId: string, part: ChangeSet): void {
    const voided = voidedId(part, messageId);
    if (voided === undefined) return;
    const other = voided === messageId ? undefined : parseMessageId(voided);
    if (voided !== messageId && (other === undefined || !this.seen.add(other.origin, other.n))) return;
    this.ended.set(voided, 'void');
  }

  /** Whatever was written against what the rows were before met other ones; parts that wait do not count any more. */
  private takeBase(message: IncomingMessage, { node, timestampNs }: ChangeSet, base: string): StreamTransaction {
    this.parts.clear();
    this.note('', `\0base ${base}`, message.sequence);
    const changeSet = { ...NO_CHANGES, node, timestampNs };
    return { ...this.uncounted(message, changeSet, 'committed'), base };
  }

  private takePart(
    message: IncomingMessage,
    id: MessageId | undefined,
    part: ChangeSet,
  ): StreamTransaction | undefined {
    const [transactionId = '', place = ''] = (message.chunk ?? '').split(';');
    if (this.ended.has(transactionId)) return undefined;
    const before = this.parts.get(transactionId) ?? { changes: [], count: 0 };
    const [at = 0, parts = 0] = place.split('/').map(Number);
    if (place !== 'abort' && at < parts) {
      before.changes.push(...part.changes);
      before.count++;
      this.parts.set(transactionId, before);
      return undefined;
    }
    this.parts.delete(transactionId);
    const isComplete = place !== 'abort' && before.count === parts - 1;
    this.ended.set(transactionId, isComplete ? 'committed' : 'aborted');
    for (const change of part.changes) before.changes.push(change);
    const changeSet = { ...part, changes: before.changes };
    if (!isComplete) return { ...this.uncounted(message, changeSet, 'aborted'), isCut: place !== 'abort' };
    return this.complete(message, changeSet, parseMessageId(transactionId), id);
  }

  private complete(
    message: IncomingMessage,
    changeSet: ChangeSet,
    first: MessageId | undefined,
    last: MessageId | undefined,
  ): StreamTransaction {
    const foreign = message.version === undefined;
    const origin = first?.origin ?? `\0${changeSet.node}`;
    const tables = tablesOf(changeSet);
    const isTold = !foreign && changeSet.untold !== true && this.isBehindTruth(origin, first?.n ?? 0, changeSet);
    const isOrdered = changeSet.term !== undefined;
    const doubts = !isTold ? 'all' : isOrdered ? NO_DOUBTS : this.doubtsOf(origin, tables, Number(changeSet.epoch));
    for (const table of tables) this.note(table, origin, message.sequence);
    // The parts of what a leader publishes for another node have ids of both.
    const end = last?.origin === origin ? last.n : (first?.n ?? 0);
    if (first !== undefined) for (let n = first.n; n <= end; n++) this.committed.add(origin, n);
    return { ...this.uncounted(message, changeSet, 'committed'), doubts };
  }

  private note(table: string, origin: string, sequence: number): void {
    const writers = this.writers.get(table);
    if (writers === undefined) this.writers.set(table, { origin, sequence, other: 0 });
    else {
      if (writers.origin !== origin) writers.other = writers.sequence;
      writers.origin = origin;
      writers.sequence = sequence;
    }
  }

  /** The tables to which somebody else wrote behind the epoch. */
  private doubtsOf(origin: string, tables: ReadonlySet<string>, epoch: number): Doubts {
    if (this.hasOthers('', origin, epoch)) return 'all';
    const doubtful = [...tables].filter((table) => this.hasOthers(table, origin, epoch));
    return doubtful.length === 0 ? NO_DOUBTS : new Set(doubtful);
  }

  private hasOthers(table: string, origin: string, epoch: number): boolean {
    const writers = this.writers.get(table);
    if (writers === undefined) return false;
    return (writers.origin === origin ? writers.other : writers.sequence) > epoch;
  }

  /** What it ran behind in its group took effect. */
  private isBehindTruth(origin: string, n: number, { behind = 0 }: ChangeSet): boolean {
    for (let at = n - behind; at < n; at++) if (!this.committed.has(origin, at)) return false;
    return true;
  }

  private again(message: IncomingMessage, part: ChangeSet): StreamTransaction | undefined {
    if (message.chunk !== undefined) return undefined;
    return this.uncounted(message, part, this.ended.get(message.id ?? '') === 'void' ? 'void' : 'duplicate');
  }

  private leftOut(message: IncomingMessage): StreamTransaction {
    const transactionId = message.chunk?.split(';')[0] ?? message.id ?? '';
    this.parts.delete(transactionId);
    this.ended.set(transactionId, 'skipped');
    return this.uncounted(message, NO_CHANGES, 'skipped');
  }

  private uncounted(message: IncomingMessage, changeSet: ChangeSet, outcome: HAHistoryOutcome): StreamTransaction {
    const { sequence, time, version } = message;
    const foreign = version === undefined;
    const id = message.id === undefined ? undefined : parseMessageId(message.id);
    return {
      sequence,
      time: Number(time),
      outcome,
      foreign,
      changeSet,
      doubts: 'all',
      id,
      isCut: false,
      base: undefined,
    };
  }
}

/** Nothing is known of it, or there is nothing to know. */
const NO_CHANGES: ChangeSet = {
  node: '',
  processId: 0n,
  filename: '',
  changes: [],
  sequences: [],
  epoch: 0n,
  timestampNs: 0n,
};

function read({ data, sequence }: IncomingMessage): ChangeSet {
  try {
    return decodeChangeSet(Buffer.from(data.buffer, data.byteOffset, data.length).toString('utf8'));
  } catch (error) {
    throw new HAError(
      'HA_APPLY_HALTED',
      `The message at sequence ${sequence} cannot be read: ${error instanceof Error ? error.message : String(error)}. Upgrade this node if a newer one wrote it.`,
      { cause: error, details: { sequence } },
    );
  }
}

/** Lower-case names of the tables that a transaction changes; an empty one where statements may change any. */
function tablesOf({ changes }: ChangeSet): Set<string> {
  const tables = new Set<string>();
  let last: string | undefined;
  for (const change of changes) {
    const table = isRowChange(change) ? change.table : '';
    if (table !== last && change.operation !== 'CUSTOM') tables.add(table.toLowerCase());
    last = table;
  }
  return tables;
}

import type { Change } from '../changeset/changeset.js';
import type { RemovedRow } from './removed-rows.js';

/** Counters of the first and the last message id of a transaction. */
export interface MessageIds {
  readonly first: number;
  readonly last: number;
}

/** A message that was applied or committed here not long ago. */
export interface RecentMessage {
  readonly sequence: number;
  /** Who wrote it: the random id of one start of a node, or the name of a node of go-ha. */
  readonly origin: string;
  /** Name of the node that wrote it. */
  readonly node: string;
  /** Absent where it has none, as those of go-ha. */
  readonly ids?: MessageIds | undefined;
  /** Bytes of its messages, as they were sent. */
  readonly bytes: number;
  /** It is go-ha's. */
  readonly foreign: boolean;
  /** It is of a leader: nobody wrote between what it saw and its place. */
  readonly led?: boolean | undefined;
  /** Places of the changes that every node left out, if there are any. */
  readonly refused?: ReadonlySet<number> | undefined;
  /** Places of the changes that did not find the row without a key that they speak of. */
  readonly missed?: ReadonlySet<number> | undefined;
  /** Rows that gave way to its own, in the order of the changes: where interceptors decide on their tables. */
  readonly removed?: readonly RemovedRow[] | undefined;
  /** Reads it: only a conflict makes that necessary. */
  readonly read: () => { readonly changes: readonly Change[]; readonly epoch: bigint };
}

/** A message, and what its writer knew. */
export interface RanMessage {
  readonly origin: string;
  readonly ids?: MessageIds | undefined;
  /** The position in the stream that it had applied. */
  readonly epoch: number;
  /** So many ids of its origin right in front of its own it had seen besides. */
  readonly behind: number;
}

/**
 * True where a writer knew of another message of its origin, which stands behind what it had applied. It did not where the
 * answer to that was lost: it was rolled back there, and is in the stream all the same.
 */
export function ranBehind({ ids, behind }: Pick<RanMessage, 'ids' | 'behind'>, other: MessageIds | undefined): boolean {
  if (ids === undefined || other === undefined) return true;
  return other.last < ids.first && other.first >= ids.first - behind;
}

/** How much is remembered at most: transactions, and bytes of them. */
export interface RecentLimits {
  readonly messages: number;
  readonly bytes: number;
}

/** What is remembered where nothing else is said. */
export const RECENT_LIMITS: RecentLimits = { messages: 4_096, bytes: 4 * 1024 * 1024 };

interface State {
  /** Place of the oldest message that still counts. */
  head: number;
  length: number;
  bytes: number;
  /** Every message behind this sequence is remembered. */
  floor: number;
  lastOrigin: string | undefined;
  lastSequence: number;
  /** Sequence of the last message that is not of `lastOrigin`. */
  lastOther: number;
}

/**
 * The messages that a node took last, its own ones too, in stream order. What is forgotten depends on the stream alone, so
 * nodes that followed it equally long remember the same.
 */
export class RecentMessages {
  private entries: RecentMessage[] = [];
  private readonly state: State;
  private saved: State | undefined;

  constructor(
    sequence: number,
    private readonly limits: RecentLimits = RECENT_LIMITS,
  ) {
    this.state = empty(sequence);
  }

  /** Every message behind this sequence is remembered. */
  get floor(): number {
    return this.state.floor;
  }

  /** Forgets all: nothing is known of what came up to a sequence. Not inside a batch. */
  reset(sequence: number): void {
    if (this.entries.length > 0) this.entries = [];
    Object.assign(this.state, empty(sequence));
  }

  /** A batch begins that may be taken back. */
  begin(): void {
    this.saved = { ...this.state };
  }

  commit(): void {
    this.saved = undefined;
    this.compact();
  }

  rollback(): void {
    if (this.saved === undefined) return;
    Object.assign(this.state, this.saved);
    this.saved = undefined;
    this.entries.length = this.state.length;
  }

  add(message: RecentMessage): void {
    const { entries, state, limits } = this;
    entries.push(message);
    state.length = entries.length;
    state.bytes += message.bytes;
    for (; state.length - state.head > limits.messages || state.bytes > limits.bytes; state.head++) {
      const dropped = entries[state.head] as RecentMessage;
      state.bytes -= dropped.bytes;
      state.floor = dropped.sequence;
    }
    if (message.origin !== state.lastOrigin) state.lastOther = state.lastSequence;
    state.lastOrigin = message.origin;
    state.lastSequence = message.sequence;
    if (this.saved === undefined) this.compact();
  }

  /** True unless everything behind what a writer had applied is its own, and known to it. */
  hasUnseen(message: RanMessage): boolean {
    const { origin, epoch } = message;
    const { floor, lastOrigin, lastOther, lastSequence } = this.state;
    if (epoch < floor || (origin === lastOrigin ? lastOther : lastSequence) > epoch) return true;
    if (lastSequence <= epoch) return false;
    // Ids of one origin ascend in the stream, but for what is sent again.
    const first = this.entries[this.firstBehind(epoch)];
    return !ranBehind(message, first?.ids) || !ranBehind(message, this.entries.at(-1)?.ids);
  }

  /** The messages behind a sequence, the newest first. */
  *newestFirst(after: number): Generator<RecentMessage, void> {
    const { head } = this.state;
    for (let index = this.entries.length - 1; index >= head; index--) {
      const message = this.entries[index] as RecentMessage;
      if (message.sequence <= after) return;
      yield message;
    }
  }

  /** Index of the oldest message behind a sequence. */
  private firstBehind(sequence: number): number {
    const { entries, state } = this;
    let low = state.head;
    let high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((entries[middle] as RecentMessage).sequence <= sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** What no longer counts goes when it is half of all: moving the rest costs little then. */
  private compact(): void {
    const { head } = this.state;
    if (head === 0 || head * 2 < this.entries.length) return;
    this.entries = this.entries.slice(head);
    this.state.head = 0;
    this.state.length = this.entries.length;
  }
}

function empty(sequence: number): State {
  return {
    head: 0,
    length: 0,
    bytes: 0,
    floor: sequence,
    lastOrigin: undefined,
    lastSequence: sequence,
    lastOther: sequence,
  };
}

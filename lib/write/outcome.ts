import { HAError } from '../common/ha-error.js';
import { retry } from '../common/timing.js';
import { parseMessageId } from '../changeset/message-id.js';
import type { MessageId } from '../changeset/message-id.js';
import type { ReplicationPublisher } from '../publish/replication-publisher.js';
import type { KnownOutcome, Outcomes } from '../sqlite/outcomes.js';
import type { Position } from '../sqlite/position.js';
import { StreamUnavailable } from '../stream/replication-stream.js';
import type { OutgoingMessage } from '../stream/replication-stream.js';

/**
 * What became of a transaction.
 *
 * - `committed`: it is in the stream and applied here; `sequence` is its stream sequence, where that is still known. With
 *   `asyncPublisher` also: it is committed here, and waits in the outbox for its place in the stream.
 * - `not_committed`: it has no effect on any node, and never will. It may be run again.
 * - `unknown`: nobody can say now. Ask again, or on the node that wrote it.
 */
export type HAOutcome =
  | { readonly state: 'committed'; readonly sequence?: bigint }
  | { readonly state: 'not_committed' }
  | { readonly state: 'unknown' };

export interface OutcomePorts {
  readonly publisher: ReplicationPublisher;
  readonly position: Position;
  readonly outcomes: Outcomes;
  /** Origins of this start and of earlier ones of the same database file. */
  readonly origins: ReadonlySet<string>;
  /** Whether a message with an id waits in the outbox: its transaction is committed here, and will be published. */
  readonly waits: (id: string) => boolean;
  /** In a cluster with a leader: it publishes for others, under ids of theirs. */
  readonly isLed: boolean;
  /** This node may publish, and follows the stream. */
  readonly settles: boolean;
  /** Waits until the message with an id is not on its way any more: nobody will send it again. False where it still is. */
  readonly settled: (id: MessageId, timeoutMs: number) => Promise<boolean>;
  /** What may still come right behind the message with an id, the last first. */
  readonly behind: (id: MessageId) => readonly MessageId[];
  /** Milliseconds. */
  readonly publisherTimeout: number;
}

const CATCH_UP_PAUSE_MS = 100;
/** A void, an abort where the void found a part of the transaction, and a last look. */
const ROUNDS = 3;

/**
 * Finds out what became of a transaction of this node that got no answer, and settles it where nobody knows:
 *
 * ```
 * applied here? ──▶ committed
 *    └─no─▶ publish a *void* under the same id ──▶ stored: the id is taken, whatever comes under it is left out by all nodes
 *                                              └─▶ there already: the transaction, or an earlier void
 *           wait until that sequence is applied, and look again: what was applied first under the id counts
 * ```
 * Of a transaction in several messages the first one's id is taken; where that one is in the stream already, an abort message
 * ends it, unless its last part came before.
 *
 * A message may expect the one with the id to be the last of the stream, and the void would pass for it. So what was sent behind it,
 * and may still come, is settled first.
 *
 * What a leader may be publishing at this moment is not declared void under its own id, but by a message that names it. A
 * leader has each transaction stored right behind the one that it ran on, by that one's id: the void would pass for it.
 */
export class OutcomeFinder {
  constructor(private readonly ports: OutcomePorts) {}

  async find(text: string): Promise<HAOutcome> {
    const id = parseTransactionId(text);
    const { publisher, publisherTimeout } = this.ports;
    const known = this.answer(id, undefined);
    if (known !== undefined) return known;
    if (id.origin === publisher.origin && id.n > publisher.lastNumber) throw neverGiven(text);
    const deadline = performance.now() + publisherTimeout;
    try {
      if (!(await this.ports.settled(id, publisherTimeout))) return { state: 'unknown' };
      return await this.settle(id, deadline);
    } catch (error) {
      if (isPassing(error)) return { state: 'unknown' };
      throw error;
    }
  }

  private async settle(id: MessageId, deadline: number): Promise<HAOutcome> {
    await this.catchUp(deadline);
    let sequence: number | undefined;
    for (let round = 0; round < ROUNDS; round++) {
      const answer = this.answer(id, sequence);
      if (answer !== undefined) return answer;
      if (!this.ports.settles || !this.ports.origins.has(id.origin)) break;
      if (round === 0 && !(await this.settleBehind(id, deadline))) break;
      const decided = await this.decide(id, deadline);
      if (decided === undefined) break;
      sequence = decided.at;
    }
    return { state: 'unknown' };
  }

  /** False where it could not be done in time. */
  private async settleBehind(id: MessageId, deadline: number): Promise<boolean> {
    if (this.ports.isLed) return true;
    for (const later of this.ports.behind(id)) {
      if (this.answer(later, undefined) !== undefined) continue;
      if ((await this.decide(later, deadline)) === undefined) return false;
    }
    return true;
  }

  private look({ origin, n }: MessageId): KnownOutcome | undefined {
    return this.ports.outcomes.of(origin, n);
  }

  private answer(id: MessageId, sequence: number | undefined): HAOutcome | undefined {
    // Both at one time: what leaves the outbox is applied in the same commit.
    const answer = answerOf(this.look(id), sequence);
    if (answer !== undefined) return answer;
    return this.ports.waits(`${id.origin}.${id.n}`) ? { state: 'committed' } : undefined;
  }

  /** Has the stream decide, and waits until that is applied here. Returns what stands under the id, where that is told. */
  private async decide(id: MessageId, deadline: number): Promise<{ readonly at: number | undefined } | undefined> {
    const { publisher, isLed } = this.ports;
    const known = this.look(id);
    const text = `${id.origin}.${id.n}`;
    const isPart = known?.kind === 'incomplete';
    if (isLed && !isPart) {
      const stored = await this.publish(publisher.voidOtherMessage(text), false, deadline);
      return stored === undefined ? undefined : { at: undefined };
    }
    const message = isPart ? publisher.abortMessage(text) : publisher.voidMessage(text);
    const at = await this.publish(message, !isPart, deadline);
    return at === undefined ? undefined : { at };
  }

  private async publish(message: OutgoingMessage, maybeStored: boolean, deadline: number): Promise<number | undefined> {
    const { publisher, position } = this.ports;
    const group = publisher.group(undefined);
    group.add(message, maybeStored);
    const [outcome] = await group.settle(deadline);
    if (outcome?.kind !== 'stored') return undefined;
    await position.waitFor(outcome.sequence, { timeout: timeLeft(deadline) });
    return outcome.sequence;
  }

  /** Waits for all that is in the stream now: what was stored of the transaction is among it. */
  private async catchUp(deadline: number): Promise<void> {
    const { publisher, position } = this.ports;
    const last = await retry(
      async () => {
        // Asked while the line is down, the client would wait for longer than we may.
        if (!publisher.isConnected) throw new StreamUnavailable('not connected');
        return publisher.lastSubjectSequence();
      },
      (error) => isPassing(error) && performance.now() < deadline,
      CATCH_UP_PAUSE_MS,
    );
    await position.waitFor(last, { timeout: timeLeft(deadline) });
  }
}

/**
 * Takes an id apart that `HA_PUBLISH_UNKNOWN` carries.
 *
 * @throws HAError `HA_INVALID_ID`.
 */
export function parseTransactionId(text: string): MessageId {
  const id = parseMessageId(text);
  if (id !== undefined && `${id.origin}.${id.n}` === text && /^[\w-]+$/.test(id.origin)) return id;
  throw new HAError(
    'HA_INVALID_ID',
    `'${text}' is no transaction id. Pass details.id of an HA_PUBLISH_UNKNOWN, as it is.`,
    { details: { id: text } },
  );
}

function answerOf(known: KnownOutcome | undefined, sequence: number | undefined): HAOutcome | undefined {
  if (known === undefined || known.kind === 'incomplete') return undefined;
  if (known.kind === 'skipped') return { state: 'unknown' };
  if (known.kind !== 'committed') return { state: 'not_committed' };
  const at = known.sequence ?? sequence;
  return at === undefined ? { state: 'committed' } : { state: 'committed', sequence: BigInt(at) };
}

function neverGiven(id: string): HAError {
  return new HAError(
    'HA_INVALID_ID',
    `No transaction of this database has had the id '${id}' yet. Pass details.id of an HA_PUBLISH_UNKNOWN, as it is.`,
    { details: { id } },
  );
}

/** The stream cannot be asked now. */
function isPassing(error: unknown): boolean {
  return error instanceof StreamUnavailable || (error instanceof HAError && error.retryable);
}

function timeLeft(deadline: number): number {
  return Math.max(1, deadline - performance.now());
}

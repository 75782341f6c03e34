import type { MessageId } from '../changeset/message-id.js';
import type { HARunResult } from './executor.js';

/** One transaction waiting for its turn: a single statement, a script or a callback. */
export interface Member {
  /** Text by which the committer remembers what this kind of transaction turned out to be. */
  readonly key: string;
  /** It has to be stored where nobody wrote in between. */
  readonly serializable: boolean;
  /** It is the user's code, and not a statement. */
  readonly isCallback: boolean;
  /** Whether foreign keys are enforced in it. Default: as by the writer. Where it differs it is alone in its group. */
  readonly foreignKeys?: boolean | undefined;
  /** It runs behind no other transaction whose place in the stream is not known yet. */
  readonly opensGroup?: boolean;
  /** It may run again after a refusal. Where it may not, it is a group with its like only. */
  readonly retry: boolean;
  /** Milliseconds for a callback that returns a promise. */
  readonly timeout: number;
  /** Time of `performance.now()`. */
  readonly enqueuedAt: number;
  /** Id that another node has given the transaction; asked when it is published. */
  readonly transactionId?: (() => string | undefined) | undefined;
  /**
   * Runs it, inside a savepoint of the writer.
   *
   * @param behindOthers Others of its group wait for their answer until it has ended.
   */
  run(attempt: number, behindOthers: boolean): unknown;
  /** Called when its time is over, so that late calls are refused. */
  abandon(): void;
  resolve(value: unknown, sequence: number | undefined): void;
  reject(error: unknown): void;
}

/** A member and what its earlier attempts left behind. */
export interface QueuedMember {
  readonly member: Member;
  attempt: number;
  /** It turned out to be ordered where that was not possible. */
  needsOrder?: boolean;
  /** The last attempt was refused, but may be stored all the same. */
  maybeStored: boolean;
  /** Message ids of attempts that were refused, and what they would have answered. */
  tried: { readonly ids: readonly MessageId[]; readonly value: unknown }[];
}

/** Puts the stream sequence into the result of a write. */
export function withSequence(result: unknown, sequence: number | undefined): HARunResult {
  const run = result as { changes: number; lastInsertRowid: number | bigint };
  const { changes, lastInsertRowid } = run;
  return sequence === undefined ? { changes, lastInsertRowid } : { changes, lastInsertRowid, txseq: BigInt(sequence) };
}

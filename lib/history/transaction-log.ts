import { parseDurationNanos } from '../config/duration.js';
import { decodeChangeSet } from '../changeset/codec.js';
import type { IncomingMessage, ReplicationStream } from '../stream/replication-stream.js';
import { BASE_COMMAND, baseOf } from '../subscribe/base.js';
import type { BaseChange } from '../subscribe/base.js';
import type { HAHistoryStart } from '../write/history-port.js';
import { gone, invalidHistory } from './history-errors.js';
import type { MessageReader } from './message-reader.js';
import { TransactionAssembler } from './transaction-assembler.js';
import type { StreamTransaction } from './transaction-assembler.js';

/** How many sequences more are looked at each time that a transaction speaks of what lies in front of the range, but the first. */
const LOOK_BACK = 64;

/** A range of the stream, both ends in it. */
export interface Range {
  readonly first: number;
  readonly last: number;
  /** First sequence that the stream holds, whoever's it is. */
  readonly retained: number;
  /** True where none of it may be missing, in place of beginning with what is kept. */
  readonly refusesGaps?: boolean;
}

/** The transactions that a stream holds, in its order. */
export class TransactionLog {
  constructor(
    private readonly stream: ReplicationStream,
    private readonly reader: MessageReader,
    /** Messages that an operator had this node leave out. */
    private readonly skips: ReadonlySet<number>,
  ) {}

  /**
   * The range from a start to what the stream holds now.
   *
   * @throws HAError `HA_HISTORY_INVALID`, `HA_HISTORY_GONE`.
   */
  async rangeFrom(from: HAHistoryStart | undefined): Promise<Range> {
    const ask = readStart(from);
    const [{ firstSequence: retained, lastSequence }, last] = await Promise.all([
      this.stream.state(),
      this.stream.lastSubjectSequence(),
    ]);
    if (ask === undefined) return { first: retained, last, retained };
    if (ask.kind === 'sequence') {
      if (ask.sequence < retained && retained > 1) throw gone(`Sequence ${ask.sequence}`, retained);
      if (ask.sequence > lastSequence) throw notThere(ask.sequence, last);
      return { first: ask.sequence, last, retained };
    }
    return { first: await this.firstSince(new Date(Date.now() - ask.ms), retained), last, retained };
  }

  /** The range behind a sequence that was told before; there may be nothing in it yet. */
  async rangeAfter(after: unknown): Promise<Range> {
    if (typeof after !== 'bigint' || after < 0n || after >= BigInt(Number.MAX_SAFE_INTEGER))
      throw invalidHistory(`${String(after)} is no sequence to go on behind.`);
    const first = Number(after) + 1;
    const [{ firstSequence: retained }, last] = await Promise.all([
      this.stream.state(),
      this.stream.lastSubjectSequence(),
    ]);
    if (first < retained && retained > 1) throw gone(`What lies behind sequence ${after}`, retained);
    return { first, last, retained };
  }

  /** The first sequence that was stored at or behind a time. */
  async firstSince(time: Date, retained: number): Promise<number> {
    const position = await this.stream.startPosition({ kind: 'startTime', time });
    // Where even our oldest message is younger, others that were too may be gone; unless it is known to be the first.
    if (retained > 1 && !(await this.reachesBack(time, retained))) {
      throw gone(`What was written since ${time.toISOString()}`, retained);
    }
    return position + 1;
  }

  /** The transactions of a range, those too that do not count. */
  async *read({ first, last, retained, refusesGaps }: Range): AsyncGenerator<StreamTransaction, void> {
    let assembler = new TransactionAssembler(this.skips);
    let lower = first;
    let more = 0;
    for await (const batch of this.reader.read(first - 1, last, refusesGaps)) {
      for (const message of batch) {
        let transaction = assembler.feed(message);
        if (transaction === undefined) continue;
        const { foreign, changeSet, outcome, base } = transaction;
        // A base speaks of nothing that lies in front of it.
        const epoch = base === undefined ? Number(changeSet.epoch) : transaction.sequence - 1;
        if (!foreign && outcome !== 'skipped' && epoch + 1 < lower && lower > retained) {
          // What it says depends on messages that were not looked at.
          lower = Math.max(retained, Math.min(epoch + 1, lower - more));
          more = Math.max(LOOK_BACK, 2 * more);
          assembler = new TransactionAssembler(this.skips);
          transaction = undefined;
          for await (const earlier of this.reader.read(lower - 1, message.sequence)) {
            for (const one of earlier) transaction = assembler.feed(one);
          }
          // What the stream forgot in this moment was not seen.
          lower = Math.max(lower, (await this.stream.state()).firstSequence);
        }
        if (transaction === undefined) continue;
        // What it could not see is forgotten, and with it who came between.
        yield epoch + 1 < lower ? { ...transaction, doubts: 'all' } : { ...transaction, isCut: false };
      }
    }
  }

  /** The bases that messages behind `after` bring, each at its first message, in order. */
  async *bases(after: number): AsyncGenerator<BaseChange & { readonly isFirstMessage: boolean }, void> {
    const known = new Set<string>();
    let isFirstMessage = true;
    for await (const batch of this.reader.read(after, await this.stream.lastSubjectSequence())) {
      for (const message of batch) {
        const base = baseIn(message);
        if (base !== undefined && !known.has(base)) {
          known.add(base);
          yield { sequence: message.sequence, base, isFirstMessage };
        }
        isFirstMessage = false;
      }
    }
  }

  /** True where a message of our subject is older than that, or its first one is still there. */
  private async reachesBack(time: Date, retained: number): Promise<boolean> {
    const last = await this.stream.lastSubjectSequence();
    for await (const [oldest] of this.reader.read(retained - 1, last)) {
      if (oldest === undefined) break;
      if (Number(oldest.time) < time.getTime()) return true;
      // Who wrote it had applied nothing.
      const transaction = oldest.version === undefined ? undefined : new TransactionAssembler(this.skips).feed(oldest);
      return transaction?.changeSet.epoch === 0n && transaction.base === undefined;
    }
    return false;
  }
}

/** The base that a message brings. Most messages are told by a look at their bytes. */
function baseIn({ data, chunk }: IncomingMessage): string | undefined {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  return chunk === undefined && bytes.includes(BASE_COMMAND)
    ? baseOf(decodeChangeSet(bytes.toString('utf8')))
    : undefined;
}

type Start =
  { readonly kind: 'sequence'; readonly sequence: number } | { readonly kind: 'duration'; readonly ms: number };

/**
 * Reads what a caller gave as the start of a range.
 *
 * @throws HAError `HA_HISTORY_INVALID`.
 */
export function readStart(from: unknown): Start | undefined {
  if (from === undefined) return undefined;
  if (typeof from === 'bigint') {
    if (from < 1n || from > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw invalidHistory(`${from} is no sequence: they begin at 1.`, { from: String(from) });
    }
    return { kind: 'sequence', sequence: Number(from) };
  }
  if (typeof from !== 'string') {
    throw invalidHistory(
      `${describe(from)} is neither a sequence nor a duration. A sequence is a bigint (17n), a duration a text ('5m').`,
      { from: describe(from) },
    );
  }
  return { kind: 'duration', ms: durationOf(from) };
}

function describe(value: unknown): string {
  return JSON.stringify(value) ?? 'It';
}

function durationOf(text: string): number {
  let nanos: bigint;
  try {
    nanos = parseDurationNanos(text);
  } catch (error) {
    const hint = /^\d+$/.test(text) ? ` For a sequence pass ${text}n.` : '';
    throw invalidHistory(`${(error as Error).message}. Write it like '5m' or '1h30m'.${hint}`, { from: text });
  }
  if (nanos < 0n) throw invalidHistory(`'${text}' lies in the future: durations count back from now.`, { from: text });
  return Number(nanos) / 1e6;
}

/** The stream has no such sequence yet. */
export function notThere(sequence: number, last: number): Error {
  return invalidHistory(
    `There is no transaction ${sequence} of this database: its last one is ${last}. db.history() lists them.`,
    { sequence, last },
  );
}

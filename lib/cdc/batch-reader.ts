import { decodeChangeSet } from '../changeset/codec.js';
import type { ChangeSet } from '../changeset/changeset.js';
import { NO_PROGRESS, startOf } from './effect-log.js';
import type { CdcPosition, EffectLogReader, Progress } from './effect-log.js';
import { advanced } from './envelopes.js';
import type { EventMaker } from './envelopes.js';
import type { HACDCEvent } from './target.js';

/** Events that are delivered together. */
export interface Batch {
  readonly events: readonly HACDCEvent[];
  /** Where the target stands behind them. */
  readonly next: CdcPosition;
  readonly endsTransaction: boolean;
}

/** A batch takes no further part of a transaction behind so many bytes. */
const BATCH_BYTES = 4 * 1024 * 1024;

interface OpenPart {
  readonly sequence: number;
  readonly part: number;
  readonly bytes: number;
  readonly changeSet: ChangeSet;
}

/** Cuts the log into batches: of many small transactions, or of a part of a large one. */
export class BatchReader {
  private open: OpenPart | undefined;

  constructor(
    private readonly log: EffectLogReader,
    private readonly maker: EventMaker,
    private readonly maxBatchSize: number,
  ) {}

  /** The next events behind a position, undefined where there are none yet. A batch may have none of its own. */
  read(from: CdcPosition): Batch | undefined {
    const events: HACDCEvent[] = [];
    let next = from;
    let bytes = 0;
    for (;;) {
      const part = this.partAt(next);
      if (part === undefined || (bytes > 0 && bytes + part.bytes > BATCH_BYTES)) break;
      bytes += part.bytes;
      next = this.take(part, next, events);
      if (events.length >= this.maxBatchSize) break;
    }
    return next === from ? undefined : { events, next, endsTransaction: next.part === 0 && next.change === 0 };
  }

  private partAt({ sequence, part }: CdcPosition): OpenPart | undefined {
    if (this.open?.sequence === sequence && this.open.part === part) return this.open;
    const found = this.log.partFrom(sequence, part);
    if (found === undefined) return undefined;
    const changeSet = decodeChangeSet(found.data.toString('utf8'));
    return (this.open = { sequence: found.sequence, part: found.part, bytes: found.data.length, changeSet });
  }

  private take({ sequence, part, changeSet }: OpenPart, from: CdcPosition, events: HACDCEvent[]): CdcPosition {
    const isSame = from.sequence === sequence;
    let progress: Progress = isSame ? from.progress : NO_PROGRESS;
    let change = isSame && from.part === part ? from.change : 0;
    const { changes } = changeSet;
    while (change < changes.length) {
      // The two events of a changed key stay together.
      if (events.length >= this.maxBatchSize) return { sequence, part, change, progress };
      const made = this.maker.of(changes[change] as ChangeSet['changes'][number], changeSet, sequence, progress);
      progress = advanced(progress, made);
      events.push(...made);
      change++;
    }
    if (!this.log.hasMore(sequence, part)) return startOf(sequence + 1);
    return { sequence, part: part + 1, change: 0, progress };
  }
}

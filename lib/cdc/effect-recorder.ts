import { changeSetText } from '../apply/effects-port.js';
import type { EffectPlace, EffectsPort, StatementWatch } from '../apply/effects-port.js';
import type { Step } from '../apply/interception.js';
import type { Capture } from '../capture/capture.js';
import { sqlChangeJson } from '../changeset/codec.js';
import type { StatementInfo } from '../sql/statement-info.js';
import type { Connection } from '../sqlite/connection.js';
import { schemaVersion } from '../sqlite/schema.js';
import { EffectLogWriter } from './effect-log.js';

/** From which place on effects are recorded; shared by all that record them. */
export interface RecordedFrom {
  /** A stream sequence; infinite where nobody wants any. */
  sequence: number;
}

/** Steps of applying between two looks into the log of the triggers: each step is up to 64 changes. */
const STEPS_PER_FLUSH = 16;

/** A transaction that is being recorded. */
interface Recording {
  readonly place: EffectPlace;
  parts: number;
}

/**
 * Records what the applier does to rows, with the triggers of {@link Capture} on its connection. There REPLACE tells of the
 * rows that it removes, and nothing else changes rows in between: every image is exact.
 */
export class EffectRecorder implements EffectsPort, StatementWatch {
  private readonly log: EffectLogWriter;
  private current: Recording | undefined;
  private versionBefore = 0;

  constructor(
    private readonly db: Connection,
    /** Gated, on the applier's connection. */
    private readonly capture: Capture,
    private readonly from: RecordedFrom,
  ) {
    this.log = new EffectLogWriter(db);
  }

  wants(sequence: number): boolean {
    return sequence >= this.from.sequence;
  }

  *around<R>(place: EffectPlace, steps: Generator<Step, R>): Generator<Step, R> {
    if (!this.wants(place.sequence)) return yield* steps;
    this.current = { place, parts: 0 };
    this.capture.open();
    try {
      let count = 0;
      for (;;) {
        const step = steps.next();
        if (step.done === true) {
          this.flush();
          return step.value;
        }
        if (++count % STEPS_PER_FLUSH === 0) this.flush();
        yield step.value;
      }
    } finally {
      // Where it is given up half-way, the steps have something to put back too.
      steps.return(undefined as R);
      this.capture.close();
      this.current = undefined;
    }
  }

  met(sequence: number, changeSets: readonly Buffer[]): void {
    changeSets.forEach((data, part) => this.log.add(sequence, part, data));
  }

  rolledBack(): void {
    this.capture.invalidate();
  }

  before({ kind }: StatementInfo): void {
    if (this.current !== undefined) this.flush();
    // Triggers have to stay for a statement that writes rows.
    if (kind !== 'ddl') return;
    this.versionBefore = schemaVersion(this.db);
    this.capture.uninstall();
  }

  behind(sql: string, { kind, ddl }: StatementInfo, ran: boolean): void {
    if (this.current === undefined || kind !== 'ddl') return;
    this.capture.open();
    if (!ran || schemaVersion(this.db) === this.versionBefore) return;
    this.add(Buffer.from(sqlChangeJson(sql, [], 0n)));
    if (ddl?.asSelect === true) this.logFilled(ddl.name.name);
  }

  /** CREATE TABLE AS of another program fills a table before a trigger can be there. */
  private logFilled(name: string): void {
    const lower = name.toLowerCase();
    for (const table of this.capture.schema.tables.values()) {
      if (table.name.toLowerCase() === lower) this.capture.logAllRows(table);
    }
  }

  private flush(): void {
    for (const piece of this.capture.drain(0n)?.pieces ?? []) this.add(piece);
  }

  private add(changes: Buffer): void {
    const { current } = this;
    if (current === undefined) return;
    const { place } = current;
    this.log.add(place.sequence, current.parts++, changeSetText(place, changes));
  }
}

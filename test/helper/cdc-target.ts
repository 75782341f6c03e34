import type { HACDCChangeEvent, HACDCContext, HACDCEvent, HACDCSettings, HACDCTarget } from '../../lib/cdc/target.js';
import type { Registration } from '../../lib/cdc/target-runner.js';

/** A batch as it was handed over. */
export interface DeliveredBatch {
  readonly events: readonly HACDCEvent[];
  readonly context: HACDCContext;
}

/** Takes events, fails and waits as a test wants it. */
export class TestTarget implements HACDCTarget {
  readonly batches: DeliveredBatch[] = [];
  /** While it is set, every delivery fails with it. */
  failure: Error | undefined;
  /** Every delivery waits for it. */
  gate: Promise<void> = Promise.resolve();
  /** Behind so many batches a delivery never ends. */
  stuckAfter = Number.POSITIVE_INFINITY;
  /** Deliveries that have not ended, and the most there were at once. */
  open = 0;
  mostOpen = 0;

  async deliver(events: readonly HACDCEvent[], context: HACDCContext): Promise<void> {
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    try {
      await (this.batches.length < this.stuckAfter ? this.gate : new Promise(() => undefined));
      if (this.failure !== undefined) throw this.failure;
      this.batches.push({ events, context });
    } finally {
      this.open--;
    }
  }

  get events(): HACDCEvent[] {
    return this.batches.flatMap(({ events }) => events);
  }

  /** Events of rows. */
  get changes(): HACDCChangeEvent[] {
    return this.events.filter((event) => event.type === 'change');
  }

  /** Events in short: operation, table and images. */
  get told(): unknown[] {
    return this.changes.map(({ value: { op, before, after, source } }) => [op, source.table, before, after]);
  }
}

/** A target as the module registers it. */
export function registered(target: HACDCTarget, settings: HACDCSettings = {}): Registration {
  return {
    settings: {
      name: 'target',
      snapshot: 'initial',
      topicPrefix: 'prefix',
      includeSchemaChanges: true,
      maxBatchSize: 1_000,
      shutdownTimeout: 5_000,
      ...settings,
    },
    resolve: () => target,
  };
}

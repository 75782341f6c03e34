import { monitorEventLoopDelay } from 'node:perf_hooks';
import { metrics } from '@opentelemetry/api';
import type { BatchObservableCallback, Counter, Histogram, ObservableGauge } from '@opentelemetry/api';

/** Sets a gauge. */
export type Observe = (gauge: Gauge, value: number, attributes: Readonly<Record<string, string>>) => void;

const GAUGES = {
  up: {
    name: 'nestjs_ha.up',
    unit: '1',
    description: '1 while the database runs, 0 where it is stopped, halted or failing.',
  },
  connected: { name: 'nestjs_ha.connected', unit: '1', description: '1 while the stream is connected.' },
  position: {
    name: 'nestjs_ha.position',
    unit: '1',
    description: 'Stream sequence up to which everything is applied.',
  },
  lag: {
    name: 'nestjs_ha.lag.messages',
    unit: '{message}',
    description: 'Messages in the stream that are not applied here.',
  },
  lagTime: { name: 'nestjs_ha.lag.time', unit: 's', description: 'How long this node has been behind the stream.' },
  waiting: {
    name: 'nestjs_ha.writes.waiting',
    unit: '{transaction}',
    description: 'Transactions that wait for their turn.',
  },
  leader: { name: 'nestjs_ha.leader', unit: '1', description: 'With leaderProvider: 1 while this node leads.' },
  outbox: {
    name: 'nestjs_ha.outbox.size',
    unit: '{transaction}',
    description: 'With asyncPublisher: transactions that are committed here and not yet met in the stream.',
  },
  outboxAge: { name: 'nestjs_ha.outbox.age', unit: 's', description: 'Age of the oldest of them.' },
} as const;

/** Name of a gauge. */
export type Gauge = keyof typeof GAUGES;

/** Seconds: from a local server to a timeout. */
const LATENCY = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15];
const RESOLUTION_MS = 10;
const GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/** What OpenTelemetry measures with; all names are listed in the README. */
export class Instruments {
  private readonly meter = metrics.getMeter('nestjs-ha');
  readonly commits: Counter = this.meter.createCounter('nestjs_ha.commits', {
    unit: '{transaction}',
    description: 'Transactions of this node that were committed.',
  });
  readonly refused: Counter = this.meter.createCounter('nestjs_ha.refused', {
    unit: '{transaction}',
    description: 'Ordered transactions that somebody came before.',
  });
  readonly conflicts: Counter = this.meter.createCounter('nestjs_ha.conflicts', {
    unit: '{row}',
    description: 'Rows that the last writer took from another; counted while somebody subscribes to events.',
  });
  readonly forwarded: Counter = this.meter.createCounter('nestjs_ha.forwarded', {
    unit: '{write}',
    description: 'Writes that went to the leader.',
  });
  readonly applied: Counter = this.meter.createCounter('nestjs_ha.applied', {
    unit: '{transaction}',
    description: 'Transactions that came from the stream.',
  });
  readonly skipped: Counter = this.meter.createCounter('nestjs_ha.skipped', {
    unit: '{change}',
    description: 'Changes that no node can apply, and that were left out.',
  });
  readonly groupSize: Histogram = this.meter.createHistogram('nestjs_ha.commit.group.size', {
    unit: '{transaction}',
    description: 'Transactions that were committed together.',
    advice: { explicitBucketBoundaries: GROUP_SIZES },
  });
  readonly publishTime: Histogram = this.meter.createHistogram('nestjs_ha.publish.duration', {
    unit: 's',
    description: 'From the first message of a group until the stream has answered all.',
    advice: { explicitBucketBoundaries: LATENCY },
  });
  readonly delay: Histogram = this.meter.createHistogram('nestjs_ha.replication.delay', {
    unit: 's',
    description: 'From running a transaction on its writer until it is applied here, by the clocks of both.',
    advice: { explicitBucketBoundaries: LATENCY },
  });
  private readonly gauges: Readonly<Record<Gauge, ObservableGauge>>;
  private readonly stall = this.meter.createObservableGauge('nestjs_ha.event_loop.stall', {
    unit: 's',
    description: 'Longest stall of the event loop since it was asked last.',
  });
  private readonly delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  private callback: BatchObservableCallback | undefined;

  constructor() {
    const make = ({ name, ...options }: { name: string; unit: string; description: string }): ObservableGauge =>
      this.meter.createObservableGauge(name, options);
    this.gauges = Object.fromEntries(
      Object.entries(GAUGES).map(([gauge, options]) => [gauge, make(options)]),
    ) as Record<Gauge, ObservableGauge>;
    this.delays.enable();
  }

  /** Calls `read` whenever somebody asks for the gauges. */
  observe(read: (observe: Observe) => Promise<void>): void {
    this.callback = async (result) => {
      await read((gauge, value, attributes) => result.observe(this.gauges[gauge], value, attributes));
      // It measures from tick to tick.
      result.observe(this.stall, Math.max(0, this.delays.max / 1e9 - RESOLUTION_MS / 1_000));
      this.delays.reset();
    };
    this.meter.addBatchObservableCallback(this.callback, this.observables);
  }

  close(): void {
    if (this.callback !== undefined) this.meter.removeBatchObservableCallback(this.callback, this.observables);
    this.delays.disable();
  }

  private get observables(): ObservableGauge[] {
    return [...Object.values(this.gauges), this.stall];
  }
}

import type { TelemetrySink } from '../common/telemetry.js';
import type { HARuntime } from '../ha-runtime.js';
import type { Instruments, Observe } from './instruments.js';

/** How long the stream may take to say where it stands, ms. */
const LAG_TIMEOUT_MS = 1_000;

/** Measures one database. */
export class DatabaseMeter implements TelemetrySink {
  private readonly attributes: Readonly<Record<string, string>>;

  constructor(
    connection: string,
    private readonly runtime: HARuntime,
    private readonly instruments: Instruments,
  ) {
    this.attributes = { connection, node: runtime.options.name };
    runtime.telemetry.sink = this;
  }

  committed(transactions: number): void {
    this.instruments.commits.add(transactions, this.attributes);
  }

  published(transactions: number, milliseconds: number): void {
    this.instruments.groupSize.record(transactions, this.attributes);
    this.instruments.publishTime.record(milliseconds / 1_000, this.attributes);
  }

  refused(transactions: number): void {
    this.instruments.refused.add(transactions, this.attributes);
  }

  conflict(): void {
    this.instruments.conflicts.add(1, this.attributes);
  }

  applied(milliseconds: number): void {
    this.instruments.applied.add(1, this.attributes);
    this.instruments.delay.record(milliseconds / 1_000, this.attributes);
  }

  forwarded(writes: number): void {
    this.instruments.forwarded.add(writes, this.attributes);
  }

  skipped(): void {
    this.instruments.skipped.add(1, this.attributes);
  }

  /** Sets the gauges. */
  async observe(observe: Observe): Promise<void> {
    const { attributes } = this;
    const status = this.runtime.status();
    observe('up', status.state === 'running' ? 1 : 0, attributes);
    observe('connected', status.connected ? 1 : 0, attributes);
    observe('position', Number(status.position.received), attributes);
    observe('waiting', status.waitingWrites, attributes);
    if (status.leader !== undefined) observe('leader', status.leader.isLeader ? 1 : 0, attributes);
    if (status.outbox !== undefined) {
      observe('outbox', status.outbox.size, attributes);
      observe('outboxAge', status.outbox.oldestAge / 1_000, attributes);
    }
    const lag = await this.runtime.lag(LAG_TIMEOUT_MS);
    observe('lag', lag.messages, attributes);
    observe('lagTime', lag.seconds, attributes);
  }
}

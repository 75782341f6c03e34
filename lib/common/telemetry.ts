/**
 * What is counted where it happens. Everything else that is measured (lag, waiting writes) is read from the status when
 * somebody asks. One database has one; `sink` stays undefined unless metrics are wanted, and then nothing is counted.
 */
export interface TelemetrySink {
  /** Transactions of this node that are in the stream and applied here, or committed without a stream. */
  committed(transactions: number): void;
  /** A group of transactions was answered by the stream, so many ms after its first message was sent. */
  published(transactions: number, milliseconds: number): void;
  /** Ordered transactions that somebody came before, and that have to run again or fail. */
  refused(transactions: number): void;
  /** A conflict was told: see `HAConflict`. */
  conflict(): void;
  /** A transaction of the stream was applied, so many ms after its writer ran it, by the clocks of both. */
  applied(milliseconds: number): void;
  /** Writes that went to the leader of the cluster. */
  forwarded(writes: number): void;
  /** A change was left out. */
  skipped(): void;
}

/** Where a {@link TelemetrySink} is plugged in. */
export class Telemetry {
  sink: TelemetrySink | undefined;
}

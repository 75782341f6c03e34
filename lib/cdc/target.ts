import type { Type } from '@nestjs/common';
import type { HARow } from '../common/events.js';

/**
 * # Change data capture
 *
 * A target receives what the stream really did to the rows of this node, as [Debezium](https://debezium.io) events: every
 * row change with its images before and after, in stream order, transaction by transaction.
 *
 * - **Effects, not messages.** A message says what its writer did; what it does depends on who came first. An UPDATE of a row
 *   that somebody deleted is an insert here, one of two conflicting rows gives way. So effects are captured where rows are
 *   changed, and recorded in the SQLite transaction that changes them (`ha_cdc_log`): who folds the events by key has the
 *   tables of the node, and nothing is lost between rows and record, whenever the process dies.
 * - **At least once, in order.** The position of each target is in the database (`ha_cdc`). It moves when the promise of
 *   {@link HACDCTarget.deliver} has resolved, so a crash in between brings the same events again. `source.sequence` and
 *   `transaction` are the same then: a receiver tells repeats by them.
 * - **Back-pressure.** The next batch is handed over when the one before is done. What waits is in the database, not in memory.
 * - **Targets are on their own.** One that fails is tried again, for ever, with pauses from 100 ms to 30 s; nobody else waits
 *   for it: no other target, no writer, and not the applier. What it has not got yet takes room in the file.
 * - **A new target begins with a snapshot** of all rows (`op: "r"`), read in one read transaction, and goes on exactly
 *   behind it (`snapshot: 'initial'`), or it begins with what comes next (`'never'`).
 *
 * Each node that registers a target delivers everything: register it on one node, unless the receiver sorts that out.
 */
export interface HACDCTarget {
  /**
   * Takes events, in order. Resolve when they are safe: they will not come again. Reject (or throw), and they come again.
   * Events of a repeated batch may be cut into batches in another way.
   */
  deliver(events: readonly HACDCEvent[], context: HACDCContext): void | Promise<void>;
}

/** What is known of a batch besides its events. */
export interface HACDCContext {
  /** Name of the target. */
  readonly target: string;
  /** Name of the database connection. */
  readonly node: string;
  /** True where the last event ends its transaction; false where more of it comes in the next batch. */
  readonly endsTransaction: boolean;
  /** How often this batch has failed so far. */
  readonly failures: number;
  /** The database stops, and waits no longer: what is not done by then comes again. */
  readonly signal: AbortSignal;
}

/** One event, with what Kafka Connect would make a record of. Write it out with `cdcKeyJson` and `cdcValueJson`. */
export type HACDCEvent = HACDCChangeEvent | HACDCSchemaEvent;

/** A row that was changed, or that the snapshot found. */
export interface HACDCChangeEvent {
  readonly type: 'change';
  /** `<topicPrefix>.<db>.<table>`, with `_` in place of what Kafka does not allow. */
  readonly topic: string;
  /** The primary key; null where the table has none, or a row has NULL in it. */
  readonly key: HARow | null;
  readonly value: DebeziumEnvelope;
  /** Declared types of the columns, as far as the table still has them. */
  readonly columnTypes: Readonly<Record<string, string>>;
}

/** The schema was changed. */
export interface HACDCSchemaEvent {
  readonly type: 'schema';
  /** `<topicPrefix>` alone. */
  readonly topic: string;
  readonly key: { readonly databaseName: string };
  readonly value: DebeziumSchemaChange;
}

/** `c` created, `u` updated, `d` deleted, `r` read by the snapshot. */
export type DebeziumOperation = 'c' | 'u' | 'd' | 'r';

/** A change event as Debezium has it. Values are exact: INTEGER is a `bigint`, REAL a `number`, a BLOB a `Buffer`. */
export interface DebeziumEnvelope {
  readonly before: HARow | null;
  readonly after: HARow | null;
  readonly source: DebeziumSource;
  readonly transaction: DebeziumTransaction | null;
  readonly op: DebeziumOperation;
  /** When the event was made, ms since 1970. */
  readonly ts_ms: number;
}

/** Where an event comes from. */
export interface DebeziumSource {
  /** Version of this library. */
  readonly version: string;
  readonly connector: 'sqlite';
  /** The topic prefix. */
  readonly name: string;
  /** When the transaction was run at its writer, ms since 1970. */
  readonly ts_ms: number;
  /** `first`, `true` and `last` for events of a snapshot. */
  readonly snapshot: 'true' | 'first' | 'last' | 'false';
  /** The replication ID. */
  readonly db: string;
  /** A JSON array of two texts: the stream sequence, and the number of the event in its transaction, from 1. */
  readonly sequence: string;
  /** Empty for a change of the schema. */
  readonly table: string;
  /** Not Debezium's: the stream sequence as a number. */
  readonly stream_sequence: number;
  /** Not Debezium's: name of the node that wrote the transaction; of a snapshot, that read it. */
  readonly node: string;
}

/** What transaction an event belongs to, and where in it. */
export interface DebeziumTransaction {
  /** The stream sequence. */
  readonly id: string;
  /** Number of the event among all of the transaction, from 1. */
  readonly total_order: number;
  /** The same among those of its table. */
  readonly data_collection_order: number;
}

/** A change of the schema, as Debezium's schema change topic has it, without its table of columns. */
export interface DebeziumSchemaChange {
  readonly source: DebeziumSource;
  readonly ts_ms: number;
  readonly databaseName: string;
  readonly schemaName: null;
  readonly ddl: string;
}

/** How a target is served. */
export interface HACDCSettings {
  /** Where its position is stored; unique for its database. Default: the name of the class. */
  readonly name?: string;
  /** What a new target gets first: all rows (`r`), or nothing. Default `initial`. */
  readonly snapshot?: 'initial' | 'never';
  /** What topics begin with. Default: the name of the stream. */
  readonly topicPrefix?: string;
  /** Whether changes of the schema are told too. Default true. */
  readonly includeSchemaChanges?: boolean;
  /** Most events in a batch. Default 1000. */
  readonly maxBatchSize?: number;
  /** How long a stop waits for the batch under way, ms. Default 5000. */
  readonly shutdownTimeout?: number;
}

/** A target with settings: the class of a provider, or an object that is a target already. */
export interface HACDCRegistration extends HACDCSettings {
  readonly target: Type<HACDCTarget> | HACDCTarget;
}

import { InvalidText, isRowChange } from '../changeset/changeset.js';
import type { Change, ChangeSet, RowChange, SqlChange, SqlValue } from '../changeset/changeset.js';
import type { HARow, HAValue } from '../common/events.js';
import { emptyRecord, own } from '../common/own.js';
import { VERSION } from '../common/version.js';
import { classify } from '../sql/classify.js';
import { isInternalTable } from '../sqlite/schema.js';
import type { Progress } from './effect-log.js';
import type { DebeziumEnvelope, DebeziumOperation, DebeziumSource, HACDCChangeEvent, HACDCEvent } from './target.js';

/** What events of one target have in common. */
export interface EventNames {
  readonly topicPrefix: string;
  /** The replication ID. */
  readonly db: string;
  /** Name of this node. */
  readonly node: string;
  readonly includeSchemaChanges: boolean;
  /** Declared types of a table's columns, as it is now. */
  readonly typesOf: (table: string) => Readonly<Record<string, string>>;
}

/** What a snapshot found: a table, or a row. */
export type SnapshotFind =
  | { readonly ddl: string }
  | {
      readonly table: string;
      readonly columns: readonly string[];
      readonly pk: readonly string[];
      readonly values: readonly SqlValue[];
    };

/** An image of a row with its key. */
interface Image {
  readonly row: HARow;
  readonly key: HARow | null;
}

interface Place {
  readonly sequence: number;
  readonly event: number;
  readonly tsMs: number;
  readonly node: string;
  readonly snapshot: DebeziumSource['snapshot'];
}

/** Turns what transactions did into events of a target. */
export class EventMaker {
  private readonly prefix: string;

  constructor(private readonly names: EventNames) {
    this.prefix = topicPart(names.topicPrefix);
  }

  /**
   * The events of a change: none where it is of no table, two where it changes the primary key (`d` of the old one, `c` of
   * the new one, as Debezium has it).
   */
  of(change: Change, { node, timestampNs }: ChangeSet, sequence: number, before: Progress): HACDCEvent[] {
    const place = { sequence, tsMs: Number(timestampNs / 1_000_000n), node, snapshot: 'false' as const };
    if (isRowChange(change)) return isInternalTable(change.table) ? [] : this.ofRow(change, place, before);
    if (change.operation === 'CUSTOM' || !this.names.includeSchemaChanges) return [];
    return this.ofStatement(change, { ...place, event: before.events + 1 });
  }

  /** The event of what a snapshot found at a place in the stream; none where it is not wanted. */
  ofSnapshot(found: SnapshotFind, at: Pick<Place, 'sequence' | 'event' | 'snapshot'>): HACDCEvent[] {
    const place = { ...at, tsMs: Date.now(), node: this.names.node };
    if ('ddl' in found) return this.names.includeSchemaChanges ? [this.schemaEvent(found.ddl, place)] : [];
    const { table, columns, pk, values } = found;
    const { row, key } = imageOf(columns, pk, values);
    const source = this.source(table, place);
    const value = { before: null, after: row, source, transaction: null, op: 'r', ts_ms: place.tsMs } as const;
    return [this.event(table, key, value)];
  }

  private ofRow(change: RowChange, place: Omit<Place, 'event'>, progress: Progress): HACDCEvent[] {
    const { table, columns, pkColumns, oldValues, newValues } = change;
    const before = oldValues === undefined ? undefined : imageOf(columns, pkColumns, oldValues);
    const after = newValues === undefined ? undefined : imageOf(columns, pkColumns, newValues);
    let { events } = progress;
    let ofTable = own(progress.tables, table) ?? 0;
    const make = (op: DebeziumOperation, key: HARow | null, old?: HARow, now?: HARow): HACDCEvent => {
      const source = this.source(table, { ...place, event: ++events });
      const transaction = { id: String(place.sequence), total_order: events, data_collection_order: ++ofTable };
      const images = { before: old ?? null, after: now ?? null };
      return this.event(table, key, { ...images, source, transaction, op, ts_ms: Date.now() });
    };
    if (before === undefined) return after === undefined ? [] : [make('c', after.key, undefined, after.row)];
    if (after === undefined) return [make('d', before.key, before.row)];
    if (sameKey(before.key, after.key)) return [make('u', after.key, before.row, after.row)];
    return [make('d', before.key, before.row), make('c', after.key, undefined, after.row)];
  }

  private ofStatement({ command }: SqlChange, place: Place): HACDCEvent[] {
    // Statements that write virtual tables, ANALYZE and the like change no table's shape.
    return classify(command).kind === 'ddl' ? [this.schemaEvent(command, place)] : [];
  }

  private schemaEvent(ddl: string, place: Place): HACDCEvent {
    const databaseName = this.names.db;
    const source = this.source('', place);
    const value = { source, ts_ms: Date.now(), databaseName, schemaName: null, ddl };
    return { type: 'schema', topic: this.prefix, key: { databaseName }, value };
  }

  private event(table: string, key: HARow | null, value: DebeziumEnvelope): HACDCChangeEvent {
    const topic = `${this.prefix}.${topicPart(this.names.db)}.${topicPart(table)}`;
    return { type: 'change', topic, key, value, columnTypes: this.names.typesOf(table) };
  }

  private source(table: string, { sequence, event, tsMs, node, snapshot }: Place): DebeziumSource {
    return {
      version: VERSION,
      connector: 'sqlite',
      name: this.names.topicPrefix,
      ts_ms: tsMs,
      snapshot,
      db: this.names.db,
      sequence: JSON.stringify([String(sequence), String(event)]),
      table,
      stream_sequence: sequence,
      node,
    };
  }
}

/** The progress behind events of one transaction. */
export function advanced({ events, tables }: Progress, made: readonly HACDCEvent[]): Progress {
  if (made.length === 0) return { events, tables };
  const counts = Object.assign(emptyRecord<number>(), tables);
  for (const event of made) {
    if (event.type === 'change') counts[event.value.source.table] = (counts[event.value.source.table] ?? 0) + 1;
  }
  return { events: events + made.length, tables: counts };
}

/** What Kafka takes in the name of a topic; Debezium puts `_` in place of all else. */
function topicPart(name: string): string {
  return name.replaceAll(/[^a-zA-Z0-9._-]/g, '_');
}

function imageOf(columns: readonly string[], pk: readonly string[], values: readonly SqlValue[]): Image {
  const row = Object.fromEntries(columns.map((name, index) => [name, plain(values[index] ?? null)]));
  const key = pk.map((name) => [name, own(row, name) ?? null] as const);
  const isKeyed = key.length > 0 && key.every(([, value]) => value !== null);
  return { row, key: isKeyed ? Object.fromEntries(key) : null };
}

/** TEXT that is not valid UTF-8 travels as its bytes. */
function plain(value: SqlValue): HAValue {
  return value instanceof InvalidText ? value.bytes : value;
}

function sameKey(a: HARow | null, b: HARow | null): boolean {
  if (a === null || b === null) return a === b;
  return Object.keys(a).every((name) => same(own(a, name) ?? null, own(b, name) ?? null));
}

function same(a: HAValue, b: HAValue): boolean {
  return Buffer.isBuffer(a) && Buffer.isBuffer(b) ? a.equals(b) : Object.is(a, b);
}

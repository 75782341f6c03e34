import { own } from '../common/own.js';
import { valueLiteral } from '../changeset/values.js';
import type { HARow, HAValue } from '../common/events.js';
import { columnField, field } from './connect-schema.js';
import type { FieldSchema } from './connect-schema.js';
import type { DebeziumEnvelope, HACDCChangeEvent, HACDCEvent } from './target.js';

/** How to write events out. */
export interface CdcJsonOptions {
  /**
   * With the schema of Kafka Connect, `{"schema": …, "payload": …}`, as its JsonConverter has it with `schemas.enable=true`.
   * Default false: the payload alone.
   */
  readonly schemas?: boolean;
}

/**
 * The key of an event as JSON; `null` where the row has none. INTEGER is exact: a number with all digits, which
 * `JSON.parse` would round beyond 2^53.
 */
export function cdcKeyJson(event: HACDCEvent, { schemas = false }: CdcJsonOptions = {}): string | null {
  if (event.type === 'schema') {
    const payload = JSON.stringify(event.key);
    if (!schemas) return payload;
    const name = 'io.debezium.connector.sqlite.SchemaChangeKey';
    return withSchema(struct([field('databaseName', 'string', false)], { name }), payload);
  }
  const { key, topic } = event;
  if (key === null) return null;
  const payload = rowJson(key);
  if (!schemas) return payload;
  const fields = Object.keys(key).map((name) => columnField(name, [key], own(event.columnTypes, name), false));
  return withSchema(struct(fields, { name: `${topic}.Key` }), payload);
}

/**
 * The value of an event as JSON, each value without loss: INTEGER a number with all digits, REAL a number with a fraction or
 * an exponent (`"Infinity"` and `"-Infinity"` as texts), TEXT a text, a BLOB (and TEXT that is not UTF-8) base64.
 */
export function cdcValueJson(event: HACDCEvent, { schemas = false }: CdcJsonOptions = {}): string {
  if (event.type === 'schema') {
    const payload = JSON.stringify(event.value);
    return schemas ? withSchema(SCHEMA_CHANGE, payload) : payload;
  }
  const { before, after, source, transaction, op, ts_ms } = event.value;
  const images = `"before":${rowJson(before)},"after":${rowJson(after)}`;
  const origin = `"source":${JSON.stringify(source)},"transaction":${JSON.stringify(transaction)}`;
  const payload = `{${images},${origin},"op":"${op}","ts_ms":${ts_ms}}`;
  return schemas ? withSchema(envelopeSchema(event, event.value), payload) : payload;
}

function withSchema(schema: FieldSchema, payload: string): string {
  return `{"schema":${JSON.stringify(schema)},"payload":${payload}}`;
}

function rowJson(row: HARow | null): string {
  if (row === null) return 'null';
  return `{${Object.entries(row)
    .map(([name, value]) => `${JSON.stringify(name)}:${valueJson(value)}`)
    .join(',')}}`;
}

function valueJson(value: HAValue): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return value > 0 ? '"Infinity"' : '"-Infinity"';
  return valueLiteral(value);
}

function struct(fields: readonly FieldSchema[], more: Partial<FieldSchema> = {}): FieldSchema {
  return { type: 'struct', fields, optional: false, ...more };
}

const SOURCE: FieldSchema = struct(
  [
    field('version', 'string', false),
    field('connector', 'string', false),
    field('name', 'string', false),
    field('ts_ms', 'int64', false),
    field('snapshot', 'string', true),
    field('db', 'string', false),
    field('sequence', 'string', true),
    field('table', 'string', true),
    field('stream_sequence', 'int64', false),
    field('node', 'string', false),
  ],
  { name: 'io.debezium.connector.sqlite.Source', field: 'source' },
);

const TRANSACTION: FieldSchema = struct(
  [field('id', 'string', false), field('total_order', 'int64', false), field('data_collection_order', 'int64', false)],
  { optional: true, name: 'event.block', version: 1, field: 'transaction' },
);

const SCHEMA_CHANGE: FieldSchema = struct(
  [
    SOURCE,
    field('ts_ms', 'int64', false),
    field('databaseName', 'string', true),
    field('schemaName', 'string', true),
    field('ddl', 'string', true),
  ],
  { name: 'io.debezium.connector.sqlite.SchemaChangeValue' },
);

function envelopeSchema({ topic, columnTypes }: HACDCChangeEvent, { before, after }: DebeziumEnvelope): FieldSchema {
  const images = [before, after].filter((image) => image !== null);
  const columns = Object.keys(after ?? before ?? {});
  const fields = columns.map((name) => columnField(name, images, own(columnTypes, name), true));
  const image = (side: string): FieldSchema => struct(fields, { optional: true, name: `${topic}.Value`, field: side });
  return struct(
    [image('before'), image('after'), SOURCE, TRANSACTION, field('op', 'string', false), field('ts_ms', 'int64', true)],
    { name: `${topic}.Envelope`, version: 1 },
  );
}

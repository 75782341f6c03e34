import { image } from '../capture/triggers.js';
import { recodeValues } from '../capture/recode.js';
import { decodeValues } from '../changeset/values.js';
import { parseExactJson } from '../changeset/exact-json.js';
import type { ExactJson } from '../changeset/exact-json.js';
import { quoteIdentifier as q } from '../sql/identifiers.js';
import type { Connection } from '../sqlite/connection.js';
import { readSchema } from '../sqlite/schema.js';
import type { TableInfo } from '../sqlite/schema.js';
import type { EventMaker, SnapshotFind } from './envelopes.js';
import type { HACDCEvent } from './target.js';

/** A batch takes no further row behind so many bytes. */
const BATCH_BYTES = 4 * 1024 * 1024;

type Found = SnapshotFind & { readonly bytes: number };

/** Pins what a reader sees, until {@link release}. */
export function pin(db: Connection): void {
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM main.sqlite_schema').get();
}

/** Ends a read transaction, if there is one. */
export function release(db: Connection): void {
  if (db.open && db.inTransaction) db.exec('COMMIT');
}

/** The tables and all rows of a read transaction as events, in batches. */
export function* snapshotBatches(
  db: Connection,
  maker: EventMaker,
  sequence: number,
  maxBatchSize: number,
): Generator<HACDCEvent[], void> {
  let events: HACDCEvent[] = [];
  let bytes = 0;
  let count = 0;
  // Which event is the last one shows with the one behind it.
  let held: Found | undefined;
  for (const found of all(db)) {
    if (held !== undefined) {
      const made = maker.ofSnapshot(held, { sequence, event: count + 1, snapshot: count === 0 ? 'first' : 'true' });
      count += made.length;
      events.push(...made);
      bytes += held.bytes;
      if (events.length >= maxBatchSize || bytes >= BATCH_BYTES) {
        yield events;
        events = [];
        bytes = 0;
      }
    }
    held = found;
  }
  if (held !== undefined) events.push(...maker.ofSnapshot(held, { sequence, event: count + 1, snapshot: 'last' }));
  if (events.length > 0) yield events;
}

function* all(db: Connection): Generator<Found, void> {
  const { tables } = readSchema(db);
  const sqlOf = db.prepare(`SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?`).pluck();
  for (const { name } of tables.values()) yield { ddl: sqlOf.get(name) as string, bytes: 0 };
  for (const table of tables.values()) yield* rowsOfTable(db, table);
}

/** Read as the triggers of capture read them, so no value loses anything. */
function* rowsOfTable(db: Connection, table: TableInfo): Generator<Found, void> {
  const columns = table.columns.map(({ name }) => name);
  const select = db.prepare(`SELECT CAST(${image(table, 'r')} AS BLOB) FROM main.${q(table.name)} r`).pluck();
  for (const captured of select.iterate() as IterableIterator<Buffer>) {
    const { json, types } = recodeValues(captured);
    const text = Buffer.from(json, 'latin1').toString('utf8');
    const values = decodeValues(parseExactJson(text) as ExactJson[], types);
    yield { table: table.name, columns, pk: table.pk, values, bytes: captured.length };
  }
}

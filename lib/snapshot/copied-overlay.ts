import { Applier } from '../apply/applier.js';
import { Overlay } from '../apply/overlay.js';
import { Capture } from '../capture/capture.js';
import { HAError } from '../common/ha-error.js';
import { inSlices } from '../common/timing.js';
import type { Connection } from '../sqlite/connection.js';
import { readSeen } from '../sqlite/control-tables.js';
import { OutboxStore } from '../sqlite/outbox-store.js';
import type { OutboxFile } from '../sqlite/outbox-file.js';
import { NODE_OUTBOX_TABLES } from '../sqlite/outbox-tables.js';
import { NODE_CDC_TABLES, NODE_TABLES } from '../sqlite/control-tables.js';
import type { RowIdentify } from '../sqlite/schema.js';
import { closeWhole } from './database-copy.js';
import type { OverlaySource } from './database-copy.js';

export interface CopiedOverlayPorts {
  /** Opens a copy as the applier's connection is opened. */
  readonly open: (path: string) => Connection;
  /** Where the messages are, if that is not the database. */
  readonly file: OutboxFile | undefined;
  readonly rowIdentify: RowIdentify;
  readonly node: string;
}

interface OutboxRow {
  readonly n: bigint;
  readonly first: bigint;
  readonly id: string;
}

const ROWS_PER_READ = 100;
const SLICE_MS = 4;

/** What lies over the fold with asynchronous publishing, as a copy of the database has it. */
export class CopiedOverlay implements OverlaySource {
  constructor(private readonly ports: CopiedOverlayPorts) {}

  retain(): () => void {
    return this.ports.file?.retain() ?? ((): void => undefined);
  }

  async complete(path: string): Promise<void> {
    if (this.ports.file === undefined) return;
    await this.inCopy(path, (db) => this.takeIn(db));
  }

  async strip(path: string): Promise<void> {
    const { rowIdentify, node } = this.ports;
    await this.inCopy(path, async (db) => {
      await this.takeIn(db);
      const capture = new Capture(db, { markGeneratedIds: 'once', rowIdentify, gated: true, pieceBytes: () => 1 });
      const applier = new Applier(db, rowIdentify);
      const overlay = new Overlay(db, applier, capture, new OutboxStore(db, db, undefined), node);
      await inSlices(overlay.strip(), SLICE_MS);
      const tables = new Set(db.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).pluck().all());
      for (const table of [...NODE_OUTBOX_TABLES, ...NODE_TABLES, ...NODE_CDC_TABLES]) {
        if (tables.has(table)) db.exec(`DELETE FROM main.${table}`);
      }
    });
  }

  private async inCopy(path: string, work: (db: Connection) => Promise<void>): Promise<void> {
    const db = this.ports.open(path);
    try {
      // It is no database yet: where the process dies, the copy is made anew.
      db.pragma('synchronous = OFF');
      db.exec('BEGIN IMMEDIATE');
      await work(db);
      db.exec('COMMIT');
      closeWhole(db);
    } finally {
      db.close();
    }
  }

  /** Puts the messages of the outbox file that the copy counts on into the copy itself. */
  private async takeIn(db: Connection): Promise<void> {
    const { file } = this.ports;
    const row = db.prepare('SELECT high, pending FROM main.ha_outbox_file').get() as
      { high: number; pending: number } | undefined;
    if (file === undefined || row === undefined) return;
    await inSlices(this.rows(db, file, row.high), SLICE_MS);
    const taken = db.prepare('SELECT count(*) FROM main.ha_outbox').pluck().get() as number;
    if (taken !== row.pending) {
      throw new HAError(
        'HA_SNAPSHOT_FAILED',
        `The outbox '${file.path}' holds ${taken} of the ${row.pending} messages that the database counts on. Try again; see HA_OVERLAY_BROKEN where it stays so.`,
        { retryable: true, details: { taken, pending: row.pending } },
      );
    }
    db.exec('DELETE FROM main.ha_outbox_file');
  }

  private *rows(db: Connection, file: OutboxFile, high: number): Generator<void, void> {
    const seen = readSeen(db);
    const read = file.db
      .prepare(`SELECT * FROM main.ha_outbox WHERE n > ? AND n <= ? ORDER BY n LIMIT ${ROWS_PER_READ}`)
      .safeIntegers();
    const insert = db.prepare('INSERT INTO main.ha_outbox VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)');
    const drop = db.prepare('DELETE FROM main.ha_outbox WHERE first = ?');
    for (let last = 0n; ;) {
      const rows = read.all(last, BigInt(high)) as OutboxRow[];
      for (const row of rows) {
        insert.run(...(Object.values(row) as unknown[]));
        last = row.n;
        const dot = row.id.lastIndexOf('.');
        // Its last message was met: what is left of it here is only not removed yet.
        if (seen.has(row.id.slice(0, dot), Number(row.id.slice(dot + 1))) && isWhole(row)) drop.run(row.first);
        yield;
      }
      if (rows.length < ROWS_PER_READ) return;
    }
  }
}

/** True for the message that ends a transaction. */
function isWhole(row: OutboxRow): boolean {
  const { chunk } = row as OutboxRow & { readonly chunk: string | null };
  if (chunk === null) return true;
  const [part, parts] = chunk.slice(chunk.lastIndexOf(';') + 1).split('/');
  return part === parts;
}

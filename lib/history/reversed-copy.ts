import { Applier } from '../apply/applier.js';
import { HAError } from '../common/ha-error.js';
import { immediate } from '../common/timing.js';
import type { Connection } from '../sqlite/connection.js';
import { Connections } from '../sqlite/connections.js';
import { IdGenerator, randomSlot } from '../sqlite/id-generator.js';
import { readSchema } from '../sqlite/schema.js';
import { writeNewFile } from './new-file.js';
import { withoutReplication } from './rebuild.js';
import type { RebuildSettings } from './rebuild.js';
import { RowPlaces } from './row-places.js';
import type { TransactionLog } from './transaction-log.js';
import { UndoPlan } from './undo-plan.js';
import { UndoSelection } from './undo-selection.js';
import type { Intercepts } from './undo-selection.js';

/** Pages that are copied in one go. */
const PAGES_PER_STEP = 256;

/**
 * A copy of the database as it is, in which everything behind a place in the stream is taken back. It needs nothing of what lies
 * in front of that place, but every old value behind it has to be sure.
 */
export class ReversedCopy {
  constructor(
    private readonly live: Connection,
    private readonly log: TransactionLog,
    private readonly settings: RebuildSettings,
    private readonly skips: ReadonlySet<number>,
    private readonly intercepts: Intercepts | undefined,
  ) {}

  /** Writes it. Returns false where it cannot be had in this way: then there is no file. */
  async write(sequence: number, retained: number, path: string): Promise<boolean> {
    return writeNewFile(path, async (part) => {
      await this.copy(part);
      const { pragmas, configure } = this.settings;
      const ids = new IdGenerator({ slot: randomSlot });
      const files = new Connections({ filename: part, memory: false, pragmas, configure, ids, exclusive: false });
      try {
        if (!(await this.reverse(files.applier, sequence, retained))) return false;
        withoutReplication(files);
      } finally {
        files.close();
      }
      return true;
    });
  }

  /** In one snapshot: else the copy would begin anew with every write. */
  private async copy(path: string): Promise<void> {
    this.live.exec('BEGIN');
    try {
      this.live.prepare('SELECT count(*) FROM main.sqlite_schema').get();
      await this.live.backup(path, { progress: () => PAGES_PER_STEP });
    } finally {
      this.live.exec('COMMIT');
    }
  }

  private async reverse(db: Connection, sequence: number, retained: number): Promise<boolean> {
    // What waits for its place lies over the rows, and is in no history yet.
    if (hasRows(db, 'ha_outbox') || this.skips.size > 0) return false;
    const { rowIdentify } = this.settings;
    const last = db.prepare('SELECT max(received_seq) FROM main.ha_stats').pluck().get() as number;
    const places = new RowPlaces(db, readSchema(db, rowIdentify));
    const selection = new UndoSelection(places, 'all', undefined, new Set(), this.intercepts);
    try {
      for await (const transaction of this.log.read({ first: sequence + 1, last, retained })) {
        for (const _step of selection.take(transaction)) await immediate();
      }
    } catch (error) {
      if (error instanceof HAError && error.code === 'HA_UNDO_REFUSED') return false;
      throw error;
    }
    if (selection.tainted.size > 0 || hasRows(db, 'ha_skipped')) return false;
    const plan = new UndoPlan(places);
    for (const row of selection.rows.values()) plan.add(row, row.before);
    if (plan.conflicts.length > 0) return false;
    await this.apply(db, plan, last);
    return true;
  }

  private async apply(db: Connection, plan: UndoPlan, sequence: number): Promise<void> {
    const applier = new Applier(db, this.settings.rowIdentify);
    db.exec('BEGIN IMMEDIATE');
    applier.prepare();
    const changes = plan.changes();
    const changeSet = {
      node: '',
      processId: 0n,
      filename: '',
      changes,
      sequences: [],
      epoch: BigInt(sequence),
      timestampNs: 0n,
    };
    for (const _step of applier.apply(changeSet, { sequence, foreign: false }, refuse)) await immediate();
    db.exec('COMMIT');
  }
}

function refuse(_index: number, _change: unknown, reason: string): void {
  throw new Error(`A change could not be taken back in the copy: ${reason}`);
}

function hasRows(db: Connection, table: string): boolean {
  if (db.prepare('SELECT 1 FROM main.sqlite_schema WHERE name = ?').get(table) === undefined) return false;
  return db.prepare(`SELECT 1 FROM main.${table} LIMIT 1`).get() !== undefined;
}

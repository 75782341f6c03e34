import type { Connection } from '../sqlite/connection.js';
import { StatementCache } from '../sqlite/statement-cache.js';

/**
 * `ha_cdc_log` holds what transactions did, as changesets, until every target has them; `ha_cdc` how far each has come.
 * Both are made only where a target is registered.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS main.ha_cdc_log(sequence INTEGER NOT NULL, part INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY(sequence, part));
CREATE TABLE IF NOT EXISTS main.ha_cdc(target TEXT PRIMARY KEY, sequence INTEGER NOT NULL, part INTEGER NOT NULL,
  change INTEGER NOT NULL, progress TEXT NOT NULL, snapshot INTEGER NOT NULL) WITHOUT ROWID;`;

/** What a target gets next: everything in front of it is delivered. */
export interface CdcPosition {
  readonly sequence: number;
  readonly part: number;
  /** Changes of that part that are delivered. */
  readonly change: number;
  readonly progress: Progress;
}

/** Events of the transaction at a position that are delivered: all, and of each table. */
export interface Progress {
  readonly events: number;
  readonly tables: Readonly<Record<string, number>>;
}

export const NO_PROGRESS: Progress = { events: 0, tables: {} };

/** A stored target. */
export interface StoredTarget extends CdcPosition {
  readonly target: string;
  /** Its snapshot is not complete. */
  readonly snapshot: boolean;
}

/** A recorded part of a transaction. */
export interface LogPart {
  readonly sequence: number;
  readonly part: number;
  readonly data: Buffer;
}

type TargetRow = [target: string, sequence: number, part: number, change: number, progress: string, snapshot: number];

/** The first place in a transaction. */
export function startOf(sequence: number): CdcPosition {
  return { sequence, part: 0, change: 0, progress: NO_PROGRESS };
}

export function createCdcTables(db: Connection): void {
  db.exec(SCHEMA);
}

/** Targets that are stored in a database; it may never have had one. */
export function readTargets(db: Connection): StoredTarget[] {
  if (db.prepare(`SELECT 1 FROM main.sqlite_schema WHERE name = 'ha_cdc'`).get() === undefined) return [];
  const rows = db
    .prepare('SELECT target, sequence, part, change, progress, snapshot FROM main.ha_cdc')
    .raw()
    .all() as TargetRow[];
  return rows.map(([target, sequence, part, change, progress, snapshot]) => ({
    target,
    sequence,
    part,
    change,
    progress: JSON.parse(progress) as Progress,
    snapshot: snapshot === 1,
  }));
}

/** Stores a target, inside a transaction of the caller. */
export function writeTarget(db: Connection, { target, snapshot, ...position }: StoredTarget): void {
  const { sequence, part, change, progress } = position;
  db.prepare('INSERT OR REPLACE INTO main.ha_cdc VALUES(?, ?, ?, ?, ?, ?)').run(
    target,
    BigInt(sequence),
    BigInt(part),
    BigInt(change),
    JSON.stringify(progress),
    snapshot ? 1n : 0n,
  );
}

/** Forgets targets: nothing is kept for them any more. */
export function forgetTargets(db: Connection, names: readonly string[]): void {
  const forget = db.prepare('DELETE FROM main.ha_cdc WHERE target = ?');
  for (const name of names) forget.run(name);
  prune(db);
}

/** Drops what every target has. */
export function prune(db: Connection): void {
  const first = db.prepare('SELECT sequence, part FROM main.ha_cdc ORDER BY sequence, part LIMIT 1').raw().get();
  if (first === undefined) db.exec('DELETE FROM main.ha_cdc_log');
  else {
    const [sequence, part] = first as [number, number];
    db.prepare('DELETE FROM main.ha_cdc_log WHERE (sequence, part) < (?, ?)').run(BigInt(sequence), BigInt(part));
  }
}

/** Writes effects through one connection. Call inside its transaction only. */
export class EffectLogWriter {
  private readonly statements: StatementCache;

  constructor(db: Connection) {
    this.statements = new StatementCache(db);
  }

  add(sequence: number, part: number, data: Buffer): void {
    this.statements
      .get('INSERT OR REPLACE INTO main.ha_cdc_log(sequence, part, data) VALUES(?, ?, ?)')
      .run(BigInt(sequence), BigInt(part), data);
  }
}

/** Reads effects that are committed. */
export class EffectLogReader {
  private readonly statements: StatementCache;

  constructor(db: Connection) {
    this.statements = new StatementCache(db);
  }

  /** The first part at a place or behind it. */
  partFrom(sequence: number, part: number): LogPart | undefined {
    return this.statements
      .get(
        'SELECT sequence, part, data FROM main.ha_cdc_log WHERE (sequence, part) >= (?, ?) ORDER BY sequence, part LIMIT 1',
      )
      .get(BigInt(sequence), BigInt(part)) as LogPart | undefined;
  }

  /** True where a transaction has more behind a part. Transactions are recorded as a whole, so no means never. */
  hasMore(sequence: number, part: number): boolean {
    const sql = 'SELECT 1 FROM main.ha_cdc_log WHERE sequence = ? AND part > ? LIMIT 1';
    return this.statements.get(sql).get(BigInt(sequence), BigInt(part)) !== undefined;
  }
}

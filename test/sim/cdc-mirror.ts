import BetterSqlite3 from 'better-sqlite3';
import type { HARow, HAValue } from '../../lib/common/events.js';
import type { HACDCChangeEvent, HACDCEvent, HACDCTarget } from '../../lib/cdc/target.js';
import { classify } from '../../lib/sql/classify.js';
import { difference } from './dump.js';
import { Divergence } from './world.js';

const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * A receiver as one would write it: folds events by key into tables of its own, where there is no key by all values, and
 * tells repeats by `source.sequence`. It outlives its node.
 */
export class CdcMirror {
  private db = open();
  private last: readonly [sequence: number, event: number] = [0, 0];
  /** What was told at each place: repeats have to say the same. */
  private readonly told = new Map<string, string>();
  events = 0;

  /** Why it cannot take an event; no target of a node may fail for long. */
  broken: Error | undefined;

  apply(events: readonly HACDCEvent[]): void {
    try {
      for (const event of events) this.applyOne(event);
    } catch (error) {
      this.broken ??= error instanceof Error ? error : new Error(String(error));
      throw error;
    }
  }

  /** Compares all rows with those of a database. */
  check(name: string, db: BetterSqlite3.Database): void {
    if (this.broken !== undefined) throw this.broken;
    const mine = rowsOf(this.db);
    const theirs = rowsOf(db);
    if (mine === theirs) return;
    throw new Divergence(`what ${name} told its CDC target folds to other rows:\n${difference(mine, theirs)}`);
  }

  close(): void {
    this.db.close();
  }

  private applyOne(event: HACDCEvent): void {
    const { snapshot, sequence } = event.value.source;
    const place = (JSON.parse(sequence) as [string, string]).map(Number) as [number, number];
    if (snapshot === 'first') this.beginAnew();
    const isRepeat = place[0] < this.last[0] || (place[0] === this.last[0] && place[1] <= this.last[1]);
    if (snapshot === 'false') this.compareWithEarlier(sequence, event);
    if (isRepeat) return;
    if (place[0] === this.last[0] && place[1] !== this.last[1] + 1)
      throw new Divergence(`events missing at ${sequence}`);
    if (place[0] !== this.last[0] && place[1] !== 1) throw new Divergence(`${sequence} came first of its transaction`);
    this.events++;
    if (event.type === 'schema') this.applyDDL(event.value.ddl);
    else this.applyRow(event);
    this.last = place;
  }

  private beginAnew(): void {
    this.db.close();
    this.db = open();
    this.last = [0, 0];
  }

  private compareWithEarlier(sequence: string, event: HACDCEvent): void {
    const text = JSON.stringify(event.value, (name, value: unknown) => {
      if (name === 'ts_ms') return undefined;
      return typeof value === 'bigint' ? `${value}n` : value;
    });
    const before = this.told.get(sequence);
    if (before !== undefined && before !== text)
      throw new Divergence(`${sequence} was told as ${before}, then ${text}`);
    this.told.set(sequence, text);
  }

  private applyDDL(sql: string): void {
    const { ddl } = classify(sql);
    if (/^(table)$/i.test(ddl?.object ?? '') && !/create\s+virtual/i.test(sql)) this.db.exec(sql);
  }

  private applyRow({ key, value }: HACDCChangeEvent): void {
    const { op, before, after, source } = value;
    const table = q(source.table);
    if (op === 'c' || op === 'r') this.insert(table, after ?? {});
    else if (op === 'd') this.changed(source, 1, `DELETE FROM ${table}`, [], key, before ?? {});
    else {
      const columns = Object.keys(after ?? {});
      const sets = columns.map((name) => `${q(name)} = ?`).join(', ');
      this.changed(source, 1, `UPDATE ${table} SET ${sets}`, Object.values(after ?? {}), key, before ?? {});
    }
  }

  private insert(table: string, row: HARow): void {
    const columns = Object.keys(row);
    const marks = columns.map(() => '?').join(', ');
    this.db.prepare(`INSERT INTO ${table}(${columns.map(q).join(', ')}) VALUES(${marks})`).run(...Object.values(row));
  }

  private changed(
    source: { readonly table: string; readonly sequence: string },
    expected: number,
    sql: string,
    args: readonly HAValue[],
    key: HARow | null,
    before: HARow,
  ): void {
    const match = Object.entries(key ?? before);
    const terms = match.map(([name]) => `${q(name)} IS ? COLLATE BINARY AND typeof(${q(name)}) = typeof(?)`);
    const { changes } = this.db
      .prepare(`${sql} WHERE ${terms.join(' AND ')}${key === null ? ' LIMIT 1' : ''}`)
      .run(...args, ...match.flatMap(([, value]) => [value, value]));
    if (changes === expected) return;
    throw new Divergence(`${source.sequence} changes ${changes} rows of ${source.table}, not ${expected}`);
  }
}

/** Delivers into a mirror, with the harm that a world may do. */
export function mirrorTarget(mirror: CdcMirror, mayFail: () => boolean, isDead: () => boolean): HACDCTarget {
  return {
    async deliver(events) {
      // A killed process delivers nothing, and learns nothing.
      if (isDead()) await new Promise(() => undefined);
      if (mayFail()) throw new Error('the target is down');
      mirror.apply(events);
      if (mayFail()) throw new Error('the answer was lost');
    },
  };
}

/** What foreign keys do is told as events. */
function open(): BetterSqlite3.Database {
  const db = new BetterSqlite3(':memory:');
  db.pragma('foreign_keys = OFF');
  return db;
}

function rowsOf(db: BetterSqlite3.Database): string {
  const tables = db
    .prepare(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' ORDER BY name`)
    .pluck()
    .all() as string[];
  const lines = tables
    .filter((name) => !/^(ha_|sqlite_)/i.test(name))
    .flatMap((name) => {
      const columns = db.prepare(`SELECT name FROM pragma_table_xinfo(?, 'main') WHERE hidden <> 1`).pluck().all(name);
      const values = (columns as string[]).map((column) => `quote(${q(column)}) || ' ' || typeof(${q(column)})`);
      const rows = db
        .prepare(`SELECT ${values.join(` || ', ' || `)} FROM main.${q(name)} ORDER BY 1`)
        .pluck()
        .all();
      return [`table ${name}`, ...(rows as string[]).map((row) => `${name} ${row}`)];
    });
  return lines.join('\n');
}

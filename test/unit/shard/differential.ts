import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { databaseSchema } from '../../../lib/shard/database-schema.js';
import { planCross } from '../../../lib/shard/plan.js';
import type { PlanSource } from '../../../lib/shard/plan.js';
import { runProgram } from '../../../lib/shard/run-program.js';

/** A database by its name: scripts that make it and fill it. */
export interface Part {
  readonly name: string;
  readonly schema: string;
  readonly rows: string;
}

/** An answer of both; `plan` is how several databases gave it. */
export interface Compared {
  readonly single: unknown;
  readonly several: unknown;
  readonly plan: string;
}

/** Rows in several databases, and in a single one. */
export class Differential {
  private readonly folder = mkdtempSync(join(tmpdir(), 'cross-differential-'));
  private readonly sources: PlanSource[] = [];
  private readonly open: BetterSqlite3.Database[] = [];
  private readonly single = new BetterSqlite3(':memory:');

  /** @param single Makes the schema of the single database; with `_ha_db` as the last column where statements name it. */
  constructor(parts: readonly Part[], single: string) {
    writeFileSync(join(this.folder, 'empty'), '');
    this.single.exec(single);
    for (const { name, schema, rows } of parts) {
      const path = join(this.folder, `${this.sources.length}.db`);
      const db = new BetterSqlite3(path);
      this.open.push(db);
      db.pragma('journal_mode = WAL');
      db.exec(schema);
      db.exec(rows);
      this.sources.push({ name, path, schema: databaseSchema(db) });
    }
    for (const [i, { name }] of parts.entries()) this.bring(i, name);
  }

  private bring(index: number, name: string): void {
    this.single.prepare('ATTACH ? AS part').run(this.sources[index]?.path);
    const tables = this.single.prepare(`SELECT name FROM main.sqlite_schema WHERE type = 'table'`).pluck().all();
    for (const table of tables as string[]) {
      const stored = (schema: string): string[] =>
        this.single
          .prepare(`SELECT name FROM pragma_table_xinfo(?, ?) WHERE hidden = 0`)
          .pluck()
          .all(table, schema) as string[];
      const own = stored('part').map((column) => `"${column}"`);
      const adds = stored('main').includes('_ha_db') && !stored('part').includes('_ha_db');
      const [into, values] = adds
        ? [
            [...own, '_ha_db'],
            [...own, `'${name}'`],
          ]
        : [own, own];
      this.single.exec(
        `INSERT INTO main."${table}"(${into.join(', ')}) SELECT ${values.join(', ')} FROM part."${table}"`,
      );
    }
    this.single.exec('DETACH part');
  }

  close(): void {
    for (const db of [...this.open, this.single]) db.close();
    rmSync(this.folder, { recursive: true });
  }

  async compare(sql: string, args: readonly unknown[] = []): Promise<Compared> {
    let single: unknown;
    try {
      const statement = this.single.prepare(sql).raw(true).safeIntegers(true);
      single = statement.all(...args);
    } catch (error) {
      single = (error as Error).message;
    }
    let plan = 'none';
    try {
      const { program } = planCross({ sql, args, sources: this.sources, pragmas: [], now: Date.now(), whole: false });
      plan =
        program.kind === 'merge' && program.setup.some((text) => text.includes('_ha_groups')) ? 'groups' : program.kind;
      const rows: unknown[][] = [];
      await runProgram(
        { open: BetterSqlite3, emptyFile: join(this.folder, 'empty') },
        program,
        { safeIntegers: true, partial: false },
        {
          opened: () => undefined,
          failed: () => undefined,
          rows: (batch) => Promise.resolve(rows.push(...batch) > 0),
          isCancelled: false,
        },
      );
      return { single, several: rows, plan };
    } catch (error) {
      return { single, several: (error as Error).message, plan };
    }
  }
}

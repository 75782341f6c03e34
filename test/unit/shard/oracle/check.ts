import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { HAError } from '../../../../lib/common/ha-error.js';
import { databaseSchema } from '../../../../lib/shard/database-schema.js';
import { planCross } from '../../../../lib/shard/plan.js';
import type { PlanSource } from '../../../../lib/shard/plan.js';
import { runProgram } from '../../../../lib/shard/run-program.js';
import { Random } from '../../../support/random.js';
import type { RandomSelect } from './random-select.js';
import { selectText } from './random-select.js';
import type { Row, World } from './random-world.js';

type Answer = { readonly rows: readonly string[] } | { readonly error: string };

/** What came of one query; `wrong` says how an answer differs. */
export interface Verdict {
  readonly kind: 'exact' | 'indeterminate' | 'refused' | 'failed' | 'wrong' | 'invalid';
  readonly how: string;
  readonly plan: string;
}

/** The rows of a world twice: in databases of their own, and all of them in one, in several orders and with indexes or without. */
export class Oracle {
  private readonly folder = mkdtempSync(join(tmpdir(), 'cross-oracle-'));
  private readonly sources: PlanSource[] = [];
  private readonly plain: BetterSqlite3.Database[];
  private readonly named: BetterSqlite3.Database[];
  private readonly open: BetterSqlite3.Database[] = [];

  constructor(world: World, seed: number) {
    writeFileSync(join(this.folder, 'empty'), '');
    world.rows.forEach((tables, index) => this.sources.push(this.makeSource(world, tables, index)));
    this.plain = [0, 1, 2].map((order) => this.makeSingle(world, order, seed, false));
    this.named = [0, 1, 2].map((order) => this.makeSingle(world, order, seed, true));
  }

  close(): void {
    for (const db of this.open) db.close();
    rmSync(this.folder, { recursive: true });
  }

  private makeSource(world: World, tables: readonly (readonly Row[])[], index: number): PlanSource {
    const path = join(this.folder, `d${index}.db`);
    const db = new BetterSqlite3(path);
    this.open.push(db);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = OFF');
    for (const table of world.tables) {
      const columns = table.columns.map(
        (column) => `"${column.name}" ${column.declared}${column.isKey ? ' PRIMARY KEY' : ''}`,
      );
      db.exec(`CREATE TABLE ${table.name}(${columns.join(', ')})${table.options}`);
      for (const sql of table.indexes) db.exec(sql);
    }
    for (const view of world.views) db.exec(view.sql);
    db.transaction(() => insertAll(db, world, tables))();
    return { name: `d${index}`, path, schema: databaseSchema(db) };
  }

  private makeSingle(world: World, order: number, seed: number, withSource: boolean): BetterSqlite3.Database {
    const db = new BetterSqlite3(':memory:');
    this.open.push(db);
    for (const table of world.tables) {
      const columns = table.columns.map((column) => `"${column.name}" ${column.declared}`);
      if (withSource) columns.push('_ha_db TEXT');
      db.exec(`CREATE TABLE ${table.name}(${columns.join(', ')})${table.options}`);
      if (order === 1) for (const sql of table.indexes) db.exec(sql);
    }
    for (const view of world.views) db.exec(view.sql);
    const random = new Random(seed);
    world.tables.forEach((_, t) => {
      const rows = world.rows.flatMap((tables, d) =>
        (tables[t] ?? []).map((row) => (withSource ? [...row, `d${d}`] : row)),
      );
      if (order === 1) rows.sort(() => random.next() - 0.5);
      if (order === 2) rows.reverse();
      insertAll(
        db,
        world,
        world.tables.map((__, i) => (i === t ? rows : [])),
      );
    });
    return db;
  }

  async check(query: RandomSelect, gatherOnly = false): Promise<Verdict> {
    const sql = selectText(query);
    const singles = /_ha_db/i.test(sql) ? this.named : this.plain;
    const args = argumentsOf(sql, query.args);
    const expected = singles.map((db) => answerOf(db, sql, args));
    const [first] = expected as [Answer];
    let plan = '';
    let actual: Answer;
    try {
      const made = planCross({
        sql,
        args,
        sources: this.sources,
        pragmas: [],
        now: Date.now(),
        whole: false,
        gatherOnly,
      });
      plan =
        made.program.kind === 'merge' && made.program.setup.some((text) => text.includes('_ha_groups'))
          ? 'groups'
          : made.program.kind;
      const rows: unknown[][] = [];
      await runProgram(
        { open: BetterSqlite3, emptyFile: join(this.folder, 'empty') },
        made.program,
        { safeIntegers: true, partial: false },
        {
          opened: () => undefined,
          failed: () => undefined,
          rows: (batch) => Promise.resolve(rows.push(...batch) > 0),
          isCancelled: false,
        },
      );
      actual = { rows: rows.map(encode) };
    } catch (error) {
      if (error instanceof HAError) {
        if (error.code !== 'HA_CROSS_DATABASE_REFUSED') throw error;
        return { kind: 'refused', how: error.message, plan };
      }
      actual = { error: error instanceof Error ? error.message : String(error) };
    }
    const unordered = query.orderBy.length === 0;
    const verdict = (kind: Verdict['kind'], how = ''): Verdict => ({ kind, how, plan });
    if (expected.some((answer) => 'error' in answer)) {
      if (expected.every((answer) => 'error' in answer)) {
        if ('error' in actual) return verdict('invalid', actual.error);
        return verdict('wrong', `an answer instead of the error ${(first as { error: string }).error}`);
      }
      return verdict('indeterminate');
    }
    if ('error' in actual) return verdict('wrong', `the error ${actual.error}`);
    const answers = expected as { readonly rows: readonly string[] }[];
    const sequences = new Set(answers.map(({ rows }) => rows.join('\n')));
    const bags = new Set(answers.map(({ rows }) => [...rows].sort().join('\n')));
    const ownBag = [...actual.rows].sort().join('\n');
    if (bags.size === 1) {
      // Orders that agree by chance decide nothing.
      if (!bags.has(ownBag) && unordered && query.limit !== '' && actual.rows.length === answers[0]?.rows.length) {
        return this.withinUnlimited(query, singles, actual.rows, verdict);
      }
      if (!bags.has(ownBag))
        return verdict('wrong', `rows\n${show(actual.rows)}\ninstead of\n${show(answers[0]?.rows ?? [])}`);
      if (!unordered && sequences.size === 1 && !sequences.has(actual.rows.join('\n'))) {
        return verdict('wrong', `the order\n${show(actual.rows)}\ninstead of\n${show(answers[0]?.rows ?? [])}`);
      }
      return verdict('exact');
    }
    const counts = new Set(answers.map(({ rows }) => rows.length));
    if (counts.size === 1 && !counts.has(actual.rows.length)) {
      return verdict('wrong', `${actual.rows.length} rows instead of ${[...counts].join()}`);
    }
    return this.withinUnlimited(query, singles, actual.rows, verdict);
  }

  /** Which rows LIMIT takes may be left open; that they are rows of the answer is not. */
  private withinUnlimited(
    query: RandomSelect,
    singles: readonly BetterSqlite3.Database[],
    rows: readonly string[],
    verdict: (kind: Verdict['kind'], how?: string) => Verdict,
  ): Verdict {
    if (query.limit === '') return verdict('indeterminate');
    const sql = selectText(query, false);
    const args = argumentsOf(sql, query.args);
    const all = singles
      .map((db) => answerOf(db, sql, args))
      .map((answer) => ('rows' in answer ? [...answer.rows].sort() : []));
    if (new Set(all.map((sorted) => sorted.join('\n'))).size !== 1) return verdict('indeterminate');
    const left = [...(all[0] ?? [])];
    for (const row of rows) {
      const at = left.indexOf(row);
      if (at < 0) return verdict('wrong', `a row that is none of the answer: ${row}`);
      left.splice(at, 1);
    }
    return verdict('exact');
  }
}

function insertAll(db: BetterSqlite3.Database, world: World, tables: readonly (readonly Row[])[]): void {
  world.tables.forEach((table, t) => {
    const [first] = tables[t] ?? [];
    if (first === undefined) return;
    const insert = db.prepare(`INSERT INTO ${table.name} VALUES (${first.map(() => '?').join(', ')})`);
    for (const row of tables[t] ?? []) insert.run(...row);
  });
}

/** Only those that the text has: shrinking leaves clauses out. */
function argumentsOf(sql: string, args: RandomSelect['args']): unknown[] {
  const used = [...sql.matchAll(/\?(\d+)/g)].map((match) => Number(match[1]));
  return used.length === 0 ? [] : [Object.fromEntries(used.map((n) => [String(n), args[n - 1]]))];
}

function answerOf(db: BetterSqlite3.Database, sql: string, args: readonly unknown[]): Answer {
  try {
    return {
      rows: (
        db
          .prepare(sql)
          .raw(true)
          .safeIntegers(true)
          .all(...args) as unknown[][]
      ).map(encode),
    };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

function encode(row: readonly unknown[]): string {
  return row
    .map((value) => {
      if (typeof value === 'number') return `r${Object.is(value, -0) ? 0 : value}`;
      if (typeof value === 'bigint') return `i${value}`;
      if (ArrayBuffer.isView(value)) return `b${Buffer.from(value as Uint8Array).toString('hex')}`;
      return JSON.stringify(value);
    })
    .join(' | ');
}

function show(rows: readonly string[]): string {
  return rows.slice(0, 12).join('\n') || '(none)';
}

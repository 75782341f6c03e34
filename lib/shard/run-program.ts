import type BetterSqlite3 from 'better-sqlite3';
import type { MergeProgram, Program, ProgramSource, StreamProgram } from './program.js';

/** What a program tells while it runs. */
export interface ProgramOutput {
  /** A database is being read, in one transaction from here on. */
  opened(index: number): void;
  /** A database could not be read, and is left out. */
  failed(index: number, error: unknown): void;
  /** Rows as arrays; resolves when more are wanted, with false where none are. */
  rows(batch: unknown[][]): Promise<boolean>;
  /** Whether nobody wants the answer any more. */
  readonly isCancelled: boolean;
}

/** How a program runs. */
export interface ProgramOptions {
  /** Integers as bigint. */
  readonly safeIntegers: boolean;
  /** Leaves out databases that cannot be read. */
  readonly partial: boolean;
}

/** What running a program is made with. */
export interface ProgramTools {
  readonly open: new (path: string, options?: BetterSqlite3.Options) => BetterSqlite3.Database;
  /** A file of no bytes. */
  readonly emptyFile: string;
}

/**
 * Runs a program. It is self-contained, for its text runs in other threads too.
 *
 * An error has `source`, the index of a database, where reading that one failed; and `isStale` where its schema is not the one
 * of the plan.
 */
export async function runProgram(
  tools: ProgramTools,
  program: Program,
  options: ProgramOptions,
  output: ProgramOutput,
): Promise<void> {
  /** Rows that are handed over at once, from few to many: the first are there soon, and many cost little. */
  const FIRST_BATCH = 4;
  const LARGEST_BATCH = 1024;
  const LONGEST_MS = 5;
  /** Errors of the statement, whatever the database; all others are of the database. */
  const OF_STATEMENT = [
    'SQLITE_ERROR',
    'SQLITE_MISMATCH',
    'SQLITE_TOOBIG',
    'SQLITE_RANGE',
    'SQLITE_NOMEM',
    'SQLITE_FULL',
  ];
  let batch: unknown[][] = [];
  let size = FIRST_BATCH;
  let flushedAt = performance.now();

  async function flush(): Promise<boolean> {
    const rows = batch;
    batch = [];
    size = Math.min(LARGEST_BATCH, size * 2);
    const wanted = rows.length === 0 ? !output.isCancelled : await output.rows(rows);
    flushedAt = performance.now();
    return wanted;
  }

  /** Gives false where no more rows are wanted. */
  function add(row: unknown[]): Promise<boolean> | true {
    batch.push(row);
    return batch.length >= size || performance.now() - flushedAt > LONGEST_MS ? flush() : true;
  }

  function isOfDatabase(error: unknown): boolean {
    if (typeof error !== 'object' || error === null) return false;
    const { code, isStale } = error as { code?: unknown; isStale?: boolean };
    if (isStale === true) return true;
    return typeof code !== 'string' || !code.startsWith('SQLITE_') || !OF_STATEMENT.includes(code);
  }

  /** Marks an error with the database that it is of. */
  function blame(error: unknown, index: number): unknown {
    if (isOfDatabase(error)) (error as { source?: number }).source = index;
    return error;
  }

  function checkVersion(found: unknown, source: ProgramSource): void {
    if (found === source.schemaVersion) return;
    throw Object.assign(new Error('its schema has changed'), { isStale: true });
  }

  async function stream({ query, sources, pragmas, values, skip, take }: StreamProgram): Promise<void> {
    let toSkip = skip;
    let left = take;
    for (let index = 0; index < sources.length && left > 0 && !output.isCancelled; index++) {
      const source = sources[index] as ProgramSource;
      let db: BetterSqlite3.Database | undefined;
      try {
        db = new tools.open(source.path, { readonly: true, fileMustExist: true });
        for (const pragma of pragmas) db.pragma(pragma);
        db.exec('BEGIN');
        checkVersion(db.pragma('schema_version', { simple: true }), source);
        output.opened(index);
        const statement = db.prepare(query).raw(true).safeIntegers(options.safeIntegers);
        for (const row of statement.iterate({ ...values, _ha_db: source.name })) {
          if (toSkip > 0) {
            toSkip--;
            continue;
          }
          const wanted = add(row as unknown[]);
          if (--left <= 0 || (wanted !== true && !(await wanted))) break;
        }
      } catch (error) {
        throw blame(error, index);
      } finally {
        db?.close();
      }
    }
    await flush();
  }

  async function merge(merging: MergeProgram): Promise<void> {
    // Nothing can be written but temporary tables, which stay in memory as long as they are small; databases that are attached
    // are read-only as this one is, and are not made where they are missing.
    const db = new tools.open(tools.emptyFile, { readonly: true, fileMustExist: true });
    try {
      db.exec(`PRAGMA encoding = '${merging.encoding}'`);
      db.pragma(`temp.journal_mode = ${options.partial ? 'MEMORY' : 'OFF'}`);
      for (const pragma of merging.pragmas) db.pragma(pragma);
      for (const sql of merging.setup) db.exec(sql);
      if (!fill(db, merging)) return await merge(merging.otherwise as MergeProgram);
      if (output.isCancelled) return;
      const statement = db.prepare(merging.query).raw(true).safeIntegers(options.safeIntegers);
      for (const row of statement.iterate(merging.values)) {
        const wanted = add(row as unknown[]);
        if (wanted !== true && !(await wanted)) return;
      }
      await flush();
    } finally {
      db.close();
    }
  }

  /** Brings the rows together; false where that cannot be exact. */
  function fill(db: BetterSqlite3.Database, merging: MergeProgram): boolean {
    try {
      let failures = 0;
      for (let index = 0; index < merging.sources.length && merging.copies.length > 0; index++) {
        if (output.isCancelled) return true;
        try {
          copy(db, merging, index);
        } catch (error) {
          const isStale = (error as { isStale?: boolean }).isStale === true;
          const isLeftOut = options.partial && isOfDatabase(error) && !isStale;
          if (!isLeftOut || ++failures === merging.sources.length) throw blame(error, index);
          output.failed(index, error);
        }
      }
      return merging.inexact === undefined || db.prepare(merging.inexact).get() === undefined;
    } catch (error) {
      if (merging.otherwise !== undefined && /integer overflow/.test(String(error))) return false;
      throw error;
    }
  }

  function copy(db: BetterSqlite3.Database, merging: MergeProgram, index: number): void {
    const source = merging.sources[index] as ProgramSource;
    db.prepare('ATTACH ? AS _ha_src').run(source.path);
    try {
      db.exec('BEGIN');
      try {
        checkVersion(db.pragma('_ha_src.schema_version', { simple: true }), source);
        output.opened(index);
        for (const sql of merging.copies) db.prepare(sql).run({ ...merging.values, _ha_db: source.name });
        db.exec('COMMIT');
      } finally {
        if (db.inTransaction) db.exec('ROLLBACK');
      }
    } finally {
      db.exec('DETACH _ha_src');
    }
  }

  await (program.kind === 'stream' ? stream(program) : merge(program));
}

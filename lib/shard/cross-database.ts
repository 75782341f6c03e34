import { HAError } from '../common/ha-error.js';
import { classify } from '../sql/classify.js';
import { refuseNul } from '../sql/nul.js';
import type { Connections } from '../sqlite/connections.js';
import type { RowShape } from '../sqlite/statement-cache.js';
import type { CrossPort, CrossQuery, HAAcross, HAAcrossOptions, HAFailedDatabase } from '../write/cross-port.js';
import { EXACT_SHAPE, PLAIN_SHAPE, bindArguments } from '../write/executor.js';
import type { HAParameters } from '../write/executor.js';
import { chooseDatabases, readPattern } from './choose-databases.js';
import { databasesHint } from './databases-hint.js';
import type { NamedDatabase } from './choose-databases.js';
import { databaseSchema } from './database-schema.js';
import { planCross } from './plan.js';
import type { Plan, PlanSource } from './plan.js';
import { failedDatabase, refused } from './refused.js';
import { ProgramFailure } from './query-threads.js';
import type { QueryThreads } from './query-threads.js';

/** A database of the application that may be asked. */
export interface CrossTarget extends NamedDatabase {
  /** Counts how often it was opened: a file that was opened for a plan may have been replaced since. */
  readonly launches: number;
  /** Its connections; opens it where it is closed. */
  open(): Promise<Connections>;
}

/** What answers across databases need. */
export interface CrossSettings {
  /** Whether hints are honoured. */
  readonly allowed: boolean;
  /** The databases of SELECTs without a hint; undefined: this one alone. */
  readonly router: RegExp | undefined;
  /** Run on every connection. */
  readonly pragmas: readonly string[];
  /** The databases of the application, this one too. */
  readonly targets: () => readonly CrossTarget[];
  readonly threads: QueryThreads;
}

interface Question {
  readonly sql: string;
  readonly targets: readonly CrossTarget[];
  readonly params: HAParameters | undefined;
  readonly safeIntegers: boolean;
  readonly partial: boolean;
}

interface Told {
  columns: readonly string[];
  failed: HAFailedDatabase[];
}

/** A plan may be outdated by the time that it runs; so often it is made again. */
const MOST_PLANS = 4;

/** Answers SELECTs of one database from several: see {@link planCross} for what an answer is. */
export class CrossDatabase implements CrossPort {
  constructor(private readonly settings: CrossSettings) {}

  get routesAll(): boolean {
    return this.settings.router !== undefined;
  }

  route(sql: string): CrossQuery | undefined {
    const pattern = this.patternOf(sql);
    if (pattern === undefined) return undefined;
    const targets = chooseDatabases(this.settings.targets(), pattern);
    return {
      iterate: (params, shape) => this.iterate(sql, targets, params, shape),
      exact: (params) =>
        this.collect({ sql, targets, params, safeIntegers: true, partial: false }, EXACT_SHAPE) as Promise<
          HAAcross<readonly unknown[]>
        >,
    };
  }

  async across(sql: string, params: HAParameters | undefined, options: HAAcrossOptions): Promise<HAAcross> {
    refuseNul(sql);
    if (classify(sql).kind !== 'select') throw refused('it is no SELECT.');
    const { databases, partial = false, safeIntegers = false } = options;
    if (databases !== undefined) this.refuseUnlessAllowed(String(databases));
    const pattern = typeof databases === 'string' ? readPattern(databases) : (databases ?? this.patternOf(sql));
    if (pattern === undefined) {
      throw refused('it does not say which ones. Write the hint /*+ db=… */, or set the option databases.');
    }
    const targets = chooseDatabases(this.settings.targets(), pattern);
    return this.collect({ sql, targets, params, safeIntegers, partial }, { ...PLAIN_SHAPE, safeIntegers });
  }

  private patternOf(sql: string): RegExp | undefined {
    const hint = databasesHint(sql);
    if (hint === undefined) return this.settings.router;
    this.refuseUnlessAllowed(hint);
    return readPattern(hint);
  }

  private refuseUnlessAllowed(asked: string): void {
    if (this.settings.allowed) return;
    throw refused(`this database does not allow it (db=${asked}). Set its option allowCrossDatabase.`);
  }

  private async *iterate(
    sql: string,
    targets: readonly CrossTarget[],
    params: HAParameters | undefined,
    shape: RowShape,
  ): AsyncGenerator<unknown> {
    const told: Told = { columns: [], failed: [] };
    const question = { sql, targets, params, safeIntegers: shape.safeIntegers, partial: false };
    for await (const batch of this.batches(question, told)) {
      const shaped = shaper(shape, told.columns);
      for (const row of batch) yield shaped(row);
    }
  }

  private async collect(question: Question, shape: RowShape): Promise<HAAcross> {
    const told: Told = { columns: [], failed: [] };
    const rows: unknown[] = [];
    for await (const batch of this.batches(question, told)) {
      const shaped = shaper(shape, told.columns);
      for (const row of batch) rows.push(shaped(row));
    }
    const { columns, failed } = told;
    return { rows, columns, databases: question.targets.map(({ connection }) => connection), failed };
  }

  private async *batches(question: Question, told: Told): AsyncGenerator<unknown[][]> {
    let delivered = false;
    for (let attempt = 1; ; attempt++) {
      told.failed = [];
      try {
        for await (const batch of this.attempt(question, told)) {
          delivered = true;
          yield batch;
        }
        return;
      } catch (error) {
        if (!(error instanceof Outdated)) throw error;
        if (delivered || attempt >= MOST_PLANS) throw error.failure();
      }
    }
  }

  private async *attempt(question: Question, told: Told): AsyncGenerator<unknown[][]> {
    const { targets, launches, plan } = await this.plan(question, told);
    told.columns = plan.columns;
    const { safeIntegers, partial } = question;
    const nameOf = (index: number): string => targets[index]?.connection ?? '';
    try {
      yield* this.settings.threads.run(
        plan.program,
        { safeIntegers, partial },
        {
          opened: (index) => {
            if (targets[index]?.launches !== launches[index]) throw new Outdated(nameOf(index));
          },
          failed: (index, error) => told.failed.push({ connection: nameOf(index), error }),
        },
      );
    } catch (error) {
      if (!(error instanceof ProgramFailure)) throw error;
      if (error.isStale) throw new Outdated(nameOf(error.source));
      throw failedDatabase(nameOf(error.source), error.cause);
    }
  }

  /** Opens the databases, and plans over what they are now. */
  private async plan(
    { sql, targets, params, partial }: Question,
    told: Told,
  ): Promise<{ readonly targets: readonly CrossTarget[]; readonly launches: readonly number[]; readonly plan: Plan }> {
    const opened: CrossTarget[] = [];
    const launches: number[] = [];
    const sources: PlanSource[] = [];
    for (const target of targets) {
      try {
        const { reader, path } = await target.open();
        sources.push({ name: target.connection, path, schema: databaseSchema(reader) });
        launches.push(target.launches);
        opened.push(target);
      } catch (error) {
        const failure = failedDatabase(target.connection, error);
        if (!partial) throw failure;
        told.failed.push({ connection: target.connection, error: failure });
      }
    }
    if (opened.length === 0) throw (told.failed[0] as HAFailedDatabase).error;
    const { pragmas } = this.settings;
    const plan = planCross({
      sql,
      args: bindArguments(params, sql),
      sources,
      pragmas,
      now: Date.now(),
      whole: partial,
    });
    return { targets: opened, launches, plan };
  }
}

/** The plan was made for a file or a schema that is another now. */
class Outdated extends Error {
  constructor(private readonly connection: string) {
    super(connection);
  }

  failure(): HAError {
    return new HAError(
      'HA_UNAVAILABLE',
      `The database '${this.connection}' was opened anew, or changed its schema, while it was read. Run the statement again.`,
      { retryable: true, details: { connection: this.connection } },
    );
  }
}

function shaper(shape: RowShape, columns: readonly string[]): (row: unknown[]) => unknown {
  if (shape.pluck) return (row) => withBuffers(row)[0];
  if (shape.raw) return withBuffers;
  return (row) => {
    const values = withBuffers(row);
    const object: Record<string, unknown> = {};
    for (const [i, name] of columns.entries()) {
      // As better-sqlite3 does, whose rows are plain objects too.
      if (name === '__proto__')
        Object.defineProperty(object, name, { value: values[i], enumerable: true, writable: true, configurable: true });
      else object[name] = values[i];
    }
    return object;
  };
}

/** Buffers come out of a thread as plain arrays of bytes. */
function withBuffers(row: unknown[]): unknown[] {
  for (let i = 0; i < row.length; i++) {
    const value = row[i];
    if (value instanceof Uint8Array) row[i] = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
  return row;
}

import type { HAInterceptor } from '../changeset/interceptor.js';
import { Problems } from '../config/problems.js';

/** An interceptor with its name, and its tables in lower case. */
export interface NamedInterceptor {
  readonly name: string;
  readonly interceptor: HAInterceptor;
  /** Undefined: all. */
  readonly tables: ReadonlySet<string> | undefined;
}

/** What interceptors may know of the node that they run on. */
export interface InterceptingNode {
  readonly node: string;
  readonly replicationID: string;
}

/** The interceptors of a database, in order. */
export class Interceptors {
  readonly all: readonly NamedInterceptor[];

  /** @throws HAError `HA_OPTIONS_INVALID` for those that are none. */
  constructor(
    interceptors: readonly HAInterceptor[],
    readonly facts: InterceptingNode,
  ) {
    check(interceptors);
    this.all = interceptors.map(named);
  }

  get names(): readonly string[] {
    return this.all.map(({ name }) => name);
  }

  /**
   * True where a transaction is to be shown to one of them. `tables`: of its rows, names in lower case. `hasStatements`: it holds
   * statements.
   */
  concern(tables: ReadonlySet<string>, hasStatements: boolean): boolean {
    return this.all.some((one) => isConcerned(one, tables, hasStatements));
  }
}

const METHODS = ['beforeApply', 'beforeRow', 'afterApply'] as const;

/** What is wrong with an interceptor. Without types there may be anything. */
export function interceptorProblems(given: unknown): string[] {
  if (typeof given !== 'object' || given === null) return ['it is no object'];
  const { name, tables, ...others } = Object.fromEntries(
    ['name', 'tables', ...METHODS].map((key) => [key, (given as Record<string, unknown>)[key]]),
  );
  const problems: string[] = [];
  const methods = METHODS.filter((method) => others[method] !== undefined);
  if (methods.length === 0) problems.push('it has none of beforeApply, beforeRow and afterApply');
  for (const method of methods) {
    if (typeof others[method] !== 'function') problems.push(`${method} is no function`);
  }
  if (name !== undefined && typeof name !== 'string') problems.push('name is no text');
  const isList = Array.isArray(tables) && tables.every((table) => typeof table === 'string');
  if (tables !== undefined && !isList) problems.push('tables is no list of texts; leave it out for all tables');
  return problems;
}

function check(interceptors: readonly HAInterceptor[]): void {
  const problems = new Problems();
  interceptors.forEach((interceptor, index) => {
    const given = interceptor as object | null | undefined;
    for (const problem of interceptorProblems(given)) {
      problems.add(`interceptors[${index}] (${given?.constructor?.name ?? ''}): ${problem}`);
    }
  });
  problems.throwIfAny();
}

/** True where one of them is to be shown a transaction with rows of these tables. */
export function isConcerned(
  { tables: wanted }: NamedInterceptor,
  tables: ReadonlySet<string>,
  hasStatements: boolean,
): boolean {
  if (wanted === undefined) return tables.size > 0 || hasStatements;
  for (const table of tables) if (wanted.has(table)) return true;
  return false;
}

function named(interceptor: HAInterceptor, index: number): NamedInterceptor {
  const { tables, name = interceptor.constructor?.name ?? '' } = interceptor;
  return {
    name: name === '' || name === 'Object' ? `interceptors[${index}]` : name,
    interceptor,
    tables: tables === undefined ? undefined : new Set(tables.map((table) => table.toLowerCase())),
  };
}

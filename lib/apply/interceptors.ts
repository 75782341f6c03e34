import type { HAInterceptor } from '../changeset/interceptor.js';
import { HAError } from '../common/ha-error.js';

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

  /** @throws HAError `HA_OPTIONS_INVALID` where one of them does nothing. */
  constructor(
    interceptors: readonly HAInterceptor[],
    readonly facts: InterceptingNode,
  ) {
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
    return this.all.some((one) => isOneOf(one, tables, hasStatements));
  }

  /** Those that a transaction is to be shown to. */
  of(tables: ReadonlySet<string>, hasStatements: boolean): readonly NamedInterceptor[] {
    return this.all.filter((one) => isOneOf(one, tables, hasStatements));
  }
}

const METHODS = ['beforeApply', 'beforeRow', 'afterApply'] as const;

function isOneOf({ tables: wanted }: NamedInterceptor, tables: ReadonlySet<string>, hasStatements: boolean): boolean {
  if (wanted === undefined) return tables.size > 0 || hasStatements;
  for (const table of tables) if (wanted.has(table)) return true;
  return false;
}

function named(interceptor: HAInterceptor, index: number): NamedInterceptor {
  // Without types there may be anything.
  const given = interceptor as Partial<Record<string, unknown>> | null | undefined;
  const { tables, name = given?.constructor?.name ?? '' } = (given ?? {}) as HAInterceptor;
  if (!METHODS.some((method) => typeof given?.[method] === 'function')) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `interceptors[${index}] (${name}) has none of beforeApply, beforeRow and afterApply. Give classes, instances such as MergeCounter('accounts', 'balance'), or { useFactory, inject }.`,
      { details: { index } },
    );
  }
  return {
    name: name === '' || name === 'Object' ? `interceptors[${index}]` : name,
    interceptor,
    tables: tables === undefined ? undefined : new Set(tables.map((table) => table.toLowerCase())),
  };
}

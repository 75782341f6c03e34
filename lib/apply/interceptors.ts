import { isRowChange } from '../changeset/changeset.js';
import type { ChangeSet } from '../changeset/changeset.js';
import type { HAInterceptor } from '../changeset/interceptor.js';
import { isIntercepted } from '../changeset/interceptor.js';
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

  /** True where a transaction that changes these tables, names in lower case, is to be shown to one of them. */
  concernTables(tables: ReadonlySet<string>): boolean {
    return this.all.some((one) => isOneOf(one, tables));
  }

  /** Those that a transaction is to be shown to. `tables`: names in lower case, undefined where it holds statements. */
  of(changeSet: ChangeSet, tables: ReadonlySet<string> | undefined): readonly NamedInterceptor[] {
    if (!changeSet.changes.some(isIntercepted)) return [];
    if (tables === undefined && changeSet.changes.some((change) => !isRowChange(change))) return this.all;
    return this.all.filter((one) => tables === undefined || isOneOf(one, tables));
  }
}

function isOneOf({ tables: wanted }: NamedInterceptor, tables: ReadonlySet<string>): boolean {
  if (wanted === undefined) return true;
  for (const table of tables) if (wanted.has(table)) return true;
  return false;
}

function named(interceptor: HAInterceptor, index: number): NamedInterceptor {
  const { tables, name = interceptor?.constructor?.name } = interceptor ?? {};
  const methods = [interceptor?.beforeApply, interceptor?.beforeRow, interceptor?.afterApply];
  if (!methods.some((method) => typeof method === 'function')) {
    throw new HAError(
      'HA_OPTIONS_INVALID',
      `interceptors[${index}] (${String(name)}) has none of beforeApply, beforeRow and afterApply. Give classes, instances such as MergeCounter('accounts', 'balance'), or { useFactory, inject }.`,
      { details: { index } },
    );
  }
  return {
    name: name === undefined || name === '' || name === 'Object' ? `interceptors[${index}]` : name,
    interceptor,
    tables: tables === undefined ? undefined : new Set(tables.map((table) => table.toLowerCase())),
  };
}

import { DEFAULT_CONNECTION } from './tokens.js';

/** What a method listens to. */
export interface ChangeListener {
  readonly connection: string;
  /** Lower case; undefined for all tables. */
  readonly table: string | undefined;
  /** Undefined for all operations. */
  readonly operations: readonly string[] | undefined;
}

/** Where the listeners of a method are kept: a list, for a method may listen to several tables. */
export const CHANGE_LISTENERS = Symbol('nestjs-ha:change-listeners');

type Operation = 'insert' | 'update' | 'delete';

/**
 * Calls a method of a provider for every row that the stream changes on this node, in the stream's order, own writes
 * included. The method gets an `HAChange`: table, operation, the row before and after, sequence and node.
 *
 * It is called from the moment the application has started, at most once for each change, and behind the commit: for
 * caches, server-sent events and the like. What has to happen exactly once in the cluster, or outside of this process,
 * does not belong here. A promise that it returns is awaited before its next call. An error is logged, and stops nothing.
 *
 * @param table Name of the table, `*` for all.
 * @param operations One or several of `insert`, `update`, `delete`. Default all.
 * @example
 * @OnHAChange('orders', 'insert')
 * announce(change: HAChange) {}
 */
export function OnHAChange(
  table: string,
  operations?: Operation | readonly Operation[],
  { connection = DEFAULT_CONNECTION }: { connection?: string } = {},
): MethodDecorator {
  const listener: ChangeListener = {
    connection,
    table: table === '*' ? undefined : table.toLowerCase(),
    operations: typeof operations === 'string' ? [operations] : operations,
  };
  return (_target, _key, descriptor) => {
    const method = descriptor.value as object;
    const before = (Reflect.getMetadata(CHANGE_LISTENERS, method) as ChangeListener[] | undefined) ?? [];
    Reflect.defineMetadata(CHANGE_LISTENERS, [...before, listener], method);
  };
}

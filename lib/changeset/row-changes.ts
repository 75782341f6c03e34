import { InvalidText, isRowChange } from './changeset.js';
import type { Change, ChangeSet, SqlValue } from './changeset.js';

/** A value of a row, as reads return it: INTEGER is a number where that is exact, else a bigint; REAL a number; BLOB a Buffer. */
export type HAChangeValue = null | number | bigint | string | Buffer;

/** A row by the names of its columns, generated columns left out. */
export type HAChangeRow = Readonly<Record<string, HAChangeValue>>;

/** What happened to a row, as `@OnHAChange` names it. */
export type HAChangeOperation = 'insert' | 'update' | 'delete';

/** A row that a transaction of the stream changed on this node, as the node that wrote it saw it. */
export interface HAChange {
  readonly table: string;
  readonly operation: HAChangeOperation;
  /** The row before; null for an insert. */
  readonly before: HAChangeRow | null;
  /** The row after; null for a delete. */
  readonly after: HAChangeRow | null;
  /** Stream sequence of the transaction. */
  readonly sequence: bigint;
  /** Name of the node that wrote it. */
  readonly node: string;
}

/** What `@OnHAChange` calls an operation. */
export const OPERATIONS = { INSERT: 'insert', UPDATE: 'update', DELETE: 'delete' } as const;

/** The rows that a changeset changed, in its order; statements are left out, for they name no rows. */
export function rowChanges(changeSet: ChangeSet, sequence: number, takes: (change: Change) => boolean): HAChange[] {
  return changeSet.changes.filter(takes).flatMap((change) => {
    if (!isRowChange(change)) return [];
    const { operation, table, columns, oldValues, newValues } = change;
    return [
      {
        table,
        operation: OPERATIONS[operation],
        before: namedRow(columns, oldValues),
        after: namedRow(columns, newValues),
        sequence: BigInt(sequence),
        node: changeSet.node,
      },
    ];
  });
}

/** A row by the names of its columns. */
export function namedRow(columns: readonly string[], values: readonly SqlValue[] | undefined): HAChangeRow | null {
  if (values === undefined) return null;
  return Object.fromEntries(columns.map((column, index) => [column, plain(values[index] ?? null)]));
}

function plain(value: SqlValue): HAChangeValue {
  if (value instanceof InvalidText) return value.bytes.toString('utf8');
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

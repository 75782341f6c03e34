import { isRowChange } from '../../lib/changeset/changeset.js';
import type { HAInterceptor } from '../../lib/changeset/interceptor.js';
import { withValues } from '../../lib/changeset/interceptor.js';
import { FirstWriteWins } from '../../lib/interceptors/first-write-wins.js';
import { IgnoreTables } from '../../lib/interceptors/ignore-tables.js';
import { LastWriteWinsByColumn } from '../../lib/interceptors/last-write-wins-by-column.js';
import { MergeCounter } from '../../lib/interceptors/merge-counter.js';

/** Reads another table than it decides on, and leaves out or replaces by that. Marks and statements pass. */
function byOtherTable(): HAInterceptor {
  return {
    name: 'byOtherTable',
    beforeApply: ({ changes }, context) => {
      const there = context.get(`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 't0'`) !== undefined;
      if (!there) return 'pass';
      const count = Number(context.get<{ n: bigint }>('SELECT count(*) AS n FROM t0')?.n ?? 0n);
      const rows = changes.filter((change) => isRowChange(change) && change.table !== 'marks');
      const last = rows.at(-1);
      if (count % 3 === 1) return changes.filter((change) => change !== last);
      if (count % 3 === 0 || last === undefined || !isRowChange(last) || !last.columns.includes('w')) return 'pass';
      if (last.operation === 'DELETE') return 'pass';
      return changes.map((change) => (change === last ? withValues(last, { w: BigInt(count % 5) }) : change));
    },
  };
}

/** Tables that only interceptors write to. */
export const COPIES = [
  'CREATE TABLE copies(id INTEGER PRIMARY KEY, v)',
  'CREATE TABLE seconds(id INTEGER PRIMARY KEY, v)',
];

/** Adds a row to one table for each row of another; where that is not there yet, nothing. */
function copying(from: string, to: string): HAInterceptor {
  return {
    name: `copying(${from}, ${to})`,
    tables: [from],
    beforeApply: ({ changes }, context) => {
      if (context.get('SELECT 1 FROM sqlite_schema WHERE name = ?', [to]) === undefined) return 'pass';
      const last = context.get<{ id: bigint }>(`SELECT ifnull(max(id), 0) AS id FROM ${to}`)?.id ?? 0n;
      const copied = changes.filter((change) => isRowChange(change) && change.table.toLowerCase() === from);
      const made = copied.map((change, index) => ({
        operation: 'INSERT' as const,
        database: 'main',
        table: to,
        columns: ['id', 'v'],
        pkColumns: ['id'],
        newValues: [last + BigInt(index) + 1n, change.operation],
      }));
      return [...changes, ...made];
    },
  };
}

/** Leaves out every third row of a table. */
function thinning(table: string): HAInterceptor {
  return {
    name: `thinning(${table})`,
    tables: [table],
    beforeRow: ({ newValues }) => (((newValues?.[0] as bigint | undefined) ?? 0n) % 3n === 0n ? 'skip' : 'pass'),
  };
}

const merge = (): HAInterceptor[] => ['t0', 't1', 't2'].map((table) => MergeCounter(table, 'w'));

/** Lists of interceptors by name, as histories have them. */
export const INTERCEPTORS: Readonly<Record<string, () => readonly HAInterceptor[]>> = {
  none: () => [],
  lastWrite: () => [LastWriteWinsByColumn('w')],
  firstWrite: () => [FirstWriteWins()],
  merge,
  ignore: () => [IgnoreTables('T0', 'audit')],
  others: () => [byOtherTable()],
  chained: () => [copying('t0', 'copies'), thinning('copies'), copying('copies', 'seconds'), IgnoreTables('t1')],
  mixed: () => [
    IgnoreTables('t2'),
    FirstWriteWins({ tables: ['t1'] }),
    LastWriteWinsByColumn('v', { tables: ['t0'] }),
    ...merge(),
    byOtherTable(),
  ],
};

/** The same, and one that lets everybody wait before it lets everything pass: what nodes do meanwhile must not matter. */
export function slowly(interceptors: readonly HAInterceptor[]): readonly HAInterceptor[] {
  if (interceptors.length === 0) return interceptors;
  const wait = async (): Promise<void> => {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  return [{ name: 'slowly', beforeApply: wait, afterApply: wait }, ...interceptors];
}

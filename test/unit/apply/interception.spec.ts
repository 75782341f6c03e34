import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { Applier } from '../../../lib/apply/applier.js';
import { Interceptors } from '../../../lib/apply/interceptors.js';
import type { Interception, Step } from '../../../lib/apply/interception.js';
import type { ChangeSet, RowChange, SqlValue } from '../../../lib/changeset/changeset.js';
import { InvalidText, isRowChange } from '../../../lib/changeset/changeset.js';
import { newValue, oldValue, withValues } from '../../../lib/changeset/interceptor.js';
import type { HAInterceptor, HAInterceptorContext, HARowContext } from '../../../lib/changeset/interceptor.js';
import { IgnoreTables } from '../../../lib/interceptors/ignore-tables.js';
import { createControlTables } from '../../../lib/sqlite/control-tables.js';

let db: Database;

beforeEach(() => {
  db = new BetterSqlite3(':memory:');
  createControlTables(db);
  db.exec(`CREATE TABLE t(Id INTEGER PRIMARY KEY, u UNIQUE, v COLLATE NOCASE) ;
    INSERT INTO t VALUES(1, 'one', 'a'), (2, 'two', 9007199254740993), (3, 'three', NULL)`);
});

afterEach(() => db.close());

const COLUMNS = ['Id', 'u', 'v'];

function update(before: readonly SqlValue[], after: readonly SqlValue[]): RowChange {
  const rowids = { oldRowid: before[0] as bigint, newRowid: after[0] as bigint };
  const place = { operation: 'UPDATE', database: 'main', table: 't', columns: COLUMNS, pkColumns: ['Id'] } as const;
  return { ...place, ...rowids, oldValues: before, newValues: after };
}

function messageOf(changes: ChangeSet['changes']): ChangeSet {
  return { node: 'writer', processId: 1n, filename: 'db', changes, sequences: [], epoch: 0n, timestampNs: 5n };
}

/** Applies changes as message 7, and awaits what it asks for. */
async function apply(interceptors: readonly HAInterceptor[], ...changes: ChangeSet['changes']) {
  const chain = new Interceptors(interceptors, { node: 'here', replicationID: 'db' });
  const applier = new Applier(db, 'pk', undefined, chain);
  db.exec('BEGIN');
  applier.prepare();
  const place = { sequence: 7, foreign: false };
  const steps: Generator<Step, Interception | undefined> = applier.apply(messageOf(changes), place, (_i, _c, why) => {
    throw new Error(why);
  });
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done === true) {
      db.exec('COMMIT');
      return step.value;
    }
    await step.value;
  }
}

/** What an interceptor finds in front of a change of a row. */
async function look<R>(change: RowChange, read: (context: HARowContext) => R): Promise<R> {
  const found: R[] = [];
  await apply([{ name: 'look', beforeRow: (_change, context) => void found.push(read(context)) }], change);
  return found[0] as R;
}

const textOf = (change: RowChange): string => newValue(change, 'V') as string;

it('asks in order, each about what those in front of it left', async () => {
  const seen: string[] = [];
  const add = (name: string, after: string): HAInterceptor => ({
    name,
    beforeApply: ({ changes, node, timestampNs }, { sequence, own, node: here, replicationID, provisional }) => {
      const [change] = changes as readonly [RowChange];
      seen.push(`${name} ${textOf(change)}`);
      expect([node, timestampNs, sequence, own, here, replicationID, provisional]).toEqual([
        'writer',
        5n,
        7n,
        false,
        'here',
        'db',
        false,
      ]);
      return [withValues(change, { V: `${textOf(change)}${after}` })];
    },
    beforeRow: (change) => void seen.push(`${name} row ${textOf(change)}`),
    afterApply: ({ changes }) => void seen.push(`${name} after ${textOf(changes[0] as RowChange)}`),
  });
  const result = await apply([add('x', '1'), add('y', '2')], update([1n, 'one', 'a'], [1n, 'one', 'b']));
  expect(seen).toEqual(['x b', 'y b1', 'x row b12', 'y row b12', 'x after b12', 'y after b12']);
  expect(result?.names).toEqual(['x', 'y']);
  expect(db.prepare('SELECT v FROM t WHERE id = 1').pluck().get()).toBe('b12');
});

it('is not asked about other tables, nor about rows of a transaction that are not of its tables', async () => {
  db.exec('CREATE TABLE other(x INTEGER PRIMARY KEY)');
  const seen: string[] = [];
  const one: HAInterceptor = { name: 'one', tables: ['T'], beforeRow: ({ table }) => void seen.push(table) };
  const insert = { operation: 'INSERT', database: 'main', table: 'other', columns: ['x'], pkColumns: ['x'] } as const;
  expect(await apply([one], { ...insert, newRowid: 1n, newValues: [1n] })).toBeUndefined();
  const both = [{ ...insert, newRowid: 2n, newValues: [2n] }, update([1n, 'one', 'a'], [1n, 'one', 'b'])];
  expect(await apply([one], ...both)).toMatchObject({ names: [], written: 2 });
  expect(seen).toEqual(['t']);
});

describe('rows that an interceptor adds to another table', () => {
  const log = (x: bigint): RowChange => ({
    operation: 'INSERT',
    database: 'main',
    table: 'other',
    columns: ['x'],
    pkColumns: ['x'],
    newValues: [x],
  });
  const adding: HAInterceptor = {
    name: 'adding',
    tables: ['t'],
    beforeApply: ({ changes }) => [...changes, log(1n), log(2n)],
  };
  const rows = (): unknown[] => db.prepare('SELECT x FROM other ORDER BY x').pluck().all();
  const change = update([1n, 'one', 'a'], [1n, 'one', 'b']);

  beforeEach(() => db.exec('CREATE TABLE other(x INTEGER PRIMARY KEY)'));

  it('are shown to those behind it that care about that table, also where they did not before', async () => {
    const seen: unknown[] = [];
    const behind: HAInterceptor = {
      name: 'behind',
      tables: ['OTHER'],
      beforeApply: ({ changes }) => {
        seen.push(changes.map((each) => (isRowChange(each) ? each.table : each.command)));
        return changes.slice(0, -1);
      },
      beforeRow: ({ newValues }) => void seen.push(newValues),
      afterApply: ({ changes }) => void seen.push(changes.length),
    };
    const result = await apply([adding, behind], change);
    expect(seen).toEqual([['t', 'other', 'other'], [1n], 2]);
    expect(rows()).toEqual([1]);
    expect(result?.names).toEqual(['adding', 'behind']);
  });

  it('are not shown as a whole to those in front of it, but row by row', async () => {
    const front: HAInterceptor = {
      tables: ['other'],
      beforeApply: () => {
        throw new Error('not of its tables yet');
      },
      beforeRow: () => 'skip',
    };
    await apply([front, adding], change);
    expect(rows()).toEqual([]);
  });

  it('are left out where tables are ignored, behind it or in front of it', async () => {
    await apply([adding, IgnoreTables('other')], change);
    await apply([IgnoreTables('other'), adding], change);
    expect(rows()).toEqual([]);
  });

  it('and those that were taken out are shown to nobody behind it', async () => {
    const never: HAInterceptor = {
      tables: ['t'],
      beforeApply: () => {
        throw new Error('nothing of its table is left');
      },
    };
    await apply([{ tables: ['t'], beforeApply: () => [log(3n)] }, never], change);
    expect(rows()).toEqual([3]);
  });

  it('in place of a row are shown to those behind it, as rows that nobody wrote before', async () => {
    const seen: unknown[] = [];
    const moving: HAInterceptor = { name: 'moving', tables: ['t'], beforeRow: () => log(4n) };
    const behind: HAInterceptor = {
      tables: ['other'],
      beforeRow: ({ newValues }, { earlier }) => void seen.push([newValues, earlier]),
    };
    await apply([moving, behind], change, change);
    expect(seen).toEqual([
      [[4n], undefined],
      [[4n], undefined],
    ]);
    expect(rows()).toEqual([4]);
    await apply([moving, IgnoreTables('other')], change);
    expect(rows()).toEqual([4]);
  });
});

it('finds the stored row, and those in the way, exactly', async () => {
  const change = update([2n, 'two', 'old'], [2n, 'one', 'new']);
  const found = await look(change, ({ stored, inTheWay }) => [stored?.values, inTheWay.map(({ values }) => values)]);
  expect(found).toEqual([{ Id: 2n, u: 'two', v: 9007199254740993n }, [{ Id: 1n, u: 'one', v: 'a' }]]);
});

it.each<[bigint, SqlValue, boolean]>([
  [1n, 'A', false],
  [1n, 'B', false],
  [1n, 5n, true],
  [1n, null, true],
  [1n, Buffer.from('a'), false],
  [1n, new InvalidText(Buffer.from([0x20, 0xff])), true],
  [2n, 9007199254740992n, true],
  [2n, 9007199254740993n, false],
  [3n, null, false],
  [3n, -1n, false],
])('lets SQLite compare: row %s with %s', async (id, value, greater) => {
  expect(await look(update([id, 'x', null], [id, 'x', null]), ({ stored }) => stored?.isGreater('V', value))).toBe(
    greater,
  );
});

it('knows what the writer had, and what became of the row before', async () => {
  const seen: unknown[] = [];
  const one: HAInterceptor = {
    beforeRow: (change, context) => {
      seen.push([context.earlier, context.before('v')]);
      return newValue(change, 'v') === 'b' ? 'skip' : 'pass';
    },
  };
  const changes = [update([1n, 'one', 'x'], [1n, 'one', 'b']), update([1n, 'one', 'stale'], [1n, 'one', 'c'])];
  expect((await apply([one], ...changes))?.effective).toEqual([changes[1]]);
  expect(seen).toEqual([
    [undefined, 'x'],
    ['skipped', 'b'],
  ]);
});

it.each<[string, (keep: (context: HAInterceptorContext) => void) => HAInterceptor]>([
  ['of a transaction', (keep) => ({ beforeApply: async (_set, context) => keep(context) })],
  ['of a row', (keep) => ({ beforeRow: (_change, context) => keep(context) })],
])('does not read through a context %s that it has answered', async (_name, make) => {
  const kept: HAInterceptorContext[] = [];
  await apply([make((context) => void kept.push(context))], update([1n, 'one', 'a'], [1n, 'one', 'b']));
  expect(() => kept[0]?.get('SELECT 1')).toThrow(/used after it had answered/);
});

it('reads and changes values by column, in any case of letters', () => {
  const change = update([1n, 'one', 'a'], [1n, 'one', 'b']);
  expect([newValue(change, 'ID'), oldValue(change, 'V'), newValue(change, 'q')]).toEqual([1n, 'a', undefined]);
  expect(withValues(change, { V: 'c' }).newValues).toEqual([1n, 'one', 'c']);
  expect(change.newValues).toEqual([1n, 'one', 'b']);
  expect(() => withValues(change, { q: 1n })).toThrow(/has no column 'q'/);
  expect(() =>
    withValues({ ...change, operation: 'DELETE', newValues: undefined } as unknown as RowChange, { v: 1n }),
  ).toThrow(/a DELETE of 't' has no new values/);
});

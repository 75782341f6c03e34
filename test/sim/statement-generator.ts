import type { SimRandom } from './random.js';
import { insertColumns, keyColumns } from './schema-generator.js';
import type { TableSpec } from './schema-generator.js';

/** Few values, so that rows collide often; with storage classes and cases that look alike. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  id: ['NULL', '1', '2', '3', '4'],
  rowid: ['NULL', '1', '2', '3', '9'],
  a: [`'a'`, `'A'`, `'b'`, `'B'`, `'c'`],
  b: [`'x'`, `'y'`],
  u: ['1', '2', '3', `'a'`, `'A'`, 'NULL', '2.0', `'b'`, `x'61'`],
  v: ['0', '1', '2', '3', '5', '2.0', 'NULL', '8'],
  w: ['1', '2', '3', '4', '5', '6'],
  p: ['NULL', '1', '2', '3', '9'],
};

const NULLABLE_KEY = [...(VALUES['a'] ?? []), 'NULL', 'NULL'];
const ANY_VALUE = [`'a'`, `'A'`, '2', '2.0', `'b'`];

function value(random: SimRandom, table: TableSpec, column: string): string {
  if (column === 'a' && table.kind === 'nullableKey') return random.pick(NULLABLE_KEY);
  if (column === 'a' && table.kind === 'keyless') return random.pick(ANY_VALUE);
  return random.pick(VALUES[column] ?? ['NULL']);
}

export function insertSql(random: SimRandom, table: TableSpec, verb: string, rows = 1): string {
  const namesRowid = hasHiddenRowid(table) && random.chance(0.1);
  const columns = [...(namesRowid ? ['rowid'] : []), ...insertColumns(table)];
  const tuple = (): string => `(${columns.map((column) => value(random, table, column)).join(', ')})`;
  return `${verb} INTO ${table.name}(${columns.join(', ')}) VALUES${Array.from({ length: rows }, tuple).join(', ')}`;
}

/** A random statement on a table. */
export function generateStatement(random: SimRandom, table: TableSpec, sequenceEdits: boolean): string {
  const { name } = table;
  if (sequenceEdits && table.kind === 'autoincrement' && random.chance(0.07)) return sequenceEdit(random, name);
  const set = (column: string): string => `${column} = ${value(random, table, column)}`;
  const update = `UPDATE${conflictClause(random)} ${name} SET`;
  const where = `WHERE ${keyCondition(random, table)}`;
  return random.weighted([
    [34, () => insertSql(random, table, `INSERT${conflictClause(random)}`, random.chance(0.25) ? 2 : 1)],
    [table.kind === 'keyless' ? 0 : 8, () => upsert(random, table)],
    [12, () => `${update} ${set('v')} ${where}`],
    [10, () => `${update} ${set('u')} ${where}`],
    [9, () => `${update} ${keyAssignment(random, table)}${random.chance(0.3) ? `, ${set('v')}` : ''} ${where}`],
    [7, () => `UPDATE ${name} SET w = w + 1 WHERE ${random.pick(['w < 5', 'v < 3', '1'])}`],
    [table.child ? 8 : 0, () => `UPDATE ${name} SET p = ${random.between(1, 4)} ${where}`],
    [9, () => `DELETE FROM ${name} ${where}`],
    [5, () => `DELETE FROM ${name} WHERE ${set('v')}`],
    [1, () => `DELETE FROM ${name}`],
  ])();
}

/** Many rows by one statement: its changes take several messages where these are small. */
export function generateMany(random: SimRandom, table: TableSpec): string {
  return insertSql(random, table, 'INSERT OR IGNORE', random.between(8, 20));
}

/** A statement that adds to a number, and now and then sets something else in the same rows. */
export function generateIncrement(random: SimRandom, table: TableSpec): string {
  const amount = random.pick(['1', '2', '-1', '0.5', '10']);
  const also = random.chance(0.2) ? `, v = ${value(random, table, 'v')}` : '';
  const where = random.chance(0.4) ? '1' : keyCondition(random, table);
  return `UPDATE ${table.name} SET w = w + ${amount}${also} WHERE ${where}`;
}

function conflictClause(random: SimRandom): string {
  return random.weighted([
    [8, ''],
    [8, ' OR REPLACE'],
    [4, ' OR IGNORE'],
    [4, ' OR FAIL'],
    [1, ' OR ROLLBACK'],
  ]);
}

function keyCondition(random: SimRandom, table: TableSpec): string {
  switch (table.kind) {
    case 'integer':
    case 'autoincrement':
      return `id = ${random.between(1, 4)}`;
    case 'composite':
    case 'nullableKey':
      return `a IS ${value(random, table, 'a')} AND b = ${value(random, table, 'b')}`;
    case 'withoutRowid':
    case 'keyless':
      return `a = ${value(random, table, 'a')}`;
  }
}

function keyAssignment(random: SimRandom, table: TableSpec): string {
  if (table.kind === 'keyless' || (hasHiddenRowid(table) && random.chance(0.3)))
    return `rowid = ${random.pick(['rowid + 2', `${random.between(1, 5)}`])}`;
  const [column = 'a'] = keyColumns(table.kind);
  return column === 'id' ? `id = ${random.between(1, 5)}` : `${column} = ${value(random, table, column)}`;
}

function hasHiddenRowid({ kind }: TableSpec): boolean {
  return kind === 'keyless' || kind === 'composite' || kind === 'nullableKey';
}

function upsert(random: SimRandom, table: TableSpec): string {
  const target = keyColumns(table.kind).toReversed().join(', ');
  const action = random.pick(['UPDATE SET v = excluded.v, u = excluded.u', 'NOTHING', 'UPDATE SET w = excluded.w']);
  return `${insertSql(random, table, 'INSERT')} ON CONFLICT(${target}) DO ${action}`;
}

function sequenceEdit(random: SimRandom, table: string): string {
  return random.pick([
    `UPDATE sqlite_sequence SET seq = ${random.pick([0, 2, 7, 50])} WHERE name = '${table}'`,
    `DELETE FROM sqlite_sequence WHERE name = '${table}'`,
  ]);
}

import type { Random } from '../../../support/random.js';

/** A column of a random table. */
export interface WorldColumn {
  readonly name: string;
  /** As declared: type and collation. */
  readonly declared: string;
  readonly isKey: boolean;
}

export interface WorldTable {
  readonly name: string;
  readonly columns: readonly WorldColumn[];
  /** What each database declares behind its columns, such as STRICT. */
  readonly options: string;
  readonly indexes: readonly string[];
}

export type Value = null | bigint | number | string | Buffer;
export type Row = readonly Value[];

/** A schema, and the rows of several databases. */
export interface World {
  readonly tables: readonly WorldTable[];
  readonly views: readonly { readonly name: string; readonly sql: string; readonly columns: readonly string[] }[];
  /** By database, then by table. */
  readonly rows: readonly (readonly (readonly Row[])[])[];
}

const TYPES = [
  'TEXT',
  'INTEGER',
  'INT',
  'TEXT',
  'VARCHAR(9)',
  'REAL',
  'NUMERIC',
  'DECIMAL(9,2)',
  '',
  'BLOB',
  'BOOLEAN',
];
const COLLATIONS = ['', '', '', '', ' COLLATE NOCASE', ' COLLATE RTRIM'];
const TEXTS = ['a', 'A', 'b', 'B ', 'b', 'ab', 'Ab', '', '10', '2', '-1', '1.5', '1e2', 'é', 'now', "it's", '%', 'x_y'];
/** Some collations take them for each other; two are names of databases, but for their case. */
const SIMILAR = ['a', 'A', 'b', 'B', 'a ', 'b ', 'D0', 'D1'];
const REALS = [0.5, 1.5, -2.25, 2, 1e18, -0.5, 3, 1024.125];
const INTEGERS = [0n, 1n, 1n, 2n, 3n, 10n, -1n, -7n, 100n, 2n ** 53n + 1n, 2n ** 31n];

export function randomWorld(random: Random, databases: number): World {
  const tables = ['t', 'u', 'w'].slice(0, 1 + random.below(3)).map((name) => randomTable(random, name));
  const views = random.below(2) === 0 ? [] : [randomView(random, tables)];
  const most = random.pick([1, 4, 8, 8, 12]);
  const rows = Array.from({ length: databases }, () =>
    tables.map((table) => Array.from({ length: random.below(most + 1) }, (_, i) => randomRow(random, table, i))),
  );
  return { tables, views, rows };
}

function randomTable(random: Random, name: string): WorldTable {
  const keyed = random.below(3) > 0;
  const strict = random.below(6) === 0;
  const columns: WorldColumn[] = keyed ? [{ name: 'id', declared: 'INTEGER', isKey: true }] : [];
  for (const column of ['a', 'b', 'c', 'Key 1', name === 't' ? 'extra' : 'other'].slice(0, 2 + random.below(4))) {
    const type = strict ? random.pick(['INTEGER', 'TEXT', 'REAL', 'BLOB', 'ANY', 'INT']) : random.pick(TYPES);
    columns.push({ name: column, declared: `${type}${random.pick(COLLATIONS)}`, isKey: false });
  }
  const indexed = columns.filter(({ isKey }) => !isKey && random.below(3) === 0);
  return {
    name,
    columns,
    options: strict ? ' STRICT' : '',
    indexes: indexed.map((column) => `CREATE INDEX "ix_${name}_${column.name}" ON ${name}("${column.name}")`),
  };
}

function randomView(random: Random, tables: readonly WorldTable[]): World['views'][number] {
  const table = random.pick(tables);
  const [first, second] = [table.columns[0], table.columns.at(-1)].map((column) => `"${column?.name ?? ''}"`);
  switch (random.below(4)) {
    case 0:
      return {
        name: 'v',
        sql: `CREATE VIEW v AS SELECT * FROM ${table.name}`,
        columns: table.columns.map(({ name }) => name),
      };
    case 1:
      return {
        name: 'v',
        sql: `CREATE VIEW v(k, n) AS SELECT ${first}, count(*) FROM ${table.name} GROUP BY typeof(${first}), ${first}`,
        columns: ['n'],
      };
    case 2:
      return {
        name: 'v',
        sql: `CREATE VIEW v(p, q) AS SELECT ${first}, ${second} FROM ${table.name} WHERE ${first} IS NOT NULL`,
        columns: ['p', 'q'],
      };
    default:
      return {
        name: 'v',
        sql: `CREATE VIEW v(m) AS SELECT max(${second}) FROM ${table.name} UNION ALL SELECT count(*) FROM ${tables[0]?.name ?? 't'}`,
        columns: ['m'],
      };
  }
}

function randomRow(random: Random, table: WorldTable, index: number): Row {
  return table.columns.map(({ declared, isKey }) => {
    if (isKey) return BigInt(index + 1);
    return table.options === '' ? randomValue(random, declared) : strictValue(random, declared);
  });
}

/** Mostly what the column is declared for, at times anything. */
function randomValue(random: Random, declared: string): Value {
  const any = random.below(8) === 0;
  if (random.below(6) === 0) return null;
  if (!any && /INT|BOOL/.test(declared)) return random.pick(INTEGERS);
  if (!any && /TEXT|CHAR/.test(declared)) return random.pick(random.below(2) === 0 ? TEXTS : SIMILAR);
  if (!any && /REAL/.test(declared)) return random.pick(REALS);
  if (!any && /NUMERIC|DEC/.test(declared)) return random.pick([...REALS, ...INTEGERS]);
  return random.pick<() => Value>([
    () => random.pick(INTEGERS),
    () => random.pick(REALS),
    () => random.pick(TEXTS),
    () => random.pick([Buffer.from(''), Buffer.from('a'), Buffer.from([0, 255])]),
  ])();
}

function strictValue(random: Random, declared: string): Value {
  if (random.below(6) === 0) return null;
  if (declared.startsWith('INT')) return random.pick(INTEGERS);
  if (declared.startsWith('TEXT')) return random.pick(TEXTS);
  if (declared.startsWith('REAL')) return random.pick(REALS);
  if (declared.startsWith('BLOB')) return random.pick([Buffer.from(''), Buffer.from('a'), Buffer.from([0, 255])]);
  return random.pick<Value>([...INTEGERS, ...REALS, ...TEXTS]);
}

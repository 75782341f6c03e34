import type { Features, TableKind } from './features.js';
import type { SimRandom } from './random.js';
import { insertSql } from './statement-generator.js';

/** A table that was generated, with what statements have to know of it. */
export interface TableSpec {
  readonly name: string;
  readonly kind: TableKind;
  readonly sql: string;
  readonly indexes: readonly string[];
  readonly rows: readonly string[];
  /** True where it has the column `p`, a foreign key. */
  readonly child: boolean;
}

export interface SchemaSpec {
  readonly tables: readonly TableSpec[];
  /** Audit tables and triggers. */
  readonly extras: readonly string[];
  readonly foreignKeys: boolean;
  readonly recursiveTriggers: boolean;
}

/** Columns that name a row, in front of `u`, `v` and `w`. */
export function keyColumns(kind: TableKind): readonly string[] {
  if (kind === 'integer' || kind === 'autoincrement') return ['id'];
  return kind === 'composite' || kind === 'nullableKey' ? ['a', 'b'] : ['a'];
}

export function insertColumns(table: TableSpec): readonly string[] {
  return [...keyColumns(table.kind), 'u', 'v', 'w', ...(table.child ? ['p'] : [])];
}

/** All statements that make a schema with its first rows. */
export function schemaSql(schema: SchemaSpec): string[] {
  const tables = schema.tables.flatMap(({ sql, indexes }) => [sql, ...indexes]);
  return [...tables, ...schema.tables.flatMap(({ rows }) => rows), ...schema.extras];
}

export function generateSchema(random: SimRandom, features: Features): SchemaSpec {
  const count = features.tables ?? random.between(1, 3);
  const tables: TableSpec[] = [];
  for (let index = 0; index < count; index++) tables.push(generateTable(random, features, tables));
  const { recursiveTriggers } = features;
  return {
    tables,
    extras: features.triggers === true && random.chance(0.8) ? generateTriggers(random, tables) : [],
    foreignKeys: tables.some((table) => table.child),
    recursiveTriggers: recursiveTriggers === 'mixed' ? random.chance(0.5) : recursiveTriggers === 'on',
  };
}

function generateTable(random: SimRandom, features: Features, before: readonly TableSpec[]): TableSpec {
  const kind = random.pick(features.kinds);
  const name = `t${before.length}`;
  const reference =
    features.foreignKeys === true && random.chance(0.7) ? foreignKey(random, name, kind, before) : undefined;
  const table = {
    name,
    kind,
    sql: tableSql(random, features, name, kind, reference),
    indexes: features.unique === true ? generateIndexes(random, name) : [],
    rows: [],
    child: reference !== undefined,
  };
  const rows = Array.from({ length: random.below(4) }, () => insertSql(random, table, 'INSERT OR IGNORE'));
  // The first rows name no parents: they are inserted while foreign keys are checked.
  return { ...table, rows: table.child ? [] : rows };
}

function tableSql(random: SimRandom, features: Features, name: string, kind: TableKind, reference?: string): string {
  const nocase = features.nocase === true && random.chance(0.4) ? ' COLLATE NOCASE' : '';
  const u = random.weighted([
    [3, 'u'],
    [4, 'u INT'],
    [3, 'u TEXT'],
  ]);
  const notNull = random.chance(0.2) ? ` NOT NULL${random.chance(0.3) ? ' ON CONFLICT REPLACE' : ''} DEFAULT 0` : '';
  const check = random.chance(0.3) ? ' CHECK(v IS NULL OR v < 7)' : '';
  const body = `${u}, v${random.chance(0.5) ? ' INT' : ''}${notNull}${check}, w${reference === undefined ? '' : ', p INT'}`;
  const end = reference === undefined ? '' : `, ${reference}`;
  const conflict = random.chance(0.1) ? ' ON CONFLICT REPLACE' : '';
  switch (kind) {
    case 'integer':
      return `CREATE TABLE ${name}(id INTEGER PRIMARY KEY${conflict}, ${body}${end})`;
    case 'autoincrement':
      return `CREATE TABLE ${name}(id INTEGER PRIMARY KEY${conflict} AUTOINCREMENT, ${body}${end})`;
    case 'composite':
      return `CREATE TABLE ${name}(a TEXT${nocase} NOT NULL, b TEXT NOT NULL, ${body}, PRIMARY KEY(b, a)${conflict}${end})`;
    case 'nullableKey':
      return `CREATE TABLE ${name}(a TEXT${nocase}, b TEXT, ${body}, PRIMARY KEY(b, a)${end})`;
    case 'withoutRowid':
      return `CREATE TABLE ${name}(a TEXT${nocase}, ${body}, PRIMARY KEY(a)${conflict}${end}) WITHOUT ROWID`;
    case 'keyless':
      return `CREATE TABLE ${name}(a${nocase}, ${body}${end})`;
  }
}

function foreignKey(
  random: SimRandom,
  name: string,
  kind: TableKind,
  before: readonly TableSpec[],
): string | undefined {
  const candidates = [...before.map((table) => ({ name: table.name, kind: table.kind })), { name, kind }];
  const parents = candidates.filter((table) => keyColumns(table.kind)[0] === 'id');
  if (parents.length === 0) return undefined;
  const action = (): string => random.pick(['CASCADE', 'CASCADE', 'SET NULL', 'SET DEFAULT', 'NO ACTION', 'RESTRICT']);
  const deferred = random.chance(0.5) ? ' DEFERRABLE INITIALLY DEFERRED' : '';
  return `FOREIGN KEY(p) REFERENCES ${random.pick(parents).name}(id) ON DELETE ${action()} ON UPDATE ${action()}${deferred}`;
}

function generateIndexes(random: SimRandom, table: string): string[] {
  const indexes: string[] = [];
  if (random.chance(0.6)) {
    const columns = random.pick([
      '(u)',
      '(u COLLATE NOCASE)',
      '(lower(u))',
      '(u) WHERE w > 2',
      '(u, v)',
      '(v) WHERE w > 2',
    ]);
    indexes.push(`CREATE UNIQUE INDEX x_${table} ON ${table}${columns}`);
  }
  if (random.chance(0.15)) indexes.push(`CREATE UNIQUE INDEX y_${table} ON ${table}(w)`);
  return indexes;
}

function generateTriggers(random: SimRandom, tables: readonly TableSpec[]): string[] {
  const audit = random.chance(0.5) ? 'm, k' : 'id INTEGER PRIMARY KEY AUTOINCREMENT, m, k';
  const extras = [`CREATE TABLE audit(${audit})`];
  for (let index = random.between(1, 3); index > 0; index--) {
    const operation = random.pick(['INSERT', 'UPDATE', 'DELETE']);
    const time = random.pick(['BEFORE', 'AFTER', 'AFTER']);
    const other = random.pick(tables);
    const body = triggerBody(random, operation, other);
    const on = random.pick(tables).name;
    // Triggers that set off each other may add rows without end: one statement would fill the disk.
    const when = body.startsWith('INSERT OR') ? ` WHEN (SELECT count(*) FROM ${other.name}) < 200` : '';
    extras.push(`CREATE TRIGGER g${index} ${time} ${operation} ON ${on}${when} BEGIN ${body}; END`);
  }
  return extras;
}

function triggerBody(random: SimRandom, operation: string, other: TableSpec): string {
  const row = operation === 'DELETE' ? 'old' : 'new';
  return random.weighted([
    [3, () => `INSERT INTO audit(m, k) VALUES('${operation}', ${row}.v)`],
    [1, () => `UPDATE ${other.name} SET w = ${row}.v WHERE v = ${row}.v AND w IS NOT ${row}.v`],
    [1, () => `DELETE FROM ${other.name} WHERE v = 5`],
    [1, () => insertSql(random, other, 'INSERT OR REPLACE')],
    [
      0.3,
      () =>
        `SELECT RAISE(${random.pick([`ABORT, 'no'`, `FAIL, 'no'`, `ROLLBACK, 'no'`, 'IGNORE'])}) WHERE ${row}.v = 3`,
    ],
  ])();
}

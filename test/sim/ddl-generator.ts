import type { SimRandom } from './random.js';
import type { SchemaSpec } from './schema-generator.js';

const COLUMNS = ['u', 'v', 'w', 'c1', 'c2', 'r1'];

/** Statements that change the schema. Many of them fail on a schema that others have changed: that is a case too. */
export function generateDDL(random: SimRandom, schema: SchemaSpec): string[] {
  const { name } = random.pick(schema.tables);
  const column = random.pick(['c1', 'c2']);
  return random.weighted<() => string[]>([
    [
      2,
      () => [
        `ALTER TABLE ${name} ADD COLUMN ${column} ${random.pick(['', 'INT DEFAULT 7', `TEXT NOT NULL DEFAULT 'd'`, 'DEFAULT 5 CHECK(w IS NULL OR w < 6)'])}`,
      ],
    ],
    [1, () => [`ALTER TABLE ${name} DROP COLUMN ${random.pick(['w', 'c1', 'c2', 'r1'])}`]],
    [1, () => [`ALTER TABLE ${name} RENAME COLUMN ${random.pick(COLUMNS)} TO ${random.pick(['r1', 'c1', 'w', 'u'])}`]],
    [1, () => [`ALTER TABLE ${name} RENAME TO ${random.pick(['t0', 't1', 'n0'])}`]],
    [1, () => [`ALTER TABLE n0 RENAME TO ${name}`]],
    [2, () => [`CREATE UNIQUE INDEX z${random.below(2)} ON ${name}(${random.pick(['u', 'v', 'w', 'c1'])})`]],
    [1, () => [`DROP INDEX ${random.pick(['z0', 'z1', `x_${name}`])}`]],
    [1, () => [`DROP TABLE ${name}`]],
    [2, () => [manyRows(name)]],
    [2, () => rebuild(random, name)],
    [
      1,
      () => [
        `CREATE TABLE ${name}(${random.pick(['id INTEGER PRIMARY KEY, u, v, w', 'a, u, v, w, c2', 'a TEXT PRIMARY KEY, u, v, w', 'id INTEGER PRIMARY KEY AUTOINCREMENT, v, w, c1 DEFAULT 3'])})`,
      ],
    ],
    [1, () => [`CREATE TABLE IF NOT EXISTS s0 AS SELECT * FROM ${name}`]],
    [0.5, () => ['DROP TABLE s0']],
    [0.5, () => [`PRAGMA user_version = ${random.below(9)}`]],
    [0.5, () => [`DROP TRIGGER g${random.between(1, 3)}`]],
    [0.5, () => ['ANALYZE']],
    [0.5, () => ['REINDEX']],
  ])();
}

/** So many rows are captured in another way than a few. */
function manyRows(table: string): string {
  const rows = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)';
  return `${rows} INSERT OR IGNORE INTO ${table}(u, v, w) SELECT i % 7, i % 3, i % 5 FROM n`;
}

/** The ways to rebuild a table: https://www.sqlite.org/lang_altertable.html#otheralter */
function rebuild(random: SimRandom, table: string): string[] {
  const [definition, columns] = random.pick([
    ['id INTEGER PRIMARY KEY, u, v, w, c1 DEFAULT 4', 'id, u, v, w'],
    ['a TEXT, u, v, w', 'a, u, v, w'],
  ] as const);
  if (random.chance(0.5)) {
    return [
      `CREATE TABLE new_${table}(${definition})`,
      `INSERT INTO new_${table}(${columns}) SELECT ${columns} FROM ${table}`,
      `DROP TABLE ${table}`,
      `ALTER TABLE new_${table} RENAME TO ${table}`,
    ];
  }
  return [
    `ALTER TABLE ${table} RENAME TO old_${table}`,
    `CREATE TABLE ${table}(${definition})`,
    `INSERT INTO ${table}(${columns}) SELECT ${columns} FROM old_${table}`,
    `DROP TABLE old_${table}`,
  ];
}

import BetterSqlite3 from 'better-sqlite3';
import type { Database } from 'better-sqlite3';
import { RowApplier } from '../../../lib/apply/row-applier.js';
import { Undo } from '../../../lib/apply/undo.js';
import { Capture } from '../../../lib/capture/capture.js';
import { decodeChangeSet } from '../../../lib/changeset/codec.js';
import { HAError } from '../../../lib/common/ha-error.js';
import { isRowChange } from '../../../lib/changeset/changeset.js';
import type { RowChange, SqlValue } from '../../../lib/changeset/changeset.js';
import { readSchema } from '../../../lib/sqlite/schema.js';
import type { RowIdentify, TableInfo } from '../../../lib/sqlite/schema.js';
import { Random } from '../../support/random.js';

interface Scenario {
  readonly tables: readonly string[];
  readonly triggers: readonly string[];
  /** Transactions of statements. */
  readonly work: readonly (readonly string[])[];
  readonly identify: RowIdentify;
  readonly recursive?: boolean;
  readonly pieceBytes?: number;
  /** Old images are compared with what is stored. */
  readonly exact?: boolean;
}

type Rows = Readonly<Record<string, readonly string[]>>;

const open: Database[] = [];
afterEach(() => open.splice(0).forEach((db) => db.close()));

function database(scenario: Scenario, triggers: boolean): Database {
  const db = new BetterSqlite3(':memory:');
  open.push(db);
  db.pragma(`foreign_keys = ${triggers ? 'ON' : 'OFF'}`);
  db.pragma(`recursive_triggers = ${scenario.recursive === true ? 'ON' : 'OFF'}`);
  for (const sql of scenario.tables) db.exec(sql);
  for (const sql of triggers ? scenario.triggers : []) db.exec(sql);
  return db;
}

/** These tests store NULL, integers, reals and text only. */
function literal(value: SqlValue | undefined): string {
  if (typeof value === 'number') return `${value}r`;
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'bigint') return value.toString();
  if (value === null) return 'null';
  throw new TypeError('This value is none that these tests store.');
}

/** Rowids count where nothing else tells rows apart, and where they are a column. */
function rowsOf(db: Database, identify: RowIdentify): Rows {
  const rows: Record<string, string[]> = {};
  for (const table of readSchema(db, identify).tables.values()) {
    rows[table.name] = read(db, table, table.identity === 'key' && !table.bag ? 'NULL' : (table.rowid ?? 'NULL'), '');
  }
  return rows;
}

function read(db: Database, table: TableInfo, first: string, where: string): string[] {
  const columns = table.columns.map(({ name }) => name).join(', ');
  const sql = `SELECT ${first}, ${columns} FROM ${table.name} ${where}`;
  const rows = db.prepare(sql).safeIntegers(true).raw().all() as SqlValue[][];
  return rows.map((row) => row.map(literal).join(' | ')).sort();
}

function tryExec(db: Database, sql: string): string {
  try {
    db.exec(sql);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

function take(capture: Capture): RowChange[] {
  const pieces = capture.drain(0n)?.pieces ?? [];
  return decodeChangeSet(`{"changes":[${pieces.map(String).join(',')}]}`).changes.filter(isRowChange);
}

/** Refused is only what {@link NAMELESS} tables cannot tell. */
function taken(capture: Capture): RowChange[] | 'refused' {
  try {
    return take(capture);
  } catch (error) {
    if (!(error instanceof HAError) || error.code !== 'HA_STATEMENT_REFUSED') throw error;
    const table = capture.schema.tables.get(error.details['table'] as string);
    expect(table).toMatchObject({ rowid: undefined, withoutRowid: false, selfChanging: true });
    return 'refused';
  }
}

/** Old images that are not what is stored where a change says it is. */
function unstored(db: Database, tables: ReadonlyMap<string, TableInfo>, change: RowChange): string[] {
  const table = tables.get(change.table) as TableInfo;
  const where = table.rowid === undefined ? '' : `WHERE ${table.rowid} = ${change.oldRowid ?? change.newRowid}`;
  const stored = read(db, table, 'NULL', where);
  if (change.operation === 'INSERT') return table.rowid === undefined ? [] : stored;
  const image = ['null', ...(change.oldValues ?? []).map(literal)].join(' | ');
  return stored.includes(image) ? [] : [`${change.operation} ${image} where there is ${stored.join(', ')}`];
}

/** True where SQLite alone has stored a row whose parent is missing, and the captured database has refused it. */
function overlooks(plain: Database, writer: Database, [alone = [], captured = []]: string[][]): boolean {
  const at = captured.findIndex((error, index) => error !== alone[index]);
  if (at < 0 || alone[at] !== '' || captured[at] !== 'FOREIGN KEY constraint failed') return false;
  const [more, fewer] = [plain, writer].map((db) => (db.pragma('foreign_key_check') as unknown[]).length);
  return (more ?? 0) > (fewer ?? 0);
}

/** Runs everything on plain SQLite, on a captured database, and as the fold of what was captured; says what differs. */
function differences(scenario: Scenario): object | undefined {
  const plain = database(scenario, true);
  const writer = database(scenario, true);
  const fold = database(scenario, false);
  const schema = readSchema(fold, scenario.identify);
  const applier = new RowApplier(fold);
  applier.useSchema(schema);
  const capture = new Capture(writer, {
    markGeneratedIds: 'always',
    rowIdentify: scenario.identify,
    pieceBytes: () => scenario.pieceBytes ?? 1_000_000,
    exactImages: true,
  });
  for (const transaction of scenario.work) {
    capture.ensureInstalled();
    const before = rowsOf(fold, scenario.identify);
    const errors = [plain, writer].map((db) => transaction.map((sql) => tryExec(db, sql)));
    if (overlooks(plain, writer, errors)) return undefined;
    // Capturing must not change what a statement does.
    expect(errors[1]).toEqual(errors[0]);
    const changes = taken(capture);
    // Nothing of the transaction is written then, and the tests have no use for the rest.
    if (changes === 'refused') return undefined;
    const inexact: string[] = [];
    for (const change of changes) {
      inexact.push(...unstored(fold, schema.tables, change));
      const planned = applier.planned(change, false);
      if ('reason' in planned) return { transaction, reason: planned.reason };
      const refusal = applier.apply(planned);
      if (refusal !== undefined) return { transaction, reason: refusal.reason };
    }
    const [expected, written, folded] = [plain, writer, fold].map((db) => rowsOf(db, scenario.identify));
    const told = changes.map(({ operation, table, oldRowid, oldValues, newRowid, newValues }) =>
      [operation, table, oldRowid, oldValues?.map(literal), '->', newRowid, newValues?.map(literal)].join(' '),
    );
    const seen = { transaction, expected, told };
    if (JSON.stringify(written) !== JSON.stringify(expected)) return { ...seen, written };
    if (JSON.stringify(folded) !== JSON.stringify(expected)) return { ...seen, folded };
    if (scenario.exact === true && inexact.length > 0) return { ...seen, inexact };
    if (scenario.exact !== true) continue;
    fold.exec('BEGIN');
    new Undo(fold).run(changes, schema);
    const undone = rowsOf(fold, scenario.identify);
    fold.exec('ROLLBACK');
    if (JSON.stringify(undone) !== JSON.stringify(before)) return { ...seen, before, undone };
  }
  return undefined;
}

const ACTIONS = ['CASCADE', 'CASCADE', 'SET NULL', 'SET DEFAULT', 'NO ACTION'];
const KINDS: readonly ((rest: string) => string)[] = [
  (rest) => `(k UNIQUE, ${rest})`,
  (rest) => `(k INTEGER PRIMARY KEY, ${rest})`,
  (rest) => `(k TEXT PRIMARY KEY NOT NULL, ${rest})`,
  (rest) => `(k TEXT PRIMARY KEY, ${rest})`,
  (rest) => `(k TEXT PRIMARY KEY, ${rest}) WITHOUT ROWID`,
  (rest) => `(k UNIQUE, ${rest}, g AS (k || v) STORED)`,
];

/** Where rows have no rowid to name, nothing tells which of them a BEFORE trigger has changed: that is refused. */
const NAMELESS = (rest: string): string => `(k UNIQUE, ${rest}, rowid, oid, _rowid_)`;

function randomTables(random: Random, names: readonly string[], kinds: typeof KINDS): string[] {
  return names.map((name) => {
    const key = (column: string): string => {
      if (random.below(4) === 0) return column;
      const action = (): string => random.pick(ACTIONS);
      return `${column} DEFAULT ${random.below(3)} REFERENCES ${random.pick(names)}(k) ON UPDATE ${action()} ON DELETE ${action()}`;
    };
    return `CREATE TABLE ${name}${random.pick(kinds)(`${key('p')}, ${key('q')}, v`)}`;
  });
}

function randomTriggers(random: Random, names: readonly string[], timings: readonly string[]): string[] {
  return Array.from({ length: timings.length === 0 ? 0 : random.below(4) }, (_none, index) => {
    const event = random.pick(['UPDATE', 'UPDATE', 'DELETE', 'INSERT']);
    const timing = random.pick(timings);
    const sides = event === 'UPDATE' ? ['OLD', 'NEW'] : event === 'DELETE' ? ['OLD'] : ['NEW'];
    const value = (): string => `${random.pick(sides)}.${random.pick(['k', 'p', 'q', 'k', 'p'])}`;
    const name = random.pick(names);
    const bodies = [
      `UPDATE ${name} SET v = coalesce(v, 0) + 1 WHERE k = ${value()}`,
      `UPDATE ${name} SET v = coalesce(v, 0) + 1 WHERE k IN (${value()}, ${value()})`,
      `UPDATE OR IGNORE ${name} SET k = ${random.below(9)} WHERE k = ${value()}`,
      `UPDATE OR IGNORE ${name} SET p = ${random.below(4)} WHERE k = ${value()}`,
      `INSERT OR IGNORE INTO ${name}(k, v) VALUES(${value()}, 'made')`,
      `DELETE FROM ${name} WHERE k = ${value()}`,
    ];
    const body = random.pick(bodies);
    return `CREATE TRIGGER x${index} ${timing} ${event} ON ${random.pick(names)} BEGIN ${body}; END`;
  });
}

function randomStatement(random: Random, names: readonly string[], conflicts: readonly string[]): string {
  const name = random.pick(names);
  const value = (): string => (random.below(8) === 0 ? 'NULL' : String(random.below(6)));
  const or = random.pick(conflicts);
  const where = random.pick([`k = ${value()}`, `p = ${value()}`, `k > ${value()}`, '1']);
  const statements = [
    `INSERT${or} INTO ${name}(k, p, q, v) VALUES(${value()}, ${value()}, ${value()}, 0)`,
    `INSERT${or} INTO ${name}(k, p, v) SELECT ${1 + random.below(6)}, p, 5 FROM ${name} LIMIT 1`,
    `INSERT${or} INTO ${name}(k, p, q) VALUES(7, 7, 7)`,
    `UPDATE${or} ${name} SET k = ${value()} WHERE ${where}`,
    `UPDATE${or} ${name} SET k = k + 1 WHERE ${where}`,
    `UPDATE${or} ${name} SET k = k + 10 WHERE ${where}`,
    `UPDATE${or} ${name} SET k = ${value()}, p = ${value()} WHERE ${where}`,
    `UPDATE${or} ${name} SET p = k WHERE ${where}`,
    `UPDATE${or} ${name} SET p = ${value()}, v = 9 WHERE ${where}`,
    `DELETE FROM ${name} WHERE ${where}`,
  ];
  return random.pick(statements);
}

interface Kind {
  readonly timings: readonly string[];
  readonly conflicts: readonly string[];
}

function randomScenario(seed: number, kind: Kind): Scenario {
  const random = new Random(seed);
  const names = ['a', 'b', 'c'].slice(0, 1 + random.below(3));
  const tables = randomTables(random, names, [...KINDS, NAMELESS]);
  const triggers = randomTriggers(random, names, kind.timings);
  const fill = names.map(
    (name) =>
      `INSERT OR IGNORE INTO ${name}(k, p, q, v) VALUES(0, NULL, NULL, 0), (1, NULL, NULL, 0), (2, NULL, NULL, 0), (3, NULL, NULL, 0)`,
  );
  const point = names.map((name) => `UPDATE OR IGNORE ${name} SET p = (k + ${random.below(2)}) % 3 WHERE k < 3`);
  const work = Array.from({ length: 12 }, () =>
    Array.from({ length: 1 + random.below(3) }, () => randomStatement(random, names, kind.conflicts)),
  );
  return {
    tables,
    triggers,
    work: [...[...fill, ...point].map((sql) => [sql]), ...work],
    identify: random.pick(['pk', 'rowid', 'full']),
    recursive: random.below(2) === 0,
    pieceBytes: random.pick([1, 100, 1_000_000]),
    exact: true,
  };
}

const SELF = 'ON UPDATE CASCADE ON DELETE CASCADE';
const FIRST = "INSERT INTO t VALUES('two', 'two')";

it.each<[string, Omit<Scenario, 'identify' | 'work'>, string[]]>([
  [
    'a row that points to itself',
    { tables: [`CREATE TABLE t(u UNIQUE, p REFERENCES t(u) ${SELF})`], triggers: [] },
    [FIRST, "UPDATE t SET u = 'new'", 'DELETE FROM t'],
  ],
  [
    'SET NULL',
    { tables: ['CREATE TABLE t(u UNIQUE, p REFERENCES t(u) ON UPDATE SET NULL)'], triggers: [] },
    [FIRST, "UPDATE t SET u = 'new'"],
  ],
  [
    'a rowid that moves',
    { tables: [`CREATE TABLE t(u INTEGER PRIMARY KEY, p REFERENCES t(u) ${SELF})`], triggers: [] },
    ['INSERT INTO t VALUES(1, 1)', 'UPDATE t SET u = 5'],
  ],
  [
    'two columns that point to itself',
    { tables: [`CREATE TABLE t(u UNIQUE, p UNIQUE REFERENCES t(u) ${SELF}, q REFERENCES t(p) ${SELF})`], triggers: [] },
    ["INSERT INTO t VALUES('a', 'a', 'a')", "UPDATE t SET u = 'b'"],
  ],
  [
    'a trigger that fills the place which a row leaves',
    {
      tables: ['CREATE TABLE t(u INTEGER PRIMARY KEY, p)', `CREATE TABLE c(p REFERENCES t(u) ${SELF})`],
      triggers: [
        "CREATE TRIGGER x AFTER UPDATE ON c BEGIN INSERT INTO t VALUES(OLD.p, 'again'); END",
        "CREATE TRIGGER y AFTER DELETE ON c BEGIN INSERT INTO t VALUES(OLD.p, 'anew'); END",
      ],
    },
    [
      'INSERT INTO t VALUES(1, 1), (2, 2)',
      'INSERT INTO c VALUES(1)',
      'UPDATE t SET u = 5 WHERE u = 1',
      'DELETE FROM t WHERE u = 5',
    ],
  ],
  [
    'a trigger that inserts the key of a row that is being deleted',
    {
      tables: ['CREATE TABLE t(u TEXT PRIMARY KEY NOT NULL, p)', `CREATE TABLE c(p REFERENCES t(u) ${SELF})`],
      triggers: ["CREATE TRIGGER y AFTER DELETE ON c BEGIN INSERT INTO t VALUES(OLD.p, 'anew'); END"],
    },
    ["INSERT INTO t VALUES('a', 1), ('b', 2)", "INSERT INTO c VALUES('a')", "DELETE FROM t WHERE u = 'a'"],
  ],
])('%s', (_name, scenario, statements) => {
  for (const identify of ['pk', 'rowid', 'full'] as const) {
    for (const work of [statements.map((sql) => [sql]), [statements]]) {
      expect({ identify, different: differences({ ...scenario, identify, work, exact: true }) }).toEqual({ identify });
    }
  }
});

it.each([
  ['by its rowid', `t(k INTEGER PRIMARY KEY, p REFERENCES t(k) ${SELF}, v)`],
  ['by its key', `t(k TEXT PRIMARY KEY NOT NULL, p REFERENCES t(k) ${SELF}, v)`],
  ['by its key, without a rowid', `t(k PRIMARY KEY, p REFERENCES t(k) ${SELF}, v) WITHOUT ROWID`],
  ['by all its values', `t(k UNIQUE, p REFERENCES t(k) ${SELF}, v, rowid, oid, _rowid_)`],
])('a BEFORE trigger makes room for a row that comes to be like the one that stood there: found %s', (_name, table) => {
  const tables = [`CREATE TABLE ${table}`];
  const moves = 'CREATE TRIGGER x BEFORE UPDATE ON t BEGIN UPDATE t SET k = k + 4 WHERE k = NEW.k AND k <> OLD.k; END';
  const fill = 'INSERT INTO t(k, v) VALUES(1, 0), (2, 0), (3, 7)';
  for (const identify of ['pk', 'rowid', 'full'] as const) {
    for (const statements of [
      ['UPDATE t SET k = 2 WHERE k = 1'],
      ['UPDATE t SET k = 2 WHERE k = 1', 'UPDATE t SET k = 1'],
    ]) {
      for (const work of [[[fill], statements], [[fill, ...statements]], [fill, ...statements].map((sql) => [sql])]) {
        const different = differences({ tables, triggers: [moves], work, identify, exact: true });
        expect({ identify, statements, different }).toEqual({ identify, statements });
      }
    }
  }
});

describe('foreign keys that SQLite alone does not check behind a BEFORE INSERT trigger', () => {
  const CHILD = 'CREATE TABLE a(k UNIQUE, q REFERENCES b(k) ON DELETE SET NULL)';
  const SELF = 'CREATE TABLE a(k UNIQUE, q REFERENCES a(k) ON DELETE SET NULL)';
  const PARENT = 'CREATE TABLE b(k UNIQUE)';
  const deleting = (table: string): string =>
    `CREATE TRIGGER x BEFORE INSERT ON a BEGIN DELETE FROM ${table} WHERE k = NEW.k + 100; END`;

  it.each([
    ['the trigger deletes from the parent', [CHILD, PARENT, deleting('b')]],
    ['the table is its own parent', [SELF, deleting('a')]],
  ])('are checked where it is captured: %s', (_name, schema) => {
    const db = database({ tables: schema, triggers: [], work: [], identify: 'pk' }, true);
    const settings = { rowIdentify: 'pk', pieceBytes: () => 1_000 } as const;
    const capture = new Capture(db, { ...settings, markGeneratedIds: 'always' });
    capture.ensureInstalled();
    expect(tryExec(db, 'INSERT INTO a VALUES(4, 2)')).toBe('FOREIGN KEY constraint failed');
    expect(take(capture)).toEqual([]);
    for (const sql of ['INSERT INTO a VALUES(4, NULL)', 'INSERT INTO a VALUES(5, NULL)'])
      expect(tryExec(db, sql)).toBe('');
    expect(take(capture)).toHaveLength(2);
    expect(db.pragma('foreign_key_check')).toEqual([]);
  });
});

const SEEDS = Number(process.env['CAPTURE_SEEDS'] ?? 40);
const FIRST_SEED = Number(process.env['CAPTURE_FIRST_SEED'] ?? 1_000);

it.each<[string, Kind]>([
  ['no triggers', { timings: [], conflicts: ['', ' OR IGNORE'] }],
  ['AFTER triggers', { timings: ['AFTER'], conflicts: ['', ' OR IGNORE'] }],
  ['all triggers', { timings: ['AFTER', 'BEFORE'], conflicts: ['', ' OR IGNORE', ' OR FAIL'] }],
])('random schemas with foreign key actions and %s: the fold is what SQLite makes', (_name, kind) => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const scenario = randomScenario(seed, kind);
    const different = differences(scenario);
    expect(different === undefined ? { seed } : { seed, scenario, different }).toEqual({ seed });
    for (const db of open.splice(0)) db.close();
  }
});

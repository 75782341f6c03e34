import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { DataTypes, Op, Sequelize } from 'sequelize';
import type { FindOptions, Model, ModelStatic, QueryInterface } from 'sequelize';
import { haSqlite3 } from '../../../lib/orm/sqlite3.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, startCluster, temporaryFolder } from '../../helper/cluster.js';
import { expectInReadme } from './conformance.js';

type Row = Model<Record<string, unknown>> & Record<string, unknown>;

interface Subject {
  readonly sequelize: Sequelize;
  readonly schema: QueryInterface;
  readonly User: ModelStatic<Row>;
  readonly Task: ModelStatic<Row>;
  readonly Label: ModelStatic<Row>;
}

/** What Sequelize's documentation says that comes of it: https://sequelize.org/docs/v6/. */
type Check = readonly [name: string, work: (subject: Subject) => Promise<unknown>, expected: unknown];

function define(sequelize: Sequelize): Subject {
  const User = sequelize.define<Row>(
    'user',
    {
      name: { type: DataTypes.STRING, unique: true, validate: { notEmpty: true } },
      age: { type: DataTypes.INTEGER, allowNull: true },
      admin: { type: DataTypes.BOOLEAN, defaultValue: false },
      born: DataTypes.DATE,
      day: DataTypes.DATEONLY,
      doc: DataTypes.JSON,
      price: DataTypes.DECIMAL(8, 2),
      kind: DataTypes.ENUM('x', 'y'),
      key: DataTypes.UUID,
      data: DataTypes.BLOB,
      full: { type: DataTypes.VIRTUAL, get: (): string => 'virtual' },
    },
    { paranoid: true, version: true, scopes: { old: { where: { age: { [Op.gte]: 30 } } } } },
  );
  const Task = sequelize.define<Row>('task', { title: DataTypes.STRING }, { timestamps: false });
  const Label = sequelize.define<Row>('label', { text: DataTypes.STRING }, { timestamps: false });
  User.hasMany(Task, { onDelete: 'CASCADE' });
  Task.belongsTo(User);
  Task.belongsToMany(Label, { through: 'task_label', timestamps: false });
  Label.belongsToMany(Task, { through: 'task_label', timestamps: false });
  return { sequelize, schema: sequelize.getQueryInterface(), User, Task, Label };
}

async function fresh({ sequelize, schema, User, Task }: Subject): Promise<void> {
  await schema.dropTable('more');
  await sequelize.sync({ force: true });
  await User.bulkCreate([
    { name: 'a', age: 30 },
    { name: 'b', age: 20 },
    { name: 'c', age: null },
  ]);
  await Task.bulkCreate([
    { title: 'one', userId: 1 },
    { title: 'two', userId: 1 },
    { title: 'three', userId: 2 },
  ]);
}

const names = (rows: readonly Row[]): unknown[] => rows.map((row) => row.get('name') ?? row.get('title'));
const byId: FindOptions = { order: [['id', 'ASC']] };
const failure = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'none',
    (error: Error) => `${error.name}: ${error.message}`,
  );

const CHECKS: readonly Check[] = [
  [
    'create',
    async ({ User }) => {
      const row = await User.create({ name: 'n' });
      return [row.get('id'), row.get('admin'), row.isNewRecord];
    },
    [4, false, false],
  ],
  [
    'types',
    async ({ User }) => {
      const born = new Date(1_700_000_000_123);
      await User.create({
        name: 'n',
        admin: true,
        born,
        day: '2024-02-29',
        doc: { a: [null] },
        price: 1.5,
        kind: 'y',
        key: 'k',
        data: Buffer.from([0, 1]),
      });
      const row = (await User.findOne({ where: { name: 'n' } })) as Row;
      return ['admin', 'born', 'day', 'doc', 'price', 'kind', 'key', 'data', 'age', 'full'].map((key) => row.get(key));
    },
    [
      true,
      new Date(1_700_000_000_123),
      '2024-02-29',
      { a: [null] },
      1.5,
      'y',
      'k',
      Buffer.from([0, 1]),
      null,
      'virtual',
    ],
  ],
  [
    'bulk create',
    async ({ User }) => (await User.bulkCreate([{ name: 'x' }, { name: 'y' }])).map((row) => row.get('id')),
    [4, 5],
  ],
  [
    'bulk create ignores duplicates',
    async ({ User }) => {
      await User.bulkCreate([{ name: 'a' }, { name: 'y' }], { ignoreDuplicates: true });
      return User.count();
    },
    4,
  ],
  [
    'bulk create updates duplicates',
    async ({ User }) => {
      await User.bulkCreate([{ name: 'a', age: 1 }, { name: 'y' }], {
        updateOnDuplicate: ['age'],
        conflictAttributes: ['name'],
      });
      return (await User.findAll(byId)).map((row) => row.get('age'));
    },
    [1, 20, null, null],
  ],
  ['find by primary key', async ({ User }) => (await User.findByPk(2))?.get('name'), 'b'],
  ['find nothing', ({ User }) => User.findOne({ where: { name: 'none' } }), null],
  [
    'find by operators',
    async ({ User }) =>
      names(
        await User.findAll({
          where: {
            [Op.or]: [{ age: { [Op.between]: [25, 35] } }, { age: null }],
            name: { [Op.like]: '%', [Op.notIn]: ['z'] },
          },
          ...byId,
        }),
      ),
    ['a', 'c'],
  ],
  [
    'find in a document',
    async ({ User }) => {
      await User.create({ name: 'n', doc: { a: { b: 5 } } });
      return names(await User.findAll({ where: { doc: { a: { b: 5 } } } as never }));
    },
    ['n'],
  ],
  [
    'attributes and functions',
    ({ User, sequelize }) =>
      User.findAll({ attributes: [[sequelize.fn('upper', sequelize.col('name')), 'up']], raw: true, ...byId }),
    [{ up: 'A' }, { up: 'B' }, { up: 'C' }],
  ],
  [
    'group',
    ({ Task, sequelize }) =>
      Task.findAll({
        attributes: ['userId', [sequelize.fn('count', '*'), 'n']],
        group: 'userId',
        order: ['userId'],
        raw: true,
      }),
    [
      { userId: 1, n: 2 },
      { userId: 2, n: 1 },
    ],
  ],
  [
    'order, limit, offset',
    async ({ User }) => names(await User.findAll({ order: [['name', 'DESC']], limit: 1, offset: 1 })),
    ['b'],
  ],
  [
    'aggregates',
    ({ User }) => Promise.all([User.count(), User.max('age'), User.min('age'), User.sum('age')]),
    [3, 30, 20, 50],
  ],
  [
    'find and count',
    async ({ User }) => {
      const { rows, count } = await User.findAndCountAll({ limit: 1, ...byId });
      return [names(rows), count];
    },
    [['a'], 3],
  ],
  [
    'find or create',
    async ({ User }) => [
      (await User.findOrCreate({ where: { name: 'a' } }))[1],
      (await User.findOrCreate({ where: { name: 'n' } }))[1],
    ],
    [false, true],
  ],
  ['find or build', async ({ User }) => (await User.findOrBuild({ where: { name: 'n' } }))[0].isNewRecord, true],
  [
    'include',
    async ({ User, Task }) =>
      (await User.findAll({ include: Task, ...byId })).map((row) => names(row['tasks'] as Row[])),
    [['one', 'two'], ['three'], []],
  ],
  [
    'include that is required',
    async ({ User, Task }) => names(await User.findAll({ include: { model: Task, where: { title: 'three' } } })),
    ['b'],
  ],
  [
    'include apart',
    async ({ User, Task }) =>
      (await User.findAll({ include: { model: Task, separate: true, order: ['id'] }, ...byId })).map((row) =>
        names(row['tasks'] as Row[]),
      ),
    [['one', 'two'], ['three'], []],
  ],
  [
    'mixins',
    async ({ User, Label }) => {
      const user = (await User.findByPk(1)) as unknown as {
        createTask(v: object): Promise<{ addLabel(v: unknown): Promise<void>; countLabels(): Promise<number> }>;
        countTasks(): Promise<number>;
      };
      const task = await user.createTask({ title: 'new' });
      await task.addLabel(await Label.create({ text: 'l' }));
      return [await user.countTasks(), await task.countLabels()];
    },
    [3, 1],
  ],
  [
    'create with include',
    async ({ Task, Label, User }) => {
      const row = await Task.create(
        { title: 't', user: { name: 'n' }, labels: [{ text: 'l' }, { text: 'm' }] },
        { include: [User, Label] },
      );
      return [row.get('userId'), await Label.count()];
    },
    [4, 2],
  ],
  [
    'update of an instance',
    async ({ User }) => {
      const row = (await User.findByPk(1)) as Row;
      await row.update({ age: 31 });
      return [row.get('age'), row.get('version'), row.changed()];
    },
    [31, 1, false],
  ],
  [
    'an instance that is out of date',
    async ({ User }) => {
      const [one, two] = [(await User.findByPk(1)) as Row, (await User.findByPk(1)) as Row];
      await one.update({ age: 1 });
      return (await failure(two.update({ age: 2 }))).split(':')[0];
    },
    'SequelizeOptimisticLockError',
  ],
  ['update of many', ({ User }) => User.update({ age: 1 }, { where: { age: { [Op.ne]: null } } }), [2]],
  [
    'increment and decrement',
    async ({ User }) => {
      await User.increment('age', { by: 2, where: { id: 1 } });
      await User.decrement({ age: 1 }, { where: { id: 2 } });
      return (await User.findAll(byId)).map((row) => row.get('age'));
    },
    [32, 19, null],
  ],
  [
    'upsert',
    async ({ User }) => {
      await User.upsert({ id: 1, name: 'A' });
      await User.upsert({ id: 9, name: 'n' });
      return (await User.findAll(byId)).map((row) => [row.get('id'), row.get('name')]);
    },
    [
      [1, 'A'],
      [2, 'b'],
      [3, 'c'],
      [9, 'n'],
    ],
  ],
  [
    'reload',
    async ({ User }) => {
      const row = (await User.findByPk(1)) as Row;
      await User.update({ age: 5 }, { where: { id: 1 } });
      return (await row.reload()).get('age');
    },
    5,
  ],
  [
    'paranoid delete and restore',
    async ({ User }) => {
      await User.destroy({ where: { id: 1 } });
      const gone = [await User.count(), await User.count({ paranoid: false })];
      await User.restore({ where: { id: 1 } });
      return [...gone, await User.count()];
    },
    [2, 3, 3],
  ],
  [
    'delete that cascades',
    async ({ User, Task }) => [await User.destroy({ where: { id: 1 }, force: true }), await Task.count()],
    [1, 1],
  ],
  [
    'truncate',
    async ({ Task }) => {
      await Task.destroy({ truncate: true });
      return Task.count();
    },
    0,
  ],
  ['scopes', async ({ User }) => names(await User.scope('old').findAll()), ['a']],
  [
    'hooks',
    async ({ User }) => {
      const seen: string[] = [];
      User.addHook('beforeCreate', 'b', () => void seen.push('before'));
      User.addHook('afterCreate', 'a', () => void seen.push('after'));
      await User.create({ name: 'n' });
      User.removeHook('beforeCreate', 'b');
      User.removeHook('afterCreate', 'a');
      return seen;
    },
    ['before', 'after'],
  ],
  [
    'query with replacements',
    ({ sequelize }) =>
      sequelize.query('SELECT name FROM users WHERE id IN (:ids) ORDER BY id', {
        replacements: { ids: [1, 2] },
        type: 'SELECT' as never,
      }),
    [{ name: 'a' }, { name: 'b' }],
  ],
  [
    'query with bound values',
    ({ sequelize }) => sequelize.query('SELECT $1 AS a, $2 AS b', { bind: ['x', 2], type: 'SELECT' as never }),
    [{ a: 'x', b: 2 }],
  ],
  [
    'query that writes',
    async ({ sequelize }) => [
      await sequelize.query("INSERT INTO tasks(title) VALUES('n')", { type: 'INSERT' as never }),
      await sequelize.query("UPDATE tasks SET title = 'm'", { type: 'UPDATE' as never }),
    ],
    [
      [4, 1],
      [undefined, 4],
    ],
  ],
  [
    'managed transaction',
    ({ sequelize, User }) =>
      sequelize.transaction(async (transaction) => {
        await User.create({ name: 'n' }, { transaction });
        return [await User.count({ transaction }), await User.count()];
      }),
    [4, 3],
  ],
  [
    'transaction that fails',
    async ({ sequelize, User }) => {
      await sequelize
        .transaction(async (transaction) => {
          await User.destroy({ where: {}, transaction });
          throw new Error('no');
        })
        .catch(() => {});
      return User.count();
    },
    3,
  ],
  [
    'unmanaged transaction',
    async ({ sequelize, User }) => {
      const transaction = await sequelize.transaction();
      await User.create({ name: 'n' }, { transaction });
      await transaction.rollback();
      const other = await sequelize.transaction();
      await User.create({ name: 'o' }, { transaction: other });
      await other.commit();
      return User.count();
    },
    4,
  ],
  [
    'savepoint',
    ({ sequelize, User }) =>
      sequelize.transaction(async (transaction) => {
        await sequelize
          .transaction({ transaction }, async (inner) => {
            await User.create({ name: 'n' }, { transaction: inner });
            throw new Error('no');
          })
          .catch(() => {});
        return User.count({ transaction });
      }),
    3,
  ],
  [
    'hooks of a transaction',
    async ({ sequelize, User }) => {
      const seen: string[] = [];
      await sequelize.transaction(async (transaction) => {
        transaction.afterCommit(() => void seen.push('committed'));
        await User.create({ name: 'n' }, { transaction });
      });
      return seen;
    },
    ['committed'],
  ],
  [
    'isolation level',
    ({ sequelize, User }) =>
      sequelize.transaction({ isolationLevel: 'SERIALIZABLE' as never }, (transaction) => User.count({ transaction })),
    3,
  ],
  [
    'create, describe and drop a table',
    async ({ schema }) => {
      await schema.createTable('more', {
        id: { type: DataTypes.INTEGER, primaryKey: true },
        a: { type: DataTypes.STRING(9), allowNull: false, defaultValue: 'd' },
      });
      return schema.describeTable('more');
    },
    {
      id: { type: 'INTEGER', allowNull: true, defaultValue: undefined, primaryKey: true, unique: false },
      a: { type: 'VARCHAR(9)', allowNull: false, defaultValue: 'd', primaryKey: false, unique: false },
    },
  ],
  [
    'add, rename, change and remove a column',
    async ({ schema, Task }) => {
      await schema.addColumn('tasks', 'more', { type: DataTypes.INTEGER, defaultValue: 7 });
      await schema.renameColumn('tasks', 'more', 'less');
      await schema.changeColumn('tasks', 'less', { type: DataTypes.STRING });
      const there = Object.keys(await schema.describeTable('tasks'));
      await schema.removeColumn('tasks', 'less');
      return [there, Object.keys(await schema.describeTable('tasks')), await Task.count()];
    },
    [['id', 'title', 'userId', 'less'], ['id', 'title', 'userId'], 3],
  ],
  [
    'indexes',
    async ({ schema }) => {
      await schema.addIndex('tasks', ['title'], { name: 'by_title', unique: true });
      const list = (await schema.showIndex('tasks')) as {
        name: string;
        unique: boolean;
        fields: { attribute: string }[];
      }[];
      await schema.removeIndex('tasks', 'by_title');
      return [
        list.map(({ name, unique, fields }) => [name, unique, fields[0]?.attribute]),
        await schema.showIndex('tasks'),
      ];
    },
    [[['by_title', true, 'title']], []],
  ],
  [
    'foreign keys of a table',
    async ({ schema }) =>
      (
        (await schema.getForeignKeyReferencesForTable('tasks')) as { columnName: string; referencedTableName: string }[]
      ).map(({ columnName, referencedTableName }) => [columnName, referencedTableName]),
    [['userId', 'users']],
  ],
  [
    'sync that alters builds tables anew, and what refers to them with CASCADE goes',
    async ({ sequelize, Task }) => {
      await sequelize.sync({ alter: true });
      return Task.count();
    },
    0,
  ],
  ['unique', ({ User }) => failure(User.create({ name: 'a' })), 'SequelizeUniqueConstraintError: Validation error'],
  [
    'foreign key',
    ({ Task }) => failure(Task.create({ userId: 99 })),
    'SequelizeForeignKeyConstraintError: SQLITE_CONSTRAINT: FOREIGN KEY constraint failed',
  ],
  [
    'validation',
    async ({ User }) => (await failure(User.create({ name: '' }))).split(':')[0],
    'SequelizeValidationError',
  ],
  [
    'no such table',
    ({ sequelize }) => failure(sequelize.query('SELECT * FROM missing')),
    'SequelizeDatabaseError: SQLITE_ERROR: no such table: missing',
  ],
  [
    'syntax',
    ({ sequelize }) => failure(sequelize.query('SELEC 1')),
    'SequelizeDatabaseError: SQLITE_ERROR: near "SELEC": syntax error',
  ],
  ['foreign keys are on', ({ sequelize }) => sequelize.query('PRAGMA foreign_keys'), [{ foreign_keys: 1 }]],
];

/** Sessions of plain SQLite, for the same module over a file that nobody else has. */
class PlainSession {
  private readonly db: Sqlite.Database;

  constructor(file: string) {
    this.db = new Sqlite(file);
    onCleanup(() => void this.db.close());
  }

  get inTransaction(): boolean {
    return this.db.inTransaction;
  }

  async execute(sql: string, params: readonly unknown[] | object = []): Promise<unknown> {
    // What other connections did to the schema: Sequelize's SQLite has one connection for all that is in no transaction.
    this.db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').all();
    const statement = this.db.prepare(sql).safeIntegers(true);
    const args = Array.isArray(params) ? (params as unknown[]) : [params];
    if (statement.reader) return { reader: true, rows: statement.all(...args), changes: 0, lastInsertRowid: 0n };
    return { reader: false, rows: [], ...statement.run(...args) };
  }

  async script(text: string): Promise<void> {
    this.db.exec(text);
  }

  async close(): Promise<void> {}
}

async function results(connect: Pick<HADatabase, 'connect'>): Promise<unknown[]> {
  const dialectModule = haSqlite3(connect, { serialize: false });
  const subject = define(new Sequelize({ dialect: 'sqlite', storage: '.', dialectModule, logging: false }));
  onCleanup(() => subject.sequelize.close());
  const list: unknown[] = [];
  for (const [name, work] of CHECKS) {
    await fresh(subject);
    list.push({ name, value: await work(subject).catch((error: Error) => String(error.stack)) });
  }
  return list;
}

it('Sequelize does over two nodes what its documentation says, and what it does over plain SQLite', async () => {
  const file = join(temporaryFolder(), 'plain.db');
  new Sqlite(file).pragma('journal_mode = wal');
  const expected = CHECKS.map(([name, , value]) => ({ name, value }));
  expect(await results({ connect: () => new PlainSession(file) as never })).toEqual(expected);
  const cluster = await startCluster();
  expect(await results(cluster.a)).toEqual(expected);
  await cluster.expectEqual();
  expectInReadme('Sequelize', CHECKS.length);
});

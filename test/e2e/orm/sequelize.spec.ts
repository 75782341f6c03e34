import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Injectable, Module } from '@nestjs/common';
import { InjectModel, SequelizeModule } from '@nestjs/sequelize';
import { jest } from '@jest/globals';
import { Test } from '@nestjs/testing';
import { DataTypes, Op, Sequelize, Transaction, UniqueConstraintError } from 'sequelize';
import type { Model, ModelStatic, Options } from 'sequelize';
import { Column, HasMany, Table, Model as TypedModel, ForeignKey, BelongsTo } from 'sequelize-typescript';
import { isRetryable } from '../../../lib/common/retryable.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { haSqlite3 } from '../../../lib/orm/sqlite3.js';
import type { HASqlite3Options } from '../../../lib/orm/sqlite3.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const BIG = 9_007_199_254_740_993n;

type Row = Model<Record<string, unknown>> & Record<string, unknown>;
type Rows = ModelStatic<Row>;

function optionsOf(db: HADatabase, options?: HASqlite3Options): Options {
  return {
    dialect: 'sqlite',
    storage: '.',
    dialectModule: haSqlite3(db, { serialize: false, ...options }),
    logging: false,
  };
}

interface Models {
  readonly sequelize: Sequelize;
  readonly Account: Rows;
  readonly Entry: Rows;
  readonly Tag: Rows;
}

function over(db: HADatabase, options?: HASqlite3Options): Models {
  const sequelize = new Sequelize(optionsOf(db, options));
  onCleanup(() => sequelize.close());
  const Account = sequelize.define<Row>(
    'account',
    {
      id: { type: DataTypes.INTEGER, primaryKey: true, autoIncrement: true },
      name: { type: DataTypes.STRING, unique: true },
      balance: { type: DataTypes.INTEGER, defaultValue: 0 },
      big: DataTypes.BIGINT,
      data: DataTypes.BLOB,
      at: DataTypes.DATE,
      doc: DataTypes.JSON,
      active: DataTypes.BOOLEAN,
    },
    { timestamps: false },
  );
  const Entry = sequelize.define<Row>('entry', { amount: DataTypes.INTEGER });
  const Tag = sequelize.define<Row>('tag', { label: DataTypes.STRING }, { timestamps: false });
  Account.hasMany(Entry, { onDelete: 'CASCADE' });
  Entry.belongsTo(Account);
  Entry.belongsToMany(Tag, { through: 'entry_tag', timestamps: false });
  Tag.belongsToMany(Entry, { through: 'entry_tag', timestamps: false });
  return { sequelize, Account, Entry, Tag };
}

interface Both {
  readonly cluster: Cluster;
  readonly one: Models;
  readonly two: Models;
}

async function both(options?: HASqlite3Options): Promise<Both> {
  const cluster = await startCluster();
  const [one, two] = [over(cluster.a, options), over(cluster.b, options)];
  await Promise.all([one.sequelize.sync(), two.sequelize.sync()]);
  await cluster.settle();
  return { cluster, one, two };
}

/** Runs a transaction again while others are in its way. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!isRetryable(error) || attempt === 300) throw error;
    }
  }
}

// Sequelize tells of every COMMIT that fails.
beforeEach(() => void jest.spyOn(console, 'warn').mockImplementation(() => {}));

describe('Sequelize over two nodes', () => {
  it('makes its tables on both at once, with rows and relations that both have', async () => {
    const { cluster, one, two } = await both();
    const files = readdirSync(dirname(cluster.node(0).path));
    const account = await one.Account.create({ name: 'a', balance: 5 });
    expect(account.toJSON()).toMatchObject({ id: 1, name: 'a', balance: 5 });
    await one.Entry.create({ amount: 3, accountId: 1, tags: [{ label: 'x' }, { label: 'y' }] }, { include: [one.Tag] });
    await cluster.settle();
    const found = await two.Account.findOne({
      where: { balance: { [Op.gt]: 4 } },
      include: [{ model: two.Entry, include: [two.Tag] }],
      order: [['id', 'ASC']],
    });
    expect(found?.toJSON()).toMatchObject({
      name: 'a',
      entries: [{ amount: 3, tags: [{ label: 'x' }, { label: 'y' }] }],
    });
    expect(await two.Account.update({ balance: 9 }, { where: { id: 1 } })).toEqual([1]);
    expect(await two.Account.count()).toBe(1);
    await cluster.settle();
    expect(await one.Account.destroy({ where: { id: 1 } })).toBe(1);
    expect(await one.Entry.count()).toBe(0);
    expect(readdirSync(dirname(cluster.node(0).path))).toEqual(files);
    await cluster.expectEqual();
  });

  it('inserts 10,000 rows at once, and knows their ids', async () => {
    const { cluster, one } = await both();
    const rows = await one.Account.bulkCreate(
      Array.from({ length: 10_000 }, (_, index) => ({ name: `n${index}`, balance: index })),
    );
    expect(rows.map(({ id }) => id)).toEqual(Array.from({ length: 10_000 }, (_, index) => index + 1));
    expect(await one.Account.sum('balance')).toBe(49_995_000);
    await cluster.expectEqual();
  });

  it('keeps BLOBs, integers beyond 2^53, dates, JSON and nothing', async () => {
    const { cluster, one } = await both();
    const at = new Date('2024-02-29T12:34:56.789Z');
    const values = { big: BIG, data: Buffer.from([0, 255]), at, doc: { a: [1] }, active: true };
    await one.Account.create({ name: undefined, ...values });
    const row = (await one.Account.findOne({ where: { at, big: BIG } })) as Row;
    expect(row.get()).toEqual({ id: 1, name: null, balance: 0, ...values });
    expect(await cluster.a.get('SELECT typeof(big) big, typeof(data) data FROM accounts')).toEqual({
      big: 'integer',
      data: 'blob',
    });
    await row.update({ balance: 1 });
    const text = over(cluster.a, { unsafeIntegers: 'string' });
    expect(((await text.Account.findByPk(1)) as Row).get('big')).toBe(String(BIG));
    const lossy = over(cluster.a, { unsafeIntegers: 'number' });
    expect(((await lossy.Account.findByPk(1)) as Row).get('big')).toBe(Number(BIG));
    await cluster.expectEqual();
  });

  it('upserts, and inserts what is not there', async () => {
    const { cluster, one } = await both();
    await one.Account.upsert({ id: 1, name: 'a', balance: 1 });
    await one.Account.upsert({ id: 1, name: 'b', balance: 2 });
    const [found, made] = await one.Account.findOrCreate({ where: { name: 'b' }, defaults: { balance: 7 } });
    expect([found.get('balance'), made]).toEqual([2, false]);
    const [, madeNow] = await one.Account.findOrCreate({ where: { name: 'c' }, defaults: { balance: 7 } });
    expect(madeNow).toBe(true);
    await one.Account.increment({ balance: 3 }, { where: { name: 'c' } });
    expect(await one.Account.findAll({ attributes: ['name', 'balance'], raw: true, order: ['id'] })).toEqual([
      { name: 'b', balance: 2 },
      { name: 'c', balance: 10 },
    ]);
    await cluster.expectEqual();
  });

  it('commits and rolls back, with savepoints', async () => {
    const { cluster, one } = await both();
    const { Account, sequelize } = one;
    await sequelize.transaction(async (transaction) => {
      await Account.create({ name: 'kept' }, { transaction });
      const inner = sequelize.transaction({ transaction }, async (nested) => {
        await Account.create({ name: 'lost' }, { transaction: nested });
        throw new Error('no');
      });
      await expect(inner).rejects.toThrow('no');
      expect(await Account.count({ transaction })).toBe(1);
      expect(await Account.count()).toBe(0);
    });
    const failing = sequelize.transaction(async (transaction) => {
      await Account.create({ name: 'lost' }, { transaction });
      await Account.create({ name: 'kept' }, { transaction });
    });
    expect(await failureOf(failing)).toBeInstanceOf(UniqueConstraintError);
    const transaction = await sequelize.transaction({ type: Transaction.TYPES.IMMEDIATE });
    await Account.create({ name: 'lost' }, { transaction });
    await transaction.rollback();
    const other = await sequelize.transaction();
    await Account.create({ name: 'kept too' }, { transaction: other });
    await other.commit();
    expect((await Account.findAll({ order: ['id'] })).map((row) => row.get('name'))).toEqual(['kept', 'kept too']);
    await cluster.expectEqual();
  });

  it('counts exactly what 50 transactions at once read and write', async () => {
    const { cluster, one, two } = await both();
    await one.Account.create({ name: 'a' });
    await cluster.settle();
    const count = async ({ Account, sequelize }: Models): Promise<void> =>
      sequelize.transaction({ type: Transaction.TYPES.EXCLUSIVE }, async (transaction) => {
        const row = (await Account.findByPk(1, { transaction })) as Row;
        await row.update({ balance: (row.get('balance') as number) + 1 }, { transaction });
      });
    await Promise.all(Array.from({ length: 50 }, (_, index) => again(() => count(index % 2 === 0 ? one : two))));
    await cluster.settle();
    expect((await two.Account.findByPk(1))?.get('balance')).toBe(50);
    await cluster.expectEqual();
  });

  it('says of a conflict that it can be run again', async () => {
    const { cluster, one, two } = await both();
    await one.Account.create({ name: 'a' });
    await cluster.settle();
    const transaction = await one.sequelize.transaction({ type: Transaction.TYPES.EXCLUSIVE });
    await one.Account.increment({ balance: 1 }, { where: { id: 1 }, transaction });
    await two.Account.update({ balance: 10 }, { where: { id: 1 } });
    const failure = await failureOf(transaction.commit());
    expect(isRetryable(failure)).toBe(true);
    expect(failure).toMatchObject({ name: 'SequelizeTimeoutError', parent: { code: 'SQLITE_BUSY', errno: 5 } });
    await again(() =>
      one.sequelize.transaction((t) => one.Account.increment({ balance: 1 }, { where: {}, transaction: t })),
    );
    await cluster.settle();
    expect((await two.Account.findByPk(1))?.get('balance')).toBe(11);
    await cluster.expectEqual();
  });

  it('runs statements of requests at once, and none of them in the transaction of another', async () => {
    const { cluster, one } = await both();
    const { Account, sequelize } = one;
    const transaction = await sequelize.transaction();
    await Account.create({ name: 'inside' }, { transaction });
    const waiting = Promise.all(Array.from({ length: 20 }, (_, index) => Account.create({ name: `n${index}` })));
    expect(await Account.count()).toBe(0);
    await transaction.rollback();
    await waiting;
    expect(await Account.count()).toBe(20);
    await cluster.expectEqual();
  });

  it('changes the schema, and describes it', async () => {
    const { cluster, one, two } = await both();
    await one.Account.create({ name: 'a' });
    await one.Entry.create({ amount: 1, accountId: 1 });
    const schema = one.sequelize.getQueryInterface();
    await schema.addColumn('accounts', 'note', { type: DataTypes.STRING, defaultValue: 'x' });
    await schema.addIndex('accounts', ['balance'], { name: 'by_balance' });
    await schema.renameColumn('entries', 'amount', 'sum');
    await cluster.settle();
    const other = two.sequelize.getQueryInterface();
    expect(await other.describeTable('accounts')).toMatchObject({ note: { type: 'VARCHAR(255)', defaultValue: 'x' } });
    expect(await other.showIndex('accounts')).toContainEqual(expect.objectContaining({ name: 'by_balance' }));
    expect(await other.showAllTables()).toEqual(expect.arrayContaining(['accounts', 'entries', 'tags']));
    expect(await cluster.b.all('SELECT sum, accountId FROM entries')).toEqual([{ sum: 1, accountId: 1 }]);
    await cluster.expectEqual();
  });

  it('drops all tables but those of replication, and makes them anew', async () => {
    const { cluster, one, two } = await both();
    await one.Account.create({ name: 'a' });
    const own = "SELECT name FROM sqlite_schema WHERE name LIKE 'ha!_%' ESCAPE '!'";
    const before = await cluster.a.all(own);
    expect(before.length).toBeGreaterThan(0);
    const schema = one.sequelize.getQueryInterface();
    const listed = await schema.showAllTables();
    expect(listed.filter((name) => name.startsWith('ha_'))).toEqual([]);
    expect(listed).toContain('accounts');
    await schema.dropAllTables();
    expect(await schema.showAllTables()).toEqual([]);
    await cluster.settle();
    expect(await cluster.b.all(own)).toEqual(before);
    await two.sequelize.sync();
    await two.sequelize.sync({ force: true });
    await two.Account.create({ name: 'b' });
    await two.sequelize.drop();
    await two.sequelize.sync();
    await cluster.expectEqual();
    expect(await cluster.a.all('SELECT name FROM accounts')).toEqual([]);
  });
});

describe('What goes wrong with Sequelize', () => {
  it('ends a transaction in which somebody writes past it and waits', async () => {
    const { cluster, one } = await both({ idleTimeout: 1_000 });
    const failure = await failureOf(
      one.sequelize.transaction(async (transaction) => {
        await one.Account.create({ name: 'a' }, { transaction });
        await one.Account.create({ name: 'past it' });
      }),
    );
    expect(failure).toMatchObject({ parent: { code: 'HA_TRANSACTION_TIMEOUT' } });
    expect((await one.Account.findAll()).map((row) => row.get('name'))).toEqual(['past it']);
    await cluster.expectEqual();
  });

  it('names what is violated', async () => {
    const { one } = await both();
    await one.Account.create({ name: 'a' });
    expect(await failureOf(one.Account.create({ name: 'a' }))).toMatchObject({
      name: 'SequelizeUniqueConstraintError',
      fields: ['name'],
      parent: { code: 'SQLITE_CONSTRAINT', errno: 19, message: expect.stringContaining('UNIQUE constraint failed') },
    });
    expect(await failureOf(one.Entry.create({ accountId: 9 }))).toMatchObject({
      name: 'SequelizeForeignKeyConstraintError',
    });
    expect(await failureOf(one.sequelize.query('SELECT * FROM missing'))).toMatchObject({
      name: 'SequelizeDatabaseError',
      parent: { code: 'SQLITE_ERROR' },
    });
  });

  it('refuses a database in memory, and one that is closed', async () => {
    const { cluster, one } = await both();
    const wrong = new Sequelize({ ...optionsOf(cluster.a), storage: ':memory:' });
    expect(await failureOf(wrong.query('SELECT 1'))).toMatchObject({ parent: { code: 'HA_OPTIONS_INVALID' } });
    await cluster.a.close();
    expect(await failureOf(one.Account.count())).toMatchObject({ parent: { code: 'HA_UNAVAILABLE' } });
    const late = new Sequelize(optionsOf(cluster.a));
    expect(await failureOf(late.query('SELECT 1'))).toMatchObject({ name: 'SequelizeConnectionError' });
  });
});

it('runs transactions at the leader where its node is a follower', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const { sequelize, Account } = over(cluster.follower.db);
  await sequelize.sync();
  await sequelize.transaction(async (transaction) => {
    const row = await Account.create({ name: 'a' }, { transaction });
    await row.update({ balance: 2 }, { transaction });
  });
  expect((await Account.findByPk(1))?.get('balance')).toBe(2);
  await cluster.expectEqual();
});

@Table({ timestamps: false })
class Owner extends TypedModel {
  @Column(DataTypes.STRING)
  declare name: string;

  @HasMany(() => Pet)
  declare pets: Pet[];
}

@Table({ timestamps: false })
class Pet extends TypedModel {
  @Column(DataTypes.STRING)
  declare name: string;

  @ForeignKey(() => Owner)
  @Column(DataTypes.INTEGER)
  declare ownerId: number;

  @BelongsTo(() => Owner)
  declare owner: unknown;
}

@Injectable()
class Owners {
  constructor(@InjectModel(Owner) readonly owners: typeof Owner) {}

  add(name: string, pet: string): Promise<Owner> {
    return this.owners.create({ name, pets: [{ name: pet }] }, { include: [Pet] });
  }
}

@Module({
  imports: [
    HATestingModule.forRoot(),
    SequelizeModule.forRootAsync({
      inject: [getHAToken()],
      useFactory: (db: HADatabase) => ({ ...optionsOf(db), autoLoadModels: true, synchronize: true }),
    }),
    SequelizeModule.forFeature([Owner, Pet]),
  ],
  providers: [Owners],
})
class AppModule {}

it('works with @nestjs/sequelize', async () => {
  const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
  await app.init();
  onCleanup(() => app.close());
  const { owners } = app.get(Owners);
  await app.get(Owners).add('a', 'Rex');
  expect((await owners.findOne({ include: [Pet] }))?.toJSON()).toMatchObject({ name: 'a', pets: [{ name: 'Rex' }] });
  expect(await app.get<HADatabase>(getHAToken()).all('SELECT name FROM Pets')).toEqual([{ name: 'Rex' }]);
});

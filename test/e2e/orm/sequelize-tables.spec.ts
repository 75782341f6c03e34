import { DataTypes, Sequelize } from 'sequelize';
import { haSqlite3 } from '../../../lib/orm/sqlite3.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { onCleanup, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

function over(db: HADatabase): Sequelize {
  const dialectModule = haSqlite3(db, { serialize: false, idleTimeout: 5_000 });
  const sequelize = new Sequelize({ dialect: 'sqlite', storage: '.', dialectModule, logging: false });
  onCleanup(() => sequelize.close());
  return sequelize;
}

async function made(): Promise<{ cluster: Cluster; sequelize: Sequelize }> {
  const cluster = await startCluster();
  await cluster.a.exec(
    'CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT); CREATE TABLE child(t INTEGER REFERENCES t(id)); CREATE TABLE "haystack"(a)',
  );
  return { cluster, sequelize: over(cluster.a) };
}

describe('Sequelize', () => {
  it('does not show the tables of replication', async () => {
    const { sequelize } = await made();
    const queries = sequelize.getQueryInterface();
    expect((await queries.showAllTables()).sort()).toEqual(['child', 'haystack', 't']);
    expect(JSON.stringify(await queries.showAllSchemas())).not.toContain('ha_');
    expect(await sequelize.query("SELECT 'ha_' AS name", { raw: true, plain: true })).toEqual({ name: 'ha_' });
  });

  it('drops all tables, and replication goes on', async () => {
    const { cluster, sequelize } = await made();
    await sequelize.query('INSERT INTO t(id) VALUES (1)');
    await sequelize.query('INSERT INTO child VALUES (1)');
    await sequelize.getQueryInterface().dropAllTables();
    expect(await sequelize.getQueryInterface().showAllTables()).toEqual([]);
    await sequelize.query('CREATE TABLE t(id INTEGER PRIMARY KEY, again)');
    await sequelize.query('INSERT INTO t(again) VALUES (1)');
    await cluster.settle();
    expect(await cluster.b.all('SELECT * FROM t')).toEqual([{ id: 1, again: 1 }]);
    await cluster.expectEqual();
  });
});

/**
 * What a transaction does past itself, while the write of another request waits for it: where that waited too, the transaction
 * was rolled back by its idle limit.
 */
describe('a transaction of Sequelize, while a write waits for it,', () => {
  async function amid(work: (sequelize: Sequelize) => Promise<unknown>): Promise<void> {
    const { cluster, sequelize } = await made();
    await sequelize.authenticate(); // its connection switches foreign keys on when it opens
    const others: Promise<unknown>[] = [];
    await sequelize.transaction(async (transaction) => {
      await sequelize.query("INSERT INTO t(x) VALUES ('in')", { transaction });
      others.push(sequelize.query("INSERT INTO t(x) VALUES ('another request')"));
      await work(sequelize);
    });
    await Promise.all(others);
    expect(await cluster.a.all('SELECT x FROM t ORDER BY id')).toEqual([{ x: 'in' }, { x: 'another request' }]);
    await cluster.expectEqual();
  }

  it('describes a table', () =>
    amid(async (sequelize) => {
      expect(Object.keys(await sequelize.getQueryInterface().describeTable('t'))).toEqual(['id', 'x']);
    }));

  it('finds rows, for which Sequelize describes their table too', () =>
    amid(async (sequelize) => {
      const t = sequelize.define('t', { x: DataTypes.TEXT }, { freezeTableName: true, timestamps: false });
      expect(await t.findAll()).toEqual([]);
    }));

  it('sets foreign keys of its root handle', () =>
    amid(async (sequelize) => {
      await sequelize.query('PRAGMA foreign_keys = OFF');
      const read = (): Promise<unknown> => sequelize.query('PRAGMA foreign_keys', { plain: true, raw: true });
      expect(await read()).toMatchObject({ foreign_keys: 0 });
      await sequelize.query('PRAGMA foreign_keys = ON');
      expect(await read()).toMatchObject({ foreign_keys: 1 });
    }));
});

import createKnex from 'knex';
import type { Knex } from 'knex';
import { haKnexClient } from '../../../lib/orm/knex.js';
import type { HAKnexOptions } from '../../../lib/orm/knex.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import { failureOf, startCluster } from '../../helper/cluster.js';
import type { Cluster } from '../../helper/cluster.js';

function over(db: HADatabase, options?: HAKnexOptions, config?: Knex.Config): Knex {
  return createKnex({ client: haKnexClient(db, options), useNullAsDefault: true, ...config });
}

const poolOf = (knex: Knex): { numUsed(): number } => (knex.client as { pool: { numUsed(): number } }).pool;

async function made(): Promise<Cluster> {
  const cluster = await startCluster();
  await cluster.a.exec('CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)');
  return cluster;
}

describe('a Knex pool whose database is stopped for a while', () => {
  it('has its sessions back, and goes on', async () => {
    const { a } = await made();
    const knex = over(a, undefined, { acquireConnectionTimeout: 1_000, pool: { max: 10 } });
    await knex.schema.alterTable('t', (table) => void table.string('y'));
    await knex.schema.alterTable('t', (table) => void table.dropColumn('y')); // turns foreign keys off and on
    await a.stop();
    const refused = Array.from({ length: 60 }, () => failureOf(async () => void (await knex('t').select())));
    expect(new Set((await Promise.all(refused)).map(({ code }) => code))).toEqual(new Set(['HA_UNAVAILABLE']));
    expect(poolOf(knex).numUsed()).toBe(0);
    await a.start();
    expect(await knex('t').select()).toEqual([]);
    expect(await knex.transaction((trx) => trx('t').insert({ x: 'x' }))).toEqual([1]);
    await knex.destroy();
  });

  it('can be destroyed', async () => {
    const { a } = await made();
    const knex = over(a);
    await knex.raw('PRAGMA foreign_keys = ON');
    await a.stop();
    await Promise.allSettled([knex('t').select(), knex('t').select()]);
    await knex.destroy();
    expect((await failureOf(async () => void (await knex('t').select()))).message).toMatch(/acquire a connection/);
  });
});

describe('more Knex transactions at once than a pool usually has sessions', () => {
  it('all end where each reads past its transaction', async () => {
    const cluster = await made();
    const knex = over(cluster.a);
    await Promise.all(
      Array.from({ length: 300 }, () =>
        knex.transaction(async (trx) => {
          await trx('t').insert({ x: 'x' });
          await knex('t').count();
        }),
      ),
    );
    expect(await knex('t').count({ n: '*' })).toEqual([{ n: 300 }]);
    expect(poolOf(knex).numUsed()).toBe(0);
    await cluster.expectEqual();
    await knex.destroy();
  });
});

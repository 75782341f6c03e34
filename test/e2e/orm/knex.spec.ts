import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { Inject, Injectable, Module } from '@nestjs/common';
import type { OnModuleDestroy } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import createKnex from 'knex';
import type { Knex } from 'knex';
import { isRetryable } from '../../../lib/common/retryable.js';
import { getHAToken } from '../../../lib/common/tokens.js';
import { haKnexClient, orderedTransaction } from '../../../lib/orm/knex.js';
import type { HAKnexOptions } from '../../../lib/orm/knex.js';
import { HATestingModule } from '../../../lib/testing/ha-testing.module.js';
import type { HADatabase } from '../../../lib/write/ha-database.js';
import type { Cluster } from '../../helper/cluster.js';
import { failureOf, onCleanup, startCluster, until } from '../../helper/cluster.js';
import { LeaderCluster } from '../../helper/leader-cluster.js';

const BIG = 9_007_199_254_740_993n;

interface Account {
  id: number;
  name: string;
  balance: number;
}

function over(db: HADatabase, options?: HAKnexOptions, config?: Knex.Config): Knex {
  const knex = createKnex({ client: haKnexClient(db, options), useNullAsDefault: true, ...config });
  onCleanup(() => knex.destroy());
  return knex;
}

/** Files that the nodes have made themselves. */
function filesOf(cluster: Cluster): string[] {
  return readdirSync(dirname(cluster.node(0).path)).map((name) => name.replace(/^n\d+\.db/, ''));
}

async function accounts(options?: HAKnexOptions): Promise<{ cluster: Cluster; knex: Knex; other: Knex }> {
  const cluster = await startCluster();
  const knex = over(cluster.a, options);
  await knex.schema.createTable('account', (table) => {
    table.increments();
    table.string('name').unique();
    table.integer('balance').notNullable().defaultTo(0);
  });
  await cluster.settle();
  return { cluster, knex, other: over(cluster.b, options) };
}

/** Migrations as an application has them, with relations, an index, and a table that is built anew. */
const MIGRATIONS: Record<string, Knex.Migration> = {
  '001_people': {
    up: async (knex) => {
      await knex.schema.createTable('person', (table) => {
        table.increments();
        table.string('email', 100).notNullable().unique();
        table.timestamp('made').defaultTo(knex.fn.now());
      });
      await knex.schema.createTable('pet', (table) => {
        table.increments();
        table.integer('owner').notNullable().references('person.id').onDelete('CASCADE').index();
        table.string('name');
      });
    },
    down: async (knex) => {
      await knex.schema.dropTable('pet').dropTable('person');
    },
  },
  '002_pets': {
    up: async (knex) => {
      await knex('person').insert({ email: 'first@x', made: 0 });
      await knex('pet').insert({ owner: 1, name: 'Rex' });
      await knex.schema.alterTable('pet', (table) => {
        table.float('weight').defaultTo(1.5);
        table.dropColumn('name');
      });
    },
    down: async (knex) => {
      await knex.schema.alterTable('pet', (table) => void table.string('name'));
    },
  },
};

const source: Knex.MigrationSource<string> = {
  getMigrations: () => Promise.resolve(Object.keys(MIGRATIONS)),
  getMigrationName: (name) => name,
  getMigration: (name) => Promise.resolve(MIGRATIONS[name] as Knex.Migration),
};

const seeds: Knex.SeedSource<string> = {
  getSeeds: () => Promise.resolve(['people']),
  getSeed: () =>
    Promise.resolve({
      seed: async (knex) => {
        await knex('person').del();
        await knex('person').insert([{ email: 'a@x' }, { email: 'b@x' }]);
      },
    }),
};

describe('Knex over two nodes', () => {
  it('writes what the other node has too, and opens no file', async () => {
    const { cluster, knex, other } = await accounts();
    const files = filesOf(cluster);
    const [id] = await knex('account').insert({ name: 'a', balance: 5 });
    expect(id).toBe(1);
    expect(await knex<Account>('account').insert({ name: 'b', balance: 7 }).returning(['id', 'name'])).toEqual([
      { id: 2, name: 'b' },
    ]);
    await cluster.settle();
    expect(await other<Account>('account').where({ id: 1 }).update({ balance: 6 })).toBe(1);
    await cluster.settle();
    expect(await knex<Account>('account').orderBy('id').pluck('balance')).toEqual([6, 7]);
    expect(await knex('account').where({ id: 2 }).del()).toBe(1);
    expect(filesOf(cluster)).toEqual(files);
    expect(readdirSync('.')).not.toContain('undefined');
    await cluster.expectEqual();
  });

  it('runs the migrations that both nodes start at once', async () => {
    const cluster = await startCluster();
    const both = [over(cluster.a), over(cluster.b)];
    const done = await Promise.all(
      both.map((knex) => orderedTransaction(knex, (trx) => trx.migrate.latest({ migrationSource: source }))),
    );
    expect(done.map(([, names]) => names as string[]).sort((one, two) => two.length - one.length)).toEqual([
      ['001_people', '002_pets'],
      [],
    ]);
    await Promise.all(both.map((knex) => orderedTransaction(knex, (trx) => trx.seed.run({ seedSource: seeds }))));
    await cluster.settle();
    expect(await both[1]?.('person').orderBy('email').pluck('email')).toEqual(['a@x', 'b@x']);
    expect(await cluster.a.all('SELECT is_locked FROM knex_migrations_lock')).toEqual([{ is_locked: 0 }]);
    expect(await cluster.a.all('SELECT name FROM knex_migrations ORDER BY id')).toEqual([
      { name: '001_people' },
      { name: '002_pets' },
    ]);
    await cluster.expectEqual();
    await orderedTransaction(over(cluster.b), (trx) => trx.migrate.rollback({ migrationSource: source }, true));
    await cluster.settle();
    expect(await cluster.a.all("SELECT name FROM sqlite_schema WHERE name IN('pet', 'person')")).toEqual([]);
    await cluster.expectEqual();
  });

  it('inserts 10,000 rows at once', async () => {
    const { cluster, knex } = await accounts();
    const rows = Array.from({ length: 10_000 }, (_, index) => ({ name: `n${index}`, balance: index }));
    await knex.batchInsert('account', rows, 500);
    expect(await knex('account').count({ n: '*' }).sum({ balance: 'balance' })).toEqual([
      { n: 10_000, balance: 49_995_000 },
    ]);
    await cluster.expectEqual();
  });

  it('keeps BLOBs, integers beyond 2^53, dates and nothing', async () => {
    const cluster = await startCluster();
    const knex = over(cluster.a, { safeIntegers: true });
    await knex.schema.createTable('v', (table) => {
      table.increments();
      table.bigInteger('big');
      table.binary('blob');
      table.dateTime('at');
      table.json('doc');
      table.boolean('yes');
      table.string('text');
    });
    const at = new Date('2024-02-29T12:34:56.789Z');
    const row = { big: BIG, blob: Buffer.from([0, 255]), at, doc: { a: [1] }, yes: true, text: undefined };
    await knex('v').insert(row);
    const found = { id: 1n, big: BIG, blob: Buffer.from([0, 255]), at: BigInt(at.valueOf()), doc: '{"a":[1]}' };
    expect(await knex('v').first()).toEqual({ ...found, yes: 1n, text: null });
    expect(await knex('v').where({ big: BIG, at }).pluck('id')).toEqual([1n]);
    const plain = over(cluster.a);
    expect(await plain('v').options({ safeIntegers: true }).first('big')).toEqual({ big: BIG });
    expect(await plain('v').first('big')).toEqual({ big: Number(BIG) });
    const by = over(cluster.a, {}, { connection: { filename: 'never.db', options: { safeIntegers: true } as never } });
    expect(await by('v').first('big')).toEqual({ big: BIG });
    expect(readdirSync('.')).not.toContain('never.db');
    await cluster.expectEqual();
  });

  it('rolls back what fails, of savepoints only what is theirs', async () => {
    const { cluster, knex } = await accounts();
    await knex.transaction(async (trx) => {
      await trx('account').insert({ name: 'kept' });
      const inner = trx.transaction(async (nested) => {
        await nested('account').insert({ name: 'lost' });
        throw new Error('no');
      });
      await expect(inner).rejects.toThrow('no');
      await trx.transaction((nested) => nested('account').insert({ name: 'kept too' }));
    });
    const failing = knex.transaction(async (trx) => {
      await trx('account').insert({ name: 'lost' });
      await trx('account').insert({ name: 'kept' });
    });
    expect(await failureOf(failing)).toMatchObject({ code: 'SQLITE_CONSTRAINT_UNIQUE' });
    const trx = await knex.transaction();
    await trx('account').insert({ name: 'lost' });
    await trx.rollback();
    expect(await knex('account').orderBy('id').pluck('name')).toEqual(['kept', 'kept too']);
    await cluster.expectEqual();
  });

  it('counts exactly what 50 transactions at once read and write', async () => {
    const { cluster, knex, other } = await accounts();
    await knex('account').insert({ name: 'a' });
    await cluster.settle();
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        orderedTransaction(
          index % 2 === 0 ? knex : other,
          async (trx) => {
            const row = await trx<Account>('account').where({ id: 1 }).first();
            await trx<Account>('account')
              .where({ id: 1 })
              .update({ balance: (row as Account).balance + 1 });
          },
          { attempts: 200 },
        ),
      ),
    );
    await cluster.settle();
    expect(await other('account').pluck('balance')).toEqual([50]);
    await cluster.expectEqual();
  });

  it('counts exactly on one node without any retry', async () => {
    const { cluster, knex } = await accounts();
    await knex('account').insert({ name: 'a' });
    await Promise.all(
      Array.from({ length: 50 }, () =>
        knex.transaction(async (trx) => {
          const row = await trx<Account>('account').where({ id: 1 }).first();
          await trx<Account>('account')
            .where({ id: 1 })
            .update({ balance: (row as Account).balance + 1 });
        }),
      ),
    );
    expect(await knex('account').pluck('balance')).toEqual([50]);
    await cluster.expectEqual();
  });

  it('says of a conflict that it can be run again, and nothing of it is written', async () => {
    const { cluster, knex, other } = await accounts();
    await knex('account').insert({ name: 'a' });
    await cluster.settle();
    const trx = await knex.transaction({ isolationLevel: 'serializable' });
    await trx('account').where({ id: 1 }).increment('balance', 1);
    await other('account').where({ id: 1 }).update({ balance: 10 });
    const failure = await failureOf(Promise.resolve(trx.commit()).then(() => trx.executionPromise));
    expect(failure).toMatchObject({ code: 'SQLITE_BUSY' });
    expect(isRetryable(failure)).toBe(true);
    await knex.transaction((again) => again('account').where({ id: 1 }).increment('balance', 1));
    await cluster.settle();
    expect(await other('account').pluck('balance')).toEqual([11]);
    await cluster.expectEqual();
  });

  it('streams rows, also to where somebody stops early', async () => {
    const { cluster, knex } = await accounts();
    await knex.batchInsert(
      'account',
      Array.from({ length: 300 }, (_, index) => ({ name: `n${index}` })),
    );
    const names: string[] = [];
    for await (const row of knex<Account>('account').orderBy('id').stream()) names.push(row.name);
    expect(names).toHaveLength(300);
    for await (const row of knex<Account>('account').stream()) {
      expect(row).toMatchObject({ id: 1 });
      break;
    }
    await knex.transaction(async (trx) => {
      for await (const row of trx<Account>('account').orderBy('id').limit(3).stream()) {
        const { id } = row;
        await trx('account').where({ id }).update({ balance: id });
      }
    });
    expect(await knex('account').sum({ n: 'balance' })).toEqual([{ n: 6 }]);
    await cluster.expectEqual();
  });
});

describe('Schema changes of Knex', () => {
  it('build a table anew that others refer to, and keep their rows', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=on' });
    const knex = over(cluster.a);
    await knex.schema.createTable('parent', (table) => {
      table.increments();
      table.string('a');
      table.string('b').notNullable();
    });
    await knex.schema.createTable('child', (table) => {
      table.increments();
      table.integer('parent').references('parent.id').onDelete('CASCADE');
    });
    await knex('parent').insert([{ b: 'x' }, { b: 'y' }]);
    await knex('child').insert([{ parent: 1 }, { parent: 2 }]);
    await knex.schema.alterTable('parent', (table) => {
      table.dropColumn('a');
      table.string('b').nullable().defaultTo('z').alter();
    });
    await knex.schema.alterTable('child', (table) => void table.setNullable('parent'));
    await knex.schema.alterTable('parent', (table) => void table.renameColumn('b', 'c'));
    expect(await knex('child').pluck('parent')).toEqual([1, 2]);
    await knex('parent').insert({});
    expect(await knex('parent').pluck('c')).toEqual(['x', 'y', 'z']);
    expect(await knex.raw('PRAGMA foreign_keys')).toEqual([{ foreign_keys: 1 }]);
    expect(await failureOf(knex('child').insert({ parent: 9 }))).toMatchObject({
      code: 'SQLITE_CONSTRAINT_FOREIGNKEY',
    });
    await knex('parent').where({ id: 1 }).del();
    expect(await knex('child').pluck('parent')).toEqual([2]);
    await cluster.expectEqual();
  });

  it('set foreign keys for the whole pool, as with the one connection that SQLite has in Knex', async () => {
    const cluster = await startCluster({ query: '_foreign_keys=on' });
    const knex = over(cluster.a);
    await knex.schema.createTable('parent', (table) => void table.increments());
    await knex.schema.createTable('child', (table) => void table.integer('parent').references('parent.id'));
    await knex.raw('PRAGMA foreign_keys = OFF');
    await Promise.all([1, 2, 3].map((parent) => knex('child').insert({ parent })));
    await knex.raw('PRAGMA foreign_keys = ON');
    const refused = await Promise.all([4, 5, 6].map((parent) => failureOf(knex('child').insert({ parent }))));
    expect(refused.map(({ code }) => code)).toEqual(Array(3).fill('SQLITE_CONSTRAINT_FOREIGNKEY'));
    expect(await knex('child').pluck('parent')).toEqual([1, 2, 3]);
    await cluster.expectEqual();
  });
});

describe('What goes wrong with Knex', () => {
  it('ends a transaction in which somebody writes past it and waits', async () => {
    const { cluster, knex } = await accounts({ idleTimeout: 1_000 });
    const failure = await failureOf(
      knex.transaction(async (trx) => {
        await trx('account').insert({ name: 'a' });
        await knex('account').insert({ name: 'past it' });
      }),
    );
    expect(failure).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    expect(await knex('account').pluck('name')).toEqual(['past it']);
    await cluster.expectEqual();
  });

  it('rolls back a transaction that nobody ends', async () => {
    const { cluster, knex } = await accounts({ idleTimeout: 1_000 });
    const trx = await knex.transaction();
    await trx('account').insert({ name: 'forgotten' });
    await knex('account').insert({ name: 'next' });
    expect(await failureOf(trx('account').select())).toMatchObject({ code: 'HA_TRANSACTION_TIMEOUT' });
    await trx.rollback();
    expect(await knex('account').pluck('name')).toEqual(['next']);
    await cluster.expectEqual();
  });

  it('refuses BEGIN as a statement, whose transaction would be lost', async () => {
    const { cluster, knex } = await accounts();
    expect(await failureOf(Promise.resolve(knex.raw('BEGIN')))).toMatchObject({ code: 'HA_TRANSACTION_CONTROL' });
    await knex('account').insert({ name: 'a' });
    const connection = (await knex.client.acquireConnection()) as object;
    await knex.raw('BEGIN').connection(connection);
    await knex('account').connection(connection).insert({ name: 'b' });
    await knex.raw('COMMIT').connection(connection);
    await knex.client.releaseConnection(connection);
    expect(await knex('account').pluck('name')).toEqual(['a', 'b']);
    await cluster.expectEqual();
  });

  it('fails where the database is closed, and where the client is', async () => {
    const { cluster, knex } = await accounts();
    const open = await knex.transaction();
    await cluster.a.close();
    expect(await failureOf(Promise.resolve(knex('account').select()))).toMatchObject({ code: 'HA_UNAVAILABLE' });
    await open.rollback();
    const other = over(cluster.b);
    await other.destroy();
    expect((await failureOf(Promise.resolve(other('account').select()))).message).toContain('acquire a connection');
  });

  it('names the statement and the error of SQLite', async () => {
    const { knex } = await accounts();
    await knex('account').insert({ name: 'a' });
    expect(await failureOf(Promise.resolve(knex('account').insert({ name: 'a' })))).toMatchObject({
      name: 'SqliteError',
      code: 'SQLITE_CONSTRAINT_UNIQUE',
      message: expect.stringMatching(/^insert into `account` \(`name`\) values \('a'\) - UNIQUE constraint failed/),
    });
  });

  it('refuses a class that is no client for better-sqlite3', () => {
    const { a } = { a: { connect: () => undefined as never } };
    expect(() => haKnexClient(a, { client: class {} })).toThrow(
      expect.objectContaining({ code: 'HA_OPTIONS_INVALID' }) as Error,
    );
  });
});

it('runs transactions at the leader where its node is a follower', async () => {
  const cluster = await LeaderCluster.start({ nodes: 2 });
  const knex = over(cluster.follower.db);
  await knex.schema.createTable('account', (table) => {
    table.increments();
    table.string('name');
  });
  await knex.transaction(async (trx) => {
    const [row] = await trx<Account>('account').insert({ name: 'a' }).returning('id');
    await trx.transaction((nested) => nested('account').where({ id: row?.id }).update({ name: 'b' }));
    expect(await trx('account').pluck('name')).toEqual(['b']);
  });
  await until(async () => (await knex('account').pluck('name')).length === 1);
  await cluster.expectEqual();
});

const KNEX = Symbol('knex');

@Injectable()
class Accounts implements OnModuleDestroy {
  constructor(@Inject(KNEX) readonly knex: Knex) {}

  async add(name: string): Promise<number> {
    const [row] = await this.knex<Account>('account').insert({ name }).returning('id');
    return (row as Account).id;
  }

  onModuleDestroy(): Promise<void> {
    return this.knex.destroy();
  }
}

@Module({
  imports: [HATestingModule.forRoot()],
  providers: [
    Accounts,
    {
      provide: KNEX,
      inject: [getHAToken()],
      useFactory: (db: HADatabase) => createKnex({ client: haKnexClient(db), useNullAsDefault: true }),
    },
  ],
})
class AppModule {}

it('is a provider of a Nest application', async () => {
  const app = await Test.createTestingModule({ imports: [AppModule] }).compile();
  await app.init();
  onCleanup(() => app.close());
  const { knex } = app.get(Accounts);
  await knex.schema.createTable('account', (table) => {
    table.increments();
    table.string('name');
  });
  expect(await app.get(Accounts).add('a')).toBe(1);
  expect(await app.get<HADatabase>(getHAToken()).all('SELECT name FROM account')).toEqual([{ name: 'a' }]);
});
